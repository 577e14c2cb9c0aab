package main

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/isomount/isomount/pkg/fsys"
)

// A target is a directory into which files of a disc are written.
//
// Nothing is written outside of it, whatever the disc says and whatever is in
// the directory: a path is opened one name at a time and no symbolic link is
// followed on the way, names are checked, and everything is made, linked and
// changed relative to the directory that was opened.
type target struct {
	dir   *os.File
	owner bool // keep owners and set-id bits, make devices
	over  bool // replace files that exist

	open []openDir // the directories used last, the latest at the end
	made map[string]bool
	bad  func(path string, err error)
}

type openDir struct {
	path string
	fd   int
}

// maxOpenDirs is how many directories stay open. Two at least: a hard link
// needs both its ends.
const maxOpenDirs = 8

var (
	errExists    = error(&worded{"exists already; --overwrite replaces it", fs.ErrExist})
	errInTheWay  = errors.New("a directory is in the way")
	errSymlink   = errors.New("there is something that is no directory, or a symbolic link, which is not followed")
	errName      = errors.New("name cannot be used")
	errNoDevices = errors.New("devices can only be made by root that keeps owners")
)

// newTarget opens a directory, and makes it if need be.
func newTarget(dir string) (*target, error) {
	t := &target{made: map[string]bool{}}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return nil, err
		}
		t.made[""] = true
	}
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY, 0)
	t.dir = f
	return t, err
}

func (t *target) Close() error {
	for _, d := range t.open {
		_ = unix.Close(d.fd) // nothing was written to it
	}
	t.open = nil
	return t.dir.Close()
}

// parent opens the directory of a path and returns the last name of it.
func (t *target) parent(p string) (int, string, error) {
	dir, name := path.Split(p)
	if !validName(name) {
		return -1, "", errName
	}
	fd, err := t.directory(strings.TrimSuffix(dir, "/"))
	return fd, name, err
}

func validName(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.ContainsAny(name, "/\x00")
}

// directory opens a directory below the target without following links. It
// stays open until some others were opened.
func (t *target) directory(p string) (int, error) {
	if p == "" {
		return int(t.dir.Fd()), nil
	}
	for i, d := range t.open {
		if d.path == p {
			t.open = append(append(t.open[:i:i], t.open[i+1:]...), d)
			return d.fd, nil
		}
	}
	fd, err := t.descend(p)
	if err != nil {
		return -1, err
	}
	if len(t.open) == maxOpenDirs {
		_ = unix.Close(t.open[0].fd)
		t.open = t.open[1:]
	}
	t.open = append(t.open, openDir{p, fd})
	return fd, nil
}

func (t *target) descend(p string) (int, error) {
	fd := int(t.dir.Fd())
	for i, name := range strings.Split(p, "/") {
		if !validName(name) {
			return -1, errName
		}
		next, err := unix.Openat(fd, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if i > 0 {
			_ = unix.Close(fd)
		}
		switch {
		case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
			return -1, errSymlink
		case err != nil:
			return -1, err
		}
		fd = next
	}
	return fd, nil
}

// mkdir makes a directory that only this process can use for now. One that
// exists stays as it is.
func (t *target) mkdir(p *place) error {
	if p.path == "" {
		return nil
	}
	fd, name, err := t.parent(p.path)
	if err != nil {
		return err
	}
	err = unix.Mkdirat(fd, name, 0o700)
	if errors.Is(err, unix.EEXIST) {
		if kindAt(fd, name) != unix.S_IFDIR {
			return errSymlink
		}
		return nil
	}
	t.made[p.path] = err == nil
	return err
}

// kindAt returns the type of a file, 0 if there is none.
func kindAt(fd int, name string) uint32 {
	var st unix.Stat_t
	if err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return 0
	}
	return st.Mode & unix.S_IFMT
}

// room finds out whether a name can be used, before anything is read for it.
func (t *target) room(fd int, name string) error {
	switch kind := kindAt(fd, name); {
	case kind == 0:
		return nil
	case kind == unix.S_IFDIR:
		return errInTheWay
	case !t.over:
		return errExists
	}
	return nil
}

// file makes a file that appears under its name when it is whole.
func (t *target) file(p *place, f fsys.FS, fill func(*os.File) error) error {
	fd, name, err := t.parent(p.path)
	if err != nil {
		return err
	}
	if err := t.room(fd, name); err != nil {
		return err
	}
	file, temp, err := tempAt(fd, p.path)
	if err != nil {
		return err
	}
	err = fill(file)
	if err == nil {
		t.attributes(file, p, f)
		err = t.publish(file, temp, fd, name)
	} else if temp != "" {
		err = errors.Join(err, unix.Unlinkat(fd, temp, 0))
	}
	return errors.Join(err, file.Close())
}

// tempAt opens a new file: one without a name where the file system can do
// that, so that nothing half is left even by a kill.
func tempAt(fd int, p string) (f *os.File, name string, err error) {
	n, err := unix.Openat(fd, ".", unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		name = tempName()
		n, err = unix.Openat(fd, name, unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	}
	if err != nil {
		return nil, "", err
	}
	return os.NewFile(uintptr(n), p), name, nil
}

func tempName() string { return fmt.Sprintf(".isomount.%016x", rand.Uint64()) }

// publish gives a file its name.
func (t *target) publish(f *os.File, temp string, fd int, name string) error {
	if temp == "" {
		err := unix.Linkat(unix.AT_FDCWD, procPath(f), fd, name, unix.AT_SYMLINK_FOLLOW)
		if !errors.Is(err, unix.EEXIST) || !t.over {
			return taken(err)
		}
		temp = tempName() // a name that is taken is replaced by another name only
		if err := unix.Linkat(unix.AT_FDCWD, procPath(f), fd, temp, unix.AT_SYMLINK_FOLLOW); err != nil {
			return err
		}
	}
	return t.rename(fd, temp, name)
}

// rename moves a temporary name to the one that is wanted, or removes it.
func (t *target) rename(fd int, temp, name string) error {
	flags := uint(unix.RENAME_NOREPLACE)
	if t.over {
		flags = 0
	}
	err := unix.Renameat2(fd, temp, fd, name, flags)
	if errors.Is(err, unix.EINVAL) && !t.over { // the file system does not know the flag
		if err = t.room(fd, name); err == nil {
			err = unix.Renameat(fd, temp, fd, name)
		}
	}
	if err != nil {
		return errors.Join(taken(err), unix.Unlinkat(fd, temp, 0))
	}
	return nil
}

func taken(err error) error {
	if errors.Is(err, unix.EEXIST) {
		return errExists
	}
	return err
}

func procPath(f *os.File) string { return "/proc/self/fd/" + strconv.Itoa(int(f.Fd())) }

// link makes another name of a file that was written before.
func (t *target) link(first string, p *place) error {
	from, old, err := t.parent(first)
	if err != nil {
		return err
	}
	to, name, err := t.parent(p.path)
	if err != nil {
		return err
	}
	return t.make(to, name, func(name string) error { return unix.Linkat(from, old, to, name, 0) })
}

// special makes a symbolic link, a device, a pipe or a socket.
func (t *target) special(p *place, f fsys.FS) error {
	fd, name, err := t.parent(p.path)
	if err != nil {
		return err
	}
	switch p.kind() {
	case fsys.TypeLink:
		return t.symlink(fd, name, p, f)
	case fsys.TypeFifo, fsys.TypeSocket:
	case fsys.TypeChar, fsys.TypeBlock:
		if !t.owner {
			return errNoDevices
		}
	default:
		return fmt.Errorf("a file of unknown type %o: %w", p.kind(), fsys.ErrNotSupported)
	}
	dev := unix.Mkdev(p.attr.Major, p.attr.Minor)
	return t.make(fd, name, func(name string) error {
		if err := unix.Mknodat(fd, name, p.kind()|0o600, int(dev)); err != nil { //nolint:gosec // as the call takes it
			return err
		}
		n, err := unix.Openat(fd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		file := os.NewFile(uintptr(n), p.path)
		t.attributes(file, p, f)
		return file.Close()
	})
}

// make lets create make a file of a name; of another, that then replaces it, if
// there is one already.
func (t *target) make(fd int, name string, create func(name string) error) error {
	err := create(name)
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	if err := t.room(fd, name); err != nil {
		return err
	}
	temp := tempName()
	if err := create(temp); err != nil {
		return err
	}
	return t.rename(fd, temp, name)
}

func (t *target) symlink(fd int, name string, p *place, f fsys.FS) error {
	to, err := f.Readlink(p.node)
	if err != nil {
		return err
	}
	return t.make(fd, name, func(name string) error {
		if err := unix.Symlinkat(string(to), fd, name); err != nil {
			return err
		}
		if t.owner {
			t.warn(p, "owner", unix.Fchownat(fd, name, int(p.attr.UID), int(p.attr.GID), unix.AT_SYMLINK_NOFOLLOW))
		}
		for _, x := range xattrsOf(f, p.node, func(err error) { t.warn(p, "attributes", err) }) {
			t.warn(p, x.Name, unix.Lsetxattr(fmt.Sprintf("/proc/self/fd/%d/%s", fd, name), x.Name, x.Value, 0))
		}
		t.warn(p, "time", unix.UtimesNanoAt(fd, name, timesOf(&p.attr), unix.AT_SYMLINK_NOFOLLOW))
		return nil
	})
}

// finish gives a directory its attributes when nothing more is written into it,
// if it was made here or what exists is to be replaced.
func (t *target) finish(p *place, f fsys.FS) error {
	if !t.made[p.path] && (!t.over || p.path == "") {
		return nil
	}
	fd, err := t.directory(p.path)
	if err != nil {
		return err
	}
	n, err := unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	dir := os.NewFile(uintptr(n), p.path)
	t.attributes(dir, p, f)
	return dir.Close()
}

// attributes gives an open file what the disc says of it. The order matters: a
// change of owner takes set-id bits and capabilities away, one of the mode
// changes an ACL, and anything may change the time.
func (t *target) attributes(file *os.File, p *place, f fsys.FS) {
	name := procPath(file)
	mode := p.attr.Mode & fsys.PermMask
	if t.owner {
		t.warn(p, "owner", unix.Fchownat(unix.AT_FDCWD, name, int(p.attr.UID), int(p.attr.GID), 0))
	} else {
		mode &^= 0o6000
	}
	t.warn(p, "mode", unix.Chmod(name, mode))
	for _, x := range xattrsOf(f, p.node, func(err error) { t.warn(p, "attributes", err) }) {
		t.warn(p, x.Name, unix.Setxattr(name, x.Name, x.Value, 0))
	}
	t.warn(p, "time", unix.UtimesNanoAt(unix.AT_FDCWD, name, timesOf(&p.attr), 0))
}

// warn tells that something about a file could not be kept.
func (t *target) warn(p *place, what string, err error) {
	if err != nil {
		t.bad(p.path, fmt.Errorf("%s was not kept: %w", what, err))
	}
}

func timesOf(a *fsys.Attr) []unix.Timespec {
	return []unix.Timespec{
		{Sec: a.AccTime.Sec, Nsec: int64(a.AccTime.Nsec)},
		{Sec: a.ModTime.Sec, Nsec: int64(a.ModTime.Nsec)},
	}
}
