package udf

import (
	"github.com/isomount/isomount/pkg/binfmt"
)

const (
	// maxRuns bounds the memory that one file's extents take (16 MiB).
	maxRuns = 1 << 20
	// maxDescriptors bounds the time that one file's descriptors take.
	maxDescriptors = 4 << 20
	// hopCost is what going on in another block costs of these.
	hopCost = 64
	// maxAllocExtent is how much of one is read.
	maxAllocExtent = 64 << 10
)

// An extentReader collects where a file lies.
type extentReader struct {
	f    *FS
	w    *window
	e    *icb
	list extentList
	left int // descriptors that may still be looked at
}

// extents resolves the allocation descriptors of e. What could not be found
// is lost in the list; e's own slices are no longer valid afterwards.
func (f *FS) extents(w *window, e *icb) extentList {
	return f.extentsWithin(w, e, maxDescriptors)
}

// extentsWithin is extents that looks at no more than limit descriptors.
func (f *FS) extentsWithin(w *window, e *icb, limit int) extentList {
	r := extentReader{f: f, w: w, e: e, left: limit}
	descs := e.alloc
	var seen map[addr]bool
	for r.left > 0 {
		next := r.take(descs)
		if next.length == 0 {
			return r.list
		}
		r.left -= hopCost
		if seen == nil {
			seen = map[addr]bool{}
		}
		if seen[next.addr] {
			break
		}
		seen[next.addr] = true
		var err error
		if descs, err = r.readAllocExtent(next); err != nil {
			break
		}
	}
	r.list.add(lost, e.size-r.list.end)
	return r.list
}

// take adds the extents that descs describe until they end, and returns where
// they go on, with length 0 if they do not.
func (r *extentReader) take(descs []byte) longAD {
	c := binfmt.At(descs, 0)
	for r.list.end < r.e.size {
		d, n := r.descriptor(&c)
		if c.Err() != nil || d.length == 0 {
			break
		}
		if d.kind == extNext {
			return d
		}
		if r.left--; r.left < 0 || len(r.list.runs) >= maxRuns {
			r.list.add(lost, r.e.size-r.list.end)
			break
		}
		r.add(d, min(n, r.e.size-r.list.end))
	}
	return longAD{}
}

// descriptor decodes one allocation descriptor (ECMA-167 4/14.14). n is how
// many bytes of the file it stands for.
func (r *extentReader) descriptor(c *binfmt.Cursor) (d longAD, n int64) {
	switch r.e.allocKind {
	case allocShort:
		v := c.U32LE()
		d = longAD{kind: uint8(v >> 30), length: v & maxExtent, addr: addr{block: c.U32LE(), ref: r.e.ref}}
		return d, int64(d.length)
	case allocLong:
		d = parseLongAD(c)
		return d, int64(d.length)
	}
	v := c.U32LE()        // RBP 0: extent length
	recorded := c.U32LE() // RBP 4
	n = int64(c.U32LE())  // RBP 8: information length
	d = longAD{kind: uint8(v >> 30), length: v & maxExtent, addr: parseAddr(c)}
	c.Skip(2) // RBP 18: implementation use
	if int64(recorded&maxExtent) != n && d.kind == extRecorded {
		d.ref = 0xffff // encoded in a way that nobody defined
	}
	return d, n
}

// add appends n bytes of an extent.
func (r *extentReader) add(d longAD, n int64) {
	if d.kind != extRecorded {
		r.list.add(hole, n)
		return
	}
	for done := int64(0); done < n; {
		pos, there, err := r.f.locate(d.addr, done)
		if err != nil || len(r.list.runs) >= maxRuns {
			r.list.add(lost, n-done)
			return
		}
		there = min(there, n-done)
		r.list.add(pos, there)
		done += there
	}
}

// readAllocExtent reads an allocation extent descriptor (ECMA-167 4/14.5) and
// returns the descriptors in it.
func (r *extentReader) readAllocExtent(at longAD) ([]byte, error) {
	off, _, err := r.f.locate(at.addr, 0)
	if err != nil {
		return nil, err
	}
	b, err := r.w.read(off, int(r.f.block))
	if err != nil {
		return nil, err
	}
	c := binfmt.At(b, off)
	if ident := c.U16LE(); ident != tagAllocExtent {
		return nil, binfmt.Corrupt(off, "descriptor %d where allocation descriptors should go on", ident)
	}
	c.Skip(tagSize - 2 + 4)                  // RBP 2: rest of the tag, previous allocation extent
	n := int(min(c.U32LE(), maxAllocExtent)) // RBP 20
	if n > c.Len() {
		if b, err = r.w.read(off, min(n+24, int(max(at.length, uint32(r.f.block))))); err != nil {
			return nil, err
		}
		c = binfmt.At(b, off)
		c.Skip(24)
	}
	return c.Bytes(min(n, c.Len())), c.Err()
}
