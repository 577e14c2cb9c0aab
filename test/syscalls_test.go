package test

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// Every request costs the daemon the system calls that move its bytes, and no
// other; what the kernel has been told before costs none.
func TestSystemCalls(t *testing.T) {
	need(t, "strace")
	const n, page = 64, 4096
	d := startDaemon(t, 0)
	large := strings.Repeat("0123456789abcdef", n*4*page/16)
	image := makeImage(t, map[string]string{"large": large, "dir/small": "content"})
	point := d.mount(image)
	stat := func(name string) { _, _ = os.Lstat(filepath.Join(point, name)) }
	direct := openDirect(t, filepath.Join(point, "large"))
	t.Cleanup(func() { _ = unix.Close(direct) })
	buf := alignedPage(t)
	stat("missing")
	for _, tt := range []struct {
		name string
		want map[string]int // of all n
		run  func(i int)
	}{
		{"LOOKUP of a name that is not there", map[string]int{"read": n, "write": n}, func(i int) { stat(fmt.Sprintf("missing-%d", i)) }},
		{"READ", map[string]int{"read": n, "pread": n, "write": n}, func(i int) {
			off := int64(i) * 3 % n * 4 * page
			if got, err := unix.Pread(direct, buf, off); got != page || string(buf) != large[off:off+page] {
				t.Errorf("%d bytes at %d, %v", got, off, err)
			}
		}},
		{"attributes, again", map[string]int{}, func(int) { stat("dir/small"); stat("large") }},
		{"content, again", map[string]int{}, func(int) { _, _ = os.ReadFile(filepath.Join(point, "dir/small")) }},
		{"listing, again", map[string]int{}, func(int) { _, _ = os.ReadDir(point) }},
		{"no such name, again", map[string]int{}, func(int) { stat("missing") }},
	} {
		if len(tt.want) == 0 {
			tt.run(0)
		}
		got := d.trace(image, point, func() {
			for i := range n {
				tt.run(i)
			}
		})
		if diff := cmp.Diff(got, tt.want); diff != "" {
			t.Errorf("%s, %d times (-got +want):\n%s", tt.name, n, diff)
		}
	}
}

// openDirect opens a file so that every read of it is one of the file system.
func openDirect(t *testing.T, path string) int {
	t.Helper()
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// alignedPage returns memory that O_DIRECT can read to.
func alignedPage(t *testing.T) []byte {
	t.Helper()
	buf, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(buf) })
	return buf
}

// trace counts the system calls of the daemon, by name, that concern its FUSE
// device or an image and succeed while f runs.
func (d *daemon) trace(image, point string, f func()) map[string]int {
	d.t.Helper()
	const first = "first-while-traced-"
	dir := d.t.TempDir()
	strace := exec.Command("strace", "-ff", "-y", "-qq", "-s", "100", "-o", filepath.Join(dir, "thread"), "-p", fmt.Sprint(d.cmd.Process.Pid))
	if err := strace.Start(); err != nil {
		d.t.Fatal(err)
	}
	within(d.t, 10*time.Second, "all threads are traced", func() bool { return traced(d.cmd.Process.Pid) })
	// A thread that waits in a read is traced from there on for sure only when it
	// has come back once.
	_, _ = os.Lstat(filepath.Join(point, first+strconv.FormatInt(time.Now().UnixNano(), 36)))
	f()
	_ = strace.Process.Signal(syscall.SIGINT)
	_ = strace.Wait() // it says that it was interrupted
	logs, err := filepath.Glob(filepath.Join(dir, "thread.*"))
	if err != nil || len(logs) == 0 {
		d.t.Fatalf("no trace: %v", err)
	}
	calls := map[string]int{"write": -1} // the answer to the first
	for _, log := range logs {
		b, err := os.ReadFile(log)
		if err != nil {
			d.t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			if name, ok := succeeded(line, image); ok && !strings.Contains(line, first) {
				calls[name]++
			}
		}
	}
	maps.DeleteFunc(calls, func(_ string, n int) bool { return n == 0 })
	return calls
}

// succeeded returns the name of a call in a line of a trace that moved bytes to
// or from the FUSE device or the image.
func succeeded(line, image string) (name string, ok bool) {
	call, result, _ := strings.Cut(strings.TrimSpace(line), " = ")
	if !strings.Contains(call, "</dev/fuse") && !strings.Contains(call, "<"+image+">") {
		return "", false
	}
	name, _, ok = strings.Cut(call, "(")
	if name == "pread64" || name == "preadv2" { // the second does not wait for the disc
		name = "pread"
	}
	if name == "write" && (result == "" || result[0] == '?') {
		return name, ok // the answer has arrived, its writer has not come back yet
	}
	return name, ok && result != "" && result[0] != '-' && result[0] != '?'
}

// traced tells whether each thread of a process has a tracer.
func traced(pid int) bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	for _, path := range threads {
		b, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(b), "\nTracerPid:\t0\n") {
			return false
		}
	}
	return len(threads) > 0
}
