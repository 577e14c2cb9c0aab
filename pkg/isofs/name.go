package isofs

import (
	"bytes"
	"unicode/utf8"
)

// Map says what becomes of the names of ISO 9660 itself (map=).
type Map uint8

// Ways of showing names.
const (
	MapNormal Map = iota // lower case, without version 1
	MapOff               // as they are
	MapAcorn             // as MapNormal, with Acorn's file types
)

// appendPlain appends a file identifier as Linux shows it by default: A to Z in
// lower case, without ".;1" or ";1" at the end, and any other ';' as '.'.
// '/', which some Acorn writers used, is '.' too.
func appendPlain(dst, id []byte) []byte {
	id = trimVersion(bytes.TrimRight(id, "\x00"))
	for _, c := range id {
		switch {
		case c >= 'A' && c <= 'Z':
			c |= 0x20
		case c == ';' || c == '/':
			c = '.'
		}
		dst = append(dst, c)
	}
	return dst
}

// trimVersion takes the first version, and the dot of an empty extension before
// it, from a file identifier (ECMA-119 7.5.1).
func trimVersion(id []byte) []byte {
	if short, ok := bytes.CutSuffix(id, []byte(";1")); ok {
		return bytes.TrimSuffix(short, []byte("."))
	}
	return id
}

// appendAcorn appends a name with the file type that RISC OS keeps in the
// system use area: ",xxx". A leading '!', which ISO 9660 does not allow, was
// recorded as '_' and marked.
func appendAcorn(dst []byte, r *record) []byte {
	at := len(dst)
	dst = appendPlain(dst, r.name)
	if len(r.use) != 32 || !bytes.HasPrefix(r.use, []byte("ARCHIMEDES")) || len(dst) == at {
		return dst
	}
	if dst[at] == '_' && r.use[19]&1 != 0 {
		dst[at] = '!'
	}
	if !r.isDir() && r.use[13] == 0xff && r.use[12]&0xf0 == 0xf0 {
		const digits = "0123456789abcdef"
		dst = append(dst, ',', digits[r.use[12]&0xf], digits[r.use[11]>>4], digits[r.use[11]&0xf])
	}
	return dst
}

// appendEnhanced appends a file identifier of an ISO 9660:1999 tree, which has
// neither forbidden characters nor versions; some writers add one.
func appendEnhanced(dst, id []byte) []byte {
	return append(dst, trimVersion(bytes.TrimRight(id, "\x00"))...)
}

// clean makes a name fit for a directory in place: no '/', no NUL, not too
// long. It reports false for what cannot be a name at all.
func clean(name []byte) ([]byte, bool) {
	for i, c := range name {
		if c == '/' || c == 0 {
			name[i] = '_'
		}
	}
	if len(name) > maxName {
		name = cut(name, maxName)
	}
	return name, !isReserved(name)
}

func isReserved(name []byte) bool {
	return len(name) == 0 || string(name) == "." || string(name) == ".."
}

// cut shortens a name to at most n bytes without splitting a character.
func cut(name []byte, n int) []byte {
	for i := n; i > n-utf8.UTFMax && i > 0; i-- {
		if utf8.RuneStart(name[i]) {
			return name[:i]
		}
	}
	return name[:n]
}

// foldName appends the form of a name in which names that differ only in case
// are the same.
func foldName(dst, name []byte) []byte {
	for len(name) > 0 {
		if c := name[0]; c < utf8.RuneSelf {
			if c >= 'A' && c <= 'Z' {
				c |= 0x20
			}
			dst, name = append(dst, c), name[1:]
			continue
		}
		r, n := utf8.DecodeRune(name)
		if r == utf8.RuneError && n <= 1 {
			dst, name = append(dst, name[0]), name[1:]
			continue
		}
		dst, name = utf8.AppendRune(dst, lower(r)), name[n:]
	}
	return dst
}
