// Package test runs the real programs against real mounts: every command as a
// script (script/), and what takes more than a script as a test in Go.
package test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/isomount/isomount/pkg/mount"
)

// bin holds the programs under test.
var bin string

func TestMain(m *testing.M) {
	flag.Parse()
	if root := os.Getenv(readerVariable); root != "" {
		os.Exit(runReader(root))
	}
	if socket := os.Getenv(floodVariable); socket != "" {
		os.Exit(runFlood(socket))
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "isomount-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	bin = dir
	// Other users run the programs too, and everything temporary lies below.
	if err := errors.Join(os.Chmod(dir, 0o755), os.Setenv("TMPDIR", dir)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	build := exec.Command("go", "build", "-o", dir+"/", "../cmd/...")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		return 1
	}
	code := m.Run()
	if left := leftovers(); len(left) > 0 {
		fmt.Fprintf(os.Stderr, "left behind:\n  %s\n", strings.Join(left, "\n  "))
		code = max(code, 1)
	}
	return code
}

// leftovers lists the mounts and processes that belong to the programs under
// test.
func leftovers() []string {
	var left []string
	table, err := mount.ReadTable()
	if err != nil {
		return []string{err.Error()}
	}
	for _, e := range table.Ours() {
		if strings.HasPrefix(e.Source, bin) {
			left = append(left, "mount "+e.Point)
		}
	}
	exes, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, exe := range exes {
		if target, err := os.Readlink(exe); err == nil && strings.HasPrefix(target, bin) {
			left = append(left, "process "+exe+" "+target)
		}
	}
	return left
}

// need skips the test for want of a program, except in CI.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err == nil {
			continue
		}
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is not installed", p)
		}
		t.Skipf("%s is not installed", p)
	}
}
