package cache

import (
	"sync"
	"sync/atomic"
)

const (
	maxShardBits  = 4  // 16 shards: enough for the worker threads of many drives
	minShardPages = 64 // below that, what a shard forgets is no longer what was used least

	// protectedPercent is how much of a shard what was used again may take.
	protectedPercent = 80
)

// A key names what is kept: the number of its owner, and whatever that likes.
type key struct{ owner, a, b uint64 }

func (k key) hash() uint64 {
	h := k.owner*0x9E3779B97F4A7C15 ^ k.a*0xC2B2AE3D27D4EB4F ^ k.b*0x165667B19E3779F9
	return h * 0x9E3779B97F4A7C15
}

// An owner is a Reader or Blocks.
type owner struct {
	counters

	id     uint64
	closed atomic.Bool
}

// An entry is a page or block that is kept or is being loaded.
type entry struct {
	key   key
	owner *owner
	shard *shard

	// refs counts who uses the entry, and one more while it is in the shard. It
	// is raised only under shard.mu, so an entry that has one there is not used.
	refs atomic.Int32

	// Set by the one who loads, before done is closed.
	slot slot
	mem  []byte // of the slot, as long as what is to be loaded
	n    int    // how much of mem was
	err  error  // why not all of it was
	done chan struct{}

	// Guarded by shard.mu.
	loading    bool
	cool       bool // its memory is to be given back
	again      bool // it was in the cache before
	mark       int  // where the last read of it ended
	list       *list
	prev, next *entry
}

// A shard holds a part of all entries, in two lists. What is loaded comes to
// the front of probation, and from there to the front of protected when it is
// used again; what protected has no room for goes back to probation, and what
// leaves the cache is the end of probation.
//
// What comes back soon after it left goes to protected at once: it is used again
// and again, but by more than probation has room for, and what is in protected
// may be there only because it once was.
//
// A read that goes on behind the last one in the same entry is not used again:
// a copy reads each page a few times in a row, and that says nothing of whether
// anybody will come back to it.
type shard struct {
	counters

	maxProtected int64

	mu        sync.Mutex // guards the fields below, and those of entries that say so
	entries   map[key]*entry
	probation list
	protected list
	left      ghosts
}

func (s *shard) init(budget int64) {
	s.maxProtected = budget / 100 * protectedPercent
	s.entries = map[key]*entry{}
	s.left = newGhosts(int(budget / PageSize))
}

// size returns how many bytes a list holds.
func (s *shard) size(again bool) int64 {
	if again {
		return s.protected.size.Load()
	}
	return s.probation.size.Load()
}

// add makes an entry that is being loaded, used by the caller.
func (s *shard) add(o *owner, k key, to int) *entry {
	e := &entry{key: k, owner: o, shard: s, loading: true, again: s.left.take(k), mark: to, done: make(chan struct{})}
	e.refs.Store(2)
	s.entries[k] = e
	return e
}

// touch notes that an entry is read.
func (s *shard) touch(e *entry, from, to int) {
	again := from < e.mark
	e.mark = to
	switch {
	case e.list == &s.protected:
		s.protected.moveToFront(e)
	case e.list == &s.probation && again:
		s.probation.remove(e)
		s.protect(e)
	}
}

// protect takes an entry into protected, or what would take too much of it into
// probation.
func (s *shard) protect(e *entry) {
	if int64(e.slot.size()) > s.maxProtected/2 {
		s.probation.pushFront(e)
		return
	}
	s.protected.pushFront(e)
	for s.protected.size.Load() > s.maxProtected {
		last := s.protected.last()
		s.protected.remove(last)
		s.probation.pushFront(last)
	}
}

// settle takes a loaded entry into the lists, or out of the shard. The caller
// must release one that is unkept.
func (s *shard) settle(e *entry) (unkept bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.loading = false
	switch {
	case s.entries[e.key] != e: // dropped, and released then
		return false
	case e.err != nil:
		delete(s.entries, e.key)
		return true
	}
	e.owner.held.Add(int64(e.slot.size()))
	if e.again {
		s.protect(e)
	} else {
		s.probation.pushFront(e)
	}
	return false
}

// evict takes the last entry that nobody uses out of a list, and the shard. The
// caller must release it.
func (s *shard) evict(again bool) *entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := &s.probation
	if again {
		l = &s.protected
	}
	for e := l.last(); e != nil; e = l.before(e) {
		if e.refs.Load() == 1 {
			s.remove(e)
			s.left.add(e.key)
			return e
		}
	}
	return nil
}

// drop takes all entries that match out of the shard. The caller must release
// them.
func (s *shard) drop(match func(*entry) bool) []*entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	var dropped []*entry
	for _, e := range s.entries {
		if match(e) {
			e.cool = true
			s.remove(e)
			dropped = append(dropped, e)
		}
	}
	return dropped
}

func (s *shard) remove(e *entry) {
	delete(s.entries, e.key)
	if e.list != nil {
		e.list.remove(e)
		e.owner.held.Add(-int64(e.slot.size()))
	}
}
