package lzfse

import "encoding/binary"

// An instruction of LZVN is some literal bytes, which follow it, and then a
// match. Letters below are the bits of its first bytes: L literals, M length
// of the match, D distance.
type instruction struct {
	size     int // bytes, without the literals
	literals int
	match    int
	distance int // or asBefore
}

const asBefore = -1

// Instructions that are neither.
const (
	opEnd = 0x06
	opNop = 0x0E
	opPad = 0x16 // as opNop
)

// minMatch is added to the length of a match that comes with a distance,
// minLong to lengths that take a byte of their own.
const (
	minMatch = 3
	minLong  = 16
)

// lzvn decodes a stream.
func (w *window) lzvn(src []byte) error {
	distance := 0
	for !w.full() {
		if len(src) == 0 {
			return corrupt("no end")
		}
		switch src[0] {
		case opEnd:
			return nil
		case opNop, opPad:
			src = src[1:]
			continue
		}
		i, err := parseInstruction(src)
		if err != nil {
			return err
		}
		if i.size+i.literals > len(src) {
			return corrupt("%d literals of %d", len(src)-i.size, i.literals)
		}
		w.literal(src[i.size : i.size+i.literals])
		if i.distance != asBefore {
			distance = i.distance
		}
		if i.match > 0 && !w.full() {
			if err := w.match(distance, i.match); err != nil {
				return err
			}
		}
		src = src[i.size+i.literals:]
	}
	return nil
}

// parseInstruction parses the instruction that src begins with; what is missing
// of it is taken as zeros.
func parseInstruction(src []byte) (instruction, error) {
	var b [3]byte
	copy(b[:], src)
	switch b[0] >> 4 {
	case 0x7, 0xD:
		return instruction{}, corrupt("instruction %#x", b[0])
	case 0xA, 0xB: // 101LLMMM DDDDDDMM DDDDDDDD
		op, low := int(b[0]), int(binary.LittleEndian.Uint16(b[1:]))
		return instruction{3, op >> 3 & 3, (op&7<<2 | low&3) + minMatch, low >> 2}, nil
	case 0xE: // 1110LLLL, or 11100000 LLLLLLLL
		size, n := length(b)
		return instruction{size, n, 0, asBefore}, nil
	case 0xF: // 1111MMMM, or 11110000 MMMMMMMM
		size, n := length(b)
		return instruction{size, 0, n, asBefore}, nil
	}
	return parsePair(b)
}

// length returns the size of an instruction with one length, and the length.
func length(b [3]byte) (size, n int) {
	if n := int(b[0] & 15); n > 0 {
		return 1, n
	}
	return 2, int(b[1]) + minLong
}

// parsePair parses an instruction that begins with LLMMM.
func parsePair(b [3]byte) (instruction, error) {
	op := int(b[0])
	literals, match := op>>6, op>>3&7+minMatch
	switch op & 7 {
	case 7: // LLMMM111, and 16 bits of D
		return instruction{3, literals, match, int(binary.LittleEndian.Uint16(b[1:]))}, nil
	case 6: // LLMMM110
		if op < 0x40 {
			return instruction{}, corrupt("instruction %#x", op)
		}
		return instruction{1, literals, match, asBefore}, nil
	}
	return instruction{2, literals, match, op&7<<8 | int(b[1])}, nil // LLMMMDDD DDDDDDDD
}
