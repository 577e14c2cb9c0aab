package test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/isomount/isomount/pkg/ipc"
	"github.com/isomount/isomount/pkg/mount"
)

// Accounts that every Debian has; fusermount3 wants its users to have one.
const (
	alice = 65534 // nobody
	bob   = 2     // bin
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can be several users")
	}
}

// An ordinary user mounts through fusermount3, with a daemon of their own.
func TestOrdinaryUser(t *testing.T) {
	needRoot(t)
	need(t, "fusermount3")
	image := makeImage(t, map[string]string{"a": "content"})
	d := startDaemon(t, alice)
	point := d.mount(image)
	out, err := asUser(alice, "cat", filepath.Join(point, "a"))
	if err != nil || out != "content" {
		t.Errorf("alice reads %q, %v", out, err)
	}
	if _, err := os.Stat(filepath.Join(point, "a")); !errors.Is(err, syscall.EACCES) {
		t.Errorf("root sees into the mount of a user without allow_other: %v", err)
	}
	d.must("unmount", point)

	// Without a mount point, below $XDG_RUNTIME_DIR.
	var drive struct{ Mountpoint string }
	if err := json.Unmarshal([]byte(d.must("mount", image, "--json")), &drive); err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(d.dir, "isomount", "DISC"); drive.Mountpoint != want {
		t.Errorf("mounted at %s, want %s", drive.Mountpoint, want)
	}
	d.must("unmount", "0")
	if _, err := os.Lstat(drive.Mountpoint); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the mount point that was made is still there: %v", err)
	}
}

// A system daemon serves several users; each sees and ends only their own
// drives, and has no more than their share.
func TestUsersOfASystemDaemon(t *testing.T) {
	needRoot(t)
	need(t, "fusermount3")
	image := makeImage(t, map[string]string{"a": "content"})
	d := startDaemon(t, 0, "--max-drives-per-user=2")
	for _, path := range []string{d.dir, d.dir + "/socket"} {
		if err := os.Chmod(path, 0o777&^0o022|0o055); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(d.dir+"/socket", 0o666); err != nil {
		t.Fatal(err)
	}
	as := func(uid int) *daemon {
		own := *d
		own.uid = uid
		own.dir = shortDir(t, uid)
		own.env = append(os.Environ(), "ISOMOUNT_SOCKET="+d.dir+"/socket", "XDG_RUNTIME_DIR="+own.dir, "HOME="+own.dir)
		return &own
	}
	a, b := as(alice), as(bob)
	mine := a.mount(image)
	if out := b.must("list"); !strings.Contains(out, "no drives") {
		t.Errorf("bob sees %s", out)
	}
	if out := a.must("list"); !strings.Contains(out, mine) {
		t.Errorf("alice does not see her drive: %s", out)
	}
	if out := d.must("list"); !strings.Contains(out, mine) {
		t.Errorf("root does not see it: %s", out)
	}
	if out, code := b.client("unmount", "0"); code != 8 {
		t.Errorf("bob ends alice's drive by number: exit code %d: %s", code, out)
	}
	if out, code := b.client("unmount", mine); code != 6 && code != 8 {
		t.Errorf("bob ends alice's drive by mount point: exit code %d: %s", code, out)
	}
	if out, code := b.client("info", "0"); code != 8 {
		t.Errorf("bob asks for alice's drive: exit code %d: %s", code, out)
	}
	a.mount(image)
	if out, code := a.client("mount", image); code != 10 || !strings.Contains(out, "too many drives") {
		t.Errorf("a third drive: exit code %d, want 10: %s", code, out)
	}
	b.mount(image)
	d.must("mount", image)
	a.must("unmount", "--all")
	if out := b.must("list"); strings.Contains(out, "no drives") {
		t.Errorf("alice's --all ended bob's drive: %s", out)
	}
	b.must("unmount", "--all")
	d.must("unmount", "--all")
}

// A file that the user cannot read stays closed, whoever the daemon is.
func TestUnreadableImage(t *testing.T) {
	needRoot(t)
	image := makeImage(t, map[string]string{"a": "secret"})
	if err := os.Chmod(image, 0o600); err != nil {
		t.Fatal(err)
	}
	d := startDaemon(t, alice)
	if out, code := d.client("mount", image); code != 6 || !strings.Contains(out, "you need permission to read the image") {
		t.Errorf("exit code %d, want 6: %s", code, out)
	}
	other := makeImage(t, map[string]string{"a": "content"})
	if out, code := d.client("mount", other, "/etc"); code != 6 && code != 13 {
		t.Errorf("a mount point of root's: exit code %d: %s", code, out)
	}
}

// dialAs connects as a user, who the daemon takes the caller for.
func dialAs(t *testing.T, uid int, socket string) *ipc.Client {
	t.Helper()
	type result struct {
		client *ipc.Client
		err    error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with this function
		if _, _, e := syscall.RawSyscall(syscall.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); e != 0 {
			done <- result{nil, e}
			return
		}
		c, err := ipc.Dial(context.Background(), socket)
		done <- result{c, err}
	}()
	r := <-done
	if r.err != nil {
		t.Fatal(r.err)
	}
	return r.client
}

// A user who says that their drive is where another's is does not have that
// unmounted when the daemon, which is root here, ends.
func TestStopTakesNoMountOfAnother(t *testing.T) {
	needRoot(t)
	need(t, "fusermount3")
	image := makeImage(t, map[string]string{"a": "content"})
	bobs := startDaemon(t, bob)
	point := bobs.mount(image)
	d := startDaemon(t, 0)
	if err := errors.Join(os.Chmod(d.dir, 0o755), os.Chmod(d.dir+"/socket", 0o666)); err != nil {
		t.Fatal(err)
	}
	client := dialAs(t, alice, d.dir+"/socket")
	defer client.Close()
	m, err := mount.Prepare(t.Context(), t.TempDir(), mount.Options{})
	if err != nil {
		t.Skip(err)
	}
	file, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	r, err := client.Mount(t.Context(), &ipc.MountRequest{Image: ipc.Path(image), Mountpoint: ipc.Path(point)}, file, m.Device())
	if err != nil || r.Drive.UID != alice {
		t.Fatalf("got %+v, %v", r, err)
	}
	if err := d.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Wait(); err != nil {
		t.Error(err)
	}
	if err := m.Abort(); err != nil {
		t.Error(err)
	}
	if got, err := asUser(bob, "cat", filepath.Join(point, "a")); err != nil || got != "content" {
		t.Errorf("bob's mount: %q, %v", got, err)
	}
	d.start() // for the end of the test
	bobs.must("unmount", point)
}
