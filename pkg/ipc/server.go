package ipc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// A Server answers calls. Set its fields before the first Serve.
type Server struct {
	Handler Handler
	Version string // what GetInfo tells

	MaxConns        int           // connections at a time; default 512
	MaxConnsPerUser int           // of one user, root excepted; default 64
	IdleTimeout     time.Duration // after which a silent connection is closed; default 5 minutes
	MessageTimeout  time.Duration // from the first byte of a message to its last, and for writing a reply; default 10 seconds

	// Trace, if set, is told of each call after it was answered, and of each
	// connection that was refused or ended with an error (then Method is
	// empty). It may be called from several goroutines at once.
	Trace func(Call)

	once    sync.Once
	quit    chan struct{} // closed by Shutdown
	drained chan struct{} // closed when the last connection after that has ended

	mu      sync.Mutex // guards the fields below
	down    bool
	live    map[*conn]struct{}
	perUser map[uint32]int
}

// A Call is what [Server.Trace] is told.
type Call struct {
	Peer   Peer
	Method string
	Took   time.Duration
	Err    error
}

// ErrServerClosed is returned by Serve after Shutdown.
var ErrServerClosed = errors.New("server closed")

func (s *Server) init() {
	s.once.Do(func() {
		s.quit = make(chan struct{})
		s.drained = make(chan struct{})
		s.live = map[*conn]struct{}{}
		s.perUser = map[uint32]int{}
		setDefault(&s.MaxConns, 512)
		setDefault(&s.MaxConnsPerUser, 64)
		setDefault(&s.IdleTimeout, 5*time.Minute)
		setDefault(&s.MessageTimeout, 10*time.Second)
		if s.Trace == nil {
			s.Trace = func(Call) {}
		}
	})
}

func setDefault[T int | time.Duration](v *T, value T) {
	if *v == 0 {
		*v = value
	}
}

// Serve answers on l until ctx ends, Shutdown is called or l fails, and closes
// l. When ctx ends, calls are cut short and Serve waits for them to return.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	s.init()
	var conns, closer sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	closer.Go(func() {
		select {
		case <-s.quit:
		case <-ctx.Done():
		case <-ended:
		}
		_ = l.Close() // makes Accept return
	})
	err := s.accept(ctx, l, &conns)
	close(ended)
	closer.Wait()
	switch {
	case s.stopping():
		conns.Wait() // before cancel: Shutdown lets calls finish
		err = ErrServerClosed
	case ctx.Err() != nil:
		err = ctx.Err()
	}
	cancel()
	conns.Wait()
	return err
}

// accept takes connections until it cannot.
func (s *Server) accept(ctx context.Context, l net.Listener, conns *sync.WaitGroup) error {
	for {
		c, err := l.Accept()
		switch {
		case err == nil:
			s.start(ctx, c, conns)
		case ctx.Err() != nil || s.stopping() || errors.Is(err, net.ErrClosed):
			return err
		case isTemporary(err):
			s.Trace(Call{Err: fmt.Errorf("accept: %w", err)})
			sleep(ctx, 50*time.Millisecond) // descriptors may become free
		default:
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// start serves a connection, unless there are too many.
func (s *Server) start(ctx context.Context, nc net.Conn, conns *sync.WaitGroup) {
	uc, ok := nc.(*net.UnixConn)
	if !ok {
		_ = nc.Close() // no credentials and no descriptors there
		return
	}
	peer, err := peerOf(uc)
	c := &conn{server: s, sock: uc, peer: peer}
	if err == nil {
		err = s.admit(c)
	}
	if err != nil {
		s.Trace(Call{Peer: peer, Err: err})
		c.refuse(err)
		return
	}
	conns.Go(func() {
		defer s.release(c)
		if err := c.serve(ctx); err != nil {
			s.Trace(Call{Peer: peer, Err: err})
		}
	})
}

func (s *Server) admit(c *conn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.down:
		return ErrStopping
	case len(s.live) >= s.MaxConns, !c.peer.IsRoot() && s.perUser[c.peer.UID] >= s.MaxConnsPerUser:
		return &Error{Err: ErrLimitReached, Message: "too many connections", Hint: "try again later"}
	}
	s.live[c] = struct{}{}
	s.perUser[c.peer.UID]++
	return nil
}

func (s *Server) release(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.live, c)
	if s.perUser[c.peer.UID]--; s.perUser[c.peer.UID] == 0 {
		delete(s.perUser, c.peer.UID)
	}
	s.checkDrained()
}

// checkDrained tells Shutdown when all is done. s.mu is held.
func (s *Server) checkDrained() {
	if s.down && len(s.live) == 0 {
		close(s.drained)
	}
}

// Conns returns how many connections there are.
func (s *Server) Conns() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.live)
}

func (s *Server) stopping() bool {
	select {
	case <-s.quit:
		return true
	default:
		return false
	}
}

// streaming returns a context that also ends when Shutdown is called.
func (s *Server) streaming(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-s.quit:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// Shutdown stops accepting, ends streams and idle connections, and waits for
// calls that are being answered. If ctx ends before they do, it cancels them
// and returns its error; Serve then returns when they have.
func (s *Server) Shutdown(ctx context.Context) error {
	s.init()
	s.shut()
	select {
	case <-s.drained:
		return nil
	case <-ctx.Done():
		s.hangUpAll()
		return ctx.Err()
	}
}

func (s *Server) shut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.down {
		s.down = true
		close(s.quit)
		s.checkDrained()
	}
}

func (s *Server) hangUpAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.live {
		c.hangUp()
	}
}
