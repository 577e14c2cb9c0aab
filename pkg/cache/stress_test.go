package cache

import (
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
)

// Readers and stores come and go, far more is wanted than fits, some sources
// fail, and everybody always gets the right bytes.
func TestStress(t *testing.T) {
	const budget = 24 * PageSize
	const discs = 4
	c := newCache(t, budget)
	var failures atomic.Int64
	src := sourceFunc(func(p []byte, off int64) (int, error) {
		if off/PageSize%37 == 36 && failures.Add(1)%2 == 0 {
			return 0, errBad
		}
		fillPattern(p, off)
		return len(p), nil
	})
	var drives [discs]atomic.Pointer[drive]
	for i := range drives {
		drives[i].Store(newDrive(c, src))
	}
	var wg sync.WaitGroup
	for g := range uint64(8) {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(g, 1))
			for range 1500 {
				d := drives[rnd.IntN(discs)].Load()
				switch rnd.IntN(400) {
				case 0:
					i := rnd.IntN(discs)
					drives[i].Swap(newDrive(c, src)).close(t)
				case 1:
					if s := c.Stats(); s.Held > budget {
						t.Errorf("%d bytes are held, with a budget of %d", s.Held, budget)
					}
				default:
					d.use(t, rnd)
				}
			}
		})
	}
	wg.Wait()
	for i := range drives {
		drives[i].Load().close(t)
	}
	s := c.Stats()
	if s.Hits == 0 || s.Misses == 0 || s.Evictions == 0 || failures.Load() == 0 {
		t.Errorf("not everything was tested: %+v, %d failures", s, failures.Load())
	}
	if s.Held > budget || c.arena.taken != 0 {
		t.Errorf("at the end %d bytes are held and %d slots taken", s.Held, c.arena.taken)
	}
}

// A drive is what one disc has of the cache.
type drive struct {
	r *Reader
	b *Blocks
}

func newDrive(c *Cache, src sourceFunc) *drive {
	return &drive{c.Reader(src, 200*PageSize), c.Blocks()}
}

func (d *drive) close(t *testing.T) {
	t.Helper()
	if err := errors.Join(d.r.Close(), d.b.Close()); err != nil {
		t.Error(err)
	}
	if got := d.r.Stats().Held + d.b.Stats().Held; got != 0 {
		t.Errorf("%d bytes are held by what is closed", got)
	}
}

// use reads something at random, and checks it.
func (d *drive) use(t *testing.T, rnd *rand.Rand) {
	t.Helper()
	if rnd.IntN(2) == 0 {
		p := make([]byte, 1+rnd.IntN(3000))
		off := int64(rnd.IntN(40))*PageSize + int64(rnd.IntN(PageSize))
		if rnd.IntN(20) == 0 {
			p = make([]byte, 3*PageSize)
		}
		n, err := d.r.ReadAt(p, off)
		checkStressError(t, err)
		checkPattern(t, p[:n], off)
		return
	}
	k := rnd.Uint64N(60)
	size := 2000 + int(k*k)*40
	off := rnd.IntN(size)
	p := make([]byte, 1+rnd.IntN(500))
	n, err := d.b.ReadAt([2]uint64{k}, size, p, off, func(b []byte) error {
		if rnd.IntN(30) == 0 {
			return errBad
		}
		fillPattern(b, int64(k)*977)
		return nil
	})
	if n == min(len(p), size-off) && n < len(p) {
		err = nil // io.EOF
	}
	checkStressError(t, err)
	checkPattern(t, p[:n], int64(k)*977+int64(off))
}

func checkStressError(t *testing.T, err error) {
	t.Helper()
	if err != nil && !errors.Is(err, errBad) && !errors.Is(err, ErrClosed) {
		t.Errorf("got error %v", err)
	}
}

// The cache itself is closed while it is in use.
func TestStressClose(t *testing.T) {
	for range 50 {
		c := newCache(t, 8*PageSize)
		r, b := c.Reader(&pattern{}, 1<<30), c.Blocks()
		var wg sync.WaitGroup
		for g := range uint64(4) {
			wg.Go(func() {
				rnd := rand.New(rand.NewPCG(g, 2))
				p := make([]byte, 100)
				for {
					off := int64(rnd.IntN(20 * PageSize))
					n, err := r.ReadAt(p, off)
					checkPattern(t, p[:n], off)
					k := rnd.Uint64N(10)
					if err == nil {
						err = b.Get([2]uint64{k}, 5000, func(b []byte) error { fillPattern(b, int64(k)); return nil },
							func(b []byte) error { checkPattern(t, b, int64(k)); return nil })
					}
					if err != nil {
						checkStressError(t, err)
						return
					}
				}
			})
		}
		for c.Stats().Evictions == 0 {
			if _, err := r.ReadAt(make([]byte, 8*PageSize), 0); err != nil {
				t.Error(err)
			}
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
		if c.arena.taken != 0 || c.arena.regions[classOf(PageSize)].mem != nil {
			t.Fatalf("%d slots are taken, or memory is still mapped", c.arena.taken)
		}
	}
}
