package fusefs

import (
	"sync"

	"golang.org/x/sys/unix"
)

// Sizes of reply buffers: a page for most answers, and the longest answer of
// all, a read or listing of maxRead bytes behind its header. The kernel is asked
// for no more than longestRead, which fits into a pipe; one that has agreed on
// maxRead with a predecessor may go on with it, and must not get less.
const (
	maxRead     = 1 << 20
	longestRead = pipeBytes - 2*pageBytes
	smallReply  = 4096
	largeReply  = maxRead + 4096
	largeKept   = 4 // large buffers that are kept for the next request
)

// Buffers lends large reply buffers to all drives of a daemon, so that an idle
// drive holds none. They are resident from the start: the kernel copies from
// them on behalf of a thread that may have been killed.
// The zero value is ready.
type Buffers struct {
	mu    sync.Mutex // guards free
	free  [][]byte
	pipes pipes
}

// get returns a buffer of largeReply bytes.
func (b *Buffers) get() ([]byte, error) {
	b.mu.Lock()
	if n := len(b.free); n > 0 {
		buf := b.free[n-1]
		b.free = b.free[:n-1]
		b.mu.Unlock()
		return buf, nil
	}
	b.mu.Unlock()
	return unix.Mmap(-1, 0, largeReply, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
}

// put takes a buffer back.
func (b *Buffers) put(buf []byte) {
	b.mu.Lock()
	if len(b.free) < largeKept {
		b.free = append(b.free, buf)
		buf = nil
	}
	b.mu.Unlock()
	if buf != nil {
		_ = unix.Munmap(buf)
	}
}
