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

// ReadPart reads len(p) bytes at byte offset off of r, which has size bytes, or
// what there is of them with [io.ErrUnexpectedEOF].
func ReadPart(r io.ReaderAt, size int64, p []byte, off int64) (int, error) {
	if off >= size {
		return 0, io.ErrUnexpectedEOF
	}
	n, err := r.ReadAt(p[:min(int64(len(p)), size-off)], off)
	switch {
	case n == len(p):
		return n, nil
	case err == nil || errors.Is(err, io.EOF):
		return n, io.ErrUnexpectedEOF
	}
	return n, err
}
