package master

import (
	"errors"
	"io"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// syscallStat is what os.FileInfo.Sys gives.
type syscallStat = syscall.Stat_t

// ErrGrew reports a file that had more bytes than when it was scanned; the rest
// was left out.
var ErrGrew = errors.New("file grew while the image was written, cut at the size it had")

// ErrChanged reports a file that was changed or replaced after it was scanned.
var ErrChanged = errors.New("file was changed while the image was written")

// An osDir is the Content of files that have the name that they have in the image.
type osDir struct {
	path   string
	follow bool
}

// Open implements Content.
func (d *osDir) Open(n *Node) (io.ReadCloser, error) {
	return openFile(filepath.Join(d.path, n.name), n, d.follow)
}

// An osFile is the Content of one file.
type osFile struct {
	path   string
	follow bool
}

// Open implements Content.
func (f *osFile) Open(n *Node) (io.ReadCloser, error) { return openFile(f.path, n, f.follow) }

// An openedFile is a file that is being read. It goes without os.File, which
// would cost every small file two more system calls.
type openedFile struct {
	fd   int
	size int64  // when it was scanned
	key  uint64 // its stamp then
}

func openFile(path string, n *Node, follow bool) (*openedFile, error) {
	flags := unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOCTTY
	if !follow {
		flags |= unix.O_NOFOLLOW
	}
	fd, err := retry(func() (int, error) { return unix.Open(path, flags, 0) })
	if err != nil {
		return nil, err
	}
	return &openedFile{fd: fd, size: n.inode.size, key: n.inode.key}, nil
}

// Read implements io.Reader.
func (f *openedFile) Read(p []byte) (int, error) {
	n, err := retry(func() (int, error) { return unix.Read(f.fd, p) })
	if err != nil {
		return 0, err
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// Close implements io.Closer.
func (f *openedFile) Close() error { return unix.Close(f.fd) }

// Check implements checker.
func (f *openedFile) Check() error {
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return err
	}
	switch {
	case st.Size > f.size:
		return ErrGrew
	case stamp(&st) != f.key:
		return ErrChanged
	}
	return nil
}

// retry repeats a call that a signal has interrupted.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// stamp mixes what changes when a file is written to or replaced.
func stamp(st *unix.Stat_t) uint64 {
	const odd = 0x9E3779B97F4A7C15
	return (st.Ino*odd ^ uint64(st.Mtim.Nano())) * odd
}
