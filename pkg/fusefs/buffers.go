package fusefs

import (
	"sync"

	"golang.org/x/sys/unix"
)

// Sizes of reply buffers: a page for most answers, what a listing or a read of a
// small file takes, and the longest answer of all, a read of maxRead bytes behind
// its header. The kernel is asked for no more than longestRead, which fits into a
// pipe; one that has agreed on maxRead with a predecessor may go on with it, and
// must not get less.
const (
	maxRead     = 1 << 20
	longestRead = pipeBytes - 2*pageBytes
	smallReply  = pageBytes
	mediumReply = 64<<10 + pageBytes
	largeReply  = maxRead + pageBytes

	mediumKept = 8 // buffers of each size that are kept for the next request
	largeKept  = 2
)

// Buffers lends reply buffers to all drives of a daemon, so that an idle drive
// holds none. They are resident from the start: the kernel copies from them on
// behalf of a thread that may have been killed.
// The zero value is ready.
type Buffers struct {
	mu     sync.Mutex // guards the fields below
	medium [][]byte
	large  [][]byte

	pipes pipes
}

// get returns a buffer of at least n bytes, of mediumReply or largeReply.
func (b *Buffers) get(n int) ([]byte, error) {
	free, size := &b.medium, mediumReply
	if n > mediumReply {
		free, size = &b.large, largeReply
	}
	b.mu.Lock()
	if n := len(*free); n > 0 {
		buf := (*free)[n-1]
		*free = (*free)[:n-1]
		b.mu.Unlock()
		return buf, nil
	}
	b.mu.Unlock()
	return unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
}

// put takes a buffer back.
func (b *Buffers) put(buf []byte) {
	free, most := &b.medium, mediumKept
	if len(buf) > mediumReply {
		free, most = &b.large, largeKept
	}
	b.mu.Lock()
	if len(*free) < most {
		*free = append(*free, buf)
		buf = nil
	}
	b.mu.Unlock()
	if buf != nil {
		_ = unix.Munmap(buf)
	}
}
