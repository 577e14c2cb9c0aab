package test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/isomount/isomount/pkg/mount"
)

// keep starts a daemon that is kept.
func startKept(t *testing.T, uid int, flags ...string) *daemon {
	t.Helper()
	return startDaemon(t, uid, append([]string{"--keep"}, flags...)...)
}

// An upgrade under load is a pause, and none of it is long.
func TestReplacedUnderLoad(t *testing.T) {
	image := tortureImage(t)
	d := startKept(t, 0)
	point := d.mount(image)
	readers := startReaders(t, point)
	const times = 10
	time.Sleep(times * 100 * time.Millisecond)
	usual := readers.longest()
	readers = startReaders(t, point)
	for range times {
		time.Sleep(50 * time.Millisecond)
		old := d.child()
		out := d.must("daemon", "--restart")
		if now := d.child(); now == old || !strings.Contains(out, "process "+strconv.Itoa(now)+",") {
			t.Errorf("process %d was replaced by %d; the client says %s", old, now, out)
		}
	}
	longest := readers.longest()
	t.Logf("replaced %d times; the longest operation took %v, and %v while nothing was replaced", times, longest, usual)
	if longest > 5*time.Second {
		t.Errorf("an operation took %v", longest)
	}
	d.must("unmount", point)
}

// A new program that does not start ends nothing: the old one goes on. One that
// does takes over.
func TestReplacedByAProgramThatDoesNotStart(t *testing.T) {
	image := makeImage(t, map[string]string{"a": "content"})
	d := &daemon{t: t, log: new(bytes.Buffer), dir: shortDir(t, 0)}
	d.env = append(os.Environ(), "ISOMOUNT_SOCKET="+d.dir+"/socket", "XDG_RUNTIME_DIR="+d.dir, "HOME="+d.dir)
	d.program = filepath.Join(d.dir, "isomountd")
	install := func(content []byte) {
		t.Helper()
		if err := errors.Join(os.WriteFile(d.program+".new", content, 0o755), os.Rename(d.program+".new", d.program)); err != nil { //nolint:gosec // it is run
			t.Fatal(err)
		}
	}
	good, err := os.ReadFile(filepath.Join(bin, "isomountd"))
	if err != nil {
		t.Fatal(err)
	}
	install(good)
	d.start("--keep")
	t.Cleanup(d.stop)
	point := d.mount(image)
	old := d.child()
	install([]byte("#!/bin/sh\n>$HOME/tried\nexit 1\n"))
	if err := d.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	within(t, 10*time.Second, "the keeper has seen that", func() bool {
		_, err := os.Lstat(filepath.Join(d.dir, "tried"))
		return err == nil && len(d.children()) == 1
	})
	if out := d.must("list"); !strings.Contains(out, point) {
		t.Errorf("the drive is not listed: %s", out)
	}
	if now := d.child(); now != old {
		t.Errorf("process %d was replaced by %d", old, now)
	}
	install(good)
	d.must("daemon", "--restart")
	if now := d.child(); now == old {
		t.Error("the old process serves")
	}
	if got, err := os.ReadFile(filepath.Join(point, "a")); err != nil || string(got) != "content" {
		t.Errorf("got %q, %v", got, err)
	}
	d.must("unmount", point)
	d.must("daemon", "--restart") // without any drive
	d.must("list")
}

// longest ends the readers and returns how long their longest operation took.
func (rs *readers) longest() (longest time.Duration) {
	rs.t.Helper()
	for _, r := range rs.stop() {
		longest = max(longest, r.Longest)
	}
	return longest
}

// SIGTERM to the process that serves is a replacement too, and so is any other
// end that leaves drives.
func TestServingProcessEndsOtherwise(t *testing.T) {
	image := makeImage(t, map[string]string{"a": "content"})
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL, syscall.SIGABRT, syscall.SIGSEGV} {
		t.Run(s.String(), func(t *testing.T) {
			d := startKept(t, 0)
			point := d.mount(image)
			old := d.child()
			if err := syscall.Kill(old, s); err != nil {
				t.Fatal(err)
			}
			within(t, 10*time.Second, "another process serves", func() bool { n := d.child(); return n != 0 && n != old })
			if got, err := os.ReadFile(filepath.Join(point, "a")); err != nil || string(got) != "content" {
				t.Errorf("got %q, %v", got, err)
			}
			if out := d.must("list"); !strings.Contains(out, point) || !strings.Contains(out, "mounted") {
				t.Errorf("the drive is not listed: %s", out)
			}
			d.must("unmount", point)
		})
	}
}

// The end of the keeper is the end of the drives, of mount points that were
// made, and of the socket.
func TestStopLeavesNothing(t *testing.T) {
	for name, uid := range map[string]int{"root": 0, "user": alice} {
		t.Run(name, func(t *testing.T) {
			needRoot(t)
			image := makeImage(t, map[string]string{"a": "content"})
			d := startKept(t, uid)
			point := d.mount(image)
			d.must("mount", image)
			made := ""
			if uid != 0 {
				made = filepath.Join(d.dir, "isomount", "DISC")
			}
			f, err := asUser(uid, "sh", "-c", "ls "+point)
			if err != nil || !strings.Contains(f, "a") {
				t.Errorf("%s, %v", f, err)
			}
			if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			within(t, 20*time.Second, "the keeper ends", func() bool { return !alive(d.cmd.Process.Pid) })
			for _, e := range oursBelow(t, image) {
				t.Errorf("still mounted: %s", e)
			}
			if made != "" {
				if _, err := os.Lstat(made); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("%s is still there: %v", made, err)
				}
			}
			if _, err := os.Lstat(filepath.Join(d.dir, "socket")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the socket is still there: %v", err)
			}
		})
	}
}

// alive tells whether a child of this process runs.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return !strings.HasPrefix(rest, "Z")
}

// oursBelow lists the mounts of an image.
func oursBelow(t *testing.T, image string) (points []string) {
	t.Helper()
	table, err := mount.ReadTable()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range table.Ours() {
		if e.Source == image {
			points = append(points, e.Point)
		}
	}
	return points
}

// The daemon that the client starts is kept, and ends by itself once it is idle.
func TestClientStartsKeptDaemon(t *testing.T) {
	image := makeImage(t, map[string]string{"a": "content"})
	d := &daemon{t: t, dir: shortDir(t, 0)}
	d.env = append(os.Environ(), "ISOMOUNT_SOCKET="+d.dir+"/socket", "XDG_RUNTIME_DIR="+d.dir, "HOME="+d.dir)
	t.Cleanup(func() { stopDaemons(d.dir) })
	point := d.mount(image)
	pid := func() int {
		var n int
		out := d.must("daemon")
		_, rest, _ := strings.Cut(out, "process ")
		if _, err := fmt.Sscanf(rest, "%d", &n); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
		return n
	}
	old := pid()
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(point, "a")); err != nil || string(got) != "content" {
		t.Errorf("after a kill: %q, %v", got, err)
	}
	if now := pid(); now == old {
		t.Error("the dead process answers")
	}
	d.must("unmount", point)
}

// A kept daemon that is idle ends, and its keeper with it.
func TestKeptDaemonEndsWhenIdle(t *testing.T) {
	image := makeImage(t, map[string]string{"a": "content"})
	d := startKept(t, 0, "--idle-exit=200ms")
	point := d.mount(image)
	time.Sleep(500 * time.Millisecond)
	if !alive(d.cmd.Process.Pid) {
		t.Fatal("ended with a drive")
	}
	d.must("unmount", point)
	within(t, 10*time.Second, "the keeper ends", func() bool { return !alive(d.cmd.Process.Pid) })
}

// A daemon that nobody keeps says so instead of ending with its drives.
func TestRestartOfADaemonThatNobodyKeeps(t *testing.T) {
	d := startDaemon(t, 0)
	if out, code := d.client("daemon", "--restart"); code != 2 || !strings.Contains(out, "nobody keeps this daemon") {
		t.Errorf("exit code %d: %s", code, out)
	}
}

// A daemon that cannot start ends with its own exit code, and does not start
// again and again.
func TestKeeperOfADaemonThatCannotStart(t *testing.T) {
	d := &daemon{t: t, dir: shortDir(t, 0)}
	d.env = append(os.Environ(), "ISOMOUNT_SOCKET="+d.dir+"/socket", "HOME="+d.dir)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cmd := d.command(ctx, "isomountd", "--keep", "--cache=1K")
	out, _ := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != 64 || strings.Count(string(out), "at least 1M") != 1 {
		t.Errorf("exit code %d: %s", code, out)
	}
	running := startKept(t, 0)
	cmd = running.command(ctx, "isomountd", "--keep")
	out, _ = cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != 3 {
		t.Errorf("a second daemon at the same socket: exit code %d: %s", code, out)
	}
	if got := running.must("list"); !strings.Contains(got, "no drives") {
		t.Error(got)
	}
}

// A thousand times mount and unmount, and kills now and then, leave the keeper
// with what it had.
func TestKeeperHoldsNothingForDrivesThatAreGone(t *testing.T) {
	image := makeImage(t, map[string]string{"a": "content"})
	d := startKept(t, 0)
	count := func() int {
		fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", d.cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		return len(fds)
	}
	before := count()
	for i := range 8 {
		point := d.mount(image)
		if held := count(); held != before+3 {
			t.Errorf("with one drive the keeper holds %d descriptors more, want 3", held-before)
		}
		if i%4 == 3 {
			d.killChild()
		}
		d.must("unmount", point)
		within(t, 5*time.Second, "the keeper has let go", func() bool { return count() == before })
	}
}
