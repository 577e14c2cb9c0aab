package fusefs

import (
	"fmt"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Commands and structures of include/uapi/linux/fuse.h.
const (
	ringRegister       = 1
	ringCommitAndFetch = 2
)

// ringHeader is struct fuse_uring_req_header: what the kernel writes when it
// hands over a request, and reads when that is answered.
type ringHeader struct {
	inOut    [128]byte // fuse_in_header, or fuse_out_header
	opIn     [128]byte // the structure of the opcode
	_        uint64    // flags
	commitID uint64
	payload  uint32 // bytes
	_        uint32
	_        uint64
}

// ringPayload is how much the kernel wants to have room for: all pages of the
// longest read.
const ringPayload = maxRead

// An entry is the place in which the kernel puts one request after the other,
// and takes the answers from. One ringWorker at a time serves it.
//
// Nothing that may have to wait for the image writes into it: a worker that is
// stuck in a read loses its entry to another, and could spoil the next answer
// when it comes back.
type entry struct {
	qid    uint16
	mem    []byte
	header *ringHeader
	out    []byte // room for a fuse.OutHeader, and the payload behind it
	iov    [2]unix.Iovec
	used   int // bytes of the payload that may be resident
}

// newEntry makes an entry of a queue. Its payload is resident where it is used.
func newEntry(qid int) (*entry, error) {
	const payloadOff = 2 * pageBytes // the first page has the header, the second one the end of an OutHeader
	mem, err := unix.Mmap(-1, 0, payloadOff+ringPayload, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("map the buffer of a ring: %w", err)
	}
	e := &entry{qid: uint16(qid), mem: mem, header: view[ringHeader](mem), out: mem[payloadOff-outHeaderBytes:]}
	e.iov[0].Base = &mem[0]
	e.iov[0].SetLen(int(unsafe.Sizeof(ringHeader{})))
	e.iov[1].Base = &mem[payloadOff]
	e.iov[1].SetLen(ringPayload)
	return e, nil
}

func (e *entry) close() { _ = unix.Munmap(e.mem) }

func (e *entry) payload() []byte { return e.out[outHeaderBytes:] }

// command returns a command of the FUSE device for this entry.
func (e *entry) command(fd int, op uint32, commitID uint64) ringCommand {
	return ringCommand{opcode: opURingCmd, fd: int32(fd), op: op, qid: e.qid, commitID: commitID}
}

// register returns the command that has the kernel use the entry.
func (e *entry) register(fd int) ringCommand {
	c := e.command(fd, ringRegister, 0)
	c.addr, c.len = uint64(uintptr(unsafe.Pointer(&e.iov))), uint32(len(e.iov))
	return c
}

// request puts the request together as reading the device would have given it.
// It is nil if it has no room in req.
func (e *entry) request(req []byte) []byte {
	h := inHeader(e.header.inOut[:])
	extra := int(e.header.payload)
	size := int(h.Length)
	inner := size - inHeaderBytes - extra
	if size > len(req) || inner < 0 || inner > len(e.header.opIn) {
		return nil
	}
	*inHeader(req) = *h
	copy(req[inHeaderBytes:], e.header.opIn[:inner])
	copy(req[inHeaderBytes+inner:size], e.payload()[:extra])
	e.use(extra)
	return req[:size]
}

// answer puts a reply, which holds a header and its payload, where the kernel
// takes it.
func (e *entry) answer(out []byte) {
	*view[fuse.OutHeader](e.header.inOut[:]) = *view[fuse.OutHeader](out)
	n := len(out) - outHeaderBytes
	if n > 0 && &out[0] != &e.out[0] {
		copy(e.payload(), out[outHeaderBytes:])
	}
	e.header.payload = uint32(n)
	e.use(n)
}

func (e *entry) use(n int) { e.used = max(e.used, n) }

// keptPayload is how much of the payload stays resident when nothing is asked.
const keptPayload = 2 * pageBytes

// shrink gives back memory.
func (e *entry) shrink() {
	if e.used > keptPayload {
		_ = unix.Madvise(e.payload()[keptPayload:], unix.MADV_DONTNEED)
		e.used = 0
	}
}
