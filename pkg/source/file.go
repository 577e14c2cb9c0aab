// Package source opens the places where the bytes of an image lie.
//
// [FromFile] takes a local file or a block device that is open already: the
// daemon opens no path that a client names. The package only reads.
package source

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// What is not an image at all. Pipes, sockets and character devices are each
// an [ErrNotRegular] too.
var (
	ErrEmpty      = errors.New("the file is empty")
	ErrDirectory  = errors.New("this is a directory, not an image")
	ErrNotRegular = errors.New("this is neither a file nor a block device")
	ErrPipe       = kindError("this is a pipe, not a file")
	ErrSocket     = kindError("this is a socket, not a file")
	ErrCharDevice = kindError("this is a character device, not a block device")
	ErrNotOpen    = errors.New("the file is not open for reading")
)

// A kindError is an [ErrNotRegular] that says more.
type kindError string

func (e kindError) Error() string        { return string(e) }
func (e kindError) Is(target error) bool { return target == ErrNotRegular }

// A File is a local image. It is read with pread and never mapped: a file that
// is truncated under a map ends the process. Its size is the one it had when
// it was opened.
type File struct {
	f      *os.File
	device bool
	id     Identity
}

var _ io.ReaderAt = (*File)(nil)

// FromFile returns the image in f, which must be open for reading and stays the
// caller's to close.
func FromFile(f *os.File) (*File, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if err := checkKind(st.Mode()); err != nil {
		return nil, err
	}
	if err := control(f, checkReadable); err != nil {
		return nil, err
	}
	file := &File{f: f, device: st.Mode()&fs.ModeDevice != 0}
	if file.id, err = file.identify(); err != nil {
		return nil, err
	}
	if file.id.Size == 0 {
		return nil, ErrEmpty
	}
	return file, nil
}

func checkKind(m fs.FileMode) error {
	switch {
	case m.IsRegular():
		return nil
	case m.IsDir():
		return ErrDirectory
	case m&fs.ModeNamedPipe != 0:
		return ErrPipe
	case m&fs.ModeSocket != 0:
		return ErrSocket
	case m&fs.ModeCharDevice != 0:
		return ErrCharDevice
	case m&fs.ModeDevice != 0:
		return nil
	}
	return ErrNotRegular // such as a link that was opened with O_PATH
}

// checkReadable looks at how a file was opened: a descriptor that was passed
// may be for writing only, or name its file without opening it.
func checkReadable(fd int) error {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return err
	}
	if mode := flags & unix.O_ACCMODE; flags&unix.O_PATH != 0 || (mode != unix.O_RDONLY && mode != unix.O_RDWR) {
		return ErrNotOpen
	}
	return nil
}

// control runs do while the descriptor of f is sure to be open.
func control(f *os.File, do func(fd int) error) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := c.Control(func(fd uintptr) { inner = do(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// Size returns the size in bytes when the image was opened.
func (s *File) Size() int64 { return s.id.Size }

// Fd returns the descriptor, to splice from; it stays the File's.
func (s *File) Fd() int { return int(s.f.Fd()) }

// HasPages tells whether the kernel's page cache holds the file's bytes as they
// are. A FUSE file system may want to see every read (FOPEN_DIRECT_IO) and give
// less than was asked for. Linux splices from the page cache all the same (fs/fuse
// fuse_splice_read), where what is missing then becomes zeros.
func (s *File) HasPages() bool {
	var st unix.Statfs_t
	err := control(s.f, func(fd int) error { return unix.Fstatfs(fd, &st) })
	return err == nil && st.Type != unix.FUSE_SUPER_MAGIC
}

// ReadAt reads like an io.ReaderAt of Size. What has been cut off since the
// image was opened is io.ErrUnexpectedEOF.
func (s *File) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read image at %d: %w", off, fs.ErrInvalid)
	}
	want := max(min(int64(len(p)), s.id.Size-off), 0)
	n, err := s.f.ReadAt(p[:want], off) // goes on after EINTR and short reads
	switch {
	case errors.Is(err, io.EOF):
		return n, fmt.Errorf("image ends at %d: %w", off+int64(n), io.ErrUnexpectedEOF)
	case err != nil:
		return n, fmt.Errorf("read image at %d: %w", off+int64(n), bare(err))
	case n < len(p):
		return n, io.EOF
	}
	return n, nil
}

// bare takes the name of the descriptor off an error: it is not the image's.
func bare(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}
