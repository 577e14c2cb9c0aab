package binfmt_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/isomount/isomount/pkg/binfmt"
)

func TestCursorFields(t *testing.T) {
	b := []byte{
		0x01,
		0x02, 0x03,
		0x04, 0x05,
		0x06, 0x07, 0x08, 0x09,
		0x0A, 0x0B, 0x0C, 0x0D,
		0x0E, 0x0F, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15,
		0x16, 0x17, 0x18, 0x19, 0x1A, 0x1B, 0x1C, 0x1D,
		0x20, 0x21, 0xFF, 0xFF, // halves that disagree
		0x22, 0x23, 0x24, 0x25, 0xFF, 0xFF, 0xFF, 0xFF,
		0xAA, 0xBB, 0xCC,
	}
	c := binfmt.At(b, 1000)
	got := []uint64{
		uint64(c.U8()), uint64(c.U16LE()), uint64(c.U16BE()), uint64(c.U32LE()), uint64(c.U32BE()),
		c.U64LE(), c.U64BE(), uint64(c.U16Both()), uint64(c.U32Both()),
	}
	want := []uint64{0x01, 0x0302, 0x0405, 0x09080706, 0x0A0B0C0D, 0x1514131211100F0E, 0x161718191A1B1C1D, 0x2120, 0x25242322}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("fields (-got +want):\n%s", diff)
	}
	if got, want := c.Off(), int64(1041); got != want {
		t.Errorf("offset: got %d, want %d", got, want)
	}
	c.Skip(1)
	if got := c.Bytes(2); !bytes.Equal(got, b[42:]) || cap(got) != 2 {
		t.Errorf("bytes: got %x with capacity %d, want %x with no more", got, cap(got), b[42:])
	}
	if c.Len() != 0 || c.Err() != nil {
		t.Errorf("at the end: %d left, error %v", c.Len(), c.Err())
	}
}

// Every read past the end gives zeros, and the first one is what Err tells.
func TestCursorShort(t *testing.T) {
	reads := []struct {
		name string
		size int
		read func(*binfmt.Cursor) uint64
	}{
		{"U8", 1, func(c *binfmt.Cursor) uint64 { return uint64(c.U8()) }},
		{"U16LE", 2, func(c *binfmt.Cursor) uint64 { return uint64(c.U16LE()) }},
		{"U16BE", 2, func(c *binfmt.Cursor) uint64 { return uint64(c.U16BE()) }},
		{"U32LE", 4, func(c *binfmt.Cursor) uint64 { return uint64(c.U32LE()) }},
		{"U32BE", 4, func(c *binfmt.Cursor) uint64 { return uint64(c.U32BE()) }},
		{"U64LE", 8, func(c *binfmt.Cursor) uint64 { return c.U64LE() }},
		{"U64BE", 8, func(c *binfmt.Cursor) uint64 { return c.U64BE() }},
		{"U16Both", 4, func(c *binfmt.Cursor) uint64 { return uint64(c.U16Both()) }},
		{"U32Both", 8, func(c *binfmt.Cursor) uint64 { return uint64(c.U32Both()) }},
		{"Bytes", 3, func(c *binfmt.Cursor) uint64 { return uint64(len(c.Bytes(3))) }},
		{"Bytes of a negative count", 0, func(c *binfmt.Cursor) uint64 { return uint64(len(c.Bytes(-1))) }},
	}
	for _, tt := range reads {
		t.Run(tt.name, func(t *testing.T) {
			c := binfmt.At(bytes.Repeat([]byte{0xFF}, 20+max(0, tt.size-1)), 500)
			c.Skip(20)
			for range 3 {
				if got := tt.read(&c); got != 0 {
					t.Errorf("got %#x past the end, want 0", got)
				}
			}
			want := &binfmt.CorruptError{Off: 520, What: "structure is cut short"}
			var got *binfmt.CorruptError
			if !errors.As(c.Err(), &got) || *got != *want {
				t.Errorf("got error %v, want %v", c.Err(), want)
			}
			if c.Len() != 0 {
				t.Errorf("%d bytes left after a read past the end", c.Len())
			}
		})
	}
}

func TestCursorZero(t *testing.T) {
	var c binfmt.Cursor
	if c.Err() != nil || c.Len() != 0 || c.Off() != 0 {
		t.Errorf("zero cursor: error %v, %d left at %d", c.Err(), c.Len(), c.Off())
	}
	c.Skip(0)
	if c.Err() != nil {
		t.Errorf("skip of nothing: got error %v", c.Err())
	}
	if c.U8() != 0 || c.Err() == nil {
		t.Error("read of an empty cursor gives no error")
	}
}

func TestCorrupt(t *testing.T) {
	err := fmt.Errorf("open x: %w", binfmt.Corrupt(1<<40, "record of %d bytes", 3))
	if got, want := err.Error(), "open x: offset 1099511627776: record of 3 bytes"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	var c *binfmt.CorruptError
	if !errors.As(err, &c) || c.Off != 1<<40 {
		t.Errorf("got %#v, want the offset", c)
	}
	if errors.Is(err, binfmt.ErrMagic) {
		t.Error("damage is taken for another format")
	}
}

func TestReadFull(t *testing.T) {
	src := bytes.NewReader([]byte("0123456789"))
	for _, tt := range []struct {
		name string
		r    io.ReaderAt
		n    int
		off  int64
		err  error
	}{
		{"in the middle", src, 3, 4, nil},
		{"to the very end", src, 4, 6, nil},
		{"end of file told with the last bytes", eofReader{src}, 4, 6, nil},
		{"one byte too many", src, 5, 6, io.ErrUnexpectedEOF},
		{"behind the end", src, 1, 100, io.ErrUnexpectedEOF},
		{"nothing", src, 0, 3, nil},
		{"nothing behind the end", src, 0, 100, nil},
		{"short without an error", shortReader{}, 4, 0, io.ErrUnexpectedEOF},
		{"read error", errReader{}, 4, 0, iotest.ErrTimeout},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := make([]byte, tt.n)
			err := binfmt.ReadFull(tt.r, p, tt.off)
			if !errors.Is(err, tt.err) {
				t.Errorf("got error %v, want %v", err, tt.err)
			}
			if want := "0123456789"; err == nil && tt.n > 0 && string(p) != want[tt.off:tt.off+int64(tt.n)] {
				t.Errorf("got %q", p)
			}
		})
	}
}

func TestReadPart(t *testing.T) {
	src := bytes.NewReader([]byte("0123456789"))
	for _, tt := range []struct {
		name string
		r    io.ReaderAt
		size int64
		off  int64
		want string
		err  error
	}{
		{"in the middle", src, 10, 2, "2345", nil},
		{"to the very end", eofReader{src}, 10, 6, "6789", nil},
		{"past the end", src, 10, 8, "89", io.ErrUnexpectedEOF},
		{"past the size", src, 9, 8, "8", io.ErrUnexpectedEOF},
		{"behind the end", src, 10, 100, "", io.ErrUnexpectedEOF},
		{"size that is not there", src, 20, 8, "89", io.ErrUnexpectedEOF},
		{"short without an error", shortReader{}, 10, 0, "\x00\x00", io.ErrUnexpectedEOF},
		{"read error", errReader{}, 10, 0, "\x00\x00", iotest.ErrTimeout},
	} {
		p := make([]byte, 4)
		if n, err := binfmt.ReadPart(tt.r, tt.size, p, tt.off); string(p[:n]) != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%s: got %q, %v, want %q, %v", tt.name, p[:n], err, tt.want, tt.err)
		}
	}
}

// eofReader gives io.EOF together with the last bytes, which it may.
type eofReader struct{ *bytes.Reader }

func (r eofReader) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.Reader.ReadAt(p, off)
	if err == nil && off+int64(n) == r.Size() {
		err = io.EOF
	}
	return n, err
}

type shortReader struct{}

func (shortReader) ReadAt(p []byte, _ int64) (int, error) { return len(p) / 2, nil }

type errReader struct{}

func (errReader) ReadAt(p []byte, _ int64) (int, error) { return len(p) / 2, iotest.ErrTimeout }

// FuzzCursor runs a program of reads and compares with what encoding/binary
// makes of the same bytes.
func FuzzCursor(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, bytes.Repeat([]byte{0xA5, 1}, 30), int64(2048))
	f.Add([]byte{9, 9, 9, 9}, []byte{1, 2, 3}, int64(0))
	f.Fuzz(func(t *testing.T, program, b []byte, base int64) {
		c := binfmt.At(b, base)
		pos, short := 0, -1
		for _, op := range program {
			got, size, want := runOp(&c, op, b[min(pos, len(b)):])
			if pos+size > len(b) && short < 0 {
				short = pos
			}
			if short >= 0 {
				want = 0
			}
			if got != want {
				t.Fatalf("op %d at %d: got %#x, want %#x", op%10, pos, got, want)
			}
			pos += size
			if short >= 0 {
				pos = len(b)
			}
			if c.Off() != base+int64(pos) || c.Len() != len(b)-pos {
				t.Fatalf("op %d: at %d with %d left, want %d", op%10, c.Off(), c.Len(), pos)
			}
		}
		checkShort(t, c.Err(), base, short)
	})
}

func checkShort(t *testing.T, err error, base int64, short int) {
	t.Helper()
	if short < 0 {
		if err != nil {
			t.Fatalf("got error %v, want none", err)
		}
		return
	}
	var c *binfmt.CorruptError
	if !errors.As(err, &c) || c.Off != base+int64(short) {
		t.Fatalf("got error %v, want one at %d", err, base+int64(short))
	}
}

// runOp reads one field; size and want are what it should be, as far as the
// bytes in rest reach.
func runOp(c *binfmt.Cursor, op byte, rest []byte) (got uint64, size int, want uint64) {
	rest = append(bytes.Clone(rest[:min(len(rest), 32)]), make([]byte, 32)...)
	le, be := binary.LittleEndian, binary.BigEndian
	switch op % 10 {
	case 0:
		return uint64(c.U8()), 1, uint64(rest[0])
	case 1:
		return uint64(c.U16LE()), 2, uint64(le.Uint16(rest))
	case 2:
		return uint64(c.U16BE()), 2, uint64(be.Uint16(rest))
	case 3:
		return uint64(c.U32LE()), 4, uint64(le.Uint32(rest))
	case 4:
		return uint64(c.U32BE()), 4, uint64(be.Uint32(rest))
	case 5:
		return c.U64LE(), 8, le.Uint64(rest)
	case 6:
		return c.U64BE(), 8, be.Uint64(rest)
	case 7:
		return uint64(c.U16Both()), 4, uint64(le.Uint16(rest))
	case 8:
		return uint64(c.U32Both()), 8, uint64(le.Uint32(rest))
	}
	n := int(op / 10)
	return uint64(len(c.Bytes(n))), n, uint64(n)
}

// The fields of a directory record (ECMA-119 9.1), which a listing of a large
// directory decodes a hundred thousand times.
func BenchmarkDirectoryRecord(b *testing.B) {
	rec := bytes.Repeat([]byte{7}, 34)
	b.ReportAllocs()
	var sum uint64
	for b.Loop() {
		c := binfmt.At(rec, 2048)
		sum += uint64(c.U8()) + uint64(c.U8())
		sum += uint64(c.U32Both()) + uint64(c.U32Both())
		c.Skip(7)
		sum += uint64(c.U8()) + uint64(c.U8()) + uint64(c.U8()) + uint64(c.U16Both())
		sum += uint64(len(c.Bytes(int(c.U8() - 6))))
		if c.Err() != nil {
			b.Fatal(c.Err())
		}
	}
	if sum == 0 {
		b.Fatal("nothing was read")
	}
}
