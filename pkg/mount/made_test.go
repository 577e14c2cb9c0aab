package mount

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestPointName(t *testing.T) {
	tests := []struct{ label, want string }{
		{"DEBIAN_12", "DEBIAN_12"},
		{"Debian 12.5 amd64", "Debian 12.5 amd64"},
		{"  x  ", "x"},
		{"", "disc"},
		{" \t", "disc"},
		{"a/b", "a_b"},
		{"..", "_."},
		{".hidden", "_hidden"},
		{"a\x00b\nc\x1b[31m", "a_b_c_[31m"},
		{"\u202egnp.exe", "_gnp.exe"},
		{"bad\xff", "bad_"},
		{"Übung", "Übung"},
		{"socket", "_socket"},
		{"socket.lock", "_socket.lock"},
		{strings.Repeat("é", 80), strings.Repeat("é", 50)},
	}
	for _, tt := range tests {
		if got := pointName(tt.label); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.label, got, tt.want)
		}
	}
}

func FuzzPointName(f *testing.F) {
	f.Add("a/b\x00..")
	f.Fuzz(func(t *testing.T, label string) {
		got := pointName(label)
		bad := got == "" || got[0] == '.' || len(got) > maxName+1 || !utf8.ValidString(got) ||
			strings.ContainsAny(got, "/\x00\n\x1b") || strings.HasPrefix(got, "socket")
		if bad {
			t.Errorf("%q: got %q", label, got)
		}
	})
}

func TestRealMakePoint(t *testing.T) {
	if os.Getuid() != 0 {
		t.Setenv("XDG_RUNTIME_DIR", tempPoint(t))
	}
	label := "isomount test " + filepath.Base(t.TempDir()) + t.Name()
	first, err := MakePoint(label)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(first) })
	second, err := MakePoint(label)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(second) })
	if dir := places()[0].dir; first != dir+"/"+label || second != first+"-2" {
		t.Errorf("got %q and %q in %q", first, second, dir)
	}
	fi, err := os.Stat(first)
	if err != nil || fi.Mode().Perm() != places()[0].perm {
		t.Errorf("got %v, %v", fi.Mode(), err)
	}
	mustMount(t, first, Options{})
	if err := RemoveMade(first); err == nil {
		t.Error("removed a mount point in use")
	}
	if err := Unmount(t.Context(), first, false); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{first, second, second} { // twice: gone already is fine
		if err := RemoveMade(path); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there", path)
		}
	}
}

func TestRemoveMadeKeepsOthers(t *testing.T) {
	base := tempPoint(t)
	t.Setenv("XDG_RUNTIME_DIR", base)
	place := places()[0].dir
	full, err := MakePoint("full")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(full+"/x", 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = os.RemoveAll(full), RemoveMade(full) })
	if err := RemoveMade(full); err == nil {
		t.Error("removed a directory that is not empty")
	}
	other := filepath.Join(base, "other")
	if err := os.Mkdir(other, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{other, full + "/x", place, place + "/", place + "/..", "", "/"} {
		if err := RemoveMade(path); err != nil {
			t.Errorf("%q: %v", path, err)
		}
	}
	for _, path := range []string{other, full + "/x"} {
		if _, err := os.Lstat(path); err != nil {
			t.Errorf("%s was removed", path)
		}
	}
}

// TestLeftover meets an empty directory that a killed process left.
func TestLeftover(t *testing.T) {
	tests := []struct {
		name, want string
		old        time.Duration
		content    bool
	}{
		{"fresh", "disc-2", time.Hour, false},
		{"old", "disc", 0, false},
		{"old but used", "disc-2", 0, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := place{tempPoint(t), 0o700, 0, tt.old}
			left := p.dir + "/disc"
			if err := os.Mkdir(left, 0o700); err != nil {
				t.Fatal(err)
			}
			if tt.content {
				if err := os.WriteFile(left+"/x", nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got, err := p.makeNamed("disc")
			if err != nil || got != p.dir+"/"+tt.want {
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

// TestMakePointRefusesTrap has something in the place that is not a directory
// of this user's alone: the next place is taken.
func TestMakePointRefusesTrap(t *testing.T) {
	tests := []struct {
		name string
		trap func(dir string) error
	}{
		{"link", func(dir string) error { return os.Symlink("/tmp", dir) }},
		{"file", func(dir string) error { return os.WriteFile(dir, nil, 0o600) }},
		{"writable", func(dir string) error { return errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, 0o777)) }},
		{"not ours", func(dir string) error {
			if os.Getuid() != 0 {
				return os.Symlink("/usr", dir)
			}
			return errors.Join(os.Mkdir(dir, 0o700), os.Chown(dir, nobody, nobody))
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := place{filepath.Join(tempPoint(t), "isomount"), 0o700, 1, leftoverAge}
			if err := tt.trap(p.dir); err != nil {
				t.Fatal(err)
			}
			if err := p.ready(); err == nil {
				t.Error("the place was accepted")
			}
		})
	}
}
