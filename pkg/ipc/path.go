package ipc

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// A Path is a file name as Linux has it: any bytes. JSON has only Unicode, so
// a byte that is not UTF-8 travels as the lone surrogate U+DC00 plus its value,
// written as an escape. Python (PEP 383) and systemd read and write the same.
type Path string

// MarshalJSON writes the path as a JSON string.
func (p Path) MarshalJSON() ([]byte, error) {
	s := string(p)
	if utf8.ValidString(s) {
		return json.Marshal(s)
	}
	b := []byte{'"'}
	for len(s) > 0 {
		n := validPrefix(s)
		part, err := json.Marshal(s[:n])
		if err != nil {
			return nil, err
		}
		b = append(b, part[1:len(part)-1]...)
		if s = s[n:]; s != "" {
			b = fmt.Appendf(b, `\udc%02x`, s[0])
			s = s[1:]
		}
	}
	return append(b, '"'), nil
}

// validPrefix returns how many bytes at the start of s are UTF-8.
func validPrefix(s string) int {
	for i, r := range s {
		if r == utf8.RuneError {
			if _, n := utf8.DecodeRuneInString(s[i:]); n == 1 {
				return i
			}
		}
	}
	return len(s)
}

// UnmarshalJSON reads a JSON string.
func (p *Path) UnmarshalJSON(b []byte) error {
	var out strings.Builder
	raw := string(b)
	for {
		before, c, after, found := cutEscapedByte(raw)
		if !found {
			break
		}
		s, err := unquote(before + `"`)
		if err != nil {
			return err
		}
		out.WriteString(s)
		out.WriteByte(c)
		raw = `"` + after
	}
	s, err := unquote(raw)
	*p = Path(out.String() + s)
	return err
}

func unquote(s string) (string, error) {
	var out string
	err := json.Unmarshal([]byte(s), &out)
	return out, err
}

// cutEscapedByte cuts a JSON string around its first \udc80 to \udcff that is
// not the second half of a surrogate pair.
func cutEscapedByte(s string) (before string, c byte, after string, found bool) {
	for i := 0; i+1 < len(s); i++ {
		if s[i] != '\\' {
			continue
		}
		r, ok := escape(s[i:])
		switch {
		case !ok:
			i++ // \n and such
		case r >= 0xd800 && r < 0xdc00 && isLow(s[i+6:]):
			i += 11 // a pair
		case r >= 0xdc80 && r <= 0xdcff:
			return s[:i], byte(r - 0xdc00), s[i+6:], true
		default:
			i += 5
		}
	}
	return s, 0, "", false
}

// isLow tells whether s starts with the escape of a low surrogate.
func isLow(s string) bool {
	r, ok := escape(s)
	return ok && r >= 0xdc00 && r < 0xe000
}

// escape reads a \uXXXX at the start of s.
func escape(s string) (rune, bool) {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range []byte(s[2:6]) {
		d := strings.IndexByte("0123456789abcdef", c|0x20)
		if c < '0' || d < 0 {
			return 0, false
		}
		r = r<<4 | rune(d) //nolint:gosec // below 16
	}
	return r, true
}
