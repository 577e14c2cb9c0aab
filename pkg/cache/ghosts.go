package cache

// ghosts remember what left a shard lately, by name alone.
type ghosts struct {
	max  int
	ring []key
	next int         // where the next name goes, over the oldest
	at   map[key]int // where in ring a name is
}

func newGhosts(n int) ghosts { return ghosts{max: n, at: map[key]int{}} }

func (g *ghosts) add(k key) {
	if len(g.ring) < g.max {
		g.ring = append(g.ring, k)
	}
	if old := g.ring[g.next]; g.at[old] == g.next {
		delete(g.at, old)
	}
	g.ring[g.next] = k
	g.at[k] = g.next
	g.next = (g.next + 1) % g.max
}

// take tells whether a name is there, and forgets it.
func (g *ghosts) take(k key) bool {
	_, ok := g.at[k]
	delete(g.at, k)
	return ok
}
