package test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// How often the kernel has to ask is what speed comes from, and unlike time it
// can be counted.

// requests returns how many requests the daemon answers while f runs.
func (d *daemon) requests(f func()) int64 {
	d.t.Helper()
	before := d.stats().Counters.Requests
	f()
	return d.stats().Counters.Requests - before
}

// pipes returns how many pipes the daemon has open, ends counted.
func (d *daemon) pipes() (n int) {
	d.t.Helper()
	fds := fmt.Sprintf("/proc/%d/fd", d.cmd.Process.Pid)
	list, err := os.ReadDir(fds)
	if err != nil {
		d.t.Fatal(err)
	}
	for _, e := range list {
		if to, err := os.Readlink(filepath.Join(fds, e.Name())); err == nil && strings.HasPrefix(to, "pipe:") {
			n++
		}
	}
	return n
}

func TestSmallFilesAreReadAhead(t *testing.T) {
	const n = 300
	files := map[string]string{}
	for i := range n {
		files[fmt.Sprintf("file-%03d", i)] = strings.Repeat(fmt.Sprintf("%03d\n", i), 1+i*11%1500)
	}
	d := startKept(t, 0)
	point := d.mount(makeImage(t, files))
	list, err := os.ReadDir(point)
	if err != nil || len(list) != n {
		t.Fatalf("%d files, %v", len(list), err)
	}
	asked := d.requests(func() {
		for _, e := range list {
			got, err := os.ReadFile(filepath.Join(point, e.Name()))
			if err != nil || string(got) != files[e.Name()] {
				t.Fatalf("%s: %d bytes, %v; want %d", e.Name(), len(got), err, len(files[e.Name()]))
			}
		}
	})
	// Nine reads if the reader is never faster than the daemon, which it may be.
	if asked > n/3 {
		t.Errorf("the kernel asked %d times for %d files", asked, n)
	}
	if d.stats().Counters.Stored == 0 {
		t.Error("no bytes were stored ahead")
	}
}

func TestLongReadsAreLong(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root may set how far the kernel reads ahead")
	}
	const size = 32 << 20
	content := strings.Repeat("0123456789abcdef", size/16)
	d := startDaemon(t, 0)
	point := d.mount(makeImage(t, map[string]string{"large": content}))
	var st unix.Stat_t
	if err := unix.Stat(point, &st); err != nil {
		t.Fatal(err)
	}
	bdi := fmt.Sprintf("/sys/class/bdi/%d:%d/read_ahead_kb", unix.Major(st.Dev), unix.Minor(st.Dev))
	if kb, err := os.ReadFile(bdi); err != nil || strings.TrimSpace(string(kb)) != "1016" {
		t.Skipf("read ahead by %q KiB, %v: /sys cannot be written here", bytes.TrimSpace(kb), err)
	}
	before := d.pipes()
	asked := d.requests(func() {
		if got, err := os.ReadFile(filepath.Join(point, "large")); err != nil || string(got) != content {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	})
	if d.pipes() == before {
		t.Error("nothing was spliced")
	}
	const atLeast = size / (1016 << 10)
	if asked > 2*atLeast {
		t.Errorf("the kernel asked %d times for %d MiB, want about %d", asked, size>>20, atLeast)
	}
}

// Drives that nobody uses share one thread, and answer when somebody does; after
// a kill as well.
func TestIdleDrivesTakeNoThreads(t *testing.T) {
	const n = 40
	d := startKept(t, 0)
	image := makeImage(t, map[string]string{"a": "content"})
	points := make([]string, n)
	for i := range points {
		points[i] = d.mount(image)
	}
	for _, when := range []string{"mounted", "read", "killed"} {
		within(t, 20*time.Second, "drives that were "+when+" take no threads", func() bool { return d.threads() < n/2 })
		if when == "read" {
			d.killChild()
			continue
		}
		for _, p := range points {
			if got, err := os.ReadFile(filepath.Join(p, "a")); err != nil || string(got) != "content" {
				t.Fatalf("%s: %q, %v", p, got, err)
			}
			dropCaches(t, p)
		}
	}
	d.must("unmount", "--all")
}

// threads returns how many threads wait for the kernel's requests, or for others.
// Those that are between two tasks do not count.
func (d *daemon) threads() (n int) {
	d.t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/syscall", d.child()))
	if err != nil {
		d.t.Fatal(err)
	}
	for _, file := range files {
		if b, err := os.ReadFile(file); err == nil && strings.HasPrefix(string(b), fmt.Sprint(unix.SYS_READ)+" ") {
			n++
		}
	}
	return n
}
