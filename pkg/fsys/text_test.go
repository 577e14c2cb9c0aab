package fsys_test

import (
	"testing"

	"github.com/isomount/isomount/pkg/fsys"
)

func TestAppendRune(t *testing.T) {
	for r, want := range map[rune]string{'a': "a", 'ü': "ü", '😀': "😀", 0xD800: "\xED\xA0\x80", 0xDFFF: "\xED\xBF\xBF"} {
		if got := fsys.AppendRune([]byte("x"), r); string(got) != "x"+want {
			t.Errorf("%#x: got %q, want %q", r, got, "x"+want)
		}
	}
}

func TestAppendLower(t *testing.T) {
	for name, want := range map[string]string{"": "", "ABC def": "abc def", "ÄÖÜ Σ": "äöü σ", "A\xFFB": "a\xFFb", "\xED\xA0\x80A": "\xED\xA0\x80a"} {
		if got := fsys.AppendLower([]byte("x"), []byte(name)); string(got) != "x"+want {
			t.Errorf("%q: got %q, want %q", name, got, "x"+want)
		}
	}
}
