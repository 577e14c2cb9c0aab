package cache

import (
	"errors"
	"math/rand/v2"
	"testing"
)

func TestSlotClasses(t *testing.T) {
	for _, tt := range []struct{ n, size int }{
		{1, 4096}, {4095, 4096}, {4096, 4096}, {4097, 8192}, {PageSize, PageSize}, {PageSize + 1, 2 * PageSize}, {MaxBlock, MaxBlock},
	} {
		if got := classSize(classOf(tt.n)); got != tt.size {
			t.Errorf("slot for %d bytes: got %d, want %d", tt.n, got, tt.size)
		}
	}
	if got, want := classOf(MaxBlock), len(arena{}.regions)-1; got != want {
		t.Errorf("largest block: got class %d, want the last, %d", got, want)
	}
}

// Slots never overlap, keep what was written, and stay within the budget,
// whatever comes and goes.
func TestArenaRandom(t *testing.T) {
	const budget = 4 << 20
	a, err := newArena(budget)
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(3, 4))
	live := map[byte]slot{}
	full := 0
	for i := range 20_000 {
		id := byte(i)
		if s, ok := live[id]; ok {
			if s.mem[0] != id || s.mem[len(s.mem)/2] != id || s.mem[len(s.mem)-1] != id {
				t.Fatal("a slot lost what was written to it")
			}
			a.free(s, rnd.IntN(3) == 0)
			delete(live, id)
		}
		s, err := a.alloc(1 + rnd.IntN(1<<(10+rnd.IntN(11))))
		if errors.Is(err, errFull) {
			full++
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		s.mem[0], s.mem[len(s.mem)/2], s.mem[len(s.mem)-1] = id, id, id
		live[id] = s
		if got := a.held.Load(); got > budget {
			t.Fatalf("%d bytes are held, with a budget of %d", got, budget)
		}
	}
	if full == 0 || full > 15_000 {
		t.Errorf("budget was used up %d times of 20000, want it tested", full)
	}
	if err := a.close(); err != nil {
		t.Error(err)
	}
	if _, err := a.alloc(1); !errors.Is(err, ErrClosed) {
		t.Errorf("alloc after close: got error %v, want ErrClosed", err)
	}
	for _, s := range live {
		if a.regions[s.class].mem == nil {
			t.Fatal("a region was unmapped under a slot")
		}
		s.mem[0] = 1
		a.free(s, false)
	}
	if a.taken != 0 || a.held.Load() != 0 || a.regions[4].mem != nil {
		t.Errorf("after the last slot: %d taken, %d bytes held, region %p", a.taken, a.held.Load(), a.regions[4].mem)
	}
}

// Memory that was given back reads as zeros, which shows that it was.
func TestArenaCools(t *testing.T) {
	a, err := newArena(PageSize)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		cool bool
		want byte
	}{{"kept", false, 7}, {"given back", true, 0}} {
		s, err := a.alloc(PageSize)
		if err != nil {
			t.Fatal(err)
		}
		s.mem[5] = 7
		a.free(s, tt.cool)
		if s, err = a.alloc(PageSize); err != nil {
			t.Fatal(err)
		}
		if got := s.mem[5]; got != tt.want {
			t.Errorf("%s: got %d, want %d", tt.name, got, tt.want)
		}
		a.free(s, true)
	}
	if err := a.close(); err != nil {
		t.Error(err)
	}
}
