package fusefs

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// FUSE over io_uring (Documentation/filesystems/fuse/fuse-io-uring.rst) saves a
// system call and often a change of processor for each request. The kernel has
// a queue for each processor; requests of programs on that processor go there.
// FORGET, INTERRUPT and notifications stay on the device, as does INIT.
//
// What was handed over through a ring cannot be handed over again: a connection
// with rings ends with its process. See docs/adr.

// ErrNoURing reports that FUSE over io_uring cannot be had.
var ErrNoURing = errors.New("FUSE over io_uring cannot be used")

const (
	ringFirst = 3           // entries of a queue from the start
	ringMost  = 8           // entries of a queue when reads take long
	maxStuck  = workerCount // workers that wait for a dead image
)

// RingThreads is how many threads a drive that uses io_uring may come to have.
func RingThreads() int {
	possible, err := countCPUs("possible")
	if err != nil {
		return ringMost + maxStuck
	}
	return possible*ringMost + maxStuck
}

// rings are the queues of a connection.
type rings struct {
	s     *Server
	open  chan struct{} // closed when entries may be registered
	stuck atomic.Int32  // workers that have lost their entry and wait for the image

	mu      sync.Mutex    // guards the fields below
	workers []*ringWorker // that have an entry
	count   []int         // entries of each queue
	idle    []int         // of each queue, see watch
}

// initRings makes sure that there can be rings.
func (s *Server) initRings() error {
	possible, err := countCPUs("possible")
	if err == nil {
		err = checkURing()
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoURing, err)
	}
	s.rings = &rings{s: s, open: make(chan struct{}), count: make([]int, possible), idle: make([]int, possible)}
	return nil
}

// checkURing tells what keeps this process from using FUSE over io_uring.
func checkURing() error {
	const enable = "/sys/module/fuse/parameters/enable_uring"
	b, err := os.ReadFile(enable)
	if err != nil {
		return err
	}
	if value := strings.TrimSpace(string(b)); value != "Y" {
		return fmt.Errorf("%s is %s", enable, value)
	}
	r, err := newIORing()
	if err == nil {
		r.close()
	}
	return err
}

// prepare starts the workers if the kernel has agreed, which must be done before
// INIT is answered: from then on the kernel waits for them.
func (g *rings) prepare(reply *fuse.InitOut) error {
	if g == nil {
		return nil
	}
	if reply.Flags2&(fuse.CAP_OVER_IO_URING>>32) == 0 {
		return fmt.Errorf("%w: the kernel does not offer it", ErrNoURing)
	}
	online, err := countCPUs("online")
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoURing, err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	made := make(chan error, len(g.count)*ringFirst)
	for q := range g.count {
		n := ringFirst
		if q >= online {
			n = 1 // every queue needs one
		}
		for range n {
			if err := g.add(q, made); err != nil {
				return fmt.Errorf("%w: %w", ErrNoURing, err)
			}
		}
	}
	for range g.workers {
		if e := <-made; e != nil {
			err = fmt.Errorf("%w: %w", ErrNoURing, e)
		}
	}
	return err
}

// start has the kernel use the rings.
func (g *rings) start() {
	if g != nil {
		close(g.open)
	}
}

// add starts a worker with an entry of its own, which says in made whether it
// could make its ring. The caller holds mu.
func (g *rings) add(q int, made chan<- error) error {
	e, err := newEntry(q)
	if err != nil {
		return err
	}
	w := g.newWorker(e)
	w.made = made
	g.workers = append(g.workers, w)
	g.count[q]++
	g.s.wg.Go(w.run)
	return nil
}

func (g *rings) newWorker(e *entry) *ringWorker {
	w := &ringWorker{g: g, e: e}
	g.s.initWorker(&w.worker, make([]byte, slotBytes))
	w.ring = w
	return w
}

// drop forgets a worker that ends.
func (g *rings) drop(w *ringWorker) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, other := range g.workers {
		if other == w {
			g.workers = append(g.workers[:i], g.workers[i+1:]...)
			g.count[w.e.qid]--
			return
		}
	}
}

// interrupt notes that whoever waits for a request was sent a signal.
func (g *rings) interrupt(unique uint64) {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, w := range g.workers {
		if w.unique.Load() == unique {
			w.interrupted.Store(true)
			return
		}
	}
}

// watch is watchOnce for the workers of rings.
func (g *rings) watch(now time.Time) (busy bool) {
	if g == nil {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.idle)
	for i, w := range g.workers {
		seen := &w.seen
		switch seq := w.seq.Load(); {
		case seen.seq != seq:
			*seen = sighting{&w.worker, seq, now}
			busy = true
			g.idle[w.e.qid]++ // it makes progress
		case w.state.Load() == reading:
			g.idle[w.e.qid]++
		default:
			busy = true
			g.s.judge(&w.worker, now.Sub(seen.since))
			if w.heir != nil {
				g.workers[i] = w.heir
			}
		}
	}
	for q, n := range g.idle {
		if n == 0 && g.count[q] > 0 && g.count[q] < ringMost {
			_ = g.add(q, nil) // without it those there are go on
		}
	}
	return busy
}

// working is working for the workers of rings.
func (g *rings) working() bool {
	if g == nil {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, w := range g.workers {
		if w.unique.Load() != 0 {
			return true
		}
	}
	return false
}

// giveUp answers a request in the stead of a worker that is stuck with it: its
// entry goes to another worker, which begins with that answer. The caller holds
// mu.
func (w *ringWorker) giveUp(unique uint64, e unix.Errno) {
	w.heir = w.g.newWorker(w.e)
	w.heir.debt = putHeader(make([]byte, outHeaderBytes), unique, 0, e)
	w.heir.before = w
	w.g.stuck.Add(1)
	w.s.wg.Go(w.heir.run)
}

// countCPUs counts the processors that are possible or online: the last number
// in a list such as 0-3,5 and one more.
func countCPUs(which string) (int, error) {
	const dir = "/sys/devices/system/cpu/"
	b, err := os.ReadFile(dir + which)
	if err != nil {
		return 0, err
	}
	text := strings.TrimSpace(string(b))
	n, err := strconv.ParseUint(text[strings.LastIndexAny(text, "-,")+1:], 10, 16)
	if err != nil {
		return 0, fmt.Errorf("%s%s: %q is no list of processors", dir, which, text)
	}
	return int(n) + 1, nil
}
