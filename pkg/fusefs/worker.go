package fusefs

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"
	"unsafe"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/isomount/isomount/pkg/fsys"
)

const pageBytes = 4096

// States of a worker.
const (
	reading  = iota // has the lead, or waits for it
	leading         // answers a request and has the lead
	released        // answers a request; another may read the device
)

// A worker takes requests from the kernel and answers them.
//
// One worker at a time, the leader, reads the device. It keeps the lead while
// it answers short requests, since handing it over costs more than the answer,
// and passes it on before a long one. When an answer turns out to take long,
// the watchdog passes the lead on in the worker's stead.
type worker struct {
	s    *Server
	slot int
	ring *ringWorker // nil: it reads the device
	req  []byte      // the slot's memory
	out  []byte      // of smallReply bytes
	big  []byte      // lent by Buffers, while it is needed

	// Reused from request to request, so that listing allocates nothing.
	list  direntList
	yield func(*fsys.Entry) bool
	near  []fsys.Neighbour

	host    *worker     // whose goroutine runs it, mostly its own
	pending atomic.Bool // its read waits for the disk, at this place:
	pendFD  int
	pendAt  spot
	queue   []*worker // of a host, those with such reads, the oldest first
	spare   []*worker // of a host, those that it could run

	pieces      []fsys.Extent // at most two
	yieldExtent func(fsys.Extent) bool

	state  atomic.Int32
	seq    atomic.Uint64 // counts requests
	unique atomic.Uint64 // of the request that is not answered yet, else 0

	interrupted atomic.Bool // the process that waits for it was sent a signal

	yielded time.Time // when it last let other goroutines run

	gone  bool // its slot is free
	grown bool // its stack: that of a goroutine in a system call is never shrunk
}

func (s *Server) newWorker(slot int) *worker {
	w := &worker{slot: slot}
	s.initWorker(w, s.journal.slot(slot))
	for page := 0; page < slotBytes; page += pageBytes {
		atomic.AddUint32((*uint32)(unsafe.Pointer(&w.req[page])), 0) // writes, so that it is resident
	}
	return w
}

// initWorker gives a worker the memory for its requests and what else it needs.
func (s *Server) initWorker(w *worker, req []byte) {
	w.s, w.host, w.req, w.out = s, w, req, make([]byte, smallReply)
	clear(w.out)
	w.yield = w.addEntry
	w.pieces, w.yieldExtent = make([]fsys.Extent, 0, 2), w.addExtent
}

// run serves until the mount ends.
func (w *worker) run() {
	for w.next() {
		if w.grown {
			w.grown = false
			w.s.wg.Go(w.run) // on a stack that is small again
			return
		}
	}
	if !w.gone {
		w.leave()
	}
}

// next serves a request or concludes one that was pending, and tells whether there
// will be more.
func (w *worker) next() bool {
	v := w
	if w.hasPending() {
		if v = w.taker(); v == nil {
			w.conclude()
			return true
		}
	} else if !w.state.CompareAndSwap(leading, reading) {
		if !w.s.takeLead() {
			return false
		}
		w.state.Store(reading)
	}
	w.yieldSometimes()
	n, ok := v.receive()
	switch {
	case ok && n > 0:
		v.serve(v.req[:n])
		return true
	case w.hasPending(): // nothing came after all
		if v != w {
			w.giveBack(v)
		}
		w.conclude()
		return true
	case !ok:
		return false
	}
	w.gone = true
	w.leave()
	w.s.park()
	return false
}

// yieldSometimes lets the Go scheduler see that the worker is not one that runs for
// ever. From a goroutine that has only made system calls for 10 ms, the runtime's
// monitor takes the processor away in each of them, and each return wakes the
// monitor up, which takes longer than a short answer.
func (w *worker) yieldSometimes() {
	const often = 5 * time.Millisecond
	if now := time.Now(); now.Sub(w.yielded) > often {
		w.yielded = now
		runtime.Gosched()
	}
}

// leave gives the slot back. A leader that ends has seen the mount end.
func (w *worker) leave() {
	w.s.mu.Lock()
	w.s.workers[w.slot] = nil
	w.s.mu.Unlock()
}

// receive reads the next request into the slot. Without one, and yet ok, the
// leader is to leave the device.
func (w *worker) receive() (n int, ok bool) {
	if w.s.lull.timer != nil || w.s.pends {
		w.s.leader.Store(int32(unix.Gettid()))
		defer w.s.leader.Store(0)
	}
	for {
		inHeader(w.req).Length = 0 // and the page is resident
		n, err := unix.Read(w.s.devFD, w.req)
		switch {
		case err == nil && n >= inHeaderBytes:
			return n, true
		case err == nil, errors.Is(err, unix.ENODEV):
			w.s.finish(nil)
			return 0, false
		case errors.Is(err, unix.EINTR) && w.hasPending():
			return 0, true
		case errors.Is(err, unix.EINTR) && w.slot != refuserSlot && w.s.called.CompareAndSwap(true, false):
			return 0, true
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ENOENT), errors.Is(err, unix.EAGAIN):
			continue // the request was withdrawn while it was read
		}
		w.s.finish(fmt.Errorf("read /dev/fuse: %w", err))
		return 0, false
	}
}

// serve answers the request and leaves the worker leading if nobody took the
// lead meanwhile.
func (w *worker) serve(req []byte) {
	w.begin(inHeader(req).Unique)
	if w.host != w {
		w.state.Store(released) // it is the host that leads
	} else if !w.hasPending() { // else it leads already, or does no more
		w.state.Store(leading)
	}
	w.s.wake()
	if isLong(req) {
		w.release()
	}
	w.handle(req)
	if w.pending.Load() {
		w.host.queue = append(w.host.queue, w)
		return
	}
	w.finish()
	if w.host != w {
		w.host.giveBack(w)
	}
}

// begin notes which request the worker owes an answer.
func (w *worker) begin(unique uint64) {
	w.interrupted.Store(false)
	w.unique.Store(unique)
	w.seq.Add(1)
	w.s.stats.requests.Add(1)
}

// finish notes that it owes none.
func (w *worker) finish() {
	inHeader(w.req).Length = 0
	w.unique.Store(0)
}

// release passes the lead on, unless somebody did already.
func (w *worker) release() {
	if w.host.state.CompareAndSwap(leading, released) {
		w.s.passLead()
	}
}

// handle answers one request; a panic below is answered EIO for it alone.
func (w *worker) handle(req []byte) {
	defer w.dropBig()
	defer func() {
		if r := recover(); r != nil {
			h := inHeader(req)
			w.s.log.Error("panic while answering a request", zap.Any("panic", r), zap.Uint32("op", h.Opcode),
				zap.Uint64("node", h.NodeId), zap.Int64("off", readOffset(req)), zap.ByteString("stack", debug.Stack()))
			w.fail(h.Unique, unix.EIO)
		}
	}()
	w.dispatch(req)
}

// reply sends out, which holds a header and its payload, unless the watchdog
// has answered the request already.
func (w *worker) reply(out []byte) {
	h := (*struct {
		length uint32
		status int32
		unique uint64
	})(unsafe.Pointer(&out[0]))
	switch {
	case !w.unique.CompareAndSwap(h.unique, 0):
	case w.ring != nil:
		w.ring.answered(out)
	default:
		w.s.write(out)
	}
}

// fail answers a request with an errno.
func (w *worker) fail(unique uint64, e unix.Errno) {
	if e == unix.EIO {
		w.s.stats.errors.Add(1)
	}
	w.reply(putHeader(w.out, unique, 0, e))
}

// outBuffer returns a buffer for a reply with n bytes of payload.
func (w *worker) outBuffer(n int) ([]byte, error) {
	if outHeaderBytes+n <= len(w.out) {
		return w.out, nil
	}
	if outHeaderBytes+n > len(w.big) {
		w.dropBig()
		buf, err := w.s.opts.Buffers.get(outHeaderBytes + n)
		if err != nil {
			return nil, fmt.Errorf("reply buffer: %w", err)
		}
		w.big = buf
	}
	return w.big, nil
}

func (w *worker) dropBig() {
	if w.big != nil {
		w.s.opts.Buffers.put(w.big)
		w.big = nil
	}
}

// bytesOf views two words as the bytes of a reply header.
func bytesOf(words *[2]uint64) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(words)), len(words)*8)
}
