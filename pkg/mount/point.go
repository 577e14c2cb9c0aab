package mount

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A point is a directory, held by a descriptor that does not touch what is
// mounted there (O_PATH).
type point struct {
	path  string // absolute, without symbolic links
	dir   *os.File
	id    int    // of the mount that dir is on
	entry *Entry // the same in the mount table, nil if it is not there
	lock  *os.File
}

func (p *point) close() {
	closeFile(p.dir)
	if p.lock != nil {
		closeFile(p.lock) // unlocks
	}
}

// mounted tells whether dir is the root of a mount.
func (p *point) mounted() bool { return p.entry != nil && p.entry.Point == p.path }

// proc names the directory by its descriptor, whatever its path leads to by now.
func (p *point) proc() string { return procFD(int(p.dir.Fd())) }

func procFD(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// covered tells whether something was mounted at the path since it was opened.
func (p *point) covered() bool {
	id, err := mountID(unix.AT_FDCWD, p.path)
	return err == nil && id != p.id
}

// hides tells whether a mount at the point would cover the path of a file.
func (p *point) hides(f *os.File) bool {
	path, err := os.Readlink(procFD(int(f.Fd())))
	return err == nil && within(path, p.path)
}

// within tells whether a clean absolute path is dir or below it.
func within(path, dir string) bool {
	rest, ok := strings.CutPrefix(path, strings.TrimSuffix(dir, "/"))
	return ok && (rest == "" || rest[0] == '/')
}

// CheckPoint tells whether something can be mounted at path, as [Prepare]
// would, and returns the path without symbolic links. It changes nothing but
// that it removes a dead mount of ours.
func CheckPoint(ctx context.Context, path string) (string, error) {
	p, err := openFreePoint(ctx, path)
	if err != nil {
		return "", err
	}
	p.close()
	return p.path, nil
}

// openFreePoint opens a directory where nothing is mounted yet.
func openFreePoint(ctx context.Context, path string) (*point, error) {
	for range maxStack {
		p, err := openPoint(ctx, path)
		if err != nil {
			return nil, err
		}
		if !p.mounted() {
			return p.directory()
		}
		p.close()
		if err := heal(ctx, p.entry); err != nil {
			return nil, err
		}
	}
	return nil, fail(path, ErrBusy, nil)
}

// maxStack is how many dead mounts at one place are healed before giving up.
const maxStack = 16

// directory returns p if it is a directory, and else closes it.
func (p *point) directory() (*point, error) {
	var st unix.Stat_t
	err := unix.Fstat(int(p.dir.Fd()), &st)
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		err = ErrNotDir
	}
	if err != nil {
		p.close()
		return nil, fail(p.path, err, nil)
	}
	return p, nil
}

// maxClaim is how long claim waits for another mount at the same place.
const maxClaim = 10 * time.Second

// claim keeps other callers of Prepare away from the directory until the point
// is closed, then looks again whether one of them was faster. The lock is on
// the directory below the mount, so that the slower of two finds it held.
// Where the directory cannot be locked (not readable, or a file system without
// locks) the kernel's order decides: mounts stack.
func (p *point) claim(ctx context.Context) error {
	fd, err := unix.Open(p.proc(), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == nil {
		p.lock = os.NewFile(uintptr(fd), p.path)
		err = lockExclusive(ctx, p.lock)
	}
	if errors.Is(err, ErrBusy) || p.covered() {
		return fail(p.path, ErrBusy, nil)
	}
	return ctx.Err()
}

// lockExclusive takes a lock that another process may hold for a moment.
func lockExclusive(ctx context.Context, f *os.File) error {
	ctx, cancel := context.WithTimeoutCause(ctx, maxClaim, ErrBusy)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// mountID returns the id of the mount that a file is on. Name may be empty to
// ask about dirfd itself. It sends nothing to a FUSE server.
func mountID(dirfd int, name string) (int, error) {
	const flags = unix.AT_EMPTY_PATH | unix.AT_STATX_DONT_SYNC | unix.AT_NO_AUTOMOUNT
	var st unix.Statx_t
	err := unix.Statx(dirfd, name, flags, 0, &st)
	if err == nil && st.Mask&unix.STATX_MNT_ID != 0 {
		return int(st.Mnt_id), nil //nolint:gosec // mount ids are 31 bits
	}
	return mountIDFromProc(dirfd, name)
}

// mountIDFromProc does the same before Linux 5.8, and where seccomp forbids statx.
func mountIDFromProc(dirfd int, name string) (int, error) {
	fd := dirfd
	if name != "" {
		var err error
		if fd, err = unix.Openat(dirfd, name, unix.O_PATH|unix.O_CLOEXEC, 0); err != nil {
			return 0, err
		}
		defer closeFD(fd)
	}
	return mountIDFromInfo(fmt.Sprintf("/proc/self/fdinfo/%d", fd))
}

// mountIDFromInfo reads the line "mnt_id:" of a /proc/PID/fdinfo file.
func mountIDFromInfo(path string) (int, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer closeFile(f)
	s := bufio.NewScanner(f)
	for s.Scan() {
		if v, ok := strings.CutPrefix(s.Text(), "mnt_id:"); ok {
			return strconv.Atoi(strings.TrimSpace(v))
		}
	}
	return 0, errors.Join(errors.New("no mount id in "+path), s.Err())
}

// absolute makes a path absolute without touching the working directory, which
// may be a dead mount.
func absolute(path string) (string, error) {
	if path == "" {
		return "", fail(`""`, ErrMissing, nil)
	}
	if filepath.IsAbs(path) {
		return path, nil
	}
	wd, err := os.Readlink("/proc/self/cwd")
	return wd + "/" + path, err // not joined: ".." after a symbolic link is not its lexical parent
}
