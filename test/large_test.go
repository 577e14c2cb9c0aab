package test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// A tree of 100,000 files and a directory of 50,000 entries look the same
// through a mount as they do at their source, to the tools that people use, and
// the daemon stays small.
func TestLargeTree(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	tree := filepath.Join(openDir(t), "tree")
	makeLargeTree(t, tree)
	image := filepath.Join(openDir(t), "large.iso")
	d := startDaemon(t, 0)
	d.must("create", tree, "-o", image)
	point := d.mount(image)

	for _, c := range []string{
		`find . -mindepth 1 -printf '%y %m %U %G %T@ %p\n' | LC_ALL=C sort`,
		`find . -type f -printf '%s %p\n' | LC_ALL=C sort`,
		`find . -mindepth 1 -type f -links 1 | wc -l`,
		`find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum`,
		`tar --sort=name --format=gnu -cf - . | sha256sum`,
		`ls -f flat | LC_ALL=C sort | sha256sum`,
	} {
		want, got := shell(t, tree, c), shell(t, point, c)
		if !bytes.Equal(got, want) {
			t.Errorf("%s: %s", c, firstDifference(got, want))
		}
	}
	const limit = 32 << 10
	if kib := d.statusKiB("VmHWM"); kib > limit {
		t.Errorf("the daemon's memory reached %d KiB, want at most %d", kib, limit)
	}
	if s := d.stats(); s.Counters.Hits == 0 || s.Counters.Misses == 0 {
		t.Errorf("the sector cache was not used: %+v", s.Counters)
	}
	d.must("unmount", point)
}

func makeLargeTree(t *testing.T, tree string) {
	t.Helper()
	when := time.Unix(1_600_000_000, 0)
	write := func(dir, name, content string) {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, when, when); err != nil {
			t.Fatal(err)
		}
	}
	var dirs []string
	mkdir := func(path string) string {
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		dirs = append(dirs, path)
		return path
	}
	mkdir(tree)
	for i := range 1000 {
		dir := mkdir(filepath.Join(tree, fmt.Sprintf("group-%02d/dir-%03d", i/32, i)))
		for j := range 100 {
			write(dir, fmt.Sprintf("file-%02d.txt", j), fmt.Sprintf("%d/%d\n", i, j))
		}
	}
	flat := mkdir(filepath.Join(tree, "flat"))
	for i := range 50_000 {
		write(flat, fmt.Sprintf("entry-%06d", i), fmt.Sprint(i))
	}
	for _, dir := range append(dirs, groupDirs(t, tree)...) {
		if err := os.Chtimes(dir, when, when); err != nil {
			t.Fatal(err)
		}
	}
}

func groupDirs(t *testing.T, tree string) []string {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(tree, "group-*"))
	if err != nil {
		t.Fatal(err)
	}
	return dirs
}

// shell runs a command line in a directory and returns what it prints.
func shell(t *testing.T, dir, line string) []byte {
	t.Helper()
	cmd := exec.Command("bash", "-o", "pipefail", "-c", line)
	cmd.Dir = dir
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil || errs.Len() > 0 {
		t.Fatalf("%s in %s: %v\n%s", line, dir, err, errs.String())
	}
	return out
}

func firstDifference(got, want []byte) string {
	g, w := bytes.Split(got, []byte("\n")), bytes.Split(want, []byte("\n"))
	for i := range w {
		if i >= len(g) || !bytes.Equal(g[i], w[i]) {
			line := []byte("nothing")
			if i < len(g) {
				line = g[i]
			}
			return fmt.Sprintf("line %d: got %q, want %q", i+1, line, w[i])
		}
	}
	return fmt.Sprintf("%d lines more than the %d wanted", len(g)-len(w), len(w))
}
