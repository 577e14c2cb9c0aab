package cache

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// blockOf returns a fill that gives a block content of its own, and counts.
func blockOf(k uint64, fills *atomic.Int64) func(b []byte) error {
	return func(b []byte) error {
		fills.Add(1)
		fillPattern(b, int64(k)*977)
		return nil
	}
}

func mustGet(tb testing.TB, b *Blocks, k uint64, size int, fills *atomic.Int64) {
	tb.Helper()
	err := b.Get([2]uint64{k, 1}, size, blockOf(k, fills), func(b []byte) error {
		if len(b) != size {
			tb.Errorf("block %d has %d bytes, want %d", k, len(b), size)
		}
		checkPattern(tb, b, int64(k)*977)
		return nil
	})
	if err != nil {
		tb.Fatalf("block %d: %v", k, err)
	}
}

func TestBlocks(t *testing.T) {
	c := newCache(t, 0)
	a, b := c.Blocks(), c.Blocks()
	sizes := []int{1, 2048, 4096, 4097, PageSize, PageSize + 1, 1 << 20, MaxBlock}
	var fills atomic.Int64
	var total int64
	for range 3 {
		for i, size := range sizes {
			mustGet(t, a, uint64(i), size, &fills)
		}
	}
	for _, size := range sizes {
		total += int64(size)
	}
	if got, want := fills.Load(), int64(len(sizes)); got != want {
		t.Errorf("blocks were made %d times, want %d", got, want)
	}
	s := a.Stats()
	if s.Fetched != total || s.Hits != 16 || s.Misses != 8 || s.Held < total || s.Held > 2*total {
		t.Errorf("stats: got %+v, want %d bytes fetched and not much more held", s, total)
	}
	mustGet(t, b, 0, 100, &fills)
	if got := fills.Load(); got != int64(len(sizes))+1 {
		t.Error("another store has blocks of the first")
	}
	a.Close()
	if err := a.Get([2]uint64{0, 1}, 1, blockOf(0, &fills), nil); !errors.Is(err, ErrClosed) {
		t.Errorf("get from a closed store: got error %v, want ErrClosed", err)
	}
	if got := c.Stats().Held; got != 4096 {
		t.Errorf("%d bytes are held after closing, want the 4096 of the other store", got)
	}
}

// Both halves of a key count.
func TestBlocksKeys(t *testing.T) {
	b := newCache(t, 0).Blocks()
	for _, k := range [][2]uint64{{0, 0}, {0, 1}, {1, 0}, {1, 1}, {math.MaxUint64, 0}, {0, math.MaxUint64}} {
		err := b.Get(k, 100, func(b []byte) error { copy(b, fmt.Sprint(k)); return nil }, func([]byte) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, k := range [][2]uint64{{0, 0}, {0, 1}, {1, 0}, {1, 1}, {math.MaxUint64, 0}, {0, math.MaxUint64}} {
		err := b.Get(k, 100, func([]byte) error { return errBad }, func(b []byte) error {
			if want := fmt.Sprint(k); string(b[:len(want)]) != want {
				t.Errorf("block of %v holds %q", k, b[:len(want)])
			}
			return nil
		})
		if err != nil {
			t.Errorf("block of %v: %v", k, err)
		}
	}
}

func TestBlocksReadAt(t *testing.T) {
	b := newCache(t, 0).Blocks()
	var fills atomic.Int64
	for _, tt := range []struct {
		name string
		off  int
		n    int
		want int
		err  error
	}{
		{"start", 0, 100, 100, nil},
		{"middle", 5000, 100, 100, nil},
		{"to the end", 9900, 100, 100, nil},
		{"over the end", 9900, 101, 100, io.EOF},
		{"at the end", 10_000, 1, 0, io.EOF},
		{"behind the end", math.MaxInt, 1, 0, io.EOF},
		{"nothing", 5, 0, 0, nil},
		{"before the start", -1, 1, 0, fs.ErrInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := make([]byte, tt.n)
			n, err := b.ReadAt([2]uint64{7, 1}, 10_000, p, tt.off, blockOf(7, &fills))
			if n != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("got %d bytes, error %v, want %d, error %v", n, err, tt.want, tt.err)
			}
			checkPattern(t, p[:n], 7*977+int64(tt.off))
		})
	}
	if got := fills.Load(); got != 1 {
		t.Errorf("block was made %d times, want once", got)
	}
}

func TestBlocksErrors(t *testing.T) {
	c := newCache(t, 8*PageSize)
	b := c.Blocks()
	k := [2]uint64{1, 1}
	var fills atomic.Int64
	use := func([]byte) error { return nil }
	for range 2 {
		if err := b.Get(k, 100, func([]byte) error { return errBad }, use); !errors.Is(err, errBad) {
			t.Errorf("fill that fails: got error %v, want its own", err)
		}
	}
	mustGet(t, b, 1, 100, &fills)
	if err := b.Get(k, 100, nil, func([]byte) error { return errBad }); !errors.Is(err, errBad) {
		t.Errorf("use that fails: got error %v, want its own", err)
	}
	if err := b.Get(k, 101, nil, use); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("another size: got error %v, want ErrInvalid", err)
	}
	for _, size := range []int{0, -1, MaxBlock + 1, math.MaxInt} {
		if err := b.Get(k, size, nil, use); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("size %d: got error %v, want ErrInvalid", size, err)
		}
	}
}

// A block that would take much of the budget is made anew each time.
func TestBlocksTooLargeToKeep(t *testing.T) {
	b := newCache(t, 8*PageSize).Blocks()
	var fills atomic.Int64
	for range 3 {
		mustGet(t, b, 1, 3*PageSize, &fills)
		mustGet(t, b, 2, 2*PageSize, &fills)
	}
	if got := fills.Load(); got != 3+1 {
		t.Errorf("blocks were made %d times, want 3 times and once", got)
	}
}

// A block is made once, however many want it.
func TestBlocksMadeOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newCache(t, 0).Blocks()
		var fills atomic.Int64
		gate := make(chan struct{})
		var wg sync.WaitGroup
		for i := range 64 {
			wg.Go(func() {
				p := make([]byte, 16)
				_, err := b.ReadAt([2]uint64{3, 1}, 1<<20, p, i*100, func(b []byte) error {
					<-gate
					return blockOf(3, &fills)(b)
				})
				if err != nil {
					t.Error(err)
				}
				checkPattern(t, p, 3*977+int64(i)*100)
			})
		}
		synctest.Wait()
		close(gate)
		wg.Wait()
		if got := fills.Load(); got != 1 {
			t.Errorf("block was made %d times, want once", got)
		}
	})
}

// Blocks that find all memory in use are made for one use, and a decoder may
// read its input through the same cache.
func TestBlocksBypass(t *testing.T) {
	c := newCache(t, 4*PageSize)
	b := c.Blocks()
	input := c.Reader(&pattern{}, 100*PageSize)
	var nest func(depth uint64) error
	nest = func(depth uint64) error {
		return b.Get([2]uint64{depth}, PageSize, func(mem []byte) error {
			if depth < 8 {
				if err := nest(depth + 1); err != nil {
					return err
				}
			}
			_, err := input.ReadAt(mem, int64(depth)*PageSize)
			return err
		}, func(mem []byte) error {
			checkPattern(t, mem, int64(depth)*PageSize)
			return nil
		})
	}
	if err := nest(0); err != nil {
		t.Fatal(err)
	}
	s := c.Stats()
	if s.Bypassed == 0 || s.Held > s.Budget {
		t.Errorf("stats: got %+v, want some bypassed and none above the budget", s)
	}
	// 9 blocks, of which 4 find room, and the input pages of those above
	if got := b.Stats().Bypassed; got != 5 {
		t.Errorf("%d blocks were bypassed, want 5", got)
	}
}

func TestBlocksPanic(t *testing.T) {
	c := newCache(t, 4*PageSize)
	b := c.Blocks()
	var fills atomic.Int64
	for name, get := range map[string]func(){
		"fill": func() { _ = b.Get([2]uint64{1, 1}, 100, func([]byte) error { panic("fill") }, nil) },
		"use": func() {
			_ = b.Get([2]uint64{2, 1}, 100, blockOf(2, &fills), func([]byte) error { panic("use") })
		},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if p := recover(); p != name {
					t.Errorf("got panic %v, want %q", p, name)
				}
			}()
			get()
		})
	}
	mustGet(t, b, 1, 100, &fills)
	mustGet(t, b, 2, 100, &fills)
	if got := fills.Load(); got != 2 {
		t.Errorf("blocks were made %d times, want 2", got)
	}
	b.Close()
	if got := c.arena.taken; got != 0 {
		t.Errorf("%d slots are lost", got)
	}
}
