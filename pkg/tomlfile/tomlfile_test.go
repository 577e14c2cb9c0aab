package tomlfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A size is what a configuration has that reads itself.
type size int

func (s *size) UnmarshalText(b []byte) error {
	if string(b) == "large" {
		*s = 100
		return nil
	}
	return errors.New("no size")
}

type settings struct {
	Name  string `toml:"name"`
	Count int    `toml:"max-count"`
	Size  size   `toml:"size"`
}

func TestRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.toml")
	for _, tt := range []struct {
		name, text string
		want       settings
		err        string // what it ends in
	}{
		{"nothing", "# nothing\n", settings{}, ""},
		{"all", "name = 'a b'\nmax-count = 1_000\nsize = \"large\"\n", settings{"a b", 1000, 100}, ""},
		{"written by Windows", "\uFEFFname = \"a\"\r\n", settings{Name: "a"}, ""},
		{"other case", "Name = 'a'\n", settings{Name: "a"}, ""},
		{"unknown key", "name = 'a'\ncolour = 'blue'\n", settings{Name: "a"}, `c.toml: key "colour" is not known; see page(5)`},
		{"unknown table", "[x]\ny = 1\n", settings{}, `c.toml: key "x" is not known; see page(5)`},
		{"wrong type", "\nmax-count = 'a'\n", settings{}, `c.toml: line 2, key "max-count": toml: cannot decode TOML string into struct field tomlfile.settings.Count of type int`},
		{"no TOML", "name = 'a'\nthis is no toml\n", settings{}, "c.toml: line 2: toml: expected '=' after key"},
		{"a value that its type refuses", "size = 'small'\n", settings{}, `c.toml: line 1, key "size": toml: no size`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			var got settings
			err := Read(file, &got, "page(5)")
			if (err == nil) != (tt.err == "") || err != nil && !strings.HasSuffix(err.Error(), tt.err) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
			if err == nil && got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
	if err := Read(file+".missing", new(settings), ""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: error %v, want %v", err, fs.ErrNotExist)
	}
}
