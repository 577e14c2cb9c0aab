package fusefs

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Of include/uapi/linux/io_uring.h.
const (
	setupSQE128       = 1 << 10
	setupSingleIssuer = 1 << 12
	setupDeferTaskrun = 1 << 13

	enterGetEvents = 1 << 0
	enterExtArg    = 1 << 3

	offSQEs = 0x10000000

	opURingCmd = 46
)

// ringParams is struct io_uring_params.
type ringParams struct {
	sqEntries, cqEntries    uint32
	flags                   uint32
	sqThreadCPU, threadIdle uint32
	features                uint32
	wqFD                    uint32
	_                       [3]uint32
	sq                      struct {
		head, tail, mask, entries, flags, dropped, array, _ uint32
		userAddr                                            uint64
	}
	cq struct {
		head, tail, mask, entries, overflow, cqes, flags, _ uint32
		userAddr                                            uint64
	}
}

// A ringCommand is struct io_uring_sqe of 128 bytes, as a command to a FUSE
// device uses it: from byte 48 on it is struct fuse_uring_cmd_req of
// include/uapi/linux/fuse.h.
type ringCommand struct {
	opcode   uint8
	_        [3]byte // flags, ioprio
	fd       int32
	op       uint32
	_        uint32
	addr     uint64
	len      uint32
	_        uint32
	_        [2]uint64 // user_data and what others use
	_        uint64    // flags
	commitID uint64
	qid      uint16
	_        [6]byte
	_        [56]byte
}

// ringResult is struct io_uring_cqe.
type ringResult struct {
	_   uint64 // user_data
	res int32
	_   uint32 // flags
}

// waitArg is struct io_uring_getevents_arg.
type waitArg struct {
	sigmask     uint64
	sigmaskSize uint32
	_           uint32
	timeout     uint64 // address
}

// An ioRing is an io_uring with room for one command. All its methods must be
// called on the thread that made it.
type ioRing struct {
	fd      int
	rings   []byte
	sqes    []byte
	sqHead  *uint32
	sqTail  *uint32
	cqHead  *uint32
	cqTail  *uint32
	cqMask  uint32
	cqes    []ringResult
	wait    waitArg
	timeout unix.Timespec
}

// newIORing makes a ring. The kernel does work for it only while the thread
// waits for a result, which saves interruptions.
func newIORing() (*ioRing, error) {
	p := ringParams{flags: setupSQE128 | setupSingleIssuer | setupDeferTaskrun}
	fd, _, e := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&p)), 0)
	if e != 0 {
		return nil, fmt.Errorf("io_uring_setup: %w", e)
	}
	r := &ioRing{fd: int(fd)}
	size := max(p.sq.array+4*p.sqEntries, p.cq.cqes+p.cqEntries*uint32(unsafe.Sizeof(ringResult{})))
	var err error
	if r.rings, err = mapRing(r.fd, 0, int(size)); err == nil {
		r.sqes, err = mapRing(r.fd, offSQEs, int(p.sqEntries)*int(unsafe.Sizeof(ringCommand{})))
	}
	if err != nil {
		r.close()
		return nil, fmt.Errorf("map an io_uring: %w", err)
	}
	word := func(off uint32) *uint32 { return view[uint32](r.rings[off:]) }
	r.sqHead, r.sqTail, r.cqHead, r.cqTail = word(p.sq.head), word(p.sq.tail), word(p.cq.head), word(p.cq.tail)
	r.cqMask = *word(p.cq.mask)
	r.cqes = unsafe.Slice(view[ringResult](r.rings[p.cq.cqes:]), p.cqEntries)
	*word(p.sq.array) = 0
	return r, nil
}

func mapRing(fd int, off int64, size int) ([]byte, error) {
	return unix.Mmap(fd, off, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
}

func (r *ioRing) close() {
	if r.sqes != nil {
		_ = unix.Munmap(r.sqes)
	}
	if r.rings != nil {
		_ = unix.Munmap(r.rings)
	}
	_ = unix.Close(r.fd)
}

// queue puts a command where the kernel takes it at the next submit.
func (r *ioRing) queue(c ringCommand) {
	*view[ringCommand](r.sqes) = c
	atomic.StoreUint32(r.sqTail, *r.sqTail+1)
}

// submit hands over what is queued. With wait it returns when there is a
// result, or with [unix.ETIME] after a timeout that is not 0.
func (r *ioRing) submit(wait bool, timeout time.Duration) error {
	for {
		queued := *r.sqTail - atomic.LoadUint32(r.sqHead)
		var least, flags, arg, size uintptr
		if wait {
			least, flags = 1, enterGetEvents
		}
		if timeout > 0 {
			r.timeout = unix.NsecToTimespec(int64(timeout))
			r.wait.timeout = uint64(uintptr(unsafe.Pointer(&r.timeout)))
			flags |= enterExtArg
			arg, size = uintptr(unsafe.Pointer(&r.wait)), unsafe.Sizeof(r.wait)
		}
		_, _, e := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), uintptr(queued), least, flags, arg, size)
		if e == 0 {
			return nil
		}
		if !errors.Is(e, unix.EINTR) {
			return fmt.Errorf("io_uring_enter: %w", e)
		}
	}
}

// result takes a result, if there is one.
func (r *ioRing) result() (res int32, ok bool) {
	head := *r.cqHead
	if head == atomic.LoadUint32(r.cqTail) {
		return 0, false
	}
	res = r.cqes[head&r.cqMask].res
	atomic.StoreUint32(r.cqHead, head+1)
	return res, true
}
