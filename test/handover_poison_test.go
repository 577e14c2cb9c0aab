package test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// abortChild has the process that serves fail of itself, and waits for its end.
func (d *daemon) abortChild() {
	d.t.Helper()
	old := d.child()
	if err := syscall.Kill(old, syscall.SIGABRT); err != nil {
		d.t.Fatal(err)
	}
	within(d.t, 20*time.Second, "the next daemon", func() bool { p := d.child(); return p != 0 && p != old })
}

// dropCaches has the kernel forget what it knows of a file of a mount.
func dropCaches(t *testing.T, point string) {
	t.Helper()
	f, err := os.Open(filepath.Join(point, "a"))
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		t.Error(err)
	}
}

// wantSmall reads the file a of a drive, which says "small".
func wantSmall(t *testing.T, point, what string) {
	t.Helper()
	if got, err := os.ReadFile(filepath.Join(point, "a")); err != nil || string(got) != "small" {
		t.Errorf("%s: %q, %v", what, got, err)
	}
}

// A request that is there when two daemons fail of themselves, the second time
// alone, is answered by the third with an error; the others never notice.
func TestRequestThatEndsTwoDaemons(t *testing.T) {
	content := filler(4 << 20)
	image := makeImage(t, map[string]string{"a": "small", "z": content}, "--sort-weight", "2", "/a", "--sort-weight", "1", "/z")
	faulty, path := faultyImage(t, image)
	const off = 3 << 20
	faulty.from.Store(int64(bytes.Index(faulty.data, []byte(content[:4096]))) + off)
	faulty.to.Store(faulty.from.Load() + 4096)
	d := startKept(t, 0)
	other, point := d.mount(image), d.mount(path)
	faulty.stall.Store(true)
	read := make(chan error, 1)
	go func() {
		// Without the page cache, which would ask for more than this.
		f, err := os.OpenFile(filepath.Join(point, "z"), os.O_RDONLY|syscall.O_DIRECT, 0)
		if err == nil {
			_, err = f.ReadAt(make([]byte, 4096), off)
			_ = f.Close()
		}
		read <- err
	}()
	for n := range 2 {
		// At the second time the request is on trial.
		within(t, 20*time.Second, "the request waits", func() bool { return int(faulty.stalled.Load()) > n })
		d.abortChild()
		if n == 0 {
			select {
			case err := <-read:
				t.Fatalf("after one failure: %v", err)
			default:
			}
		}
	}
	select {
	case err := <-read:
		if !errors.Is(err, syscall.EIO) {
			t.Errorf("got %v, want EIO", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the request is still tried")
	}
	faulty.stall.Store(false)
	wantSmall(t, other, "another drive")
	wantSmall(t, point, "another file of the drive")
	d.must("unmount", point)
	d.must("unmount", other)
}

// An image that has changed so that opening it ends the daemon is opened by two
// processes and not by the third; the other drives are served by each of them.
func TestOpeningThatEndsTwoDaemons(t *testing.T) {
	image := makeImage(t, map[string]string{"a": "small"})
	faulty, path := faultyImage(t, image)
	d := startKept(t, 0)
	other, point := d.mount(image), d.mount(path)
	faulty.from.Store(0)
	faulty.to.Store(int64(len(faulty.data)))
	faulty.stall.Store(true)
	otherReads := func(when string) {
		t.Helper()
		dropCaches(t, other)
		wantSmall(t, other, "another drive, "+when)
	}
	awaitStall := func(n int32) {
		t.Helper()
		within(t, 20*time.Second, "the image is being opened", func() bool { return faulty.stalled.Load() == n })
	}
	d.killChild()
	awaitStall(1)
	otherReads("while the image is being opened")
	d.abortChild()
	awaitStall(2) // on trial, while nothing else is served
	d.abortChild()
	otherReads("by the third daemon")
	if _, err := os.ReadFile(filepath.Join(point, "a")); !errors.Is(err, syscall.EIO) {
		t.Errorf("got %v, want EIO", err)
	}
	if n := faulty.stalled.Load(); n != 2 {
		t.Errorf("the image was opened %d times, want 2", n)
	}
	faulty.stall.Store(false)
	d.killChild()
	otherReads("by the fourth")
	d.must("unmount", point)
	d.must("mount", path, point)
	wantSmall(t, point, "mounted again")
	d.must("unmount", point)
	d.must("unmount", other)
}

// A drive whose image cannot be read any more when another daemon takes over
// says so, and keeps no other.
func TestImageThatCannotBeReadAtAHandover(t *testing.T) {
	image := makeImage(t, map[string]string{"a": "small"})
	faulty, path := faultyImage(t, image)
	faulty.from.Store(0)
	faulty.to.Store(int64(len(faulty.data)))
	d := startKept(t, 0)
	other, point := d.mount(image), d.mount(path)
	faulty.errno.Store(int32(syscall.EIO))
	d.killChild()
	if _, err := os.ReadFile(filepath.Join(point, "a")); !errors.Is(err, syscall.EIO) {
		t.Errorf("got %v, want EIO", err)
	}
	wantSmall(t, other, "another drive")
	states := map[string]int{}
	for _, drive := range d.stats().Drives {
		states[drive.State]++
	}
	if states["failing"] != 1 || states["mounted"] != 1 {
		t.Errorf("states: %v", states)
	}
	d.must("unmount", point)
	d.must("unmount", other)
}

// An image that hangs when another daemon takes over holds up nobody for longer
// than the deadline, and is served when it answers again.
func TestImageThatHangsAtAHandover(t *testing.T) {
	image := makeImage(t, map[string]string{"a": "small"})
	faulty, path := faultyImage(t, image)
	faulty.from.Store(0)
	faulty.to.Store(int64(len(faulty.data)))
	d := startKept(t, 0, "--deadline=500ms")
	other, point := d.mount(image), d.mount(path)
	faulty.stall.Store(true)
	d.killChild()
	read := make(chan error, 1)
	go func() {
		_, err := os.ReadFile(filepath.Join(point, "a"))
		read <- err
	}()
	dropCaches(t, other)
	wantSmall(t, other, "another drive")
	select {
	case err := <-read:
		if !errors.Is(err, syscall.EIO) {
			t.Errorf("got %v, want EIO", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("a read hangs")
	}
	if out := d.must("list"); strings.Count(out, "mounted") != 1 || strings.Count(out, "starting") != 1 {
		t.Errorf("listed are\n%s", out)
	}
	faulty.stall.Store(false)
	within(t, 20*time.Second, "the image is there", func() bool { return strings.Count(d.must("list"), "mounted") == 2 })
	wantSmall(t, point, "when the image answers again")
	if names, err := os.ReadDir(point); err != nil || len(names) != 1 {
		t.Errorf("the root lists %v, %v", names, err)
	}
	d.must("unmount", point)
	d.must("unmount", other)
}

// A daemon that is killed while the kernel reads an image for it that does not
// answer cannot end. The next one does not wait for that.
func TestKilledAndCannotEnd(t *testing.T) {
	image := makeImage(t, map[string]string{"a": "small"})
	faulty, path := faultyImage(t, image)
	faulty.from.Store(0)
	faulty.to.Store(int64(len(faulty.data)))
	d := startKept(t, 0, "--deadline=500ms")
	other, point := d.mount(image), d.mount(path)
	faulty.deaf.Store(true)
	faulty.stall.Store(true)
	read := make(chan error, 1)
	go func() {
		_, err := os.ReadFile(filepath.Join(point, "a"))
		read <- err
	}()
	within(t, 10*time.Second, "the image is read", func() bool { return faulty.stalled.Load() > 0 })
	old := d.child()
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	dropCaches(t, other)
	wantSmall(t, other, "another drive")
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", old)); err != nil {
		t.Errorf("the process that cannot end has ended: %v", err)
	}
	select {
	case err := <-read:
		if !errors.Is(err, syscall.EIO) {
			t.Errorf("got %v, want EIO", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("a read hangs")
	}
	faulty.stall.Store(false)
	within(t, 20*time.Second, "the process ends", func() bool {
		_, err := os.Stat(fmt.Sprintf("/proc/%d", old))
		return err != nil
	})
	within(t, 20*time.Second, "the image is there", func() bool { return strings.Count(d.must("list"), "mounted") == 2 })
	wantSmall(t, point, "when the image answers again")
	d.must("unmount", point)
	d.must("unmount", other)
}
