package mount

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// maxFsconfigString is the longest string that fsconfig(2) takes, without its
// NUL (Linux fs/fsopen.c: strndup_user(_value, 256)).
const maxFsconfigString = 255

// detached makes the file system without a place in the tree. It reports
// errors.ErrUnsupported where the kernel cannot (before 5.2) or not with this
// source.
func (m *Mount) detached(o *Options) error {
	if len(o.Source) > maxFsconfigString {
		return errors.ErrUnsupported
	}
	fs, err := unix.Fsopen("fuse", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("fsopen: %w", err)
	}
	defer closeFD(fs)
	opts := append(m.kernelOptions(o), [2]string{"source", o.Source}, [2]string{"subtype", Subtype}, [2]string{"ro", ""})
	for _, opt := range opts {
		if err := configure(fs, opt[0], opt[1]); err != nil {
			return fmt.Errorf("fsconfig %s: %w", opt[0], err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return fmt.Errorf("fsconfig: %w", err)
	}
	const attrs = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, attrs)
	if err != nil {
		return fmt.Errorf("fsmount: %w", err)
	}
	m.tree = os.NewFile(uintptr(fd), "detached mount")
	m.way = wayDetached
	return nil
}

func configure(fs int, key, value string) error {
	if value == "" {
		return unix.FsconfigSetFlag(fs, key)
	}
	return unix.FsconfigSetString(fs, key, value)
}

// move attaches the detached mount to the directory that was checked, whatever
// its path leads to by now.
func (m *Mount) move() error {
	if m.point.covered() {
		return fail(m.point.path, ErrBusy, nil)
	}
	const flags = unix.MOVE_MOUNT_F_EMPTY_PATH | unix.MOVE_MOUNT_T_EMPTY_PATH
	err := unix.MoveMount(int(m.tree.Fd()), "", int(m.point.dir.Fd()), "", flags)
	if err != nil {
		return fail(m.point.path, fmt.Errorf("move_mount: %w", err), nil)
	}
	return nil
}
