package ipc

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestListenModes(t *testing.T) {
	tests := []struct {
		name      string
		system    bool
		dir, sock fs.FileMode
	}{
		{"user", false, 0o700, 0o600},
		{"system", true, 0o755, 0o666},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "isomount", "socket")
			l, err := Listen(path, tt.system)
			if err != nil {
				t.Fatal(err)
			}
			for p, want := range map[string]fs.FileMode{filepath.Dir(path): tt.dir, path: tt.sock} {
				if fi, err := os.Stat(p); err != nil || fi.Mode().Perm() != want {
					t.Errorf("%s: got %v, %v, want %v", p, fi.Mode(), err, want)
				}
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
			if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
			if err := l.Close(); err == nil {
				t.Error("closed twice")
			}
		})
	}
}

// TestListenReplacesOnlyDead meets what may be in the place of the socket.
func TestListenReplacesOnlyDead(t *testing.T) {
	bind := func(path string, close bool) *net.UnixListener {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		if close {
			_ = l.Close()
		}
		return l
	}
	tests := []struct {
		name string
		prep func(t *testing.T, path string)
		want error // nil: it listens
	}{
		{"dead socket", func(_ *testing.T, path string) { bind(path, true) }, nil},
		{"live socket without a lock, as of systemd", func(t *testing.T, path string) {
			t.Helper()
			l := bind(path, false)
			t.Cleanup(func() { _ = l.Close() })
		}, ErrRunning},
		{"live daemon", func(t *testing.T, path string) {
			t.Helper()
			l, err := Listen(path, false)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = l.Close() })
		}, ErrRunning},
		{"file", func(t *testing.T, path string) {
			t.Helper()
			if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, fs.ErrExist},
		{"lock file left", func(t *testing.T, path string) {
			t.Helper()
			if err := os.WriteFile(path+".lock", nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, nil},
		{"lock file is a link", func(t *testing.T, path string) {
			t.Helper()
			if err := os.Symlink("/dev/null", path+".lock"); err != nil {
				t.Fatal(err)
			}
		}, unix.ELOOP},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "socket")
			tt.prep(t, path)
			l, err := Listen(path, false)
			if err == nil {
				defer l.Close()
			}
			if !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if _, serr := os.Lstat(path); serr != nil && tt.name != "lock file is a link" {
				t.Errorf("nothing is there any more: %v", serr)
			}
		})
	}
}

// TestListenRace has many daemons start at once, each ending soon after: there
// is never more than one, and one can always start in the end.
func TestListenRace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	var wg sync.WaitGroup
	var mu sync.Mutex
	running, most := 0, 0
	count := func(n int) {
		mu.Lock()
		defer mu.Unlock()
		running += n
		most = max(most, running)
	}
	for range 8 {
		wg.Go(func() {
			for range 30 {
				l, err := Listen(path, false)
				if errors.Is(err, ErrRunning) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				count(1)
				count(-1)
				if err := l.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if most != 1 {
		t.Errorf("got %d listeners at once", most)
	}
	l, err := Listen(path, false)
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
}

// TestCloseKeepsOther replaces the socket under a listener.
func TestCloseKeepsOther(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	l, err := Listen(path, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(path), os.WriteFile(path, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("what another put there was removed: %v", err)
	}
}

func TestUnsafeDirectory(t *testing.T) {
	base := t.TempDir()
	dirs := map[string]fs.FileMode{"open": 0o777, "group": 0o770, "sticky": 0o777 | fs.ModeSticky, "own": 0o700}
	for name, perm := range dirs {
		dir := filepath.Join(base, name)
		if err := errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, perm)); err != nil {
			t.Fatal(err)
		}
		path := dir + "/socket"
		l, err := Listen(path, false)
		if err == nil {
			_ = l.Close()
		}
		unsafe := name == "open" || name == "group"
		if unsafe != errors.Is(err, ErrPermission) || (!unsafe && err != nil) {
			t.Errorf("%s: got %v", name, err)
		}
		if _, err := Dial(t.Context(), path); unsafe != errors.Is(err, ErrPermission) {
			t.Errorf("%s: Dial got %v", name, err)
		}
	}
	if os.Getuid() != 0 {
		return
	}
	// Another user was faster to make our directory in a place for all.
	trap := filepath.Join(base, "sticky", "isomount-0")
	if err := errors.Join(os.Mkdir(trap, 0o700), os.Chown(trap, 65534, 65534)); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(trap+"/socket", false); !errors.Is(err, ErrPermission) {
		t.Errorf("another's directory: got %v", err)
	}
}

func TestSocketPath(t *testing.T) {
	tests := []struct {
		name     string
		env, xdg string
		uid      int
		want     []string
	}{
		{"user", "", "/run/user/7", 7, []string{"/run/user/7/isomount/socket", "/run/isomountd/socket"}},
		{"no runtime directory", "", "", 7, []string{"/tmp/isomount-7/socket", "/run/isomountd/socket"}},
		{"relative runtime directory", "", "x", 7, []string{"/tmp/isomount-7/socket", "/run/isomountd/socket"}},
		{"root", "", "/run/user/0", 0, []string{"/run/isomountd/socket"}},
		{"given", "/x/y", "/run/user/7", 7, []string{"/x/y"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("ISOMOUNT_SOCKET", tt.env)
			t.Setenv("XDG_RUNTIME_DIR", tt.xdg)
			if diff := cmp.Diff(Candidates(tt.uid), tt.want); diff != "" {
				t.Errorf("(-got +want):\n%s", diff)
			}
			if tt.uid == os.Getuid() && SocketPath() != tt.want[0] {
				t.Errorf("got %s, want %s", SocketPath(), tt.want[0])
			}
		})
	}
}

func TestDialNoDaemon(t *testing.T) {
	dir := t.TempDir()
	dead := filepath.Join(dir, "dead")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
	for _, path := range []string{dead, dir + "/none", dir + "/none/none", systemSocket + "x"} {
		_, err := Dial(t.Context(), path)
		e, ok := errors.AsType[*Error](err)
		if !ok || !errors.Is(err, ErrNoDaemon) || !strings.Contains(err.Error(), path) || e.Hint == "" {
			t.Errorf("%s: got %v, want ErrNoDaemon with path and hint", path, err)
		}
	}
	if _, err := Dial(t.Context(), "/"+strings.Repeat("x", 200)); !errors.Is(err, ErrUsage) {
		t.Errorf("long path: got %v", err)
	}
	path := start(t, &Server{Handler: &fakeHandler{}})
	c, err := DialAny(t.Context(), []string{dead, path})
	if err != nil {
		t.Fatal(err)
	}
	if c.Path() != path || int(c.Server().PID) != os.Getpid() {
		t.Errorf("got %s, %+v", c.Path(), c.Server())
	}
	_ = c.Close()
	if _, err := DialAny(t.Context(), []string{dead, dir + "/none"}); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("got %v", err)
	}
}

// TestInherited runs this test again with passed descriptors.
func TestInherited(t *testing.T) {
	if os.Getenv("ISOMOUNT_TEST_INHERITED") != "" {
		inherited(t)
		return
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	sock, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Close()
	tests := []struct {
		name string
		env  []string
		want string
	}{
		{"named", []string{"LISTEN_FDS=2", "LISTEN_FDNAMES=isomountd.socket:drive-0"}, "isomountd.socket listens, drive-0 content"},
		{"unnamed", []string{"LISTEN_FDS=2"}, "unknown listens, unknown content"},
		{"none", nil, ""},
		{"zero", []string{"LISTEN_FDS=0"}, ""},
		{"other process", []string{"LISTEN_FDS=2", "LISTEN_PID=1"}, ""},
		{"odd", []string{"LISTEN_FDS=-1"}, "error"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			// The process id is known only in the child, as it is to systemd.
			cmd := exec.Command("/bin/sh", "-c", `: ${LISTEN_PID=$$}; export LISTEN_PID; exec "$0" -test.run='^TestInherited$'`, exe(t))
			cmd.Env = append(os.Environ(), "ISOMOUNT_TEST_INHERITED=1")
			cmd.Env = append(cmd.Env, tt.env...)
			cmd.ExtraFiles = []*os.File{sock, tempFile(t, "content")}
			out, err := cmd.Output()
			got, _, _ := strings.Cut(string(out), "\n")
			if err != nil || got != "got: "+tt.want {
				t.Errorf("got %q, %v, want %q", out, err, tt.want)
			}
		})
	}
}

func exe(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// inherited prints what was passed.
func inherited(t *testing.T) {
	t.Helper()
	files, err := Inherited()
	var got []string
	if err != nil {
		got = append(got, "error")
	}
	for _, f := range files {
		flags, ferr := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0)
		if ferr != nil || flags&unix.FD_CLOEXEC == 0 {
			got = append(got, "not close-on-exec")
		}
		if l, err := FileListener(f); err == nil {
			got = append(got, f.Name()+" listens")
			_ = l.Close()
			continue
		}
		b, _ := io.ReadAll(f)
		got = append(got, f.Name()+" "+string(b))
	}
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		if _, set := os.LookupEnv(name); set {
			got = append(got, name+" is set")
		}
	}
	if _, err := os.Stdout.WriteString("got: " + strings.Join(got, ", ") + "\n"); err != nil {
		t.Error(err)
	}
}

// TestOtherUsers connects as another user to a socket for all and to one that
// is not.
func TestOtherUsers(t *testing.T) {
	if path := os.Getenv("ISOMOUNT_TEST_DIAL"); path != "" {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, pingCall)
		_, _ = io.ReadAll(io.LimitReader(c, 1))
		return
	}
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	dir, err := os.MkdirTemp("/tmp", "isomount-ipc-test") //nolint:usetesting // the other user must get through the parents
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, system := range []bool{true, false} {
		var got Peer
		h := &fakeHandler{ping: func(_ context.Context, p Peer) (*PingReply, error) {
			got = p
			return &PingReply{}, nil
		}}
		path := dir + "/socket"
		l, err := Listen(path, system)
		if err != nil {
			t.Fatal(err)
		}
		s := &Server{Handler: h}
		var wg sync.WaitGroup
		wg.Go(func() { _ = s.Serve(context.Background(), l) })
		err = dialAsNobody(t, path)
		_ = s.Shutdown(context.Background())
		wg.Wait()
		if system && (err != nil || got.UID != 65534 || got.GID != 65534 || got.IsRoot()) {
			t.Errorf("system: got %+v, %v, want user 65534", got, err)
		}
		if !system && err == nil {
			t.Error("user: another user could connect")
		}
	}
}

func dialAsNobody(t *testing.T, path string) error {
	t.Helper()
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.Command("/proc/self/fd/3", "-test.run=^TestOtherUsers$")
	cmd.ExtraFiles = []*os.File{f} // its path may be closed to the other user
	cmd.Env = append(os.Environ(), "ISOMOUNT_TEST_DIAL="+path)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	return cmd.Run()
}
