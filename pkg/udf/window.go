package udf

import (
	"io"

	"github.com/isomount/isomount/pkg/binfmt"
)

// Sizes of a window: it grows while reads go forward and starts again at what
// was asked when they jump.
const (
	windowMax  = 64 << 10
	windowNear = 16 << 10 // a gap that is cheaper to read than to skip
)

// A window reads small structures through one buffer that reads ahead. What
// it returns is valid until the next read.
type window struct {
	r    io.ReaderAt
	buf  []byte
	pos  int64 // byte offset of buf[0] in the image
	n    int   // bytes of buf that hold something
	want int   // bytes to read next time
}

func (w *window) reset(r io.ReaderAt) { *w = window{r: r, buf: w.buf} }

// read returns n bytes at byte offset pos.
func (w *window) read(pos int64, n int) ([]byte, error) {
	if pos >= w.pos && pos+int64(n) <= w.pos+int64(w.n) {
		return w.buf[pos-w.pos:][:n], nil
	}
	w.plan(pos, n)
	if err := w.fill(pos, w.want); err == nil && w.n >= n {
		return w.buf[:n], nil
	}
	// Reading ahead may have hit a bad sector or the end.
	if err := w.fill(pos, n); err != nil {
		return nil, err
	}
	if w.n < n {
		return nil, io.ErrUnexpectedEOF
	}
	return w.buf[:n], nil
}

// plan chooses how much to read at pos.
func (w *window) plan(pos int64, n int) {
	ahead := pos - w.pos - int64(w.n)
	if w.n > 0 && ahead >= -int64(n) && ahead <= windowNear {
		w.want = max(min(2*w.want, windowMax), n)
	} else {
		w.want = n
	}
}

// fill reads up to n bytes. A short read is no error.
func (w *window) fill(pos int64, n int) error {
	w.n = 0
	if cap(w.buf) < n {
		w.buf = make([]byte, n)
	}
	got, err := w.r.ReadAt(w.buf[:n], pos)
	if got == 0 && err != nil && err != io.EOF {
		return err
	}
	w.pos, w.n = pos, max(got, 0)
	return nil
}

// readFull reads all of p at byte offset pos, which a disc may say is
// anywhere.
func readFull(r io.ReaderAt, p []byte, pos int64) error {
	if pos < 0 {
		return binfmt.Corrupt(0, "byte offset %d", pos)
	}
	return binfmt.ReadFull(r, p, pos)
}
