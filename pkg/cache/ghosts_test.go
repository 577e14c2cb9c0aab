package cache

import "testing"

func TestGhosts(t *testing.T) {
	name := func(i int) key { return key{owner: 1, a: uint64(i)} }
	g := newGhosts(10)
	for i := range 25 {
		g.add(name(i))
	}
	for i := range 25 {
		if got, want := g.take(name(i)), i >= 15; got != want {
			t.Errorf("name %d of 25 with room for 10: got %v, want %v", i, got, want)
		}
	}
	if g.take(name(20)) {
		t.Error("a name is there after it was taken")
	}
	g.add(name(20)) // its old place is still in the ring, and must not take it along
	for i := range 8 {
		g.add(name(100 + i))
	}
	if !g.take(name(20)) {
		t.Error("a name that came back left with its old place")
	}
	if len(g.ring) != 10 || len(g.at) != 8 {
		t.Errorf("%d names in a ring of %d, want 8 in 10", len(g.at), len(g.ring))
	}
}
