package test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// "make torture" sets these.
var (
	manyDrives = flag.Int("drives", 40, "drives of TestThousandDrives")
	cycles     = flag.Int("cycles", 60, "mounts and unmounts of TestCycles")
)

// A daemon with very many drives mounts, lists, reads, is killed, goes on with
// all of them, and lets all go.
func TestThousandDrives(t *testing.T) {
	image := makeImage(t, map[string]string{"a": "content"})
	d := startKept(t, 0, "--log-level=warn")
	n := *manyDrives
	points := make([]string, n)
	began := time.Now()
	took := func(what string) {
		t.Logf("%s: %v", what, time.Since(began).Round(time.Millisecond))
		began = time.Now()
	}
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := worker; i < n; i += 4 {
				points[i] = filepath.Join(d.dir, "m"+strconv.Itoa(i))
				if err := os.Mkdir(points[i], 0o755); err != nil {
					t.Error(err)
				}
				if out, code := d.client("mount", image, points[i]); code != 0 {
					t.Errorf("drive %d: exit code %d: %s", i, code, out)
				}
			}
		})
	}
	wg.Wait()
	took(fmt.Sprintf("%d drives mounted", n))
	if got := strings.Count(d.must("list"), "mounted"); got != n {
		t.Errorf("%d drives are listed, want %d", got, n)
	}
	readAll(t, points)
	took("listed and read")
	d.killChild()
	awaitAnswer(t, points[0])
	took("killed; the first answers")
	for _, p := range points {
		awaitAnswer(t, p)
	}
	took("all answer")
	if got := strings.Count(d.must("list"), "mounted"); got != n {
		t.Errorf("after a kill %d drives are listed, want %d", got, n)
	}
	readAll(t, points)
	took("listed and read")
	d.must("unmount", "--all")
	took("unmounted")
	if left := oursBelow(t, image); len(left) > 0 {
		t.Errorf("%d are left, %s …", len(left), left[0])
	}
}

func readAll(t *testing.T, points []string) {
	t.Helper()
	for _, p := range points {
		if got, err := os.ReadFile(filepath.Join(p, "a")); err != nil || string(got) != "content" {
			t.Fatalf("%s: %q, %v", p, got, err)
		}
	}
}

// Mounting and unmounting again and again holds nothing in the end: neither
// descriptors nor threads nor memory.
func TestCycles(t *testing.T) {
	image := makeImage(t, map[string]string{"a": "content"})
	d := startKept(t, 0, "--log-level=warn")
	point := filepath.Join(d.dir, "m")
	if err := os.Mkdir(point, 0o755); err != nil {
		t.Fatal(err)
	}
	cycle := func() {
		d.must("mount", image, point)
		readAll(t, []string{point})
		d.must("unmount", point)
	}
	for range max(*cycles/10, 20) {
		cycle()
	}
	before := holdings(t, d.child())
	for range *cycles {
		cycle()
	}
	after := holdings(t, d.child())
	t.Logf("after %d cycles: descriptors %d → %d, memory %d → %d KiB", *cycles, before.files, after.files, before.kib, after.kib)
	if after.files > before.files {
		t.Errorf("%d descriptors, %d before", after.files, before.files)
	}
	const slack = 2048 // KiB: what the collector leaves lying about
	if after.kib > before.kib+before.kib/50+slack {
		t.Errorf("%d KiB of memory, %d before", after.kib, before.kib)
	}
}

// holding is what a process has.
type holding struct{ files, kib int }

func holdings(t *testing.T, pid int) (h holding) {
	t.Helper()
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "RssAnon:")
	if _, err := fmt.Sscan(rest, &h.kib); err != nil {
		t.Fatal(err)
	}
	h.files = len(files)
	return h
}
