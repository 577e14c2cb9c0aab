package main

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// status reads a number from /proc/PID/status (proc_pid_status(5)), sizes in
// KiB; 0 if there is none.
func status(pid int, key string) (n int) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, key+":"); ok {
			_, _ = fmt.Sscan(v, &n)
		}
	}
	return n
}

// anonymous is how much memory a process has to itself, in KiB.
func anonymous(pid int) int { return status(pid, "RssAnon") }

// mebibytes writes a number of KiB.
func mebibytes(kib int) string { return fmt.Sprintf("%.1f MiB", float64(kib)/1024) }

// dropCaches has the kernel forget all file contents, names and attributes.
func dropCaches() error {
	return os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0o200)
}

// dropPages takes a file's pages out of the page cache.
func dropPages(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}

// uringSwitch says whether the kernel takes FUSE connections over io_uring.
const uringSwitch = "/sys/module/fuse/parameters/enable_uring"

// allowUring switches io_uring on for the scope, and tells whether that works.
func (b *bench) allowUring() bool {
	before, err := os.ReadFile(uringSwitch)
	if err != nil {
		return false // a kernel before 6.14
	}
	if strings.TrimSpace(string(before)) == "Y" {
		return true
	}
	if err := os.WriteFile(uringSwitch, []byte("Y"), 0o600); err != nil {
		return false
	}
	b.later(func() { _ = os.WriteFile(uringSwitch, before, 0o600) })
	return true
}
