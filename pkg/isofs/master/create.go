package master

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Create makes a file that appears whole or not at all: write fills a file
// without a name, which takes its place under path, and takes the place of what
// was there, when write and ctx are without error. A path that leads to
// something other than a regular file, such as a device or a pipe, is written
// to as it is.
func Create(ctx context.Context, path string, write func(*os.File) error) error {
	path, err := resolve(path)
	if err != nil {
		return err
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return writeInto(path, write)
	}
	t, err := newTemp(path)
	if err != nil {
		return err
	}
	err = write(t.File)
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = t.keep(path)
	}
	return errors.Join(err, t.discard())
}

// resolve follows symbolic links, so that they stay when their target is replaced.
func resolve(path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		return path, nil
	}
	return real, err
}

func writeInto(path string, write func(*os.File) error) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

// A temp is a file on its way to its name.
type temp struct {
	*os.File
	name string // "" while it has none
}

// newTemp opens a file in the directory of path: one without a name where the
// file system can do that, so that nothing is left whatever happens.
func newTemp(path string) (*temp, error) {
	dir := filepath.Dir(path)
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o666)
	if err == nil {
		return &temp{File: os.NewFile(uintptr(fd), path)}, nil
	}
	return namedTemp(path)
}

func namedTemp(path string) (*temp, error) {
	name := tempName(path)
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, &fs.PathError{Op: "create", Path: path, Err: errors.Unwrap(err)}
	}
	return &temp{f, name}, nil
}

func tempName(path string) string {
	return filepath.Join(filepath.Dir(path), fmt.Sprintf(".%s.%08x", filepath.Base(path), rand.Uint32()))
}

// keep gives the file its name. A name that is taken can only be replaced by
// another name, so the file gets one in between.
func (t *temp) keep(path string) error {
	if t.name == "" {
		self := fmt.Sprintf("/proc/self/fd/%d", t.Fd())
		err := unix.Linkat(unix.AT_FDCWD, self, unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
		if !errors.Is(err, unix.EEXIST) {
			return wrapLink(path, err)
		}
		name := tempName(path)
		if err := unix.Linkat(unix.AT_FDCWD, self, unix.AT_FDCWD, name, unix.AT_SYMLINK_FOLLOW); err != nil {
			return wrapLink(name, err)
		}
		t.name = name
	}
	if err := os.Rename(t.name, path); err != nil {
		return err
	}
	t.name = ""
	return nil
}

func wrapLink(path string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: "link", Path: path, Err: err}
}

// discard closes the file and removes the name that it had in between.
func (t *temp) discard() error {
	err := t.Close()
	if t.name != "" {
		err = errors.Join(err, os.Remove(t.name))
	}
	return err
}
