package fat

import (
	"bytes"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"

	"github.com/isomount/isomount/pkg/fsys"
)

// oem decodes a byte of a short name or label. The code page is not written on
// the disc; Linux takes 437 unless told otherwise.
func oem(b byte) rune { return charmap.CodePage437.DecodeByte(b) }

// Flags of short names that are lower case in one half, as Windows NT writes
// them (DIR_NTRes).
const (
	lowerBase = 0x08
	lowerExt  = 0x10
)

// appendShort appends the short name of a directory entry: 8 and 3 characters,
// padded with blanks.
func appendShort(dst, slot []byte) []byte {
	base, ext := bytes.TrimRight(slot[:8], " "), bytes.TrimRight(slot[8:11], " ")
	for i, b := range base {
		if i == 0 && b == 0x05 {
			b = 0xE5 // which would mean a deleted entry
		}
		dst = appendOEM(dst, b, slot[12]&lowerBase != 0)
	}
	if len(ext) == 0 || len(base) == 0 {
		return dst
	}
	dst = append(dst, '.')
	for _, b := range ext {
		dst = appendOEM(dst, b, slot[12]&lowerExt != 0)
	}
	return dst
}

func appendOEM(dst []byte, b byte, lower bool) []byte {
	r := shown(oem(b))
	if lower {
		r = unicode.ToLower(r)
	}
	return utf8.AppendRune(dst, r)
}

// shown maps the characters that cannot be in a name.
func shown(r rune) rune {
	if r == 0 || r == '/' {
		return '_'
	}
	return r
}

// Long names (Microsoft FAT specification 1.03, "Long File Name
// Implementation"): up to 20 slots of 13 characters each stand before the entry
// with the short name, the last one first.
const (
	slotUnits = 13
	maxSlots  = 20
	lastSlot  = 0x40 // in the ordinal of the first slot on the disc
)

// A longName collects the slots of one long name.
type longName struct {
	units    [maxSlots * slotUnits]uint16
	n        int   // slots it has
	want     int   // ordinal of the next slot; 0: complete
	checksum uint8 // of the short name it belongs to
	valid    bool
}

// reset forgets the name.
func (l *longName) reset() { l.valid = false }

// add takes up a slot. One that does not continue the name ends it.
func (l *longName) add(slot []byte) {
	ordinal := int(slot[0])
	if ordinal&lastSlot != 0 {
		l.n = ordinal &^ lastSlot
		l.want, l.checksum = l.n, slot[13]
		l.valid = 1 <= l.n && l.n <= maxSlots
		ordinal = l.n
	}
	if !l.valid || l.want == 0 || ordinal != l.want || slot[13] != l.checksum {
		l.valid = false
		return
	}
	l.want--
	units := l.units[l.want*slotUnits:][:0]
	for _, part := range [][]byte{slot[1:11], slot[14:26], slot[28:32]} {
		for i := 0; i < len(part); i += 2 {
			units = append(units, le.Uint16(part[i:]))
		}
	}
}

// belongsTo tells whether the name is whole and the one of a short name.
func (l *longName) belongsTo(slot []byte) bool {
	return l.valid && l.want == 0 && l.checksum == checksum(slot)
}

// checksum sums up a short name as the slots of its long name have it.
func checksum(slot []byte) uint8 {
	var sum uint8
	for _, b := range slot[:11] {
		sum = sum>>1 | sum<<7
		sum += b
	}
	return sum
}

// appendTo appends the name in UTF-8. A lone surrogate keeps its value, in
// three bytes.
func (l *longName) appendTo(dst []byte) []byte {
	units := l.units[:min(l.n*slotUnits, maxName)]
	for i := 0; i < len(units); i++ {
		r := rune(units[i])
		if r == 0 {
			break
		}
		if utf16.IsSurrogate(r) && i+1 < len(units) {
			if pair := utf16.DecodeRune(r, rune(units[i+1])); pair != unicode.ReplacementChar {
				r = pair
				i++
			}
		}
		dst = fsys.AppendRune(dst, shown(r))
	}
	return dst
}
