package main

import (
	"context"
	"errors"
	"io"
	"strconv"

	"github.com/isomount/isomount/pkg/binfmt"
	"github.com/isomount/isomount/pkg/cache"
	"github.com/isomount/isomount/pkg/drive"
	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/fusefs"
	"github.com/isomount/isomount/pkg/ipc"
	"github.com/isomount/isomount/pkg/source"
	"github.com/isomount/isomount/pkg/volume"
)

// wireDrive describes a drive to clients.
func wireDrive(i *drive.Info) ipc.Drive {
	return ipc.Drive{
		Name: strconv.Itoa(i.Number), Image: ipc.Path(i.Image), Label: i.Label, Filesystem: i.FS, Size: i.Size,
		Mountpoint: ipc.Path(i.MountPoint), Made: i.Made, UID: i.UID, State: ipc.State(i.State), Since: i.Since,
		Options: i.Options, Counters: wireCounters(i, &i.Cache),
	}
}

// wireCounters joins what a drive and the cache counted; each may be nil.
func wireCounters(i *drive.Info, c *cache.Stats) ipc.Counters {
	var w ipc.Counters
	if i != nil {
		w.Requests, w.Errors, w.Read = int64(i.Requests.Requests), int64(i.Requests.Errors), int64(i.Requests.ReadBytes)
		w.Stored = int64(i.Requests.Stored)
	}
	if c != nil {
		w.Hits, w.Misses, w.Fetched, w.Evictions = c.Hits, c.Misses, c.Fetched, c.Evictions
	}
	return w
}

// wireErrors tells clients what kind of error they have and what to do about
// it. The first line that matches counts.
var wireErrors = []struct {
	is   error
	kind error
	hint string
}{
	{volume.ErrOption, ipc.ErrUsage, ""},
	{volume.ErrNoTree, ipc.ErrNotFound, `"isomount info" tells what is on the disc`},
	{source.ErrEmpty, ipc.ErrEmpty, "check that its download or copy was completed"},
	{source.ErrDirectory, ipc.ErrNotAnImage, "name the image file itself"},
	{source.ErrNotRegular, ipc.ErrNotAnImage, "name a file or a block device"},
	{source.ErrNotOpen, ipc.ErrUsage, "the image must be open for reading"},
	{fsys.ErrNotSupported, ipc.ErrUnsupported, ""},
	{binfmt.ErrMagic, ipc.ErrNotAnImage, "check that it is the disc image and was copied whole"},
	{io.ErrUnexpectedEOF, ipc.ErrDamaged, "the file ends too early; copy or download it again"},
	{drive.ErrNotFound, ipc.ErrNotFound, `"isomount list" shows the drives there are`},
	{drive.ErrLimit, ipc.ErrLimitReached, "unmount some first"},
	{drive.ErrClosed, ipc.ErrStopping, "try again in a moment"},
	{drive.ErrDevice, ipc.ErrUsage, ""},
	{fusefs.ErrNoURing, ipc.ErrUnsupported, noURingHint},
	{drive.ErrPanic, ipc.ErrInternal, "the daemon's log says more; please report it, with the image if you may"},
	{context.Canceled, ipc.ErrStopping, ""},
}

const noURingHint = `mount without transport=uring, or have root allow it: "echo Y > /sys/module/fuse/parameters/enable_uring" (Linux 6.14), "sysctl kernel.io_uring_disabled=0"`

// wireError turns an error of the drives into one for clients.
func wireError(err error, img ipc.Path) error {
	e := &ipc.Error{Err: ipc.ErrReadFailed, Message: err.Error(), Image: img}
	if corrupt, ok := errors.AsType[*binfmt.CorruptError](err); ok {
		e.Err, e.Offset = ipc.ErrDamaged, &corrupt.Off
		e.Hint = `"isomount info" tells what can still be read`
		return e
	}
	for _, w := range wireErrors {
		if errors.Is(err, w.is) {
			e.Err, e.Hint = w.kind, w.hint
			break
		}
	}
	return e
}
