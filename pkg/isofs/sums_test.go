package isofs

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/isomount/isomount/pkg/binfmt"
	"github.com/isomount/isomount/pkg/fsys"
)

func TestSumIndex(t *testing.T) {
	for _, tt := range []struct {
		name   string
		attr   []string
		want   int64
		err    error
		damage bool
	}{
		{"short prefix", []string{"\x04cx", "\x00\x00\x01\x02"}, 0x102, nil, false},
		{"long prefix", []string{"user.x", "y", "isofs.cx", "\xff\xff\xff\xff"}, 1<<32 - 1, nil, false},
		{"none", []string{"user.cx", "\x00\x00\x00\x01"}, 0, fsys.ErrNoXattr, false},
		{"cut short", []string{"\x04cx", "\x00\x01"}, 0, nil, true},
	} {
		f := withAttributes(al(255, tt.attr...)).fs(t, RockRidge, TreeOptions{})
		n, _ := lookup(t, f, "a")
		got, err := f.SumIndex(n)
		_, corrupt := errors.AsType[*binfmt.CorruptError](err)
		if got != tt.want || corrupt != tt.damage || (!tt.damage && !errors.Is(err, tt.err)) {
			t.Errorf("%s: got %d, error %v, want %d, error %v, damage %v", tt.name, got, err, tt.want, tt.err, tt.damage)
		}
		if _, err := f.Sums(); !errors.Is(err, fsys.ErrNoXattr) {
			t.Errorf("%s: root: got error %v, want none to be there", tt.name, err)
		}
	}
}

func TestSizedNumber(t *testing.T) {
	for in, want := range map[string]int64{
		"\x00": 0, "\x01\x07": 7, "\x04\x00\x01\x02\x03": 0x010203, "\x09\x01\xff\xff\xff\xff\xff\xff\xff\xff": 1<<62 - 1,
	} {
		c := binfmt.At([]byte(in), 0)
		got := sizedNumber(&c)
		if c.Err() != nil || got < 0 || (len(in) < 9 && got != want) {
			t.Errorf("%x: got %d, error %v, want %d", in, got, c.Err(), want)
		}
	}
}

// What xorriso records, of a root and of a file.
func TestSumsOfXorriso(t *testing.T) {
	xorriso := tool(t, "xorriso")
	dir := t.TempDir()
	for _, name := range []string{"a", "b"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	image := filepath.Join(t.TempDir(), "x.iso")
	if out, err := exec.Command(xorriso, "-md5", "on", "-outdev", image, "-map", dir, "/").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	v, err := Open(bytes.NewReader(b), int64(len(b)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	f, err := v.FS(RockRidge, TreeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := f.Sums()
	if err != nil || s.Count != 4 || s.Start != 32 {
		t.Errorf("got %+v, error %v, want four entries of the session at 32", s, err)
	}
	n, _ := lookup(t, f, "b")
	if i, err := f.SumIndex(n); err != nil || i < 1 || i > 2 {
		t.Errorf("got place %d, error %v, want 1 or 2", i, err)
	}
}
