package mount

import (
	"errors"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"
)

// Reasons why something cannot be mounted or unmounted.
var (
	ErrMissing    = errors.New("mount point does not exist")
	ErrNotDir     = errors.New("mount point is not a directory")
	ErrBusy       = errors.New("something is already mounted here")
	ErrDead       = errors.New("file system is dead: its server has ended")
	ErrHung       = errors.New("file system does not answer")
	ErrPermission = errors.New("no permission")
	ErrHidesImage = errors.New("mounting here would hide the image itself")
	ErrNotMounted = errors.New("nothing is mounted here")
	ErrNotOurs    = errors.New("mounted by another program")
	ErrNotYours   = errors.New("mounted by another user")
	ErrNoFuse     = errors.New("the kernel offers no FUSE")
	ErrNoHelper   = errors.New("fusermount3 is not installed")
	ErrLimit      = errors.New("too many FUSE file systems are mounted")
	ErrAllowOther = errors.New("allow_other is not permitted to users")
)

// hints say what to do about an error, in a few words for the end of a line.
var hints = []struct {
	err  error
	hint string
}{
	{ErrMissing, "create it first, or leave it out to have one made"},
	{ErrNotDir, "name a directory"},
	{ErrBusy, "unmount that first, or name another directory"},
	{ErrDead, "detach it with fusermount3 -u -z, or umount -l as root"},
	{ErrHung, "wait for it, or detach it with umount -l as root"},
	{ErrPermission, "name a directory that you may write to"},
	{ErrHidesImage, "name a directory that is not above the image"},
	{ErrNotOurs, "use umount or fusermount3 -u"},
	{ErrNotYours, "ask its owner or root"},
	{ErrNoFuse, "load it with modprobe fuse; a container needs the device /dev/fuse"},
	{ErrNoHelper, "install the package fuse3, or run as root"},
	{ErrLimit, "unmount some, or raise mount_max in /etc/fuse.conf"},
	{ErrAllowOther, "set user_allow_other in /etc/fuse.conf"},
}

// An Error says what cannot be done with a path, why, and what to do about it.
type Error struct {
	Path  string
	Err   error  // one of the reasons above, or what the kernel said
	Hint  string // may be empty
	Cause error  // what is behind Err, may be nil
}

func (e *Error) Error() string {
	s := e.Path + ": " + e.Err.Error()
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

// Unwrap gives the reason and its cause.
func (e *Error) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Err}
	}
	return []error{e.Err, e.Cause}
}

// fail makes an [Error] of one that is none yet. An error of a system call
// that means one of the reasons becomes that reason.
func fail(path string, err, cause error) error {
	if already, ok := errors.AsType[*Error](err); ok {
		return already
	}
	if reason := reasonOf(err); reason != nil {
		err, cause = reason, err
	}
	e := &Error{Path: path, Err: err, Cause: cause}
	for _, h := range hints {
		if errors.Is(err, h.err) {
			e.Hint = h.hint
			break
		}
	}
	return e
}

func reasonOf(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return ErrMissing
	case errors.Is(err, unix.ENOTDIR):
		return ErrNotDir
	case errors.Is(err, unix.ENOTCONN):
		return ErrDead
	case errors.Is(err, fs.ErrPermission):
		return ErrPermission
	}
	return nil
}

// helperReasons gives the meaning of what fusermount3 prints (libfuse
// util/fusermount.c). It sets no locale, so its words are always English.
var helperReasons = []struct {
	text string
	err  error
}{
	{"user_allow_other", ErrAllowOther},
	{"mount_max", ErrLimit},
	{"fuse device not found", ErrNoFuse},
	{"/dev/fuse", ErrPermission},
	{"no write access to mountpoint", ErrPermission},
	{"not owned by user", ErrPermission},
	{"Permission denied", ErrPermission},
	{"Operation not permitted", ErrPermission},
	{"is forbidden", ErrPermission},
	{"Device or resource busy", unix.EBUSY},
	{"No such file or directory", ErrMissing},
	{"not found in", ErrNotYours},
	{"Transport endpoint is not connected", ErrDead},
}

// helperError turns the failure of a helper program into an [Error].
func helperError(path, stderr string, err error) error {
	said := strings.TrimSpace(stderr)
	if said != "" {
		err = errors.New(said)
	}
	for _, r := range helperReasons {
		if strings.Contains(said, r.text) {
			return fail(path, r.err, err)
		}
	}
	return fail(path, err, nil)
}
