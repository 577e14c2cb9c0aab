package fusefs

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"syscall"

	"github.com/isomount/isomount/pkg/binfmt"
	"github.com/isomount/isomount/pkg/fsys"
)

// errnos is the only place where an error becomes an errno; the first line
// that matches counts, and whatever matches none is EIO.
var errnos = []struct {
	is    error
	errno syscall.Errno
}{
	{fs.ErrNotExist, syscall.ENOENT},
	{fsys.ErrNotDir, syscall.ENOTDIR},
	{fsys.ErrIsDir, syscall.EISDIR},
	{fsys.ErrNotLink, syscall.EINVAL},
	{fsys.ErrNoXattr, syscall.ENODATA},
	{fsys.ErrStale, syscall.ESTALE},
	{fsys.ErrNotSupported, syscall.EOPNOTSUPP},
	{context.Canceled, syscall.ENODEV},
	{context.DeadlineExceeded, syscall.EIO},
	{io.ErrUnexpectedEOF, syscall.EIO},
	{errRange, syscall.ERANGE},
	{errInvalid, syscall.EINVAL},
	{errNoSys, syscall.ENOSYS},
	{errNoData, syscall.ENXIO},
}

var (
	errRange   = errors.New("buffer too small")
	errInvalid = errors.New("invalid request")
	errNoSys   = errors.New("not implemented")
	errNoData  = errors.New("no data behind this offset")
)

// errno gives the errno with which the kernel is answered.
func errno(err error) syscall.Errno {
	if err == nil {
		return 0
	}
	if _, corrupt := errors.AsType[*binfmt.CorruptError](err); corrupt {
		return syscall.EIO
	}
	for _, e := range errnos {
		if errors.Is(err, e.is) {
			return e.errno
		}
	}
	return syscall.EIO
}

// isDamage tells whether err is worth a line in the log: something on the disc
// or below it is broken, as opposed to a question whose answer is no.
func isDamage(err error) bool { return errno(err) == syscall.EIO }
