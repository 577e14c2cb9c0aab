package binfmt

import (
	"errors"
	"io"
)

// ReadFull reads len(p) bytes at byte offset off of r. A source that ends
// before is [io.ErrUnexpectedEOF]; bytes at the very end that come together
// with io.EOF are no error.
func ReadFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
