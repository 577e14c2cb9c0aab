// Package fusefs answers the kernel's FUSE requests from a [fsys.FS].
//
// Start with [New], which takes the /dev/fuse descriptor of a mount that
// somebody else made, and [Server.Serve], which returns when the mount is gone.
// The package neither mounts nor unmounts.
//
// go-fuse knows the protocol: its types describe every message, and its
// protocol server negotiates INIT and answers whatever is rare. Reading the
// device, the threads, the buffers and the answers to the frequent requests
// are here, because nodes are stateless and answers need no allocation.
package fusefs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/isomount/isomount/pkg/fsys"
)

// Options of a [Server]. The zero value is ready.
type Options struct {
	Log      *zap.Logger   // nil: none
	Buffers  *Buffers      // nil: of its own
	Lobby    *Lobby        // nil: an idle drive keeps a thread
	Journal  *Journal      // nil: of its own, gone with the process
	Deadline time.Duration // a request that takes longer is answered EIO; 0: 30 s
	NoResend bool          // do not use FUSE_NOTIFY_RESEND even if the kernel has it
	URing    bool          // use FUSE over io_uring, see [ErrNoURing]; the mount then ends with the process

	// Ahead allows to store files before they are asked for. A thread that waits
	// in FUSE_NOTIFY_STORE for a page that is being read cannot be killed, and if
	// its process was to be, only the next one can answer that read. So it must be
	// sure that there is a next one, which does not wait for the end of this one.
	Ahead bool

	// LocalFile returns the descriptor of a file in which the extents of the
	// tree lie at the same offsets; not ok if there is none, or not yet.
	LocalFile func() (fd int, ok bool)
}

const defaultDeadline = 30 * time.Second

// interruptGrace is how long an interrupted request may go on before it is
// answered EINTR. Programs do not expect reads of a file to be interrupted, so
// it only serves to free those that wait for a disc that does not answer.
const interruptGrace = 2 * time.Second

// A Server serves one mount.
type Server struct {
	fs      fsys.FS
	xattrs  fsys.XattrFS  // nil if fs has none
	parents fsys.ParentFS // nil if fs has none

	extents    fsys.ExtentFS    // nil if fs has none
	neighbours fsys.NeighbourFS // nil if fs has none
	streams    streams

	root    fsys.Node
	dev     *os.File
	devFD   int
	opts    Options
	log     *zap.Logger
	proto   *fuse.ProtocolServer
	journal *Journal
	ready   chan struct{} // closed when INIT was answered
	resends atomic.Bool   // the kernel has FUSE_NOTIFY_RESEND

	leader    atomic.Int32 // the thread that waits for a request, 0: none
	called    atomic.Bool  // it is to leave
	noReadNow atomic.Bool  // the image cannot be asked for what is in memory
	pends     bool         // reads may be pending
	missing   atomic.Bool  // of tests: nothing is found in memory
	waits     atomic.Int64 // ns that a read waits for the disk, on average

	stats counters
	watch watchdog
	rings *rings // nil: all requests come by the device

	readyOnce sync.Once

	lead   chan struct{}   // holds the right to read the device, when nobody has it
	ended  context.Context //nolint:containedctx // a broadcast that others can wait for, not a request
	cancel context.CancelFunc
	end    <-chan struct{} // of ended
	wg     sync.WaitGroup

	mu      sync.Mutex // guards the fields below
	workers [slotCount]*worker
	idle    int // workers that wait for lead
	lull    lull
	err     error
}

// New returns a server for the mount whose /dev/fuse descriptor is dev, which
// stays the caller's. The descriptor must be in blocking mode.
func New(fs fsys.FS, dev *os.File, o Options) (*Server, error) {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Buffers == nil {
		o.Buffers = new(Buffers)
	}
	if o.Deadline == 0 {
		o.Deadline = defaultDeadline
	}
	s := &Server{
		fs: fs, root: fs.Root(), dev: dev, devFD: int(dev.Fd()), opts: o, log: o.Log, journal: o.Journal,
		ready: make(chan struct{}), lead: make(chan struct{}, 1),
	}
	s.ended, s.cancel = context.WithCancel(context.Background())
	s.end = s.ended.Done()
	s.xattrs, _ = fs.(fsys.XattrFS)
	s.parents, _ = fs.(fsys.ParentFS)
	s.extents, _ = fs.(fsys.ExtentFS)
	if o.Ahead && !o.URing { // what a ring has no successor could answer
		s.neighbours, _ = fs.(fsys.NeighbourFS)
	}
	if s.journal == nil {
		j, err := NewJournal()
		if err != nil {
			return nil, err
		}
		s.journal = j
	}
	if o.URing {
		if err := s.initRings(); err != nil {
			return nil, err
		}
	}
	s.proto = newProtocol(s)
	s.initLull()
	s.initPending()
	return s, nil
}

// Serve answers requests until the mount is gone, which is no error.
func (s *Server) Serve() error {
	if err := s.adopt(); err != nil {
		s.finish(err)
	} else {
		s.lead <- struct{}{}
		s.spawn()
	}
	s.beginLull()
	s.wg.Wait()
	s.endLulls()
	if s.opts.Journal == nil {
		_ = s.journal.Close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Ready waits until the kernel and the server have agreed on how to talk.
func (s *Server) Ready(ctx context.Context) error {
	select {
	case <-s.ready:
		return nil
	case <-s.end:
		return s.endedEarly()
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Server) endedEarly() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	return errors.New("the mount ended before it was ready")
}

// Ended returns a context that is done when the connection has ended; Serve
// may still wait for reads that do not come back.
func (s *Server) Ended() context.Context { return s.ended }

// finish ends all workers once they have answered what they hold.
func (s *Server) finish(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended.Err() == nil {
		s.err = err
		s.cancel()
	}
}

// resume takes up the connection where a predecessor left it, once.
func (s *Server) resume() error {
	request := s.journal.initRequest()
	if request == nil || s.isReady() {
		return nil
	}
	var out [smallReply]byte
	if _, err := s.negotiate(request, out[:]); err != nil {
		return fmt.Errorf("repeat INIT: %w", err)
	}
	s.setReady()
	return nil
}

// adopt answers what a predecessor left in the journal, and asks the kernel for
// what it took and did not even write down.
func (s *Server) adopt() error {
	if err := s.resume(); err != nil {
		return err
	}
	adopted := s.isReady()
	var replays []<-chan struct{}
	for i := range slotCount {
		s.mu.Lock()
		busy := s.workers[i] != nil
		s.mu.Unlock()
		if !busy && !s.journal.fresh && s.journal.held(i) {
			replays = append(replays, s.replay(i))
		}
	}
	if adopted && s.resends.Load() && !s.opts.NoResend {
		s.wg.Go(func() { s.resendAfter(replays) })
	}
	return nil
}

// resendAfter asks for what is missing once the replays have ended, so that
// nothing is done twice, or do not end.
func (s *Server) resendAfter(replays []<-chan struct{}) {
	late := time.After(trialTime)
	for _, done := range replays {
		if done == nil {
			continue
		}
		select {
		case <-done:
		case <-late:
		case <-s.end:
			return
		}
	}
	s.resend()
}

// notifyResend is FUSE_NOTIFY_RESEND of include/uapi/linux/fuse.h.
const notifyResend = 7

// resend has the kernel send again all requests that have no answer.
func (s *Server) resend() {
	var out [2]uint64
	msg := bytesOf(&out)
	*view[fuse.OutHeader](msg) = fuse.OutHeader{Length: uint32(len(msg)), Status: notifyResend}
	s.write(msg)
}

func (s *Server) isReady() bool {
	select {
	case <-s.ready:
		return true
	default:
		return false
	}
}

func (s *Server) setReady() { s.readyOnce.Do(func() { close(s.ready) }) }

// answer replies to a request with an error alone.
func (s *Server) answer(unique uint64, e unix.Errno) {
	var out [2]uint64 // an aligned fuse.OutHeader
	s.write(putHeader(bytesOf(&out), unique, 0, e))
}

// write hands a reply to the kernel. ENOENT says that the request is gone: its
// process was killed, or a predecessor had answered it.
func (s *Server) write(reply []byte) {
	for {
		_, err := unix.Write(s.devFD, reply)
		switch {
		case err == nil, errors.Is(err, unix.ENOENT):
			return
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
			continue
		case errors.Is(err, unix.ENODEV):
			s.finish(nil)
			return
		}
		s.refused(err, len(reply))
		return
	}
}

func (s *Server) refused(err error, size int) {
	s.log.Error("reply refused by the kernel", zap.Error(err), zap.Int("len", size))
}

// spawn starts a worker on a free slot; without one the server goes on with
// those it has.
func (s *Server) spawn() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range workerCount {
		if s.workers[i] == nil {
			w := s.newWorker(i)
			s.workers[i] = w
			s.wg.Go(w.run)
			return
		}
	}
}

// passLead lets another worker read the device.
func (s *Server) passLead() {
	s.mu.Lock()
	alone := s.idle == 0
	s.mu.Unlock()
	s.lead <- struct{}{}
	if alone {
		s.spawn()
	}
}

// takeLead waits for the right to read the device. It tells a worker to go when
// the mount has ended or enough others wait already.
func (s *Server) takeLead() bool {
	const waiting = 2 // workers that are kept waiting
	s.mu.Lock()
	if s.idle >= waiting {
		s.mu.Unlock()
		return false
	}
	s.idle++
	rest := s.lull.rest
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.idle--
		s.mu.Unlock()
	}()
	select {
	case <-s.end:
		return false
	case <-rest:
		return false
	case <-s.lead:
		return true
	}
}

// Stats are what a server has done since it was started.
type Stats struct {
	Requests  uint64 `json:"requests"`
	ReadBytes uint64 `json:"readBytes"` // given to the kernel that asked for them
	Stored    uint64 `json:"stored"`    // bytes given to the kernel before it asked
	Errors    uint64 `json:"errors"`    // requests answered EIO
	Late      uint64 `json:"late"`      // requests that passed the deadline
}

type counters struct{ requests, readBytes, stored, errors, late atomic.Uint64 }

// Stats returns the counters.
func (s *Server) Stats() Stats {
	return Stats{
		Requests: s.stats.requests.Load(), ReadBytes: s.stats.readBytes.Load(), Stored: s.stats.stored.Load(),
		Errors: s.stats.errors.Load(), Late: s.stats.late.Load(),
	}
}
