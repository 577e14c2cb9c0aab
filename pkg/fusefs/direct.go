package fusefs

import (
	"errors"
	"sync"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/isomount/isomount/pkg/fsys"
)

// Where the bytes of a file lie in a local file as they are, they need not pass
// through the process: a long read splices them from the page cache to the
// kernel, and a short one first asks for what is in memory, so that the lead is
// only passed on when the disk has to be waited for. Whatever does not work out
// here is read in the general way, which knows what the error is.

// A spot is a piece of a file in the image.
type spot struct {
	pos int64
	n   int // bytes
}

// spotOf returns where the bytes of a read lie, if that is one piece of a local
// file and not less than the file has there.
func (w *worker) spotOf(in *fuse.ReadIn) (fd int, at spot, ok bool) {
	if w.s.extents == nil || w.s.opts.LocalFile == nil {
		return 0, spot{}, false
	}
	if fd, ok = w.s.opts.LocalFile(); !ok {
		return 0, spot{}, false
	}
	w.pieces = w.pieces[:0]
	err := w.s.extents.Extents(w.s.node(in.NodeId), int64(in.Offset), w.yieldExtent)
	if err != nil || len(w.pieces) == 0 {
		return 0, spot{}, false
	}
	size := int64(clampSize(in.Size, maxRead))
	first := w.pieces[0]
	if first.Pos < 0 || first.Len < size && len(w.pieces) > 1 {
		return 0, spot{}, false
	}
	return fd, spot{first.Pos, int(min(first.Len, size))}, true
}

// addExtent is what Extents yields to. Two pieces show that one is not all.
func (w *worker) addExtent(e fsys.Extent) bool {
	w.pieces = append(w.pieces, e)
	return len(w.pieces) < cap(w.pieces)
}

// readNow reads what is in memory, and tells whether that was all.
func (w *worker) readNow(fd int, at spot, buf []byte) bool {
	if w.s.noReadNow.Load() || w.s.missing.Load() {
		return false
	}
	n, e := preadv2(fd, at, buf, unix.RWF_NOWAIT)
	switch {
	case e == 0 && n == at.n:
		return true
	case e == unix.EOPNOTSUPP, e == unix.ENOSYS, e == unix.EINVAL:
		w.s.noReadNow.Store(true)
	}
	return false
}

func preadv2(fd int, at spot, buf []byte, flags uintptr) (int, unix.Errno) {
	iov := unix.Iovec{Base: &buf[0]}
	iov.SetLen(at.n)
	n, _, e := unix.Syscall6(unix.SYS_PREADV2, uintptr(fd), uintptr(unsafe.Pointer(&iov)), 1, uintptr(at.pos), 0, flags)
	return int(n), e
}

// waiting tells whether there is a request to be read.
func (s *Server) waiting() bool {
	p := unix.PollFd{Fd: int32(s.devFD), Events: unix.POLLIN}
	var now unix.Timespec
	n, _, _ := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1, uintptr(unsafe.Pointer(&now)), 0, 0, 0)
	return n == 1
}

// splice answers a read with bytes of a file that stay in the kernel, and tells
// whether that worked.
func (w *worker) splice(fd int, at spot, unique uint64) bool {
	p := w.s.opts.Buffers.pipe()
	if p == nil {
		return false
	}
	head := putHead(w.out, unique, at.n)
	if !p.fill(head, fd, at) {
		p.close()
		return false
	}
	if !w.unique.CompareAndSwap(unique, 0) {
		p.close()
		return true
	}
	w.s.stats.readBytes.Add(uint64(at.n))
	if !w.s.drain(p, len(head)+at.n) {
		p.close()
		return true
	}
	w.s.opts.Buffers.putPipe(p)
	return true
}

// putHead writes the header of a reply whose n bytes of payload are elsewhere.
func putHead(out []byte, unique uint64, n int) []byte {
	*view[fuse.OutHeader](out) = fuse.OutHeader{Length: uint32(outHeaderBytes + n), Unique: unique}
	return out[:outHeaderBytes]
}

// drain gives the reply in a pipe to the kernel, and tells whether the pipe is
// empty again.
func (s *Server) drain(p *pipe, size int) bool {
	for {
		n, err := unix.Splice(p.r, nil, s.devFD, nil, size, 0)
		switch {
		case err == nil && int(n) == size:
			return true
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
			continue
		case err == nil, errors.Is(err, unix.ENOENT):
		case errors.Is(err, unix.ENODEV):
			s.finish(nil)
		default:
			s.refused(err, size)
		}
		return false
	}
}

// A pipe carries one reply at a time from the image to the kernel.
type pipe struct{ r, w int }

// pipeBytes is the capacity of a pipe: the most that a process without
// privileges may ask for (fs.pipe-max-size). It counts pages, of which the
// header takes one and a piece that is not aligned one more than its length;
// that is what limits longestRead.
const pipeBytes = 1 << 20

// pipesKept is how many pipes are kept for the next read.
const pipesKept = 4

func newPipe() (*pipe, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, err
	}
	p := &pipe{fds[0], fds[1]}
	if n, err := unix.FcntlInt(uintptr(p.w), unix.F_SETPIPE_SZ, pipeBytes); err != nil || n < pipeBytes {
		p.close()
		return nil, errors.Join(err, unix.EPERM)
	}
	return p, nil
}

func (p *pipe) close() {
	_ = unix.Close(p.r)
	_ = unix.Close(p.w)
}

// fill puts a header and bytes of a file into the empty pipe.
func (p *pipe) fill(head []byte, fd int, at spot) bool {
	if n, err := unix.Write(p.w, head); err != nil || n != len(head) {
		return false
	}
	for at.n > 0 {
		n, err := unix.Splice(fd, &at.pos, p.w, nil, at.n, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			return false
		}
		at.n -= int(n)
	}
	return true
}

// pipes are those of all drives of a daemon that nobody uses.
type pipes struct {
	mu     sync.Mutex // guards the fields below
	free   []*pipe
	denied bool // there are no pipes of that size for us
}

// pipe returns an empty pipe, or nil.
func (b *Buffers) pipe() *pipe {
	b.pipes.mu.Lock()
	defer b.pipes.mu.Unlock()
	if n := len(b.pipes.free); n > 0 {
		p := b.pipes.free[n-1]
		b.pipes.free = b.pipes.free[:n-1]
		return p
	}
	if b.pipes.denied {
		return nil
	}
	p, err := newPipe()
	b.pipes.denied = err != nil
	return p
}

// putPipe takes an empty pipe back.
func (b *Buffers) putPipe(p *pipe) {
	b.pipes.mu.Lock()
	defer b.pipes.mu.Unlock()
	if len(b.pipes.free) < pipesKept {
		b.pipes.free = append(b.pipes.free, p)
		return
	}
	p.close()
}
