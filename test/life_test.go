package test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A daemon with an idle time ends when it has had no drives for that long, and
// not before.
func TestIdleExit(t *testing.T) {
	image := makeImage(t, map[string]string{"a": "content"})
	d := startDaemon(t, 0, "--idle-exit=300ms")
	point := d.mount(image)
	time.Sleep(time.Second)
	if got, err := os.ReadFile(filepath.Join(point, "a")); err != nil || string(got) != "content" {
		t.Errorf("with a drive, after its idle time: %q, %v", got, err)
	}
	d.must("unmount", point)
	ended := make(chan error, 1)
	go func() { ended <- d.cmd.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("the daemon ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the daemon does not end")
	}
	if _, err := os.Lstat(d.dir + "/socket"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its socket is still there: %v", err)
	}
	d.start() // for the end of the test
}

// SIGTERM ends a daemon cleanly: its drives are unmounted, mount points that
// were made are removed, and nothing dead is left.
func TestTerminate(t *testing.T) {
	image := makeImage(t, map[string]string{"a": "content"})
	d := startDaemon(t, 0)
	point := d.mount(image)
	out := d.must("mount", image, "--json")
	_, made, _ := strings.Cut(out, `"mountpoint": "`)
	made, _, _ = strings.Cut(made, `"`)
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Wait(); err != nil {
		t.Errorf("the daemon ended with %v", err)
	}
	if names, err := os.ReadDir(point); err != nil || len(names) != 0 {
		t.Errorf("the mount point shows %v, %v; want an empty directory", names, err)
	}
	if _, err := os.Lstat(made); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the mount point that was made, %s, is still there: %v", made, err)
	}
	d.start()
}

// Two daemons cannot have one socket; the second says so and ends with a code
// of its own.
func TestSecondDaemon(t *testing.T) {
	d := startDaemon(t, 0)
	out, err := d.command(t.Context(), "isomountd").CombinedOutput()
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(string(out), "another daemon is running") {
		t.Errorf("got %v, %s", err, out)
	}
}

// The client starts a daemon when none runs, also when several do at once, and
// says where its log is when it cannot.
func TestClientStartsTheDaemon(t *testing.T) {
	image := makeImage(t, map[string]string{"a": "content"})
	d := startDaemon(t, 0)
	d.must("unmount", "--all")
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = d.cmd.Wait()
	t.Cleanup(func() { stopDaemons(d.dir) })
	outs := make(chan string, 4)
	for range cap(outs) {
		go func() {
			out, err := d.command(t.Context(), "isomount", "mount", image).CombinedOutput()
			if err != nil {
				out = append(out, err.Error()...)
			}
			outs <- string(out)
		}()
	}
	for range cap(outs) {
		if out := <-outs; !strings.Contains(out, "iso9660 (rockridge) at ") {
			t.Errorf("a client that started a daemon: %s", out)
		}
	}
	if n := strings.Count(d.must("list"), "mounted"); n != cap(outs) {
		t.Errorf("%d drives, want %d on one daemon", n, cap(outs))
	}
	d.must("unmount", "--all")
	stopDaemons(d.dir)
	d.start()
}
