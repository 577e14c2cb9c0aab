package mount

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// FUSE opcodes and structure sizes (Linux include/uapi/linux/fuse.h).
const (
	opLookup     = 1
	opForget     = 2
	opGetattr    = 3
	opOpen       = 14
	opRead       = 15
	opStatfs     = 17
	opRelease    = 18
	opFlush      = 25
	opInit       = 26
	opOpendir    = 27
	opReaddir    = 28
	opReleasedir = 29
	opAccess     = 34
	opInterrupt  = 36
	opBatch      = 42

	inHeader  = 40
	outHeader = 16
)

// fileContent is what the only file, "file", holds.
const fileContent = "hello"

// A testServer answers for a directory with one file, in raw bytes, so that the
// tests do not depend on a FUSE library.
type testServer struct {
	dev  *os.File
	stop [2]int // a pipe that ends the loop
	wg   sync.WaitGroup
}

// serve starts a server on a copy of a device.
func serve(tb testing.TB, dev *os.File) *testServer {
	tb.Helper()
	return serveBy(tb, dev, answer)
}

// answerInit answers the first request and leaves all others waiting.
func answerInit(req []byte) []byte {
	if binary.LittleEndian.Uint32(req[4:]) == opInit {
		return answer(req)
	}
	return nil
}

func serveBy(tb testing.TB, dev *os.File, answer func([]byte) []byte) *testServer {
	tb.Helper()
	fd, err := unix.FcntlInt(dev.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		tb.Fatal(err)
	}
	s := &testServer{dev: os.NewFile(uintptr(fd), "device")}
	if err := unix.Pipe2(s.stop[:], unix.O_CLOEXEC); err != nil {
		tb.Fatal(err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		tb.Fatal(err)
	}
	s.wg.Go(func() { s.loop(answer) })
	tb.Cleanup(s.close)
	return s
}

// close ends the server, which kills its mount.
func (s *testServer) close() {
	if s.stop[1] < 0 {
		return
	}
	unix.Close(s.stop[1])
	s.stop[1] = -1
	s.wg.Wait()
	unix.Close(s.stop[0])
	s.dev.Close()
}

func (s *testServer) loop(answer func([]byte) []byte) {
	buf := make([]byte, 1<<20)
	fd := int(s.dev.Fd())
	for {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}, {Fd: int32(s.stop[0]), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
		if fds[1].Revents != 0 {
			return
		}
		n, err := unix.Read(fd, buf)
		switch {
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR), errors.Is(err, unix.ENOENT):
			continue
		case err != nil:
			return // ENODEV: unmounted
		}
		if reply := answer(buf[:n]); reply != nil {
			_, _ = unix.Write(fd, reply)
		}
	}
}

// answer makes the reply to a request, or nil where none is wanted.
func answer(req []byte) []byte {
	le := binary.LittleEndian
	op, unique, node := le.Uint32(req[4:]), le.Uint64(req[8:]), le.Uint64(req[16:])
	var errno unix.Errno
	var out []byte
	switch op {
	case opForget, opBatch, opInterrupt:
		return nil
	case opInit:
		out = make([]byte, 64)
		le.PutUint32(out, 7)
		le.PutUint32(out[4:], 31)
		le.PutUint32(out[8:], 65536)  // max_readahead
		le.PutUint32(out[20:], 65536) // max_write
	case opLookup:
		if string(bytes.TrimRight(req[inHeader:], "\x00")) != "file" {
			errno = unix.ENOENT
			break
		}
		out = slices.Concat(le.AppendUint64(nil, 2), make([]byte, 32), attr(2))
	case opGetattr:
		out = append(make([]byte, 16), attr(node)...)
	case opStatfs:
		out = make([]byte, 80)
	case opOpen, opOpendir:
		out = make([]byte, 16)
	case opRead:
		out = []byte(fileContent)
		if off := le.Uint64(req[inHeader+8:]); off >= uint64(len(out)) {
			out = nil
		}
	case opReaddir:
		if le.Uint64(req[inHeader+8:]) == 0 {
			out = dirent(2, 1, "file")
		}
	case opAccess, opFlush, opRelease, opReleasedir:
	default:
		errno = unix.ENOSYS
	}
	reply := make([]byte, outHeader, outHeader+len(out))
	le.PutUint32(reply, uint32(outHeader+len(out)))
	le.PutUint32(reply[4:], uint32(-int32(errno)))
	le.PutUint64(reply[8:], unique)
	return append(reply, out...)
}

// readFile reads a small file with system calls that the Go scheduler knows to
// block. os.Open would register it with epoll, which asks the server (FUSE_POLL)
// while holding a processor that the server in this same process may need.
func readFile(path string) (string, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	b := make([]byte, 100)
	n, err := unix.Read(fd, b)
	return string(b[:max(n, 0)]), err
}

func attr(node uint64) []byte {
	a := make([]byte, 88)
	le := binary.LittleEndian
	le.PutUint64(a, node)
	mode, size := uint32(unix.S_IFDIR|0o555), 0
	if node != 1 {
		mode, size = unix.S_IFREG|0o555, len(fileContent)
	}
	le.PutUint64(a[8:], uint64(size))
	le.PutUint32(a[60:], mode)
	le.PutUint32(a[64:], 1) // nlink
	return a
}

func dirent(ino, off uint64, name string) []byte {
	d := make([]byte, 24, 64)
	le := binary.LittleEndian
	le.PutUint64(d, ino)
	le.PutUint64(d[8:], off)
	le.PutUint32(d[16:], uint32(len(name)))
	le.PutUint32(d[20:], unix.DT_REG)
	d = append(d, name...)
	return append(d, make([]byte, (8-len(d)%8)%8)...)
}
