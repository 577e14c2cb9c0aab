package udf

import (
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"

	"github.com/isomount/isomount/pkg/fsys"
)

// An encoder writes a character in a character set. ok is false if it is not in it.
type encoder func(r rune) (text string, ok bool)

// registered has a line for each character set of IANA, with its names in lower
// case. It is that of golang.org/x/text/encoding/ianaindex, which every program
// that imports it pays for when it starts.
//
//go:embed charsets.txt
var registered string

var errCharset = errors.New("no such name at IANA")

// charset returns the encoder of the character set that IANA or the kernel call
// name, nil for UTF-8.
func charset(name string) (encoder, error) {
	low := strings.ToLower(name)
	switch low {
	case "", "utf8":
		return nil, nil //nolint:nilnil // names are UTF-8 already
	case "sjis":
		low = "shift_jis"
	}
	if rest, ok := strings.CutPrefix(low, "iso8859-"); ok {
		low = "iso-8859-" + rest
	}
	if strings.HasPrefix(low, "cp125") {
		low = "windows-" + low[2:]
	}
	first := firstName(strings.TrimSpace(low))
	switch first {
	case "":
		return nil, fmt.Errorf("character set %q: %w", name, errCharset)
	case "utf-8":
		return nil, nil //nolint:nilnil // as above
	case "us-ascii":
		return encodeASCII, nil
	case "utf-16be":
		return encodeUTF16BE, nil
	case "utf-16le":
		return encodeUTF16LE, nil
	case "utf-16":
		return encodeUTF16, nil
	}
	if e := encodings()[first]; e != nil {
		return encoderOf(e), nil
	}
	return nil, fmt.Errorf("character set %q: %w", name, fsys.ErrNotSupported)
}

// firstName returns the name by which encodings knows a character set, "" for
// one that is not registered.
func firstName(name string) string {
	for line := range strings.Lines(registered) {
		if names := strings.Fields(line); slices.Contains(names, name) {
			return names[0]
		}
	}
	return ""
}

// encodings has the tables by the first name of their line in charsets.txt.
func encodings() map[string]encoding.Encoding {
	return map[string]encoding.Encoding{
		"ibm037": charmap.CodePage037, "ibm437": charmap.CodePage437, "ibm850": charmap.CodePage850, "ibm852": charmap.CodePage852,
		"ibm855": charmap.CodePage855, "ibm00858": charmap.CodePage858, "ibm860": charmap.CodePage860, "ibm862": charmap.CodePage862,
		"ibm863": charmap.CodePage863, "ibm865": charmap.CodePage865, "ibm866": charmap.CodePage866, "ibm1047": charmap.CodePage1047,
		"ibm01140": charmap.CodePage1140,

		"iso_8859-1:1987": charmap.ISO8859_1, "iso_8859-2:1987": charmap.ISO8859_2, "iso_8859-3:1988": charmap.ISO8859_3,
		"iso_8859-4:1988": charmap.ISO8859_4, "iso_8859-5:1988": charmap.ISO8859_5, "iso_8859-6:1987": charmap.ISO8859_6,
		"iso_8859-6-e": charmap.ISO8859_6E, "iso_8859-6-i": charmap.ISO8859_6I, "iso_8859-7:1987": charmap.ISO8859_7,
		"iso_8859-8:1988": charmap.ISO8859_8, "iso_8859-8-e": charmap.ISO8859_8E, "iso_8859-8-i": charmap.ISO8859_8I,
		"iso_8859-9:1989": charmap.ISO8859_9, "iso-8859-10": charmap.ISO8859_10, "iso-8859-13": charmap.ISO8859_13,
		"iso-8859-14": charmap.ISO8859_14, "iso-8859-15": charmap.ISO8859_15, "iso-8859-16": charmap.ISO8859_16,

		"koi8-r": charmap.KOI8R, "koi8-u": charmap.KOI8U, "macintosh": charmap.Macintosh, "windows-874": charmap.Windows874,
		"windows-1250": charmap.Windows1250, "windows-1251": charmap.Windows1251, "windows-1252": charmap.Windows1252,
		"windows-1253": charmap.Windows1253, "windows-1254": charmap.Windows1254, "windows-1255": charmap.Windows1255,
		"windows-1256": charmap.Windows1256, "windows-1257": charmap.Windows1257, "windows-1258": charmap.Windows1258,

		"extended_unix_code_packed_format_for_japanese": japanese.EUCJP, "iso-2022-jp": japanese.ISO2022JP,
		"shift_jis": japanese.ShiftJIS, "euc-kr": korean.EUCKR, "gb18030": simplifiedchinese.GB18030, "gbk": simplifiedchinese.GBK,
		"hz-gb-2312": simplifiedchinese.HZGB2312, "big5": traditionalchinese.Big5,
	}
}

func encoderOf(e encoding.Encoding) encoder {
	return func(r rune) (string, bool) {
		text, err := e.NewEncoder().String(string(r)) // encoders may have state
		return text, err == nil
	}
}

func encodeASCII(r rune) (string, bool) { return string(r), r < utf8.RuneSelf }

func encodeUTF16BE(r rune) (string, bool) {
	var b []byte
	for _, u := range utf16.AppendRune(nil, r) {
		b = append(b, byte(u>>8), byte(u))
	}
	return string(b), true
}

func encodeUTF16LE(r rune) (string, bool) {
	var b []byte
	for _, u := range utf16.AppendRune(nil, r) {
		b = append(b, byte(u), byte(u>>8))
	}
	return string(b), true
}

// encodeUTF16 writes a byte order mark before the character.
func encodeUTF16(r rune) (string, bool) {
	text, ok := encodeUTF16BE(r)
	return "\xFE\xFF" + text, ok
}
