// Package binfmt decodes untrusted binary structures.
//
// Start with [At], which gives a [Cursor] over a byte slice that was read from
// a known offset of an image. A cursor remembers where it is and the first
// thing that went wrong, so a decoder lists its fields in disc order and checks
// once at the end. The package neither reads files nor knows any format.
//
// Two errors carry meaning for everything above: [ErrMagic] says "this is not
// my format, ask the next one", and [CorruptError] says "this is my format and
// it is damaged here". Every other error is an I/O error.
package binfmt

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrMagic reports that bytes do not belong to the format that was asked.
// A probe goes on with the next line of its table on this error only.
var ErrMagic = errors.New("not this format")

// A CorruptError reports a structure that breaks its own format's rules.
type CorruptError struct {
	Off  int64  // byte offset in the image
	What string // what is wrong, lower case, e.g. "directory record of 3 bytes"
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("offset %d: %s", e.Off, e.What)
}

// Corrupt returns a [CorruptError] for the structure at byte offset off.
func Corrupt(off int64, format string, args ...any) error {
	return &CorruptError{Off: off, What: fmt.Sprintf(format, args...)}
}

// A Cursor reads fields one after the other. The zero Cursor is empty.
// After a read past the end every further read gives zeros and Err tells
// where it happened.
type Cursor struct {
	b    []byte
	pos  int
	base int64
	fail int // position of the first short read, plus one
}

// At returns a cursor at the start of b, whose first byte lies at byte offset
// base of the image.
func At(b []byte, base int64) Cursor { return Cursor{b: b, base: base} }

// Err returns nil, or a [CorruptError] at the first field that did not fit.
func (c *Cursor) Err() error {
	if c.fail == 0 {
		return nil
	}
	return &CorruptError{Off: c.base + int64(c.fail-1), What: "structure is cut short"}
}

// Off returns the byte offset in the image of the next field.
func (c *Cursor) Off() int64 { return c.base + int64(c.pos) }

// Len returns how many bytes are left.
func (c *Cursor) Len() int { return len(c.b) - c.pos }

// Skip passes over n bytes.
func (c *Cursor) Skip(n int) { c.Bytes(n) }

// Bytes returns the next n bytes without copying them, or nil if they are not there.
func (c *Cursor) Bytes(n int) []byte {
	if n < 0 || n > len(c.b)-c.pos {
		if c.fail == 0 {
			c.fail = c.pos + 1
		}
		c.pos = len(c.b)
		return nil
	}
	s := c.b[c.pos : c.pos+n : c.pos+n]
	c.pos += n
	return s
}

// U8 reads one byte.
func (c *Cursor) U8() uint8 {
	if s := c.Bytes(1); s != nil {
		return s[0]
	}
	return 0
}

// U16LE reads a little-endian 16-bit number.
func (c *Cursor) U16LE() uint16 {
	if s := c.Bytes(2); s != nil {
		return binary.LittleEndian.Uint16(s)
	}
	return 0
}

// U16BE reads a big-endian 16-bit number.
func (c *Cursor) U16BE() uint16 {
	if s := c.Bytes(2); s != nil {
		return binary.BigEndian.Uint16(s)
	}
	return 0
}

// U32LE reads a little-endian 32-bit number.
func (c *Cursor) U32LE() uint32 {
	if s := c.Bytes(4); s != nil {
		return binary.LittleEndian.Uint32(s)
	}
	return 0
}

// U32BE reads a big-endian 32-bit number.
func (c *Cursor) U32BE() uint32 {
	if s := c.Bytes(4); s != nil {
		return binary.BigEndian.Uint32(s)
	}
	return 0
}

// U64LE reads a little-endian 64-bit number.
func (c *Cursor) U64LE() uint64 {
	if s := c.Bytes(8); s != nil {
		return binary.LittleEndian.Uint64(s)
	}
	return 0
}

// U64BE reads a big-endian 64-bit number.
func (c *Cursor) U64BE() uint64 {
	if s := c.Bytes(8); s != nil {
		return binary.BigEndian.Uint64(s)
	}
	return 0
}

// U16Both reads a both-byte-order 16-bit number (ECMA-119 7.2.3) and trusts
// its little-endian half, as Linux does.
func (c *Cursor) U16Both() uint16 {
	if s := c.Bytes(4); s != nil {
		return binary.LittleEndian.Uint16(s)
	}
	return 0
}

// U32Both reads a both-byte-order 32-bit number (ECMA-119 7.3.3) and trusts
// its little-endian half, as Linux does.
func (c *Cursor) U32Both() uint32 {
	if s := c.Bytes(8); s != nil {
		return binary.LittleEndian.Uint32(s)
	}
	return 0
}
