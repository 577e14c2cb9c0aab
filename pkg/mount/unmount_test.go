package mount

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRealUnmountRefuses(t *testing.T) {
	dir := tempPoint(t)
	if err := Unmount(t.Context(), dir, false); !errors.Is(err, ErrNotMounted) {
		t.Errorf("got %v, want %v", err, ErrNotMounted)
	}
	if err := Unmount(t.Context(), dir+"/no", false); !errors.Is(err, ErrMissing) {
		t.Errorf("got %v, want %v", err, ErrMissing)
	}
	if err := Unmount(t.Context(), "/proc", false); !errors.Is(err, ErrNotOurs) {
		t.Errorf("got %v, want %v", err, ErrNotOurs)
	}
	mustMount(t, dir, Options{})
	if err := Unmount(t.Context(), dir+"/file", false); !errors.Is(err, ErrNotMounted) {
		t.Errorf("a file below: got %v, want %v", err, ErrNotMounted)
	}
}

// TestOtherUser has an ordinary user try to unmount what root has mounted and
// to mount over it.
func TestOtherUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	dir := tempPoint(t)
	for d := dir; d != "/tmp"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	mustMount(t, dir, Options{AllowOther: true})
	for role, want := range map[string]error{"unmount": ErrNotYours, "prepare": ErrBusy} {
		cmd := helper(role, dir)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		out, err := cmd.Output()
		if err == nil || !strings.Contains(string(out), want.Error()) {
			t.Errorf("%s: got %q, %v, want %q", role, out, err, want)
		}
	}
	if !isMounted(t, dir) {
		t.Error("not mounted any more")
	}
}

func TestRealBusyNamesHolders(t *testing.T) {
	tests := []struct {
		role string
		how  Use
		file string
	}{
		{"cwd", UseCwd, ""},
		{"open", UseFile, "/file"},
		{"map", UseMap, "/file"},
	}
	for _, tt := range tests {
		t.Run(tt.role, func(t *testing.T) {
			dir := tempPoint(t)
			mustMount(t, dir, Options{})
			cmd := startHelper(t, tt.role, dir+tt.file)
			err := Unmount(t.Context(), dir, false)
			busy, ok := errors.AsType[*BusyError](err)
			if !ok || !errors.Is(err, unix.EBUSY) {
				t.Fatalf("got %v, want a BusyError", err)
			}
			if len(busy.Holders) != 1 {
				t.Fatalf("got holders %v, want one", busy.Holders)
			}
			h := busy.Holders[0]
			if h.PID != cmd.Process.Pid || h.How != tt.how || h.Path != dir+tt.file || h.User == "" || h.Command == "" {
				t.Errorf("got %+v, want process %d with %s %s", h, cmd.Process.Pid, tt.how, dir+tt.file)
			}
			if !strings.Contains(err.Error(), fmt.Sprint(cmd.Process.Pid)) {
				t.Errorf("got %q, want the process in it", err)
			}
			if err := Unmount(t.Context(), dir, true); err != nil || isMounted(t, dir) {
				t.Errorf("lazy: got %v", err)
			}
		})
	}
}

func TestBusyNamesLoopDevice(t *testing.T) {
	if !capable() {
		t.Skip("needs root")
	}
	dir := tempPoint(t)
	mustMount(t, dir, Options{})
	out, err := exec.Command("losetup", "--find", "--show", "--read-only", dir+"/file").Output()
	if err != nil {
		t.Skip("no loop device:", err)
	}
	dev := strings.TrimSpace(string(out))
	t.Cleanup(func() { _ = exec.Command("losetup", "--detach", dev).Run() })
	busy, ok := errors.AsType[*BusyError](Unmount(t.Context(), dir, false))
	if !ok || len(busy.Holders) != 1 || !strings.Contains(busy.Holders[0].String(), dev) {
		t.Errorf("got %v, want %s named", busy, dev)
	}
}

func TestRealBusyNamesMount(t *testing.T) {
	if !capable() {
		t.Skip("a user cannot mount in a read-only mount")
	}
	dir := tempPoint(t)
	mustMount(t, dir, Options{})
	if err := unix.Mount("/dev/null", dir+"/file", "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir+"/file", unix.MNT_DETACH) })
	err := Unmount(t.Context(), dir, false)
	busy, ok := errors.AsType[*BusyError](err)
	if !ok || len(busy.Holders) != 1 || busy.Holders[0].How != UseMount || busy.Holders[0].Path != dir+"/file" {
		t.Errorf("got %v, want the mount named", err)
	}
}
