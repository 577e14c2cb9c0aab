package cache

import (
	stdlist "container/list"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
)

// touchPages reads a few bytes of each page of a range, and returns how many of
// them had to be fetched.
func touchPages(tb testing.TB, r *Reader, from, to int64) int64 {
	tb.Helper()
	before := r.Stats().Misses
	p := make([]byte, 100)
	for page := from; page < to; page++ {
		if _, err := r.ReadAt(p, page*PageSize+700); err != nil {
			tb.Fatal(err)
		}
	}
	return r.Stats().Misses - before
}

// scan reads total bytes, by size bytes, in streams that lie far apart.
func scan(tb testing.TB, r io.ReaderAt, total int64, size, streams int) {
	tb.Helper()
	p := make([]byte, size)
	for done := int64(0); done < total/int64(streams); done += int64(size) {
		for s := range int64(streams) {
			if _, err := r.ReadAt(p, s<<36+done); err != nil {
				tb.Fatal(err)
			}
		}
	}
}

// A copy of ten times the budget does not push out directories that were read
// twice before it, whatever size it reads in; nor do several at once.
func TestScanResistance(t *testing.T) {
	const budget = 8 << 20
	const metadata = budget / PageSize / 2
	for _, tt := range []struct{ size, streams int }{
		{2048, 1}, {4096, 1}, {PageSize, 1}, {128 << 10, 1}, {1 << 20, 1}, {3000, 1}, {4096, 8}, {128 << 10, 8},
	} {
		t.Run(fmt.Sprintf("%d bytes in %d streams", tt.size, tt.streams), func(t *testing.T) {
			c := newCache(t, budget)
			dirs, data := c.Reader(nothing, 1<<40), c.Reader(nothing, 1<<40)
			touchPages(t, dirs, 0, metadata)
			touchPages(t, dirs, 0, metadata)
			scan(t, data, 10*budget, tt.size, tt.streams)
			if got := data.Stats().Misses; got < 10*budget/PageSize {
				t.Fatalf("the copy fetched %d pages, want at least %d", got, 10*budget/PageSize)
			}
			if got := touchPages(t, dirs, 0, metadata); got != 0 {
				t.Errorf("%d of %d pages were pushed out", got, metadata)
			}
		})
	}
}

// The same holds for a copy of what is kept in blocks, be it by Get, many times
// for each block, or in pieces of several files in turn.
func TestScanResistanceOfBlocks(t *testing.T) {
	const budget = 8 << 20
	const metadata = budget / PageSize / 2
	const size = 32 << 10
	fill := func([]byte) error { return nil }
	for name, read := range map[string]func(b *Blocks, block uint64) error{
		"get": func(b *Blocks, block uint64) error {
			for range 8 {
				if err := b.Get([2]uint64{block}, size, fill, fill); err != nil {
					return err
				}
			}
			return nil
		},
		"read": func(b *Blocks, block uint64) error {
			for off := 0; off < size; off += 4096 {
				for file := range uint64(4) {
					if _, err := b.ReadAt([2]uint64{block, file}, size, make([]byte, 4096), off, fill); err != nil {
						return err
					}
				}
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCache(t, budget)
			dirs, b := c.Reader(nothing, 1<<40), c.Blocks()
			touchPages(t, dirs, 0, metadata)
			touchPages(t, dirs, 0, metadata)
			for block := range uint64(10 * budget / size) {
				if err := read(b, block); err != nil {
					t.Fatal(err)
				}
			}
			if got := touchPages(t, dirs, 0, metadata); got != 0 {
				t.Errorf("%d of %d pages were pushed out", got, metadata)
			}
		})
	}
}

// What nobody comes back to leaves, even if it was used a lot once.
func TestOldFavouritesLeave(t *testing.T) {
	const budget = 16 << 20
	const pages = budget / PageSize
	c := newCache(t, budget)
	r := c.Reader(nothing, 1<<40)
	for range 10 {
		touchPages(t, r, 0, pages/2)
	}
	const first = 10_000
	for range 4 {
		touchPages(t, r, first, first+pages*6/10)
	}
	if got := touchPages(t, r, first, first+pages*6/10); got != 0 {
		t.Errorf("%d pages in use do not stay, since others stay that nobody uses", got)
	}
}

// Favourites leave room for what is new, or that would be gone before it could
// be used again.
func TestRoomForNew(t *testing.T) {
	const pages = 64
	r := newCache(t, pages*PageSize).Reader(nothing, 1<<40)
	for range 3 {
		touchPages(t, r, 0, pages)
	}
	touchPages(t, r, 1000, 1000+pages/10)
	if got := touchPages(t, r, 1000, 1000+pages/10); got != 0 {
		t.Errorf("%d of %d new pages are gone already", got, pages/10)
	}
}

// Of the favourites, those that were not used for longest go first.
func TestFavouritesAgeToo(t *testing.T) {
	const pages = 64 // of which 51 can be favourites
	r := newCache(t, pages*PageSize).Reader(nothing, 1<<40)
	for range 2 {
		touchPages(t, r, 0, 51)
	}
	touchPages(t, r, 0, 10)
	for range 2 {
		touchPages(t, r, 1000, 1020) // takes the place of 20
	}
	touchPages(t, r, 2000, 2000+pages)
	if got := touchPages(t, r, 0, 10); got != 0 {
		t.Errorf("%d of 10 favourites that were used lately are gone", got)
	}
	if got := touchPages(t, r, 10, 30); got != 20 {
		t.Errorf("%d of 20 favourites that were not are gone, want all", got)
	}
}

// Blocks as large as a shard do not take the place of all favourites in it.
func TestLargeBlockIsNoFavourite(t *testing.T) {
	const budget = 16 << 20
	const favourites = budget / PageSize / 2
	c := newCache(t, budget)
	r, b := c.Reader(nothing, 1<<40), c.Blocks()
	for range 2 {
		touchPages(t, r, 0, favourites)
	}
	for i := range uint64(6) { // two blocks in turn
		if err := b.Get([2]uint64{i % 2}, budget/minBlocks, func([]byte) error { return nil }, func([]byte) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if got := b.Stats(); got.Hits != 4 {
		t.Errorf("blocks were not kept: %+v", got)
	}
	scan(t, c.Reader(nothing, 1<<40), 2*budget, PageSize, 1)
	if got := touchPages(t, r, 0, favourites); got != 0 {
		t.Errorf("%d of %d favourites are gone", got, favourites)
	}
}

// What somebody uses at the moment is not what has to go.
func TestPinnedStays(t *testing.T) {
	const pages = 8
	c := newCache(t, pages*PageSize)
	b, r := c.Blocks(), c.Reader(nothing, 1<<40)
	fills := 0
	fill := func([]byte) error { fills++; return nil }
	err := b.Get([2]uint64{1}, PageSize, fill, func([]byte) error {
		touchPages(t, r, 0, 10*pages)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Stats(); got.Held != (pages-1)*PageSize || got.Bypassed != 0 {
		t.Errorf("beside it %d bytes are held and %d reads bypassed, want all of the rest and none", got.Held, got.Bypassed)
	}
	if err := b.Get([2]uint64{1}, PageSize, fill, func([]byte) error { return nil }); err != nil || fills != 1 {
		t.Errorf("block was made %d times, error %v, want once", fills, err)
	}
}

// The budget is one: a reader may have all of it, and gives way to another.
func TestBudgetIsShared(t *testing.T) {
	const budget = 16 << 20
	const pages = budget / PageSize
	c := newCache(t, budget)
	a, b := c.Reader(nothing, 1<<40), c.Reader(nothing, 1<<40)
	touchPages(t, a, 0, pages)
	if got := touchPages(t, a, 0, pages); got != 0 {
		t.Errorf("%d of %d pages did not fit", got, pages)
	}
	touchPages(t, b, 0, pages/2)
	touchPages(t, b, 0, pages/2)
	if got := touchPages(t, b, 0, pages/2); got > pages/20 {
		t.Errorf("second reader: %d of %d pages did not stay", got, pages/2)
	}
	if sum := a.Stats().Held + b.Stats().Held; sum != budget || c.Stats().Held != budget {
		t.Errorf("readers hold %d and %d bytes, the cache %d, want %d", a.Stats().Held, b.Stats().Held, c.Stats().Held, budget)
	}
	if got := a.Stats().Evictions; got < pages/4 || c.Stats().Evictions != got+b.Stats().Evictions {
		t.Errorf("evictions: %d of the first, %d of the second, %d of all", got, b.Stats().Evictions, c.Stats().Evictions)
	}
}

// simulated is a plain LRU, to compare with.
type simulated struct {
	max   int
	order *stdlist.List
	pages map[int64]*stdlist.Element
}

func newSimulated(pages int) *simulated {
	return &simulated{pages, stdlist.New(), map[int64]*stdlist.Element{}}
}

func (s *simulated) read(page int64) (hit bool) {
	if e := s.pages[page]; e != nil {
		s.order.MoveToFront(e)
		return true
	}
	s.pages[page] = s.order.PushFront(page)
	if s.order.Len() > s.max {
		delete(s.pages, s.order.Remove(s.order.Back()).(int64))
	}
	return false
}

// hitRates reads pages with the frequencies of a Zipf distribution, and between
// them a copy that never comes back, and returns how many of the former were
// there: in ours and in a plain LRU.
func hitRates(tb testing.TB, budget int64, reads, copies int) (ours, plain float64) {
	tb.Helper()
	c := newCache(tb, budget)
	dirs, data := c.Reader(nothing, 1<<50), c.Reader(nothing, 1<<50)
	sim := newSimulated(int(budget / PageSize))
	rnd := rand.New(rand.NewPCG(5, 6))
	zipf := rand.NewZipf(rnd, 1.1, 4, uint64(20*budget/PageSize))
	p := make([]byte, 16<<10)
	hits := 0
	var at int64
	for range reads {
		page := int64(zipf.Uint64())
		if _, err := dirs.ReadAt(p[:2048], page*PageSize+int64(rnd.IntN(31))*2048); err != nil {
			tb.Fatal(err)
		}
		if sim.read(page) {
			hits++
		}
		for range copies * PageSize / len(p) {
			if _, err := data.ReadAt(p, at); err != nil {
				tb.Fatal(err)
			}
			sim.read(-1 - at/PageSize)
			at += int64(len(p))
		}
	}
	return float64(dirs.Stats().Hits) / float64(reads), float64(hits) / float64(reads)
}

func TestHitRate(t *testing.T) {
	for _, tt := range []struct {
		name   string
		copies int     // pages of a copy for each read
		better float64 // than a plain LRU by so much, at least
	}{
		{"metadata alone", 0, 0.04},
		{"and as much copied", 1, 0.15},
		{"and four times as much copied", 4, 0.25},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ours, plain := hitRates(t, 8<<20, 15_000, tt.copies)
			t.Logf("hit rate %.3f, of a plain LRU %.3f", ours, plain)
			if ours < plain+tt.better {
				t.Errorf("got a hit rate of %.3f, want at least %.3f, a plain LRU has %.3f", ours, plain+tt.better, plain)
			}
		})
	}
}
