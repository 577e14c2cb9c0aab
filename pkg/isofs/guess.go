package isofs

import (
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"
)

// A script is a character set that names may be written in, and how its text
// looks.
type script struct {
	enc    encoding.Encoding
	common func(r rune) bool // characters that text of the script is made of
	weight int               // what one of them says: more where it takes two bytes
	apart  bool              // words do not mix them with Latin letters
}

// scripts are what discs without UTF-8 are written in, the likelier of two that
// fit equally well first.
var scripts = []script{
	{japanese.ShiftJIS, isKana, 3, false},
	{japanese.EUCJP, isKana, 3, false},
	{korean.EUCKR, isHangul, 3, false},
	{simplifiedchinese.GBK, isHan, 2, false},
	{traditionalchinese.Big5, isHan, 2, false},
	{charmap.Windows1251, isSmallCyrillic, 1, true},
	{charmap.CodePage866, isSmallCyrillic, 1, true},
	{charmap.KOI8R, isSmallCyrillic, 1, true},
	{charmap.Windows1252, isWestern, 1, false},
}

func isKana(r rune) bool { return unicode.In(r, unicode.Hiragana, unicode.Katakana) && r < 0xff00 }

func isHangul(r rune) bool { return unicode.Is(unicode.Hangul, r) }

func isHan(r rune) bool { return unicode.Is(unicode.Han, r) }

func isSmallCyrillic(r rune) bool { return r >= 'а' && r <= 'я' || r == 'ё' }

func isWestern(r rune) bool { return r >= 0xc0 && r <= 0xff && r != 0xd7 && r != 0xf7 }

// sampleSize is how many names of the root the guess looks at.
const sampleSize = 200

// guessCharset guesses what names that are no UTF-8 are written in: what the
// writer says, else what those of the root look like.
func (f *FS) guessCharset() encoding.Encoding {
	s := getScratch()
	defer putScratch(s)
	if enc := f.recordedCharset(s); enc != nil {
		return enc
	}
	d, err := f.directory(s, f.root)
	if err != nil {
		return charmap.Windows1252
	}
	var names [][]byte
	n := 0
	// What cannot be listed does not help the guess.
	_ = f.list(d, 0, s, false, func() bool {
		if !utf8.Valid(s.name) {
			names = append(names, append([]byte(nil), s.name...))
		}
		n++
		return n < sampleSize
	})
	return bestScript(names)
}

// recordedCharset returns the character set that the root's attribute isofs.cs
// names (libisofs, doc/susp_aaip_isofs_names.txt), or nil.
func (f *FS) recordedCharset(s *scratch) encoding.Encoding {
	if f.load(s, f.root) != nil || s.rock.has&hasAttributes == 0 {
		return nil
	}
	for parts := (components{f.attributes(s)}); ; {
		key, value, ok := parts.pair()
		if !ok {
			return nil
		}
		if string(key) == "\x04cs" || string(key) == "isofs.cs" {
			// A character set that is not known is no worse than none.
			enc, _ := findCharset(string(value))
			return enc
		}
	}
}

// bestScript returns the character set in which names look most like text.
func bestScript(names [][]byte) encoding.Encoding {
	best, most := encoding.Encoding(charmap.Windows1252), 0
	for _, s := range scripts {
		score := 0
		for _, name := range names {
			score += s.score(name)
		}
		if score > most {
			best, most = s.enc, score
		}
	}
	return best
}

// score tells how well a name fits a script: characters that are common in it
// speak for it, others beyond ASCII against it, and what cannot be decoded
// rules it out.
func (s *script) score(name []byte) int {
	text, err := s.enc.NewDecoder().Bytes(name)
	if err != nil {
		return -100
	}
	score, before := 0, rune(0)
	for _, r := range string(text) {
		switch {
		case r == utf8.RuneError || unicode.IsControl(r):
			score -= 100
		case s.apart && (isLatin(before) && s.common(r) || s.common(before) && isLatin(r)):
			score--
		case s.common(r):
			score += s.weight
		case r >= utf8.RuneSelf:
			score--
		}
		before = r
	}
	return score
}

func isLatin(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }
