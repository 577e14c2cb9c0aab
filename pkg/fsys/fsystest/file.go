package fsystest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/isomount/isomount/pkg/fsys"
)

// guard is what lies behind a buffer that a reader is given, within its
// capacity, where an append or a careless slice reaches it.
const guard = "\xA5guard behind it"

func newBuffer(n int) []byte { return make([]byte, n, n+len(guard)) }

// readAt reads into buf, made by newBuffer or cut from one, and checks what
// [io.ReaderAt] and the size promise. It returns the bytes that were read, with
// a *readFaultError for a broken promise or an error other than io.EOF.
func readAt(f fsys.FS, node fsys.Node, size int64, buf []byte, off int64) ([]byte, error) {
	n := len(buf)
	behind := buf[n : n+len(guard)]
	copy(behind, guard)
	got, err := f.ReadAt(node, buf, off)
	if string(behind) != guard {
		return nil, &readFaultError{"wrote behind its buffer"}
	}
	want := 0
	if off >= 0 {
		want = int(max(0, min(int64(n), size-off)))
	}
	eof := errors.Is(err, io.EOF)
	switch {
	case got < 0 || got > want:
		return nil, &readFaultError{fmt.Sprintf("read %d bytes where the file has %d", got, want)}
	case got < n && err == nil:
		err = &readFaultError{fmt.Sprintf("read %d bytes without an error", got)}
	case got < want && eof:
		err = &readFaultError{fmt.Sprintf("end of file after %d bytes, but the size leaves %d", got, want)}
	case n > 0 && eof && off >= 0 && off+int64(got) < size:
		err = &readFaultError{"end of file before the end of the file"}
	case eof:
		err = nil
	}
	return buf[:got], err
}

// A readFaultError is a ReadAt that does what no io.ReaderAt may.
type readFaultError struct{ what string }

func (e *readFaultError) Error() string { return e.what }

// edges returns the offsets of a file at which readers go wrong.
func edges(size int64) []int64 {
	e := []int64{0, 1, 511, 512, 2047, 2048, 2049, 4096, 32767, 32768, 65535, 65536, size / 2, size / 3 * 2}
	for _, d := range []int64{2049, 2048, 2047, 1, 0, -1, -2048} {
		e = append(e, size-d, size/2048*2048-d)
	}
	e = append(e, size+1<<31, 1<<32, 1<<43, math.MaxInt64-1, math.MaxInt64)
	slices.Sort(e)
	e = slices.Compact(e)
	return slices.DeleteFunc(e, func(off int64) bool { return off < 0 })
}

var lengths = []int{0, 1, 2, 511, 2047, 2048, 2049, 4096, 65537}

// thorough is how many files are read at all edges, so that a tree of many
// files is still checked in seconds.
const thorough = 200

// checkFile reads a file whole, then in pieces, and compares.
func (c *checker) checkFile(path string, f found) {
	size := f.attr.Size
	whole, err := readAt(c.fs, f.node, size, newBuffer(int(min(size, c.MaxRead))), 0)
	if err != nil {
		c.errorf(path, "read of the first %d bytes: %w", len(whole), err)
		return
	}
	if c.files++; c.files > thorough {
		return
	}
	buf := newBuffer(lengths[len(lengths)-1])
	for _, off := range edges(size) {
		for _, n := range lengths {
			c.checkPiece(path, f, buf[:n], off, whole)
		}
	}
	for _, off := range []int64{-1, math.MinInt64} {
		if n, err := c.fs.ReadAt(f.node, make([]byte, 1), off); err == nil || n != 0 {
			c.errorf(path, "read at offset %d: got %d bytes, error %v", off, n, err)
		}
	}
}

// checkPiece reads one piece and compares it with the bytes that are known.
func (c *checker) checkPiece(path string, f found, buf []byte, off int64, whole []byte) {
	n := len(buf)
	got, err := readAt(c.fs, f.node, f.attr.Size, buf, off)
	if err != nil {
		c.errorf(path, "read of %d bytes at offset %d of %d: %w", n, off, f.attr.Size, err)
		return
	}
	if off >= int64(len(whole)) {
		return
	}
	want := whole[off:min(off+int64(n), int64(len(whole)))]
	if !bytes.Equal(got[:min(len(got), len(want))], want) {
		c.errorf(path, "read of %d bytes at offset %d is not what reading from the start gave", n, off)
	}
}

// checkExtents compares where the bytes of a file lie with what they are.
func (c *checker) checkExtents(path string, f found) {
	x, ok := c.fs.(fsys.ExtentFS)
	if !ok {
		return
	}
	offs := append(edges(f.attr.Size), 0)
	for _, off := range offs {
		if err := c.checkExtentsFrom(x, f, off); err != nil {
			c.errorf(path, "extents from offset %d: %w", off, err)
			return
		}
	}
	calls := 0
	err := x.Extents(f.node, 0, func(fsys.Extent) bool { calls++; return false })
	if err != nil || calls > 1 {
		c.errorf(path, "extents went on after yield returned false: %d calls, error %v", calls, err)
	}
}

func (c *checker) checkExtentsFrom(x fsys.ExtentFS, f found, off int64) error {
	at := off
	var fault error
	err := x.Extents(f.node, off, func(e fsys.Extent) bool {
		fault = extentFault(e, at, f.attr.Size)
		if fault == nil {
			fault = c.compareExtent(f, e)
		}
		at += e.Len
		return fault == nil
	})
	switch {
	case fault != nil:
		return fault
	case err != nil:
		return err
	case at < f.attr.Size:
		return fmt.Errorf("end at %d, but the file at %d", at, f.attr.Size)
	}
	return nil
}

// extentFault tells what is wrong with an extent that should start at off.
func extentFault(e fsys.Extent, off, size int64) error {
	if e.Off != off || e.Len <= 0 || e.Len > size-e.Off || e.Pos < fsys.Encoded {
		return fmt.Errorf("%+v, where one should start at %d of %d bytes", e, off, size)
	}
	return nil
}

// compareExtent compares both ends of an extent with what ReadAt gives.
func (c *checker) compareExtent(f found, e fsys.Extent) error {
	if e.Pos == fsys.Encoded || (e.Pos >= 0 && c.Image == nil) {
		return nil
	}
	n := min(e.Len, c.MaxRead)
	for _, skip := range []int64{0, e.Len - n} {
		got, err := readAt(c.fs, f.node, f.attr.Size, newBuffer(int(n)), e.Off+skip)
		if err != nil {
			return err
		}
		want := make([]byte, n)
		if e.Pos >= 0 {
			if k, err := c.Image.ReadAt(want, e.Pos+skip); k < len(want) {
				return fmt.Errorf("%+v: reading the image: %w", e, err)
			}
		}
		if !bytes.Equal(got, want) {
			return fmt.Errorf("%+v does not hold the bytes of the file", e)
		}
	}
	return nil
}
