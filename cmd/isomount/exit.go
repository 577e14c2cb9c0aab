package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"golang.org/x/sys/unix"

	"github.com/isomount/isomount/pkg/binfmt"
	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/image"
	"github.com/isomount/isomount/pkg/ipc"
	"github.com/isomount/isomount/pkg/isofs/master"
	"github.com/isomount/isomount/pkg/mount"
	"github.com/isomount/isomount/pkg/source"
	"github.com/isomount/isomount/pkg/volume"
)

// Exit codes. They are documented in isomount(1) and never change their meaning.
const (
	exitOK          = 0
	exitFailed      = 1  // anything that has no code of its own
	exitUsage       = 2  // the command line makes no sense
	exitNoDaemon    = 3  // no daemon, and none could be started
	exitNotImage    = 4  // not a disc image
	exitDamaged     = 5  // a disc image that is damaged
	exitPermission  = 6  // not allowed
	exitBusy        = 7  // in use, or something is mounted there already
	exitNotFound    = 8  // no such file, drive or mount point
	exitUnsupported = 9  // the disc or the system lacks, or uses, a feature
	exitLimit       = 10 // too many drives, connections or mounts
	exitRead        = 11 // the image could not be read
	exitTimeout     = 12 // somebody did not answer in time
	exitMountPoint  = 13 // the mount point cannot be used
	exitPartial     = 14 // done, but something was left out
	exitMismatch    = 15 // a checksum or a comparison does not agree
	exitInterrupted = 130
)

var (
	errUsage = errors.New("usage")
	// errQuiet goes with an error that the user has been told of already.
	errQuiet = errors.New("told")
)

// exits is the only place where an error becomes an exit code; the first line
// that matches counts.
var exits = []struct {
	is   error
	code int
}{
	{errUsage, exitUsage},
	{context.Canceled, exitInterrupted},
	{ipc.ErrNoDaemon, exitNoDaemon},
	{ipc.ErrHungUp, exitNoDaemon},
	{ipc.ErrNotFound, exitNotFound},
	{ipc.ErrBusy, exitBusy},
	{ipc.ErrPermission, exitPermission},
	{ipc.ErrNotAnImage, exitNotImage},
	{ipc.ErrDamaged, exitDamaged},
	{ipc.ErrEmpty, exitNotImage},
	{ipc.ErrUnsupported, exitUnsupported},
	{ipc.ErrUsage, exitUsage},
	{ipc.ErrLimitReached, exitLimit},
	{ipc.ErrReadFailed, exitRead},
	{ipc.ErrTimedOut, exitTimeout},
	{mount.ErrBusy, exitBusy},
	{mount.ErrMissing, exitMountPoint},
	{mount.ErrNotDir, exitMountPoint},
	{mount.ErrHidesImage, exitMountPoint},
	{mount.ErrDead, exitMountPoint},
	{mount.ErrHung, exitTimeout},
	{mount.ErrNotMounted, exitNotFound},
	{mount.ErrNotOurs, exitPermission},
	{mount.ErrNotYours, exitPermission},
	{mount.ErrPermission, exitPermission},
	{mount.ErrAllowOther, exitPermission},
	{mount.ErrNoFuse, exitUnsupported},
	{mount.ErrNoHelper, exitUnsupported},
	{mount.ErrLimit, exitLimit},
	{errPartial, exitPartial},
	{errMismatch, exitMismatch},
	{errUnreadable, exitRead},
	{errDamaged, exitDamaged},
	{master.ErrBoot, exitUsage},
	{master.ErrOption, exitUsage},
	{master.ErrTooLarge, exitUnsupported},
	{master.ErrTooDeep, exitUnsupported},
	{master.ErrShort, exitRead},
	{path.ErrBadPattern, exitUsage},
	{image.ErrNotSeekable, exitUnsupported},
	{volume.ErrOption, exitUsage},
	{volume.ErrNoTree, exitNotFound},
	{source.ErrEmpty, exitNotImage},
	{source.ErrDirectory, exitNotImage},
	{source.ErrNotRegular, exitNotImage},
	{fsys.ErrNotSupported, exitUnsupported},
	{errors.ErrUnsupported, exitUnsupported},
	{binfmt.ErrMagic, exitNotImage},
	{io.ErrUnexpectedEOF, exitDamaged},
	{unix.EBUSY, exitBusy},
	{fs.ErrPermission, exitPermission},
	{fs.ErrNotExist, exitNotFound},
	{unix.EIO, exitRead},
	{context.DeadlineExceeded, exitTimeout},
}

// explain says what an error is about, what happened, where, and what to do.
func explain(err error) string {
	if errors.Is(err, context.Canceled) {
		return "interrupted"
	}
	e, ok := errors.AsType[*ipc.Error](err)
	if !ok {
		return err.Error()
	}
	text := e.Error()
	if e.Image != "" {
		text = string(e.Image) + ": " + text
	}
	return text
}

func exitCode(err error) int {
	if e, ok := errors.AsType[*statusError](err); ok {
		return e.code
	}
	if e, ok := errors.AsType[*codedError](err); ok {
		return e.code
	}
	if _, corrupt := errors.AsType[*binfmt.CorruptError](err); corrupt {
		return exitDamaged
	}
	for _, e := range exits {
		if errors.Is(err, e.is) {
			return e.code
		}
	}
	return exitFailed
}

// usagef makes an error of the command line.
func usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

type usageError struct{ err error }

func (e *usageError) Error() string   { return e.err.Error() }
func (e *usageError) Unwrap() []error { return []error{e.err, errUsage} }
