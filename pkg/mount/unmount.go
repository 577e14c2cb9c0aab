package mount

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// Unmount takes away the mount of ours at path: at once, or, if lazy, out of
// the tree now and in full when its last user is gone. A mount that is in use
// gives a [*BusyError] that names the users.
func Unmount(ctx context.Context, path string, lazy bool) error {
	p, err := removable(ctx, path)
	if err != nil {
		return err
	}
	return p.unmount(ctx, lazy)
}

// removable finds the mount of ours at path.
func removable(ctx context.Context, path string) (*point, error) {
	p, err := openPoint(ctx, path)
	if err != nil {
		return nil, err
	}
	p.close() // a descriptor of the mount would keep it busy
	switch {
	case !p.mounted():
		return nil, fail(p.path, ErrNotMounted, nil)
	case !p.entry.IsOurs():
		return nil, fail(p.path, ErrNotOurs, nil)
	}
	return p, nil
}

func (p *point) unmount(ctx context.Context, lazy bool) error {
	err := unmount(ctx, p.path, lazy)
	if errors.Is(err, unix.EBUSY) {
		return &BusyError{Point: p.path, Holders: Holders(ctx, p.entry)}
	}
	return err
}

func unmount(ctx context.Context, path string, lazy bool) error {
	if !capable() {
		return unmountByHelper(ctx, path, lazy)
	}
	flags := unix.UMOUNT_NOFOLLOW
	if lazy {
		flags |= unix.MNT_DETACH
	}
	err := unix.Unmount(path, flags)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EPERM):
		return unmountByHelper(ctx, path, lazy)
	case errors.Is(err, unix.EINVAL):
		return fail(path, ErrNotMounted, err)
	}
	return fail(path, err, nil)
}

func unmountByHelper(ctx context.Context, path string, lazy bool) error {
	helper, err := findHelper()
	if err != nil {
		return fail(path, err, nil)
	}
	flags := "-u"
	if lazy {
		flags = "-uz"
	}
	return run(exec.CommandContext(ctx, helper, flags, "--", path), path)
}

// detach unmounts lazily whatever is on top at path. It is for cleaning up and
// so does not end with the caller's context.
func detach(ctx context.Context, path string) error {
	return unmount(context.WithoutCancel(ctx), path, true)
}

// A BusyError reports a mount that cannot be unmounted because it is in use.
type BusyError struct {
	Point   string
	Holders []Holder // those that this process may see
}

func (e *BusyError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s is in use", e.Point)
	for i, h := range e.Holders {
		sep := ", "
		if i == 0 {
			sep = " by "
		}
		b.WriteString(sep + h.String())
	}
	if len(e.Holders) == 0 {
		b.WriteString(" by a process of another user")
	}
	return b.String()
}

// Unwrap lets errors.Is find EBUSY.
func (e *BusyError) Unwrap() error { return unix.EBUSY }
