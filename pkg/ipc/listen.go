package ipc

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrRunning means that another daemon listens on the socket.
var ErrRunning = errors.New("another daemon is running")

// A Listener is a socket in the file system. Close removes it.
type Listener struct {
	*net.UnixListener
	path string
	made unix.Stat_t // of the socket, to remove no other
	lock *os.File
}

// Listen makes a socket, and its directory if that is missing. For a system
// daemon everyone may connect, otherwise only the user. A socket that is left
// from a daemon that died is replaced; if its daemon lives, the error is
// [ErrRunning].
func Listen(path string, system bool) (*Listener, error) {
	if len(path) > maxSocketPath {
		return nil, tooLong(path)
	}
	dirPerm, perm := fs.FileMode(0o700), fs.FileMode(0o600)
	if system {
		dirPerm, perm = 0o755, 0o666
	}
	if err := os.MkdirAll(filepath.Dir(path), dirPerm); err != nil {
		return nil, err
	}
	if err := checkSocketDir(path); err != nil {
		return nil, err
	}
	lock, err := lockFile(path + ".lock")
	if err != nil {
		return nil, err
	}
	l := &Listener{path: path, lock: lock}
	if err := l.bind(perm); err != nil {
		l.unlock()
		return nil, err
	}
	return l, nil
}

// maxSocketPath is the longest path of a socket (sun_path of unix(7) less NUL).
const maxSocketPath = 107

func tooLong(path string) error {
	return &Error{
		Err:     ErrUsage,
		Message: fmt.Sprintf("%s: the path of a socket may have %d bytes at most", path, maxSocketPath),
		Hint:    "set ISOMOUNT_SOCKET to a shorter one",
	}
}

// bind makes the socket. The lock is held.
func (l *Listener) bind(perm fs.FileMode) error {
	if err := removeStale(l.path); err != nil {
		return err
	}
	ul, err := net.ListenUnix("unix", &net.UnixAddr{Name: l.path, Net: "unix"})
	if err != nil {
		return err
	}
	ul.SetUnlinkOnClose(false) // it may be another's by then
	l.UnixListener = ul
	if err = os.Chmod(l.path, perm); err == nil {
		err = unix.Lstat(l.path, &l.made)
	}
	if err != nil {
		return errors.Join(err, ul.Close(), os.Remove(l.path))
	}
	return nil
}

// Close stops listening and removes the socket, if it is still this one.
func (l *Listener) Close() error {
	err := l.UnixListener.Close()
	var st unix.Stat_t
	if lerr := unix.Lstat(l.path, &st); lerr == nil && st.Ino == l.made.Ino && st.Dev == l.made.Dev && err == nil {
		err = os.Remove(l.path)
	}
	l.unlock()
	return err
}

// unlock gives the lock back and removes its file while it is still held;
// lockFile knows that a file can vanish this way.
func (l *Listener) unlock() {
	if l.lock.Fd() != ^uintptr(0) {
		_ = os.Remove(l.lock.Name())
		_ = l.lock.Close()
	}
}

// lockFile takes the lock that keeps two daemons from one socket.
func lockFile(path string) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, err
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = fmt.Errorf("%s: %w", strings.TrimSuffix(path, ".lock"), ErrRunning)
		}
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		if isAt(f, path) {
			return f, nil
		}
		_ = f.Close() // its holder removed it before we had the lock
	}
}

// isAt tells whether an open file is the one that path names.
func isAt(f *os.File, path string) bool {
	var a, b unix.Stat_t
	if unix.Fstat(int(f.Fd()), &a) != nil || unix.Lstat(path, &b) != nil {
		return false
	}
	return a.Dev == b.Dev && a.Ino == b.Ino
}

// removeStale removes a socket on which nobody listens.
func removeStale(path string) error {
	fi, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case fi.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s: %w and is no socket; remove it", path, fs.ErrExist)
	}
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err == nil {
		return errors.Join(fmt.Errorf("%s: %w", path, ErrRunning), c.Close())
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}

// firstPassed is where passed descriptors begin (sd_listen_fds(3)).
const firstPassed = 3

// Inherited returns the descriptors that systemd passed to this process, with
// their names, and none if there are no. It may be called once: it clears the
// environment, so that children do not take them for theirs.
func Inherited() ([]*os.File, error) {
	pid, count, names := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_FDNAMES")
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID"} {
		if err := os.Unsetenv(name); err != nil {
			return nil, err
		}
	}
	if pid != strconv.Itoa(os.Getpid()) || count == "" {
		return nil, nil
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 || n > 1<<16 {
		return nil, fmt.Errorf("LISTEN_FDS=%s: not a number of descriptors", count)
	}
	given := strings.Split(names, ":")
	files := make([]*os.File, n)
	for i := range files {
		name := "unknown"
		if i < len(given) && given[i] != "" {
			name = given[i]
		}
		unix.CloseOnExec(firstPassed + i)
		files[i] = os.NewFile(uintptr(firstPassed+i), name)
	}
	return files, nil
}

// FileListener makes a listener of a passed socket and closes the file.
func FileListener(f *os.File) (net.Listener, error) {
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("passed descriptor %q: %w", f.Name(), err)
	}
	if _, ok := l.(*net.UnixListener); !ok {
		return nil, errors.Join(fmt.Errorf("passed descriptor %q is not a Unix stream socket", f.Name()), l.Close())
	}
	return l, f.Close()
}

func isTemporary(err error) bool {
	for _, e := range []error{unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM, unix.ECONNABORTED, unix.EINTR} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
