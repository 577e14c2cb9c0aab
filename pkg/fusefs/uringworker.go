package fusefs

import (
	"errors"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// A ringWorker is a thread that serves one entry of a ring: it answers the
// request before and gets the next one with one system call.
type ringWorker struct {
	worker

	g     *rings
	e     *entry
	io    *ioRing
	debt  []byte      // an answer that the worker before owes
	given bool        // the request at hand was answered, by this worker
	busy  atomic.Bool // it writes into its entry before it has answered, and does not wait for anything

	seen   sighting    // of the watchdog
	heir   *ringWorker // has got the entry
	before *ringWorker // had it
	made   chan<- error
}

// idleTime is after what time without a request memory is given back.
const idleTime = 100 * time.Millisecond

// retryPause is how long to wait when the kernel is short of memory.
const retryPause = 10 * time.Millisecond

// run serves the entry until the connection ends, or somebody else has taken
// the entry because a request took too long.
func (w *ringWorker) run() {
	runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
	w.pin()
	if !w.begins() {
		w.leave()
		return
	}
	defer w.io.close()
	for w.fetch() {
		if !w.serve() {
			w.g.stuck.Add(-1)
			return
		}
	}
	w.leave()
}

// pin keeps the thread on the processor whose requests it answers, if that is
// allowed: then whoever asks and the answer are on the same.
func (w *ringWorker) pin() {
	var set unix.CPUSet
	set.Set(int(w.e.qid))
	_ = unix.SchedSetaffinity(0, &set)
}

// begins makes the ring and queues its first command.
func (w *ringWorker) begins() bool {
	io, err := newIORing()
	if w.before == nil {
		if w.made != nil {
			w.made <- err
		}
		if err != nil {
			return false
		}
		w.io = io
		return w.register()
	}
	for err != nil || w.before.busy.Load() { // the entry must not be lost
		select {
		case <-w.s.end:
			return false
		case <-time.After(retryPause):
		}
		if err != nil {
			io, err = newIORing()
		}
	}
	w.io, w.before = io, nil
	w.commit(w.debt)
	return true
}

// register has the kernel use the entry when the connection has been set up.
func (w *ringWorker) register() bool {
	select {
	case <-w.s.end:
		w.io.close()
		return false
	case <-w.g.open:
	}
	w.io.queue(w.e.register(w.s.devFD))
	return true
}

// leave gives the entry back to the system; the kernel does not use it any more.
func (w *ringWorker) leave() {
	w.g.drop(w)
	w.e.close()
}

// commit queues an answer and the wish for another request.
func (w *ringWorker) commit(out []byte) {
	unique := w.e.header.commitID
	w.e.answer(out)
	w.io.queue(w.e.command(w.s.devFD, ringCommitAndFetch, unique))
}

// ringEnds are results that say that the connection, or this process, ends.
var ringEnds = []unix.Errno{unix.ENOTCONN, unix.ECONNABORTED, unix.ENODEV, unix.ECANCELED}

// fetch submits what is queued and waits for a request.
func (w *ringWorker) fetch() bool {
	for {
		timeout := time.Duration(0)
		if w.e.used > keptPayload {
			timeout = idleTime
		}
		res, ok := w.io.result()
		if !ok {
			if err := w.io.submit(true, timeout); errors.Is(err, unix.ETIME) {
				w.e.shrink()
			} else if err != nil {
				time.Sleep(retryPause)
			}
			continue
		}
		e := unix.Errno(-res)
		if e == 0 {
			return true
		}
		if !slices.Contains(ringEnds, e) {
			w.s.log.Error("command to the ring refused by the kernel", zap.Error(e), zap.Uint16("queue", w.e.qid))
		}
		return false
	}
}

// serve answers the request in the entry. It is false when the watchdog has
// done that, and the entry is another's.
func (w *ringWorker) serve() bool {
	unique := inHeader(w.e.header.inOut[:]).Unique
	req := w.e.request(w.req)
	w.given = false
	w.begin(unique)
	w.state.Store(released)
	w.s.wake()
	switch {
	case req == nil:
		w.fail(unique, unix.E2BIG)
	case w.g.stuck.Load() >= maxStuck:
		w.fail(unique, unix.EIO)
	default:
		w.handle(req)
	}
	if !w.given {
		w.fail(unique, unix.EIO) // nothing goes without an answer
	}
	if w.given {
		w.state.Store(reading)
	}
	return w.given
}

// answered is called by reply for the one who may answer.
func (w *ringWorker) answered(out []byte) {
	w.given = true
	w.commit(out)
}

// readNow reads what is in memory into the entry's own buffer, and returns that
// if it was all, and if the entry is not another's meanwhile.
func (w *ringWorker) readNow(unique uint64, fd int, at spot) []byte {
	w.busy.Store(true)
	defer w.busy.Store(false)
	if w.unique.Load() != unique || !w.worker.readNow(fd, at, w.e.payload()) {
		return nil
	}
	w.s.stats.readBytes.Add(uint64(at.n))
	return w.e.out
}
