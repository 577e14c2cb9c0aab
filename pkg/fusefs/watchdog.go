package fusefs

import (
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// Workers use all slots but the last, which belongs to the refuser.
const (
	workerCount = slotCount - 1
	refuserSlot = slotCount - 1
)

// tick is how often the watchdog looks while there is work.
const tick = 10 * time.Millisecond

// A watchdog keeps a drive answering when an image does not: it frees the lead
// from a worker that is stuck, and answers for it when its time is up. It only
// runs while there is work.
type watchdog struct {
	awake   atomic.Bool
	seen    [workerCount]sighting
	refuser atomic.Bool // the refuser runs
}

// A sighting is what the watchdog saw of a worker.
type sighting struct {
	w     *worker
	seq   uint64
	since time.Time
}

// wake is called for every request and must stay cheap.
func (s *Server) wake() {
	if !s.watch.awake.Load() && s.watch.awake.CompareAndSwap(false, true) {
		s.wg.Go(s.watchLoop)
	}
}

// watchLoop runs until the drive is idle, or the connection ends.
func (s *Server) watchLoop() {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		var now time.Time
		select {
		case <-s.end:
			return
		case now = <-ticker.C:
		}
		if s.watchOnce(now) {
			continue
		}
		s.watch.awake.Store(false)
		// A request that has come just before found the watchdog awake.
		if !s.working() || !s.watch.awake.CompareAndSwap(false, true) {
			s.beginLull()
			return
		}
	}
}

// working tells whether a worker owes an answer.
func (s *Server) working() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.workers {
		if w != nil && w.unique.Load() != 0 {
			return true
		}
	}
	return s.rings.working()
}

// watchOnce looks at every worker and tells whether there was work to watch.
func (s *Server) watchOnce(now time.Time) (busy bool) {
	stuck := 0
	for i := range workerCount {
		s.mu.Lock()
		w := s.workers[i]
		s.mu.Unlock()
		seen := &s.watch.seen[i]
		if w == nil {
			*seen = sighting{}
			continue
		}
		if seq := w.seq.Load(); seen.w != w || seen.seq != seq {
			*seen = sighting{w, seq, now}
			busy = true
			continue
		}
		if w.state.Load() == reading {
			continue
		}
		busy = true
		if s.judge(w, now.Sub(seen.since)) {
			stuck++
		}
	}
	busy = s.rings.watch(now) || busy
	if stuck == workerCount && s.watch.refuser.CompareAndSwap(false, true) {
		s.wg.Go(s.refuse)
	}
	return busy
}

// judge does what is due for a worker that has been busy with one request for
// that long, and tells whether it is past helping.
func (s *Server) judge(w *worker, age time.Duration) (stuck bool) {
	s.callOff(w)
	w.release()
	unique := w.unique.Load()
	switch {
	case unique == 0, s.rescue(w, unique):
		return true
	case age >= s.opts.Deadline && w.unique.CompareAndSwap(unique, 0):
		s.stats.late.Add(1)
		s.log.Warn("the image does not answer; the request is given up", zap.Duration("took", age))
		w.giveUp(unique, unix.EIO)
		return true
	case w.interrupted.Load() && age >= interruptGrace && w.unique.CompareAndSwap(unique, 0):
		w.giveUp(unique, unix.EINTR)
	}
	return false
}

// giveUp answers a request in the stead of the worker that is stuck with it.
func (w *worker) giveUp(unique uint64, e unix.Errno) {
	if w.ring != nil {
		w.ring.giveUp(unique, e)
		return
	}
	w.s.answer(unique, e)
}

// refuse answers EIO to everything while all workers wait for an image that
// does not answer, so that programs get an error instead of hanging.
func (s *Server) refuse() {
	defer s.watch.refuser.Store(false)
	select {
	case <-s.end:
		return
	case <-s.lead:
	}
	w := s.newWorker(refuserSlot)
	for !s.hasFreeWorker() {
		n, ok := w.receive()
		if !ok {
			return
		}
		h := inHeader(w.req[:n])
		w.begin(h.Unique)
		if wantsReply(h.Opcode) {
			w.fail(h.Unique, unix.EIO)
		}
		w.finish()
	}
	s.passLead()
}

func (s *Server) hasFreeWorker() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.idle > 0 {
		return true
	}
	for _, w := range s.workers[:workerCount] {
		if w == nil {
			return true
		}
	}
	return false
}
