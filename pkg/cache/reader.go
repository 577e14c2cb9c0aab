package cache

import (
	"errors"
	"io"
	"io/fs"
)

// A Reader reads a source through the cache.
type Reader struct {
	owner

	cache *Cache
	src   io.ReaderAt
	size  int64
	share int64 // bytes it may hold, 0 for as many as there are
}

var (
	_ io.ReaderAt = (*Reader)(nil)
	_ io.Closer   = (*Reader)(nil)
)

// Reader returns a reader of the first size bytes of src. Each has pages of its
// own, even of the same source.
func (c *Cache) Reader(src io.ReaderAt, size int64) *Reader {
	r := &Reader{cache: c, src: src, size: size}
	r.id = c.owners.Add(1)
	return r
}

// ReaderWithin is Reader with a share: it holds no more than about share bytes,
// and reads from the source what goes beyond. It is for sources that are cheap
// to read, such as the metadata of a local file, which the kernel holds as well.
func (c *Cache) ReaderWithin(src io.ReaderAt, size, share int64) *Reader {
	r := c.Reader(src, size)
	r.share = share
	return r
}

// Size returns how many bytes the source should have.
func (r *Reader) Size() int64 { return r.size }

// Stats returns what the reader did.
func (r *Reader) Stats() Stats { return r.cache.statsOf(&r.owner) }

// Close drops the pages of the reader. It does not close the source.
func (r *Reader) Close() error {
	r.cache.dropOwner(&r.owner)
	return nil
}

func (c *Cache) dropOwner(o *owner) {
	o.closed.Store(true)
	c.drop(func(e *entry) bool { return e.owner == o })
}

// ReadAt implements [io.ReaderAt]. What lies behind the end of a source that is
// shorter than it should be is [io.ErrUnexpectedEOF]; another error of the
// source concerns only what could not be read.
func (r *Reader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fs.ErrInvalid
	}
	want := p[:max(min(int64(len(p)), r.size-off), 0)]
	n := 0
	for n < len(want) {
		at := off + int64(n)
		in := int(at % PageSize)
		k, err := r.readPage(want[n:min(len(want), n+PageSize-in)], at/PageSize, in)
		n += k
		if err != nil {
			return n, err
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// readPage reads from offset in of a page, and not beyond its end.
func (r *Reader) readPage(p []byte, page int64, in int) (int, error) {
	full := r.share > 0 && r.held.Load() >= r.share
	e, first, err := r.cache.pin(&r.owner, key{owner: r.id, a: uint64(page)}, in, in+len(p), full)
	if errors.Is(err, errBypass) {
		return readFull(r.src, p, page*PageSize+int64(in))
	}
	if err != nil {
		return 0, err
	}
	defer r.cache.release(e)
	if first {
		r.load(e, page*PageSize)
	}
	if in+len(p) <= e.n {
		return copy(p, e.mem[in:]), nil
	}
	return r.readAround(e, p, page*PageSize, in)
}

// load fetches the page at byte offset off.
func (r *Reader) load(e *entry, off int64) {
	size := int(min(PageSize, r.size-off))
	r.cache.load(e, PageSize, size, func(mem []byte) (int, error) { return readFull(r.src, mem, off) })
}

// readFull is ReadAt with io.ErrUnexpectedEOF for whatever ends too early.
func readFull(src io.ReaderAt, p []byte, off int64) (int, error) {
	n, err := src.ReadAt(p, off)
	switch {
	case n == len(p):
		return n, nil
	case err == nil, errors.Is(err, io.EOF):
		return n, io.ErrUnexpectedEOF
	}
	return n, err
}

// readAround reads what a page whose fetch failed does not have. Nothing lies
// behind the end of the source; but behind a place that cannot be read there
// may be others that can.
func (r *Reader) readAround(e *entry, p []byte, off int64, in int) (int, error) {
	if errors.Is(e.err, errBypass) {
		count(&e.shard.bypassed, &r.bypassed, 1)
		return readFull(r.src, p, off+int64(in))
	}
	if in <= e.n || errors.Is(e.err, io.ErrUnexpectedEOF) {
		return copy(p, e.mem[min(in, e.n):e.n]), e.err
	}
	return readFull(r.src, p, off+int64(in))
}
