package master

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestCreate(t *testing.T) {
	failure := errors.New("failure")
	write := func(f *os.File) error { _, err := f.WriteString("new"); return err }
	tests := []struct {
		name   string
		before map[string]string // "-> x" is a link
		cancel bool
		write  func(*os.File) error
		err    error
		after  map[string]string
	}{
		{"new", nil, false, write, nil, map[string]string{"out": "new"}},
		{"replaced", map[string]string{"out": "old"}, false, write, nil, map[string]string{"out": "new"}},
		{"through a link", map[string]string{"out": "-> real", "real": "old"}, false, write, nil, map[string]string{"out": "-> real", "real": "new"}},
		{"failed", nil, false, func(f *os.File) error { return errors.Join(write(f), failure) }, failure, map[string]string{}},
		{"failed, old one kept", map[string]string{"out": "old"}, false, func(f *os.File) error { return errors.Join(write(f), failure) }, failure, map[string]string{"out": "old"}},
		{"cancelled", map[string]string{"out": "old"}, true, write, context.Canceled, map[string]string{"out": "old"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			put(t, dir, tt.before)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if tt.cancel {
				cancel()
			}
			err := Create(ctx, filepath.Join(dir, "out"), tt.write)
			if !errors.Is(err, tt.err) {
				t.Errorf("error %v, want %v", err, tt.err)
			}
			if diff := cmp.Diff(tt.after, contents(t, dir)); diff != "" {
				t.Errorf("directory (-want +got):\n%s", diff)
			}
		})
	}
}

func put(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if len(content) > 3 && content[:3] == "-> " {
			must(t, os.Symlink(content[3:], path))
		} else {
			must(t, os.WriteFile(path, []byte(content), 0o644))
		}
	}
}

func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	m := map[string]string{}
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if e.Type() == fs.ModeSymlink {
			target, err := os.Readlink(path)
			must(t, err)
			m[e.Name()] = "-> " + target
			continue
		}
		b, err := os.ReadFile(path)
		must(t, err)
		m[e.Name()] = string(b)
	}
	return m
}

func TestCreateSeesNothingHalf(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, map[string]string{"out": "old"})
	err := Create(t.Context(), filepath.Join(dir, "out"), func(f *os.File) error {
		if _, err := f.WriteString("half"); err != nil {
			return err
		}
		if got := contents(t, dir)["out"]; got != "old" {
			t.Errorf("while it is written the file holds %q", got)
		}
		return nil
	})
	must(t, err)
}

func TestCreateNamedTemp(t *testing.T) {
	dir := t.TempDir()
	temp, err := namedTemp(filepath.Join(dir, "out"))
	must(t, err)
	must(t, temp.discard())
	if left := contents(t, dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	temp, err = namedTemp(filepath.Join(dir, "out"))
	must(t, err)
	must(t, temp.keep(filepath.Join(dir, "out")))
	must(t, temp.discard())
	if diff := cmp.Diff(map[string]string{"out": ""}, contents(t, dir)); diff != "" {
		t.Errorf("directory (-want +got):\n%s", diff)
	}
}

func TestCreateIntoPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	must(t, unix.Mkfifo(path, 0o600))
	r, err := os.OpenFile(path, os.O_RDWR, 0) // Linux: does not wait for the other end
	must(t, err)
	defer r.Close()
	must(t, Create(t.Context(), path, func(f *os.File) error { _, err := f.WriteString("data"); return err }))
	b := make([]byte, 10)
	n, err := r.Read(b)
	if err != nil || string(b[:n]) != "data" {
		t.Errorf("got %q, %v", b[:n], err)
	}
	info, err := os.Lstat(path)
	if err != nil || info.Mode()&fs.ModeNamedPipe == 0 {
		t.Errorf("the pipe has become %v, %v", info.Mode(), err)
	}
}

func TestCreateNowhere(t *testing.T) {
	err := Create(t.Context(), filepath.Join(t.TempDir(), "missing", "out"), func(*os.File) error { return nil })
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want that the directory is missing", err)
	}
}
