package lzfse

import (
	"encoding/binary"
	"math/bits"
)

// Finite state entropy: an encoder goes through states while it writes bits,
// and the decoder goes back through them while it reads the bits from the end.

// A bitReader reads bits from the end of a stream to its beginning.
type bitReader struct {
	b    []byte
	left int // bits
}

// newBitReader reads b without its last unused bits.
func newBitReader(b []byte, unused int) bitReader {
	return bitReader{b, max(0, 8*len(b)-unused)}
}

// read returns the next n bits, at most 32, zeros where none are left; [bitReader.over]
// tells that this happened.
func (r *bitReader) read(n uint8) int {
	r.left -= int(n)
	if r.left < 0 {
		return 0
	}
	var word uint64
	if at := r.left / 8; at+8 <= len(r.b) {
		word = binary.LittleEndian.Uint64(r.b[at:])
	} else {
		for i, x := range r.b[at:] {
			word |= uint64(x) << (8 * i)
		}
	}
	return int(word >> (r.left % 8) & (1<<n - 1))
}

// over tells that more was read than there was.
func (r *bitReader) over() bool { return r.left < 0 }

// A state of a decoder: the symbol that it stands for, and the state before it,
// which is base and some bits of the stream.
type state struct {
	symbol uint8
	bits   uint8
	base   uint16
}

// buildStates fills a table of states from how often each symbol occurs; the
// length of the table is a power of two. Each symbol has as many states as it
// has occurrences, in order.
func buildStates(table []state, freq []uint16) error {
	n, at := len(table), 0
	for symbol, f := range freq {
		f := int(f)
		if f > n-at {
			return corrupt("frequencies for more than %d states", n)
		}
		if f == 0 {
			continue
		}
		shift := bits.Len(uint(n)) - bits.Len(uint(f)) // n <= f<<shift < 2n
		long := 2*n>>shift - f                         // states that take a bit more than the others
		for i := range f {
			s := state{symbol: uint8(symbol), bits: uint8(shift), base: uint16((f+i)<<shift - n)}
			if i >= long {
				s.bits, s.base = s.bits-1, uint16((i-long)<<(shift-1))
			}
			table[at+i] = s
		}
		at += f
	}
	clear(table[at:])
	return nil
}

// next returns the symbol of state *at and goes to the state before.
func next(table []state, at *uint16, r *bitReader) uint8 {
	s := table[*at]
	*at = s.base + uint16(r.read(s.bits))
	return s.symbol
}
