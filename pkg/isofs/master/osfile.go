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

// A manner is how the files of a scan are opened.
type manner struct {
	follow bool // symbolic links
	atime  bool // access times may change: they cannot be kept
}

// An osDir is the Content of files that have the name that they have in the image.
type osDir struct {
	path string
	how  *manner
}

// Open implements Content.
func (d *osDir) Open(n *Node) (io.ReadCloser, error) {
	return openFile(filepath.Join(d.path, n.name), n, d.how)
}

// An osFile is the Content of one file.
type osFile struct {
	path string
	how  *manner
}

// Open implements Content.
func (f *osFile) Open(n *Node) (io.ReadCloser, error) { return openFile(f.path, n, f.how) }

// open opens a file or directory to read it. Linux keeps the access time for
// the owner and for root only: after the first refusal nobody is asked again.
func (m *manner) open(path string, flags int) (int, error) {
	flags |= unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOCTTY
	if !m.atime {
		fd, err := retry(func() (int, error) { return unix.Open(path, flags|unix.O_NOATIME, 0) })
		if !errors.Is(err, unix.EPERM) {
			return fd, err
		}
		m.atime = true
	}
	return retry(func() (int, error) { return unix.Open(path, flags, 0) })
}

// An openedFile is a file that is being read. It goes without os.File, which
// would cost every small file two more system calls.
type openedFile struct {
	fd   int
	size int64  // when it was scanned
	key  uint64 // its stamp then
}

func openFile(path string, n *Node, how *manner) (*openedFile, error) {
	flags := unix.O_NOFOLLOW
	if how.follow {
		flags = 0
	}
	fd, err := how.open(path, flags)
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
