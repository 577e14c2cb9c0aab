package fusefs

import (
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// A Lobby is where the drives of a daemon wait that have had nothing to do for a
// while: one thread waits for all of them, where each had one that was blocked
// in a read of its device. The zero value is ready.
type Lobby struct {
	mu     sync.Mutex // guards the fields below
	epoll  int        // while anybody waits
	parked map[int32]*Server
}

// parkAfter is how long a drive is idle before it waits in the lobby.
const parkAfter = 2 * time.Second

// add has a server wait.
func (l *Lobby) add(s *Server) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.parked) == 0 {
		fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
		if err != nil {
			return err
		}
		l.epoll, l.parked = fd, map[int32]*Server{}
		defer func() {
			if len(l.parked) == 0 {
				_ = unix.Close(fd)
				return
			}
			go l.wait(fd)
		}()
	}
	fd := int32(s.devFD)
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, s.devFD, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: fd}); err != nil {
		return err
	}
	l.parked[fd] = s
	return nil
}

// wait calls servers for which there is a request, or whose mount has ended,
// until none is left.
func (l *Lobby) wait(epoll int) {
	var events [64]unix.EpollEvent
	for {
		n, err := unix.EpollWait(epoll, events[:], -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			n = l.all(events[:]) // cannot be; but nobody must wait for ever
		}
		for _, e := range events[:max(n, 0)] {
			if s := l.take(e.Fd); s != nil {
				s.unpark()
			}
		}
		if l.leave(epoll) {
			return
		}
	}
}

// take takes a server out of the lobby.
func (l *Lobby) take(fd int32) *Server {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.parked[fd]
	delete(l.parked, fd)
	_ = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_DEL, int(fd), nil) // else it would be called again and again
	return s
}

func (l *Lobby) all(events []unix.EpollEvent) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for fd := range l.parked {
		if n < len(events) {
			events[n].Fd = fd
			n++
		}
	}
	return n
}

// leave closes the lobby if nobody waits.
func (l *Lobby) leave(epoll int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.parked) > 0 {
		return false
	}
	_ = unix.Close(epoll)
	return true
}

// A lull is how a server finds out that its drive is idle.
type lull struct {
	timer    *time.Timer // nil: never
	requests uint64      // how many there had been when it began
	over     bool        // the device may be closed
	parked   bool
	rest     chan struct{} // closed when those who wait for the lead are to go
}

func (s *Server) initLull() {
	s.lull.rest = make(chan struct{})
	if s.opts.Lobby != nil && !s.opts.URing && canInterrupt() {
		s.lull.timer = time.AfterFunc(time.Hour, s.callLeader)
		s.lull.timer.Stop()
	}
}

// beginLull notes that the drive is idle, for now.
func (s *Server) beginLull() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lull.timer != nil && !s.lull.over {
		s.lull.requests = s.stats.requests.Load()
		s.lull.timer.Reset(parkAfter)
	}
}

// endLulls is called when the device is no more the server's.
func (s *Server) endLulls() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lull.over = true
	if s.lull.timer != nil {
		s.lull.timer.Stop()
	}
}

// callLeader gets the leader out of its read of the device, if the drive is still
// idle. A signal does that. One that comes before the read has begun is in vain, so
// it is tried again.
func (s *Server) callLeader() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lull.over || s.lull.parked || s.watch.awake.Load() || s.stats.requests.Load() != s.lull.requests {
		return
	}
	if tid := s.leader.Load(); tid != 0 {
		s.called.Store(true)
		interrupt(int(tid))
	}
	s.lull.timer.Reset(parkAfter)
}

// park has the server wait in the lobby. The leader, which was called for that,
// has given its slot back; the lead is nobody's meanwhile.
func (s *Server) park() {
	s.wg.Add(1) // Serve goes on
	s.mu.Lock()
	s.lull.parked = true
	close(s.lull.rest)
	s.lull.rest = make(chan struct{})
	s.mu.Unlock()
	if err := s.opts.Lobby.add(s); err != nil {
		s.log.Warn("an idle drive keeps its thread", zap.Error(err))
		s.unpark()
	}
}

// unpark has a worker read the device again.
func (s *Server) unpark() {
	s.mu.Lock()
	s.lull.parked = false
	s.mu.Unlock()
	s.lead <- struct{}{}
	s.spawn()
	s.wg.Done()
}
