package udf

import (
	"unicode/utf16"
	"unicode/utf8"

	"github.com/isomount/isomount/pkg/binfmt"
)

// Compression identifiers of OSTA compressed Unicode (UDF 2.1.1). The last two
// mark the names of deleted entries (UDF 2.3.4.2).
const (
	cs0Bytes        = 8
	cs0Words        = 16
	cs0DeletedBytes = 254
	cs0DeletedWords = 255
)

const (
	maxName   = 255 // bytes of a name that Linux takes
	illegal   = '_' // stands for characters a name cannot have
	maxExtLen = 4   // characters after the dot that survive a CRC suffix
	crcLen    = 5   // '#' and four hexadecimal digits
)

// cs0Text is a decoder's view of OSTA compressed Unicode: code units of one or
// two bytes.
type cs0Text struct {
	b    []byte
	wide bool
}

// parseCS0 looks at the compression identifier. Text that it cannot be is
// taken as bytes, so that whatever carries it can still be named.
func parseCS0(id []byte) (t cs0Text, ok bool) {
	if len(id) == 0 {
		return cs0Text{}, false
	}
	t.b = id[1:]
	switch id[0] {
	case cs0Bytes, cs0DeletedBytes:
		return t, true
	case cs0Words, cs0DeletedWords:
		t.wide = true
		ok = len(t.b)%2 == 0
		t.b = t.b[:len(t.b)&^1]
		return t, ok
	}
	return t, false
}

// unit returns the code unit at byte i.
func (t *cs0Text) unit(i int) rune {
	if t.wide {
		return rune(t.b[i])<<8 | rune(t.b[i+1])
	}
	return rune(t.b[i])
}

// width is the number of bytes of a code unit.
func (t *cs0Text) width() int {
	if t.wide {
		return 2
	}
	return 1
}

// next returns the character at byte i and the place after it. A surrogate
// without its other half is -1.
func (t *cs0Text) next(i int) (rune, int) {
	r := t.unit(i)
	i += t.width()
	if !utf16.IsSurrogate(r) {
		return r, i
	}
	if i < len(t.b) {
		if both := utf16.DecodeRune(r, t.unit(i)); both != utf8.RuneError {
			return both, i + 2
		}
	}
	return -1, i
}

// dot returns where the extension of a name starts: the last dot that has one
// to four characters after it, else -1.
func (t *cs0Text) dot() int {
	w := t.width()
	for n, i := 0, len(t.b)-w; i >= 0 && n <= maxExtLen; n, i = n+1, i-w {
		if t.unit(i) == '.' {
			if n == 0 {
				return -1
			}
			return i
		}
	}
	return -1
}

// cs0String decodes text that is not a file name.
func cs0String(id []byte) string {
	t, _ := parseCS0(id)
	var out []byte
	for i := 0; i < len(t.b); {
		var r rune
		if r, i = t.next(i); r > 0 {
			out = utf8.AppendRune(out, r)
		}
	}
	return string(out)
}

// A namer makes file names out of OSTA compressed Unicode as Linux does: a
// run of characters that a name cannot have becomes one '_', and a name that
// had some, or is "." or "..", or is too long, gets '#' and the CRC of its
// identifier before its extension, which keeps it unique.
type namer struct {
	charset encoder // nil: UTF-8
	max     int     // bytes of a name; 0: as many as Linux takes
}

func (n *namer) limit() int {
	if n.max == 0 {
		return maxName
	}
	return n.max
}

// append adds the name to dst.
func (n *namer) append(dst, id []byte) []byte {
	if n.charset == nil && len(id) <= n.limit()+1 && plainASCII(id) {
		return append(dst, id[1:]...)
	}
	return n.appendAny(dst, id)
}

// plainASCII tells whether the identifier is a usable name byte for byte.
func plainASCII(id []byte) bool {
	if len(id) < 2 || id[0] != cs0Bytes {
		return false
	}
	name := id[1:]
	for _, c := range name {
		if c == 0 || c == '/' || c >= utf8.RuneSelf {
			return false
		}
	}
	return name[0] != '.' || (len(name) > 1 && name[1] != '.') || len(name) > 2
}

func (n *namer) appendAny(dst, id []byte) []byte {
	t, ok := parseCS0(id)
	dot := t.dot()
	end := len(t.b)
	var extBuf [8 * maxExtLen]byte
	ext, extPart := extBuf[:0], part{max: len(extBuf)}
	if dot >= 0 {
		ext = n.convert(ext, &t, dot, end, &extPart)
		end = dot
	}
	start := len(dst)
	// Linux cuts at 254 bytes, so that names with a sum are the same here.
	p := part{start: start, max: n.limit(), keep: n.limit() - 1 - len(ext) - crcLen}
	dst = n.convert(dst, &t, 0, end, &p)
	name := dst[start:]
	if !ok || p.bad || extPart.bad || len(name)+len(ext) > n.limit() || len(name)+len(ext) == 0 || isDots(name, ext) {
		return append(appendCRC(dst[:start+p.kept], t.b), ext...)
	}
	return append(dst, ext...)
}

func isDots(name, ext []byte) bool {
	if len(ext) > 0 {
		return false
	}
	return string(name) == "." || string(name) == ".."
}

// appendCRC adds '#' and the CRC of the identifier without its compression
// identifier. UDF 4.2.2.1 wants the CRC of the 16-bit characters; Linux takes
// the bytes as they are, and so do we, for the same names.
func appendCRC(dst, id []byte) []byte {
	const hex = "0123456789ABCDEF"
	v := binfmt.CRC16(id)
	return append(dst, '#', hex[v>>12], hex[v>>8&15], hex[v>>4&15], hex[v&15])
}

// A part is the state of a stretch of a name under conversion.
type part struct {
	start int  // where in the output the part begins
	max   int  // bytes that it may have
	keep  int  // bytes that it may have before a CRC and an extension
	kept  int  // bytes of whole characters within keep
	bad   bool // a character was replaced or left out
}

// convert appends the characters of t from byte i to end. It stops where the
// part is full.
func (n *namer) convert(out []byte, t *cs0Text, i, end int, p *part) []byte {
	run := false // the last character was replaced
	for i < end {
		r, next := t.next(i)
		bad := r <= 0 || r == '/'
		if bad {
			r, p.bad = illegal, true
		}
		if !bad || !run {
			var full bool
			if out, full = n.put(out, r, p); full {
				p.bad = true
				break
			}
		}
		i, run = next, bad
	}
	return out
}

// put appends one character unless the part is full.
func (n *namer) put(out []byte, r rune, p *part) (_ []byte, full bool) {
	before := len(out)
	if n.charset == nil {
		out = utf8.AppendRune(out, r)
	} else {
		out = n.appendEncoded(out, r, p)
	}
	used := len(out) - p.start
	if used > p.max {
		return out[:before], true
	}
	if used <= p.keep {
		p.kept = used
	}
	return out, false
}

// appendEncoded converts a character to the character set of the mount; one
// that it does not have becomes '?'.
func (n *namer) appendEncoded(out []byte, r rune, p *part) []byte {
	text, ok := n.charset(r)
	if !ok || text == "" || len(text) > 8 {
		p.bad = true
		text = "?"
	}
	return append(out, text...)
}
