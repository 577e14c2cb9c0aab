package isofs

import (
	"bytes"
	"unicode"
	"unicode/utf16"
)

// appendJoliet appends a Joliet name: UCS-2 in big-endian order, which writers
// use as UTF-16. ";1" at the end goes, and then the dots at the end that
// Windows would not show, as long as two characters are left.
func appendJoliet(dst, id []byte, chars *charset) []byte {
	at := len(dst)
	dst = appendUTF16(dst, id, chars)
	if name := dst[at:]; len(name) > 2 && bytes.HasSuffix(name, []byte(";1")) {
		dst = dst[:len(dst)-2]
	}
	for len(dst)-at >= 2 && dst[len(dst)-1] == '.' {
		dst = dst[:len(dst)-1]
	}
	return dst
}

// appendUTF16 appends UTF-16 in big-endian order as UTF-8, or in the character
// set chars if it is not nil. NULs at the end are padding; a surrogate without
// its other half is U+FFFD.
func appendUTF16(dst, b []byte, chars *charset) []byte {
	for len(b) >= 2 && b[len(b)&^1-1] == 0 && b[len(b)&^1-2] == 0 {
		b = b[:len(b)&^1-2]
	}
	for len(b) >= 2 {
		r := rune(b[0])<<8 | rune(b[1])
		b = b[2:]
		if utf16.IsSurrogate(r) {
			r, b = joinSurrogates(r, b)
		}
		dst = chars.appendRune(dst, r)
	}
	return dst
}

// joinSurrogates completes a surrogate with the next unit of b and returns what
// is left of b.
func joinSurrogates(high rune, b []byte) (rune, []byte) {
	if len(b) < 2 {
		return unicode.ReplacementChar, b
	}
	r := utf16.DecodeRune(high, rune(b[0])<<8|rune(b[1]))
	if r == unicode.ReplacementChar {
		return r, b // the next unit stands for itself
	}
	return r, b[2:]
}

func lower(r rune) rune { return unicode.ToLower(r) }
