package mount

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func mustMount(t *testing.T, dir string, o Options) (*Mount, *testServer) {
	t.Helper()
	m, err := Prepare(t.Context(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	s := serve(t, m.Device())
	if err := m.Attach(); err != nil {
		t.Fatal(err)
	}
	return m, s
}

func TestMountShowsTree(t *testing.T) {
	dir := t.TempDir()
	m, _ := mustMount(t, dir, Options{Source: "/srv/a b,c\\d.iso"})
	t.Log(m.way)
	b, err := os.ReadFile(filepath.Join(dir, "file"))
	if err != nil || string(b) != fileContent {
		t.Fatalf("got %q, %v, want %q", b, err, fileContent)
	}
	tab, err := ReadTable()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", tab.At(dir))
	if _, err := Prepare(t.Context(), dir, Options{}); !errors.Is(err, ErrBusy) {
		t.Error(err)
	}
	f, err := os.Open(filepath.Join(dir, "file"))
	if err != nil {
		t.Fatal(err)
	}
	err = Unmount(t.Context(), dir, false)
	t.Log(err)
	f.Close()
	if err := Unmount(t.Context(), dir, false); err != nil {
		t.Error(err)
	}
}

func TestDead(t *testing.T) {
	dir := t.TempDir()
	_, s := mustMount(t, dir, Options{})
	s.close()
	start := time.Now()
	tab, _ := ReadTable()
	err := Alive(context.Background(), tab.At(dir))
	t.Log(err, time.Since(start))
	mustMount(t, dir, Options{})
}
