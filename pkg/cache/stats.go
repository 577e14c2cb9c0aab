package cache

import "sync/atomic"

// Stats count what a cache, or one user of it, did.
type Stats struct {
	Budget    int64 // bytes that the whole cache may hold
	Held      int64 // bytes held now
	Hits      int64 // pages and blocks that were there, or that another was fetching
	Misses    int64 // pages and blocks that had to be fetched
	Fetched   int64 // bytes fetched
	Evictions int64 // pages and blocks that gave way to others
	Bypassed  int64 // reads that found all memory in use
}

// counters are what Stats are made of.
type counters struct {
	held, hits, misses, fetched, evictions, bypassed atomic.Int64
}

func (c *counters) addTo(s *Stats) {
	s.Held += c.held.Load()
	s.Hits += c.hits.Load()
	s.Misses += c.misses.Load()
	s.Fetched += c.fetched.Load()
	s.Evictions += c.evictions.Load()
	s.Bypassed += c.bypassed.Load()
}

// count counts for a shard, which adds up to the whole, and for an owner.
func count(shard, owner *atomic.Int64, n int64) {
	shard.Add(n)
	owner.Add(n)
}

// Stats returns what the cache did since it was made. Held is all its memory,
// that which is empty but not yet given back included.
func (c *Cache) Stats() Stats {
	s := Stats{Budget: c.arena.budget}
	for i := range c.shards {
		c.shards[i].addTo(&s)
	}
	s.Held = c.arena.held.Load()
	return s
}

func (c *Cache) statsOf(o *owner) Stats {
	s := Stats{Budget: c.arena.budget}
	o.addTo(&s)
	return s
}
