package cache

import (
	"errors"
	"math/bits"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// errFull reports that nothing is free within the budget.
var errFull = errors.New("cache: the budget is used up")

const (
	minSlotBits = 12 // a page of the system: less cannot be given back
	maxSlotBits = 23 // MaxBlock
)

// An arena hands out memory that the garbage collector does not see. Slots have
// sizes that are powers of two, and each size has a region of address space of
// its own, large enough for the whole budget: what counts is not addresses but
// the memory behind them, which goes back to the system when another size needs
// it. So a slot is never missing for want of a long enough gap.
type arena struct {
	budget int64
	held   atomic.Int64 // bytes of slots that have memory; written under mu

	mu      sync.Mutex // guards the fields below
	regions [maxSlotBits - minSlotBits + 1]region
	taken   int // slots handed out
	closed  bool
}

// A region is the slots of one size.
type region struct {
	mem  []byte // nil until the first slot is needed
	used int    // slots from the start that ever had memory
	warm []int  // free slots that have memory
	cold []int  // free slots whose memory was given back
}

// A slot is a piece of memory of a region.
type slot struct {
	mem   []byte // its capacity is the size of the slot
	class int
	index int
}

func (s slot) size() int { return cap(s.mem) }

// newArena returns an arena that has room for pages at once, and finds room for
// slots of other sizes when they are needed.
func newArena(budget int64) (*arena, error) {
	a := &arena{budget: budget}
	return a, a.regions[classOf(PageSize)].reserve(budget)
}

// classOf returns the smallest size of slots that holds n bytes.
func classOf(n int) int { return max(bits.Len(uint(n-1)), minSlotBits) - minSlotBits }

func classSize(class int) int { return 1 << (class + minSlotBits) }

// alloc returns a slot of at least n bytes, which hold anything, or errFull.
func (a *arena) alloc(n int) (slot, error) {
	class := classOf(n)
	for {
		s, err := a.take(class)
		if !errors.Is(err, errFull) || !a.coolOne(class) {
			return s, err
		}
	}
}

func (a *arena) take(class int) (slot, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := &a.regions[class]
	size := classSize(class)
	switch {
	case a.closed:
		return slot{}, ErrClosed
	case len(r.warm) > 0:
		a.taken++
		return r.slot(class, pop(&r.warm)), nil
	case a.held.Load()+int64(size) > a.budget:
		return slot{}, errFull
	case r.mem == nil:
		if err := r.reserve(a.budget / int64(size) * int64(size)); err != nil {
			return slot{}, err
		}
	}
	a.taken++
	a.held.Add(int64(size))
	if len(r.cold) > 0 {
		return r.slot(class, pop(&r.cold)), nil
	}
	r.used++
	return r.slot(class, r.used-1), nil
}

// reserve takes address space. Huge pages would hold memory that nobody asked
// for, and could not be given back in part.
func (r *region) reserve(size int64) error {
	mem, err := unix.Mmap(-1, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_NORESERVE)
	if err != nil {
		return err
	}
	_ = unix.Madvise(mem, unix.MADV_NOHUGEPAGE) // EINVAL: the kernel has none
	r.mem = mem
	return nil
}

func (r *region) slot(class, index int) slot {
	size := classSize(class)
	start := index * size
	return slot{r.mem[start : start+size : start+size], class, index}
}

// free takes a slot back; cool gives its memory to the system.
func (a *arena) free(s slot, cool bool) {
	if cool {
		cool = unix.Madvise(s.mem, unix.MADV_DONTNEED) == nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.taken--
	r := &a.regions[s.class]
	if cool {
		r.cold = append(r.cold, s.index)
		a.held.Add(-int64(s.size()))
	} else {
		r.warm = append(r.warm, s.index)
	}
	if a.closed && a.taken == 0 {
		_ = a.unmap() // nobody is left to be told
	}
}

// coolOne gives the memory of a free slot of another size to the system.
func (a *arena) coolOne(not int) bool {
	s, ok := a.takeWarm(not)
	if ok {
		a.free(s, true)
	}
	return ok
}

func (a *arena) takeWarm(not int) (slot, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return slot{}, false
	}
	for class := len(a.regions) - 1; class >= 0; class-- {
		if r := &a.regions[class]; class != not && len(r.warm) > 0 {
			a.taken++
			return r.slot(class, pop(&r.warm)), true
		}
	}
	return slot{}, false
}

// close gives all memory back as soon as no slot is taken.
func (a *arena) close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	if a.taken > 0 {
		return nil
	}
	return a.unmap()
}

func (a *arena) unmap() error {
	var errs []error
	for i := range a.regions {
		if r := &a.regions[i]; r.mem != nil {
			errs = append(errs, unix.Munmap(r.mem))
			*r = region{}
		}
	}
	a.held.Store(0)
	return errors.Join(errs...)
}

func pop(list *[]int) int {
	last := len(*list) - 1
	v := (*list)[last]
	*list = (*list)[:last]
	return v
}
