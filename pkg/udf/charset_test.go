package udf

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/text/encoding/ianaindex"

	"github.com/isomount/isomount/pkg/fsys"
)

// TestCharsets compares each name and what is made of characters with ianaindex.
func TestCharsets(t *testing.T) {
	names := strings.Fields(registered)
	if len(names) != 886 {
		t.Errorf("%d names", len(names))
	}
	for _, name := range names {
		if strings.HasPrefix(name, "cp125") {
			continue // the kernel's
		}
		want, err := ianaindex.IANA.Encoding(name)
		if err != nil {
			t.Errorf("%s: IANA: %v", name, err)
			continue
		}
		got, err := charset(strings.ToUpper(name))
		if want == nil {
			if !errors.Is(err, fsys.ErrNotSupported) {
				t.Errorf("%s: error %v, want %v", name, err, fsys.ErrNotSupported)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, r := range "aZ~\u00a4ü€日한Ж√𝄞" {
			text, err := want.NewEncoder().String(string(r))
			if gotText, ok := encode(got, r); ok != (err == nil) || ok && gotText != text {
				t.Errorf("%s: %q is %q, %v, want %q, %v", name, r, gotText, ok, text, err)
			}
		}
	}
	if _, err := charset("no such set"); !errors.Is(err, errCharset) {
		t.Errorf("unknown name: error %v, want %v", err, errCharset)
	}
}

func encode(e encoder, r rune) (string, bool) {
	if e == nil {
		return string(r), true
	}
	return e(r)
}
