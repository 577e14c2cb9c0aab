package fusefs

import (
	"encoding/binary"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// A request can end a process without a panic that could be recovered: by
// running out of memory or stack, or by a fault in a goroutine of its own. Then
// its successor finds it in a slot, repeats it, and dies as well.
//
// Two rules keep that from going on for ever.
//
// When the predecessor is known to have failed of itself, whoever adopts its
// journals calls [Journal.Accuse]. Each request in a slot is then suspected,
// though most were only there at the time, so [Server.Try] repeats them one
// after the other while nothing else is served. The one that is on trial when
// the process fails again has ended two processes, and the third refuses it.
//
// A process that was killed from outside says nothing about its requests: a
// thousand kills must not cost an answer. Yet the kernel kills as well when
// memory is short, so a request during whose repetition maxDeaths processes in
// a row died for whatever reason is refused too.

// maxDeaths is how many processes may die in a row while they repeat a request.
const maxDeaths = 12

// convicted is how many processes a request has to end to be refused.
const convicted = 2

// trialTime is how long a suspect keeps the others waiting. One that takes
// longer waits for its image, and does no harm meanwhile.
const trialTime = time.Second

// resent is set in the unique of a request that the kernel sent again
// (FUSE_UNIQUE_RESEND of include/uapi/linux/fuse.h).
const resent = 1 << 63

// A row is what the journal says of the request in a slot.
type row []byte

// row returns the row of slot i, cleared if it was about another request.
func (j *Journal) row(i int) row {
	r := row(j.mem[offTable+16*i : offTable+16*(i+1)])
	unique := inHeader(j.slot(i)).Unique &^ resent
	if binary.LittleEndian.Uint64(r) != unique {
		clear(r)
		binary.LittleEndian.PutUint64(r, unique)
	}
	return r
}

func (r row) deaths() uint32     { return binary.LittleEndian.Uint32(r[8:]) }
func (r row) addDeath()          { binary.LittleEndian.PutUint32(r[8:], r.deaths()+1) }
func (r row) crashes() byte      { return r[12] }
func (r row) setCrashes(n byte)  { r[12] = n }
func (r row) onTrial() bool      { return r[15] != 0 }
func (r row) setTrial(mark byte) { r[15] = mark }

// held tells whether a request is in slot i.
func (j *Journal) held(i int) bool { return inHeader(j.slot(i)).Length != 0 }

// Accuse notes that the process that left the journal failed of itself. It may
// be called again if this process ends before all journals were told.
func (j *Journal) Accuse() {
	j.accuseOpening()
	for i := range slotCount {
		if !j.held(i) {
			continue
		}
		switch r := j.row(i); {
		case r.onTrial():
			r.setCrashes(convicted)
			r.setTrial(0)
		case r.crashes() == 0:
			r.setCrashes(1)
		}
	}
}

// refused tells whether the request in slot i must not be tried again, and
// otherwise counts that this process repeats it.
func (j *Journal) refused(i int) bool {
	h := inHeader(j.slot(i))
	if n := int(h.Length); n < inHeaderBytes || n > slotBytes {
		return true
	}
	r := j.row(i)
	if r.crashes() >= convicted || r.deaths() >= maxDeaths {
		return true
	}
	r.setTrial(0) // the process before this was killed during the trial
	r.addDeath()
	return false
}

// Try repeats the requests that are suspected to have ended the predecessor,
// one after the other. It must be called before Serve, while no other server of
// the process works, and only matters after [Journal.Accuse].
func (s *Server) Try() error {
	if err := s.resume(); err != nil {
		return err
	}
	for i := range slotCount {
		if s.journal.row(i).crashes() == 1 && s.journal.held(i) {
			s.try(i)
		}
	}
	return nil
}

func (s *Server) try(i int) {
	done := s.replay(i)
	if done == nil {
		return
	}
	select {
	case <-done:
	case <-time.After(trialTime):
		s.journal.row(i).setTrial(0)
	}
}

// replay answers the request that a predecessor left in slot i with a worker of
// its own, which goes on to serve. It returns nil if the request was refused.
func (s *Server) replay(i int) <-chan struct{} {
	h := inHeader(s.journal.slot(i))
	if i == refuserSlot || s.journal.refused(i) {
		s.refuseLeft(i)
		return nil
	}
	if s.journal.row(i).crashes() > 0 {
		s.journal.row(i).setTrial(1)
	}
	w := s.newWorker(i)
	w.state.Store(released) // it does not lead
	w.begin(h.Unique)
	s.mu.Lock()
	s.workers[i] = w
	s.mu.Unlock()
	done := make(chan struct{})
	s.wg.Go(func() {
		w.handle(w.req[:h.Length])
		s.journal.row(i).setTrial(0)
		w.finish()
		close(done)
		w.run()
	})
	s.wake()
	return done
}

// refuseLeft answers EIO to the request in slot i.
func (s *Server) refuseLeft(i int) {
	h := inHeader(s.journal.slot(i))
	s.log.Error("request refused: it has ended the daemon before", zap.Uint32("op", h.Opcode),
		zap.Uint64("node", h.NodeId), zap.Int64("off", readOffset(s.journal.slot(i))))
	if wantsReply(h.Opcode) {
		s.answer(h.Unique, unix.EIO)
	}
	h.Length = 0
}

// Suspects tells whether a request in the journal may have ended a process.
func (j *Journal) Suspects() bool {
	for i := range slotCount {
		if j.row(i).crashes() > 0 && j.held(i) {
			return true
		}
	}
	return false
}
