package cache

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
)

// A read of what is there allocates nothing.
func TestHitDoesNotAllocate(t *testing.T) {
	c := newCache(t, 0)
	r, b := c.Reader(nothing, 1<<30), c.Blocks()
	p := make([]byte, 100_000)
	fill := func(b []byte) error { return nil }
	use := func(b []byte) error { return nil }
	for name, read := range map[string]func(){
		"reader":         func() { _, _ = r.ReadAt(p, 5000) },
		"block":          func() { _ = b.Get([2]uint64{1}, 30_000, fill, use) },
		"piece of block": func() { _, _ = b.ReadAt([2]uint64{1}, 30_000, p[:200], 100, fill) },
	} {
		if got := testing.AllocsPerRun(100, read); got != 0 {
			t.Errorf("%s: got %v allocations for a read, want none", name, got)
		}
	}
}

func benchmarkRead(b *testing.B, r *Reader, size int) {
	b.Helper()
	b.SetBytes(int64(size))
	b.ReportAllocs()
	p := make([]byte, size)
	var off int64
	for b.Loop() {
		if _, err := r.ReadAt(p, off); err != nil {
			b.Fatal(err)
		}
		off = (off + int64(size)) % (32 << 20)
	}
}

func BenchmarkHit(b *testing.B) {
	for _, size := range []int{16, 2048, 4096, PageSize, 128 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			r := newCache(b, 0).Reader(nothing, 1<<40)
			scan(b, r, 32<<20, PageSize, 1)
			benchmarkRead(b, r, size)
			if s := r.Stats(); s.Misses != 512 {
				b.Fatalf("%d misses, want none after the first 512", s.Misses)
			}
		})
	}
}

// All processors want the same page.
func BenchmarkHitOnePage(b *testing.B) {
	r := newCache(b, 0).Reader(nothing, 1<<40)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		p := make([]byte, 2048)
		for pb.Next() {
			_, _ = r.ReadAt(p, 4096)
		}
	})
}

// All processors want whatever is there.
func BenchmarkHitParallel(b *testing.B) {
	r := newCache(b, 0).Reader(nothing, 1<<40)
	scan(b, r, 32<<20, PageSize, 1)
	var starts atomic.Int64
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		p := make([]byte, 2048)
		off := starts.Add(1) << 20
		for pb.Next() {
			_, _ = r.ReadAt(p, off)
			off = (off + 7*PageSize) % (32 << 20)
		}
	})
}

// Every page pushes out another; the source costs nothing.
func BenchmarkMiss(b *testing.B) {
	r := newCache(b, 0).Reader(nothing, 1<<50)
	b.ReportAllocs()
	p := make([]byte, 2048)
	var off int64
	for b.Loop() {
		if _, err := r.ReadAt(p, off); err != nil {
			b.Fatal(err)
		}
		off += PageSize
	}
}

func BenchmarkBlockHit(b *testing.B) {
	blocks := newCache(b, 0).Blocks()
	fill := func([]byte) error { return nil }
	p := make([]byte, 4096)
	b.ReportAllocs()
	b.SetBytes(int64(len(p)))
	var i int
	for b.Loop() {
		if _, err := blocks.ReadAt([2]uint64{uint64(i % 64)}, 128<<10, p, i%31*4096, fill); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

// 64 readers want one page that takes a while to come.
func BenchmarkOneFetchFor64(b *testing.B) {
	src := &pattern{}
	r := newCache(b, 0).Reader(src, 1<<50)
	b.ReportAllocs()
	var page int64
	for b.Loop() {
		var wg sync.WaitGroup
		for i := range int64(64) {
			wg.Go(func() { _, _ = r.ReadAt(make([]byte, 64), page*PageSize+i*512) })
		}
		wg.Wait()
		page++
	}
	b.ReportMetric(float64(src.reads.Load())/float64(page), "fetches/page")
}

// How often a mix of directories and copies finds what it wants, see hitRates.
func BenchmarkHitRate(b *testing.B) {
	for _, copies := range []int{0, 1, 4} {
		b.Run(fmt.Sprintf("copies=%d", copies), func(b *testing.B) {
			var ours, plain float64
			for b.Loop() {
				ours, plain = hitRates(b, 16<<20, 20_000, copies)
			}
			b.ReportMetric(ours*100, "%hits")
			b.ReportMetric(plain*100, "%hits-of-LRU")
		})
	}
}

// How much memory a full cache of 64 MiB has, of pages alone and with blocks.
func BenchmarkMemory(b *testing.B) {
	for _, name := range []string{"pages", "mixed"} {
		b.Run(name, func(b *testing.B) {
			var percent float64
			for b.Loop() {
				c := newCache(b, 0)
				scan(b, c.Reader(&zeros{}, 1<<50), DefaultBudget*3/2, PageSize, 1)
				if name == "mixed" {
					fillBlocks(b, c.Blocks())
				}
				percent = float64(resident(b, c)) * 100 / DefaultBudget
				c.Close()
			}
			b.ReportMetric(percent, "%budget")
		})
	}
}

// zeros is a source that touches all memory it is given.
type zeros struct{}

func (*zeros) ReadAt(p []byte, _ int64) (int, error) { clear(p); return len(p), nil }

func fillBlocks(b *testing.B, blocks *Blocks) {
	b.Helper()
	touch := func(mem []byte) error { clear(mem); return nil }
	for i := range 2000 {
		if err := blocks.Get([2]uint64{uint64(i)}, 1000+i*37, touch, func([]byte) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
