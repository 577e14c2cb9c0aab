package fusefs

import (
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// While a short read waits for the disk, its worker may take further requests,
// in slots of other workers that have no goroutine of their own: it runs them,
// and is their host. The disk then has several reads to do at once, without one
// thread having to wake another for each. Reads of a disk that is slow are left
// to threads of their own, so that it gets as many as it can do. Those that are
// pending behind one that takes very long are answered by the watchdog, once their
// own bytes have come.

const (
	pendingMost = 4 // reads that one goroutine has pending at most

	// slowWait is how long a read of a slow disk waits, on average.
	slowWait = 500 * time.Microsecond
)

// initPending allows reads to be pending if whoever waits for a request behind
// them can be called off; see callOff.
func (s *Server) initPending() {
	s.pends = !s.opts.URing && s.opts.LocalFile != nil && canInterrupt()
}

// mayPend tells whether a read for which the disk has to be waited for may be kept
// for later; taker then looks whether there is anything else to be done.
func (w *worker) mayPend() bool {
	h := w.host
	return w.s.pends && !w.s.noReadNow.Load() && !w.pending.Load() && len(h.queue) < pendingMost && h.state.Load() == leading &&
		!w.s.isSlow()
}

// readShort reads a piece of a local file. It may be that this is done later, since
// the disk has to be waited for; or not at all, if the piece is not there.
func (w *worker) readShort(fd int, at spot, buf []byte) (found, later bool, err error) {
	switch {
	case !w.pending.Load() && w.readNow(fd, at, buf):
		found = true
	case w.mayPend():
		w.pendFD, w.pendAt = fd, at
		w.pending.Store(true)
		return false, true, nil
	default:
		found, err = w.readWaiting(fd, at, buf)
	}
	if found {
		w.s.stats.readBytes.Add(uint64(at.n))
	}
	return found, false, err
}

// readWaiting reads what the disk was asked for by readNow, and tells whether that
// was all. If anything else is to be done meanwhile, another worker does it. A place
// that cannot be read is an error, so that the disk is not made to try it twice.
func (w *worker) readWaiting(fd int, at spot, buf []byte) (done bool, err error) {
	if w.s.isSlow() || !w.pending.Load() && w.s.waiting() {
		w.release()
	}
	began := time.Now()
	n, e := preadv2(fd, at, buf, 0)
	w.s.noteWait(time.Since(began))
	if e == unix.EIO {
		return false, fmt.Errorf("read %d bytes at offset %d of the image: %w", at.n, at.pos, e)
	}
	return e == 0 && n == at.n, nil
}

func (s *Server) isSlow() bool { return s.waits.Load() > int64(slowWait) }

// noteWait keeps an average over the last few reads.
func (s *Server) noteWait(d time.Duration) {
	old := s.waits.Load()
	s.waits.Store(old + (int64(min(d, time.Second))-old)/4)
}

// taker returns the worker into whose slot the next request is to be read, or nil
// if it is time to conclude a pending read.
func (w *worker) taker() *worker {
	if len(w.queue) == pendingMost || w.state.Load() != leading || !w.s.waiting() {
		return nil
	}
	if !w.pending.Load() {
		return w
	}
	return w.borrow()
}

// borrow returns a worker in a slot that is not in use, to be run by w, or nil.
func (w *worker) borrow() *worker {
	s := w.s
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, v := range w.spare {
		if s.workers[v.slot] == nil {
			w.spare = slices.Delete(w.spare, i, i+1)
			s.workers[v.slot] = v
			return v
		}
	}
	for i := range workerCount {
		if s.workers[i] == nil {
			v := s.newWorker(i)
			v.host = w
			s.workers[i] = v
			return v
		}
	}
	return nil
}

// giveBack frees the slot of a borrowed worker.
func (w *worker) giveBack(v *worker) {
	v.state.Store(reading)
	w.s.mu.Lock()
	w.s.workers[v.slot] = nil
	w.s.mu.Unlock()
	if len(w.spare) < pendingMost {
		w.spare = append(w.spare, v)
	}
}

// conclude answers the read that has been pending for longest.
func (w *worker) conclude() {
	v := w.queue[0]
	w.queue = slices.Delete(w.queue, 0, 1)
	v.handle(v.req[:inHeader(v.req).Length])
	v.pending.Store(false)
	v.finish()
	if v != w {
		w.giveBack(v)
	}
}

// callOff gets a host out of its read of the device if it has reads pending: the
// request that it was to find there has been withdrawn meanwhile.
func (s *Server) callOff(w *worker) {
	if !w.pending.Load() {
		return
	}
	if tid := s.leader.Load(); tid != 0 {
		interrupt(int(tid))
	}
}

// rescue answers a pending read whose host is stuck with something else, if its
// bytes are in memory, and tells whether it did.
func (s *Server) rescue(w *worker, unique uint64) bool {
	if !w.pending.Load() {
		return false
	}
	fd, at := w.pendFD, w.pendAt
	buf, err := s.opts.Buffers.get(outHeaderBytes + at.n)
	if err != nil {
		return false
	}
	defer s.opts.Buffers.put(buf)
	n, e := preadv2(fd, at, buf[outHeaderBytes:], unix.RWF_NOWAIT)
	// If it is another request by now, it has another number.
	if e != 0 || n != at.n || !w.unique.CompareAndSwap(unique, 0) {
		return false
	}
	s.stats.readBytes.Add(uint64(n))
	s.write(putHeader(buf, unique, n, 0))
	return true
}

// hasPending tells whether the worker's goroutine owes answers to reads.
func (w *worker) hasPending() bool { return len(w.host.queue) > 0 }
