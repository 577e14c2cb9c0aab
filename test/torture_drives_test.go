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
// descriptors nor goroutines nor memory, of the daemon or of its keeper.
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
	const (
		window = 20              // cycles in which the least is sought: what the collector has not got yet is no loss
		settle = 3 * time.Second // in which the daemon gives back what the last cycles took
	)
	looks := 5 // of which the least counts
	if *cycles < 1000 {
		looks = 1
	}
	measure := func() (server, keeper holding) {
		for range looks {
			for range window {
				cycle()
				keeper = keeper.least(holdings(t, d.cmd.Process.Pid))
			}
			time.Sleep(settle)
			server = server.least(holdings(t, d.child()))
		}
		server.goroutines = d.stats().Goroutines
		return server, keeper
	}
	for range *cycles / 20 {
		cycle()
	}
	server, keeper := measure()
	for range *cycles {
		cycle()
	}
	serverNow, keeperNow := measure()
	t.Logf("after %d cycles: the daemon %v → %v, its keeper %v → %v", *cycles, server, serverNow, keeper, keeperNow)
	// In KiB: the pages that the runtime holds at one moment or another. Were 16
	// bytes lost in each of 10,000 cycles, that would be more.
	slack, keeperSlack := 64, 512 // what the keeper has not collected yet is much of what it holds
	if *cycles < 1000 {
		slack, keeperSlack = 4096, 4096 // the heaps still grow to where the collector begins
	}
	serverNow.check(t, "the daemon", server, slack)
	keeperNow.check(t, "its keeper", keeper, keeperSlack)
}

// A holding is what a process has.
type holding struct{ files, goroutines, kib int }

func (h holding) String() string {
	return fmt.Sprintf("%d descriptors, %d goroutines, %d KiB", h.files, h.goroutines, h.kib)
}

// least takes the lesser of two measurements, of which the zero one is none.
func (h holding) least(other holding) holding {
	if h == (holding{}) {
		return other
	}
	return holding{min(h.files, other.files), min(h.goroutines, other.goroutines), min(h.kib, other.kib)}
}

// check compares with what there was before: memory may grow by 2 % and slack.
func (h holding) check(t *testing.T, who string, before holding, slack int) {
	t.Helper()
	if h.kib > before.kib+before.kib/50+slack {
		t.Errorf("%s has %d KiB of memory, %d before", who, h.kib, before.kib)
	}
	if h.files > before.files || h.goroutines > before.goroutines {
		t.Errorf("%s has %v; before: %v", who, h, before)
	}
}

// holdings returns the descriptors and the memory of a process.
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
