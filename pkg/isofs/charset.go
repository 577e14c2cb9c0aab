package isofs

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"
)

// charsets has the character sets by the names that Linux gives them (fs/nls),
// without '-' and '_'. They are looked for once a mount.
func charsets() map[string]encoding.Encoding {
	return map[string]encoding.Encoding{
		"cp437": charmap.CodePage437, "cp850": charmap.CodePage850, "cp852": charmap.CodePage852, "cp855": charmap.CodePage855,
		"cp858": charmap.CodePage858, "cp860": charmap.CodePage860, "cp862": charmap.CodePage862, "cp863": charmap.CodePage863,
		"cp865": charmap.CodePage865, "cp866": charmap.CodePage866, "cp874": charmap.Windows874, "tis620": charmap.Windows874,
		"cp932": japanese.ShiftJIS, "sjis": japanese.ShiftJIS, "shiftjis": japanese.ShiftJIS, "eucjp": japanese.EUCJP,
		"cp936": simplifiedchinese.GBK, "gb2312": simplifiedchinese.GBK, "gbk": simplifiedchinese.GBK, "gb18030": simplifiedchinese.GB18030,
		"cp949": korean.EUCKR, "euckr": korean.EUCKR, "cp950": traditionalchinese.Big5, "big5": traditionalchinese.Big5,
		"cp1250": charmap.Windows1250, "cp1251": charmap.Windows1251, "cp1252": charmap.Windows1252, "cp1253": charmap.Windows1253,
		"cp1254": charmap.Windows1254, "cp1255": charmap.Windows1255, "cp1256": charmap.Windows1256, "cp1257": charmap.Windows1257,
		"cp1258": charmap.Windows1258, "koi8r": charmap.KOI8R, "koi8u": charmap.KOI8U, "macroman": charmap.Macintosh, "maccyrillic": charmap.MacintoshCyrillic,
		"iso88591": charmap.ISO8859_1, "iso88592": charmap.ISO8859_2, "iso88593": charmap.ISO8859_3, "iso88594": charmap.ISO8859_4,
		"iso88595": charmap.ISO8859_5, "iso88596": charmap.ISO8859_6, "iso88597": charmap.ISO8859_7, "iso88598": charmap.ISO8859_8,
		"iso88599": charmap.ISO8859_9, "iso885910": charmap.ISO8859_10, "iso885913": charmap.ISO8859_13, "iso885914": charmap.ISO8859_14,
		"iso885915": charmap.ISO8859_15, "iso885916": charmap.ISO8859_16,
	}
}

// autoCharset is the name that asks for a guess.
const autoCharset = "auto"

// A charset converts names. A nil charset leaves them as they are.
type charset struct {
	enc   encoding.Encoding
	guess bool // only names that are no UTF-8 are converted
}

// findCharset returns the character set of a name, or nil for UTF-8.
func findCharset(name string) (encoding.Encoding, error) {
	plain := strings.ReplaceAll(strings.ReplaceAll(strings.ToLower(name), "-", ""), "_", "")
	plain = strings.Replace(plain, "windows", "cp", 1)
	switch plain {
	case "", "utf8", "ascii", "usascii", "default":
		return nil, nil //nolint:nilnil // nil is UTF-8
	}
	enc, ok := charsets()[plain]
	if !ok {
		return nil, fmt.Errorf("unknown character set %q", name)
	}
	return enc, nil
}

// newCharset returns the conversion that a tree needs.
func (f *FS) newCharset() (*charset, error) {
	if f.o.Charset == autoCharset {
		if f.kind == Joliet {
			return nil, nil //nolint:nilnil // nil converts nothing
		}
		return &charset{f.guessCharset(), true}, nil
	}
	enc, err := findCharset(f.o.Charset)
	if enc == nil {
		return nil, err
	}
	return &charset{enc, false}, nil
}

// decode appends the text of b, which is written in the character set, in UTF-8.
func (c *charset) decode(dst, b []byte) []byte {
	if c == nil || c.guess && utf8.Valid(b) {
		return append(dst, b...)
	}
	text, err := c.enc.NewDecoder().Bytes(b)
	if err != nil {
		return append(dst, b...)
	}
	return append(dst, text...)
}

// decodeFrom decodes what b has from at on, in place.
func (c *charset) decodeFrom(b []byte, at int) []byte {
	if c == nil {
		return b
	}
	return append(b[:at], c.decode(nil, b[at:])...)
}

// appendRune appends a character in the character set, or '?' if it is not in
// it, as Linux does.
func (c *charset) appendRune(dst []byte, r rune) []byte {
	if c == nil {
		return utf8.AppendRune(dst, r)
	}
	b, err := c.enc.NewEncoder().Bytes(utf8.AppendRune(nil, r))
	if err != nil {
		return append(dst, '?')
	}
	return append(dst, b...)
}
