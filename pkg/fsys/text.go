package fsys

import (
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// AppendRune is utf8.AppendRune that keeps the value of a lone surrogate, in
// three bytes, so that names that differ in nothing else stay different.
func AppendRune(dst []byte, r rune) []byte {
	if utf16.IsSurrogate(r) {
		return append(dst, 0xE0|byte(r>>12), 0x80|byte(r>>6)&0x3F, 0x80|byte(r)&0x3F)
	}
	return utf8.AppendRune(dst, r)
}

// AppendLower appends a name in lower case. What is not UTF-8 stays as it is.
func AppendLower(dst, name []byte) []byte {
	for len(name) > 0 {
		r, n := utf8.DecodeRune(name)
		if r == utf8.RuneError && n == 1 {
			dst = append(dst, name[0])
		} else {
			dst = utf8.AppendRune(dst, unicode.ToLower(r))
		}
		name = name[n:]
	}
	return dst
}
