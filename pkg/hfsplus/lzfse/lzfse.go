// Package lzfse decodes LZFSE and LZVN, the compression of files in HFS+ since
// OS X 10.9. It decodes into a buffer that the caller sized; it does not encode.
//
// The formats are described by nothing but Apple's encoder and decoder
// (github.com/lzfse/lzfse, src/lzfse_internal.h and src/lzvn_decode_base.c).
package lzfse

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrCorrupt reports a stream that cannot be decoded.
var ErrCorrupt = errors.New("damaged LZFSE stream")

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
}

// Magic numbers of blocks, little-endian.
const (
	magicEnd   = "bvx$"
	magicRaw   = "bvx-"
	magicLZVN  = "bvxn"
	magicLZFSE = "bvx2" // "bvx1", with plain tables, is written by no encoder
)

// Decode decodes a stream of LZFSE blocks into dst, as far as there is room,
// and returns how many bytes came out: fewer than len(dst) only if the stream
// ends, or with an error.
func Decode(dst, src []byte) (int, error) {
	w := window{dst: dst}
	for !w.full() {
		if len(src) < 4 {
			return w.n, corrupt("no end")
		}
		if string(src[:4]) == magicEnd {
			break
		}
		n, err := w.block(src)
		if err != nil {
			return w.n, err
		}
		src = src[n:]
	}
	return w.n, nil
}

// DecodeLZVN is Decode for a bare stream of LZVN.
func DecodeLZVN(dst, src []byte) (int, error) {
	w := window{dst: dst}
	err := w.lzvn(src)
	return w.n, err
}

// block decodes the block that b begins with and returns its size.
func (w *window) block(b []byte) (int, error) {
	switch string(b[:4]) {
	case magicRaw:
		return w.raw(b)
	case magicLZVN:
		return w.lzvnBlock(b)
	case magicLZFSE:
		return w.lzfse(b)
	}
	return 0, corrupt("unknown block %q", b[:4])
}

// raw copies a block of magic "bvx-".
func (w *window) raw(b []byte) (int, error) {
	const head = 8
	if len(b) < head {
		return 0, corrupt("block cut short")
	}
	n := int(binary.LittleEndian.Uint32(b[4:]))
	if n > len(b)-head && w.room() > len(b)-head {
		return 0, corrupt("%d bytes of %d", len(b)-head, n)
	}
	n = min(n, len(b)-head)
	w.literal(b[head : head+n])
	return head + n, nil
}

// lzvnBlock decodes a block of magic "bvxn".
func (w *window) lzvnBlock(b []byte) (int, error) {
	const head = 12
	if len(b) < head {
		return 0, corrupt("block cut short")
	}
	raw, stored := int(binary.LittleEndian.Uint32(b[4:])), int(binary.LittleEndian.Uint32(b[8:]))
	if stored > len(b)-head {
		return 0, corrupt("%d bytes of %d", len(b)-head, stored)
	}
	part := window{dst: w.dst[:w.n+min(raw, w.room())], n: w.n}
	err := part.lzvn(b[head : head+stored])
	w.n = part.n
	return head + stored, err
}

// A window is what was decoded so far and the room for more.
type window struct {
	dst []byte
	n   int // bytes decoded
}

func (w *window) room() int  { return len(w.dst) - w.n }
func (w *window) full() bool { return w.n == len(w.dst) }

// literal appends bytes, as far as there is room.
func (w *window) literal(b []byte) { w.n += copy(w.dst[w.n:], b) }

// match appends n of the bytes that begin distance back, as far as there is
// room. The two may overlap: then the bytes repeat.
func (w *window) match(distance, n int) error {
	if distance < 1 || distance > w.n {
		return corrupt("distance of %d at %d", distance, w.n)
	}
	from := w.n - distance
	for end := w.n + min(n, w.room()); w.n < end; {
		w.n += copy(w.dst[w.n:end], w.dst[from:w.n])
	}
	return nil
}
