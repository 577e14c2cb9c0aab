package lzfse

import (
	"encoding/binary"
	"math/bits"
)

// How many symbols and states each kind of value of a block has.
const (
	lengthSymbols   = 20 // of literals, and of matches
	lengthStates    = 64
	distanceSymbols = 64
	distanceStates  = 256
	literalSymbols  = 256
	literalStates   = 1024
)

// Limits of a block.
const (
	maxMatches  = 10_000
	maxLiterals = 4 * maxMatches
)

// Lengths and distances are a symbol, which stands for a range, and the bits
// that tell where in the range. Ranges follow each other.
type ranges struct {
	bits [lengthSymbols]uint8
	base [lengthSymbols]int
}

// The first sixteen lengths have a symbol each.
var (
	literalRanges = ranges{
		[...]uint8{16: 2, 17: 3, 18: 5, 19: 8},
		[...]int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 20, 28, 60},
	}
	matchRanges = ranges{
		[...]uint8{16: 3, 17: 5, 18: 8, 19: 11},
		[...]int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 24, 56, 312},
	}
)

func (v *ranges) read(table []state, at *uint16, r *bitReader) int {
	symbol := next(table, at, r)
	return v.base[symbol] + r.read(v.bits[symbol])
}

// readDistance reads a distance: of its ranges, four have the same size, and the
// next four twice that.
func readDistance(table []state, at *uint16, r *bitReader) int {
	symbol := next(table, at, r)
	n := symbol / 4
	return (4+int(symbol%4))<<n - 4 + r.read(n)
}

// A header is what a block begins with (lzfse_compressed_block_header_v2).
type header struct {
	size         int // of the header, with its magic
	raw          int // bytes that the block becomes
	literals     int
	literalBytes int // of the stream of literals
	literalBits  int // unused in its last byte
	literalState [4]uint16
	matches      int
	matchBytes   int
	matchBits    int
	lengthState  [2]uint16 // of literals, of matches
	distState    uint16
}

const headerSize = 32 // bytes, with the magic; the frequencies follow

func parseHeader(b []byte) (*header, error) {
	if len(b) < headerSize {
		return nil, corrupt("block cut short")
	}
	v0, v1, v2 := binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint64(b[16:]), binary.LittleEndian.Uint64(b[24:])
	field := func(v uint64, at, n int) int { return int(v >> at & (1<<n - 1)) }
	h := &header{
		raw: int(binary.LittleEndian.Uint32(b[4:])), literals: field(v0, 0, 20), literalBytes: field(v0, 20, 20), matches: field(v0, 40, 20), literalBits: 7 - field(v0, 60, 3),
		matchBytes: field(v1, 40, 20), matchBits: 7 - field(v1, 60, 3),
		size: field(v2, 0, 32), distState: uint16(field(v2, 52, 10)),
		lengthState: [2]uint16{uint16(field(v2, 32, 10)), uint16(field(v2, 42, 10))},
	}
	for i := range h.literalState {
		h.literalState[i] = uint16(field(v1, 10*i, 10))
	}
	switch {
	case h.size < headerSize || h.size+h.literalBytes+h.matchBytes > len(b):
		return nil, corrupt("block cut short")
	case h.literals > min(maxLiterals, h.raw+3) || h.matches > min(maxMatches, h.raw): // literals come in fours
		return nil, corrupt("block of %d bytes with %d literals and %d matches", h.raw, h.literals, h.matches)
	case h.lengthState[0] >= lengthStates || h.lengthState[1] >= lengthStates || h.distState >= distanceStates:
		return nil, corrupt("state out of range")
	}
	return h, nil
}

// A blockDecoder has the tables and literals of a block.
type blockDecoder struct {
	literalLength [lengthStates]state
	matchLength   [lengthStates]state
	distance      [distanceStates]state
	literal       [literalStates]state
	literals      [maxLiterals]byte
}

// lzfse decodes a block of magic "bvx2" and returns its size.
func (w *window) lzfse(b []byte) (int, error) {
	h, err := parseHeader(b)
	if err != nil {
		return 0, err
	}
	d := new(blockDecoder)
	if err := d.build(b[headerSize:h.size]); err != nil {
		return 0, err
	}
	matches := h.size + h.literalBytes
	end := matches + h.matchBytes
	if err := d.readLiterals(h, b[h.size:matches]); err != nil {
		return 0, err
	}
	start := w.n
	if err := d.readMatches(w, h, b[matches:end]); err != nil {
		return 0, err
	}
	if n := w.n - start; n != h.raw && !w.full() {
		return 0, corrupt("block of %d bytes, want %d", n, h.raw)
	}
	return end, nil
}

// build makes the tables from the frequencies in a header.
func (d *blockDecoder) build(packed []byte) error {
	var freq [2*lengthSymbols + distanceSymbols + literalSymbols]uint16
	if err := unpackFrequencies(freq[:], packed); err != nil {
		return err
	}
	rest := freq[:]
	for _, t := range []struct {
		table   []state
		symbols int
	}{
		{d.literalLength[:], lengthSymbols}, {d.matchLength[:], lengthSymbols}, {d.distance[:], distanceSymbols}, {d.literal[:], literalSymbols},
	} {
		if err := buildStates(t.table, rest[:t.symbols]); err != nil {
			return err
		}
		rest = rest[t.symbols:]
	}
	return nil
}

// unpackFrequencies reads numbers that take fewer bits if they are small. There
// may be none at all.
func unpackFrequencies(freq []uint16, packed []byte) error {
	if len(packed) == 0 {
		return nil
	}
	var word uint32
	have := 0 // bits in word
	for i := range freq {
		for ; have <= 24 && len(packed) > 0; have += 8 {
			word |= uint32(packed[0]) << have
			packed = packed[1:]
		}
		v, n := unpackFrequency(word)
		if n > have {
			return corrupt("frequencies cut short")
		}
		freq[i] = v
		word >>= n
		have -= n
	}
	if len(packed) > 0 || have >= 8 {
		return corrupt("%d bytes after the frequencies", len(packed)+have/8)
	}
	return nil
}

// unpackFrequency returns the number in the lowest bits and how many it takes.
func unpackFrequency(word uint32) (v uint16, n int) {
	switch bits.TrailingZeros32(^word) {
	case 0: // ?0
		return uint16(word >> 1 & 1), 2
	case 1: // ?01
		return uint16(word>>2&1) + 2, 3
	case 2: // ??011
		return uint16(word>>3&3) + 4, 5
	case 3: // ????0111
		return uint16(word>>4&15) + 8, 8
	}
	return uint16(word>>4&1023) + 24, 14 // ten bits and 1111
}

// readLiterals decodes the literals: four streams in turn.
func (d *blockDecoder) readLiterals(h *header, b []byte) error {
	r := newBitReader(b, h.literalBits)
	for i := range h.literals {
		d.literals[i] = next(d.literal[:], &h.literalState[i%4], &r)
	}
	if r.over() {
		return corrupt("literals cut short")
	}
	return nil
}

// readMatches decodes the matches and puts them and the literals together.
func (d *blockDecoder) readMatches(w *window, h *header, b []byte) error {
	r := newBitReader(b, h.matchBits)
	literals, distance := d.literals[:h.literals], 0
	for range h.matches {
		l := literalRanges.read(d.literalLength[:], &h.lengthState[0], &r)
		m := matchRanges.read(d.matchLength[:], &h.lengthState[1], &r)
		if n := readDistance(d.distance[:], &h.distState, &r); n != 0 {
			distance = n
		}
		switch {
		case r.over():
			return corrupt("matches cut short")
		case l > len(literals):
			return corrupt("%d literals, and %d left", l, len(literals))
		}
		w.literal(literals[:l])
		literals = literals[l:]
		if m > 0 && !w.full() {
			if err := w.match(distance, m); err != nil {
				return err
			}
		}
		if w.full() {
			return nil
		}
	}
	return nil
}
