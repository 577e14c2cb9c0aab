package hfsplus

import (
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/unicode/norm"

	"github.com/isomount/isomount/pkg/fsys"
)

// appendName appends a name of the disc as it is shown: UTF-8 in composed form
// (NFC). HFS+ has it in UTF-16, decomposed; HFS in Mac OS Roman, whatever
// script the writer used. '/' is a legal character of both and ':' the
// separator, so they change places, and NUL becomes its picture U+2400, as in
// Linux. A lone surrogate keeps its value, in three bytes.
func (v *FS) appendName(dst, raw []byte) []byte {
	if v.vol.isHFS() {
		return appendRoman(dst, raw)
	}
	return appendUTF16(dst, raw)
}

// appendRoman appends Mac OS Roman as shown.
func appendRoman(dst, raw []byte) []byte {
	for _, b := range raw {
		dst = utf8.AppendRune(dst, shown(charmap.Macintosh.DecodeByte(b)))
	}
	return dst
}

// shown maps the characters that cannot be in a name.
func shown(r rune) rune {
	switch r {
	case 0:
		return '␀'
	case '/':
		return ':'
	}
	return r
}

// appendUTF16 appends big-endian UTF-16 as shown.
func appendUTF16(dst, raw []byte) []byte {
	start := len(dst)
	for i := 0; i+1 < len(raw); i += 2 {
		b := raw[i+1]
		if raw[i] != 0 || b >= utf8.RuneSelf || b == 0 {
			return appendWide(dst, raw[i:], start)
		}
		if b == '/' {
			b = ':'
		}
		dst = append(dst, b)
	}
	return dst
}

// appendWide goes on with appendUTF16 at the first character that is shown as
// more than a byte. It may combine with the one before, so the name from start on is composed.
func appendWide(dst, raw []byte, start int) []byte {
	for i := 0; i+1 < len(raw); i += 2 {
		r := rune(raw[i])<<8 | rune(raw[i+1])
		if utf16.IsSurrogate(r) && i+3 < len(raw) {
			if pair := utf16.DecodeRune(r, rune(raw[i+2])<<8|rune(raw[i+3])); pair != unicode.ReplacementChar {
				r, i = pair, i+2
			}
		}
		dst = fsys.AppendRune(dst, shown(r))
	}
	if norm.NFC.IsNormal(dst[start:]) {
		return dst
	}
	return append(dst[:start], norm.NFC.Bytes(dst[start:])...)
}

// appendKey appends what a name is found by: itself in composed form, in lower
// case unless the volume tells cases apart.
func (v *FS) appendKey(dst, name []byte) []byte {
	for i, b := range name {
		if b >= utf8.RuneSelf {
			return v.appendWideKey(dst, name, i)
		}
		if 'A' <= b && b <= 'Z' && !v.catalog.caseSensitive {
			b += 'a' - 'A'
		}
		dst = append(dst, b)
	}
	return dst
}

// appendWideKey goes on with appendKey at the first byte that is not ASCII.
// That may combine with the byte before.
func (v *FS) appendWideKey(dst, name []byte, ascii int) []byte {
	dst = dst[:len(dst)-ascii]
	if !norm.NFC.IsNormal(name) {
		name = norm.NFC.Bytes(name)
	}
	if v.catalog.caseSensitive {
		return append(dst, name...)
	}
	return fsys.AppendLower(dst, name)
}
