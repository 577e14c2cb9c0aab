package mount

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// copyNamespace starts a process that has copied the mounts, and uses none.
func copyNamespace(t *testing.T) *exec.Cmd {
	t.Helper()
	if !capable() {
		t.Skip("needs the right to make a mount namespace")
	}
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", "cd /; echo ready; exec sleep 60")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if _, err := out.Read(make([]byte, 8)); err != nil {
		t.Skip("no mount namespace:", err)
	}
	return cmd
}

// ended tells whether the server has seen its connection end in time.
func ended(s *testServer, limit time.Duration) bool {
	done := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		return true
	case <-time.After(limit):
		return false
	}
}

func TestRemainsInNamespace(t *testing.T) {
	dir := tempPoint(t)
	s := mustMount(t, dir, Options{})
	cmd := copyNamespace(t)
	r, err := Remove(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if users := r.Users(t.Context()); len(users) != 0 {
		t.Errorf("got users %v, want none", users)
	}
	found := r.Namespaces(t.Context())
	if len(found) != 1 || found[0].PID != cmd.Process.Pid || found[0].Path != dir {
		t.Errorf("got namespaces %v, want that of process %d", found, cmd.Process.Pid)
	}
	if ended(s, 50*time.Millisecond) {
		t.Fatal("the connection ended while a namespace had the mount")
	}
	if err := r.Abort(); errors.Is(err, errors.ErrUnsupported) && os.Getuid() == 0 {
		t.Skip("FUSE's control file system cannot be mounted here")
	} else if err != nil {
		t.Fatal(err)
	}
	if !ended(s, 10*time.Second) {
		t.Error("the connection did not end")
	}
	if err := r.Abort(); err != nil {
		t.Errorf("when it has ended: got %v, want nothing to do", err)
	}
}

func TestRemainsInUse(t *testing.T) {
	if !capable() {
		t.Skip("needs the right to mount")
	}
	dir, other := tempPoint(t), tempPoint(t)
	mustMount(t, dir, Options{})
	if err := unix.Mount(dir, other, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(other, unix.MNT_DETACH) })
	cmd := startHelper(t, "open", filepath.Join(other, "file"))
	r, err := Remove(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	users := r.Users(t.Context())
	if len(users) != 2 || users[0].How != UseMount || users[0].Path != other || users[1].PID != cmd.Process.Pid {
		t.Errorf("got %v, want the mount at %s and process %d", users, other, cmd.Process.Pid)
	}
	if !strings.Contains(users[0].String(), other) {
		t.Errorf("got %q, want the mount point in it", users[0])
	}
}

func TestRemoveRefuses(t *testing.T) {
	dir := tempPoint(t)
	if _, err := Remove(t.Context(), dir); !errors.Is(err, ErrNotMounted) {
		t.Errorf("got %v, want %v", err, ErrNotMounted)
	}
	mustMount(t, dir, Options{})
	startHelper(t, "cwd", dir)
	if _, err := Remove(t.Context(), dir); !errors.Is(err, unix.EBUSY) {
		t.Errorf("got %v, want EBUSY", err)
	}
}
