// Package cache keeps parts of images in memory where reading them again is
// expensive: above a decoder, a remote source or a slow device, and for the
// metadata of every disc. A local plain image needs none for its contents, which
// the page cache of the kernel holds already.
//
// Start with [New], once for all drives. [Cache.Reader] puts the cache between
// a source and its readers, in pages of [PageSize]; [Cache.Blocks] keeps blocks
// of any size that are expensive to make, such as what was decompressed.
//
// # How it works
//
// All that is kept lies in memory that the garbage collector does not see, so
// that a budget of 64 MiB costs 64 MiB and not twice that (see arena). What is
// in use is pinned: nobody waits for memory, and what finds all of it pinned is
// read around the cache. Whatever is missing is fetched once, however many wait
// for it, and what could not be fetched is not kept.
//
// What goes first is decided by a segmented LRU in shards (see shard): what was
// used once gives way to what was used again, so that a copy of a whole disc
// does not push its directories out.
//
// The cache starts no goroutines. Its lock order is: none, no two locks are
// ever held together, and none during a read of a source.
package cache

import (
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"
)

const (
	// PageSize is how many bytes of a source are fetched at once.
	PageSize = 64 << 10

	// DefaultBudget is the budget that New takes for 0.
	DefaultBudget = 64 << 20

	// MaxBlock is the size of the largest block.
	MaxBlock = 8 << 20
)

// ErrClosed is returned by reads after Close.
var ErrClosed = fmt.Errorf("cache: %w", fs.ErrClosed)

// errBypass reports that there is no memory for a fetch, since all of it is in
// use.
var errBypass = errors.New("cache: all memory is in use")

// errAborted is what others get who waited for a fetch that panicked.
var errAborted = errors.New("cache: the fetch was aborted")

// A Cache keeps what its Readers and Blocks read, within one budget.
type Cache struct {
	arena  *arena
	shards []shard
	shift  uint // of a hash, so that a number of a shard is left
	owners atomic.Uint64
	closed atomic.Bool
}

// New returns a cache that holds at most budget bytes, or [DefaultBudget] for 0.
// The memory is taken when it is used.
func New(budget int64) (*Cache, error) {
	if budget == 0 {
		budget = DefaultBudget
	}
	budget -= budget % PageSize
	if budget <= 0 {
		return nil, fmt.Errorf("cache: a budget below %d bytes is too small", PageSize)
	}
	bits := uint(0)
	for bits < maxShardBits && budget>>bits > minShardPages*PageSize {
		bits++
	}
	arena, err := newArena(budget)
	if err != nil {
		return nil, fmt.Errorf("cache: reserve %d bytes: %w", budget, err)
	}
	c := &Cache{arena: arena, shards: make([]shard, 1<<bits), shift: 64 - bits}
	for i := range c.shards {
		c.shards[i].init(budget >> bits)
	}
	return c, nil
}

// Close drops everything. Reads that are under way end as they would have;
// the memory is given back when the last of them does.
func (c *Cache) Close() error {
	c.closed.Store(true)
	c.drop(func(*entry) bool { return true })
	return c.arena.close()
}

// drop removes all entries that match, and gives their memory back.
func (c *Cache) drop(match func(*entry) bool) {
	for i := range c.shards {
		for _, e := range c.shards[i].drop(match) {
			c.release(e)
		}
	}
}

// release lets go of an entry. The last to do so frees its memory.
func (c *Cache) release(e *entry) {
	if e.refs.Add(-1) == 0 && e.mem != nil {
		c.arena.free(e.slot, e.cool)
	}
}

// A fetch fills memory and returns how much of it: less only with an error.
type fetch func(mem []byte) (int, error)

// pin returns the entry of a key, which the caller must release. If it is first,
// the caller must load it, else what it holds is there, or e.err is set. from
// and to are what the caller will read of it. If the owner is full and the
// entry is not there, the error is errBypass.
func (c *Cache) pin(o *owner, k key, from, to int, full bool) (e *entry, first bool, err error) {
	s := &c.shards[k.hash()>>c.shift]
	s.mu.Lock()
	if o.closed.Load() || c.closed.Load() {
		s.mu.Unlock()
		return nil, false, ErrClosed
	}
	e = s.entries[k]
	if e == nil && full {
		s.mu.Unlock()
		count(&s.bypassed, &o.bypassed, 1)
		return nil, false, errBypass
	}
	if e == nil {
		e = s.add(o, k, to)
		s.mu.Unlock()
		count(&s.misses, &o.misses, 1)
		return e, true, nil
	}
	e.refs.Add(1)
	s.touch(e, from, to)
	loading := e.loading
	s.mu.Unlock()
	count(&s.hits, &o.hits, 1)
	if loading {
		<-e.done
	}
	return e, false, nil
}

// load fetches size bytes into an entry that pin said was to be loaded, in
// memory for room bytes. Whatever happens, those who wait are told.
func (c *Cache) load(e *entry, room, size int, get fetch) {
	e.err = errAborted
	defer c.settle(e)
	slot, ok := c.alloc(room)
	if !ok {
		e.err = errBypass
		return
	}
	e.slot = slot
	e.mem = slot.mem[:size]
	e.n, e.err = get(e.mem)
	count(&e.shard.fetched, &e.owner.fetched, int64(e.n))
}

// settle ends the loading of an entry and keeps it if that went well and nobody
// dropped it meanwhile.
func (c *Cache) settle(e *entry) {
	if unkept := e.shard.settle(e); unkept {
		c.release(e)
	}
	close(e.done)
}

// alloc returns memory for size bytes, at the expense of what was not used for
// longest. It fails if all is in use, or the system gives none.
func (c *Cache) alloc(size int) (slot, bool) {
	for {
		s, err := c.arena.alloc(size)
		if err == nil {
			return s, true
		}
		if !errors.Is(err, errFull) || !c.evict() {
			return slot{}, false
		}
	}
}

// evict drops one entry that nobody uses: the one that was not used for longest
// in the shard that holds most of what was used once, or else the same of what
// was used again.
func (c *Cache) evict() bool {
	for _, again := range []bool{false, true} {
		most := 0
		for i := range c.shards {
			if c.shards[i].size(again) > c.shards[most].size(again) {
				most = i
			}
		}
		for i := range c.shards {
			s := &c.shards[(most+i)%len(c.shards)]
			if e := s.evict(again); e != nil {
				count(&s.evictions, &e.owner.evictions, 1)
				c.release(e)
				return true
			}
		}
	}
	return false
}
