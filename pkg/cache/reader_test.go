package cache

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
)

func TestReaderContent(t *testing.T) {
	for _, budget := range []int64{PageSize, 0} {
		c := newCache(t, budget)
		for _, size := range []int64{0, 1, PageSize, PageSize + 5} {
			want := make([]byte, size)
			fillPattern(want, 0)
			r := c.Reader(bytes.NewReader(want), size)
			if err := iotest.TestReader(io.NewSectionReader(r, 0, size), want); err != nil {
				t.Errorf("budget %d, size %d: %v", budget, size, err)
			}
			r.Close()
		}
	}
}

func TestReadAtEdges(t *testing.T) {
	const size = 2*PageSize + 100
	c := newCache(t, 0)
	for _, tt := range []struct {
		name string
		off  int64
		n    int
		want int
		err  error
	}{
		{"first bytes", 0, 10, 10, nil},
		{"within a page", 1000, 2048, 2048, nil},
		{"over the end of a page", PageSize - 3, 10, 10, nil},
		{"a page", PageSize, PageSize, PageSize, nil},
		{"all", 0, size, size, nil},
		{"last byte", size - 1, 1, 1, nil},
		{"over the end", size - 5, 10, 5, io.EOF},
		{"more than all", 0, size + 1, size, io.EOF},
		{"at the end", size, 1, 0, io.EOF},
		{"far behind the end", math.MaxInt64, 10, 0, io.EOF},
		{"nothing", 5, 0, 0, nil},
		{"before the start", -1, 1, 0, fs.ErrInvalid},
		{"far before the start", math.MinInt64, 1, 0, fs.ErrInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := c.Reader(&pattern{}, size)
			defer r.Close()
			for _, when := range []string{"fetched", "kept"} {
				p := make([]byte, tt.n)
				n, err := r.ReadAt(p, tt.off)
				if n != tt.want || !errors.Is(err, tt.err) {
					t.Errorf("%s: got %d bytes, error %v, want %d, error %v", when, n, err, tt.want, tt.err)
				}
				checkPattern(t, p[:n], tt.off)
			}
		})
	}
}

// Only what is missing is read from the source, in pages, and never more than
// the source has.
func TestReaderFetchesPages(t *testing.T) {
	const size = 3*PageSize + 10
	type read struct{ off, n int64 }
	var got []read
	c := newCache(t, 0)
	r := c.Reader(sourceFunc(func(p []byte, off int64) (int, error) {
		got = append(got, read{off, int64(len(p))})
		fillPattern(p, off)
		return len(p), nil
	}), size)
	mustRead(t, r, 10, PageSize+5)
	mustRead(t, r, 3*PageSize, 0)
	mustRead(t, r, 5, size-5)
	mustRead(t, r, size, 0)
	want := []read{{PageSize, PageSize}, {0, PageSize}, {2 * PageSize, PageSize}, {3 * PageSize, 10}}
	if diff := cmp.Diff(got, want, cmp.AllowUnexported(read{})); diff != "" {
		t.Errorf("reads of the source (-got +want):\n%s", diff)
	}
	wantStats := Stats{Budget: DefaultBudget, Held: 4 * PageSize, Hits: 1 + 4, Misses: 4, Fetched: size}
	if diff := cmp.Diff(r.Stats(), wantStats); diff != "" {
		t.Errorf("stats (-got +want):\n%s", diff)
	}
	if diff := cmp.Diff(c.Stats(), wantStats); diff != "" {
		t.Errorf("stats of the cache (-got +want):\n%s", diff)
	}
}

// Readers do not see each other's pages, nor do their numbers mix.
func TestReadersAreApart(t *testing.T) {
	c := newCache(t, 0)
	zeros := sourceFunc(func(p []byte, _ int64) (int, error) { clear(p); return len(p), nil })
	a, b := c.Reader(&pattern{}, PageSize), c.Reader(zeros, PageSize)
	mustRead(t, a, 100, 50)
	p := make([]byte, 100)
	if _, err := b.ReadAt(p, 50); err != nil || !bytes.Equal(p, make([]byte, 100)) {
		t.Errorf("second reader: error %v, or bytes of the first", err)
	}
	mustRead(t, a, 100, 50)
	if got := []int64{a.Stats().Hits, a.Stats().Misses, b.Stats().Hits, b.Stats().Misses}; !cmp.Equal(got, []int64{1, 1, 0, 1}) {
		t.Errorf("hits and misses of both: got %v, want [1 1 0 1]", got)
	}
	a.Close()
	if _, err := a.ReadAt(p, 50); !errors.Is(err, ErrClosed) || !errors.Is(err, fs.ErrClosed) {
		t.Errorf("read of a closed reader: got error %v, want ErrClosed", err)
	}
	if _, err := b.ReadAt(p, 50); err != nil || b.Stats().Misses != 1 {
		t.Errorf("after the first was closed: error %v, %d misses, want 1", err, b.Stats().Misses)
	}
}

// A source that is shorter than it should be loses what it does not have, and
// nothing before.
func TestReaderTruncatedSource(t *testing.T) {
	const has, size = PageSize + 1000, 3 * PageSize
	content := make([]byte, has)
	fillPattern(content, 0)
	for name, src := range map[string]io.ReaderAt{
		"io.EOF":              bytes.NewReader(content),
		"io.ErrUnexpectedEOF": sourceFunc(func(p []byte, off int64) (int, error) { return readFull(bytes.NewReader(content), p, off) }),
		"no error": sourceFunc(func(p []byte, off int64) (int, error) {
			n, _ := bytes.NewReader(content).ReadAt(p, off)
			return n, nil
		}),
	} {
		t.Run(name, func(t *testing.T) {
			r := newCache(t, 0).Reader(src, size)
			for range 2 {
				checkRead(t, r, PageSize, 0, PageSize, nil)
				checkRead(t, r, 1000, PageSize, 1000, nil)
				checkRead(t, r, 100, PageSize+900, 100, nil)
				checkRead(t, r, 101, PageSize+900, 100, io.ErrUnexpectedEOF)
				checkRead(t, r, 10, PageSize+1000, 0, io.ErrUnexpectedEOF)
				checkRead(t, r, 10, PageSize+5000, 0, io.ErrUnexpectedEOF)
				checkRead(t, r, 10, 2*PageSize, 0, io.ErrUnexpectedEOF)
				checkRead(t, r, size, 0, has, io.ErrUnexpectedEOF)
				checkRead(t, r, 10, size, 0, io.EOF)
			}
		})
	}
}

func checkRead(t *testing.T, r io.ReaderAt, n int, off int64, want int, wantErr error) {
	t.Helper()
	p := make([]byte, n)
	got, err := r.ReadAt(p, off)
	if got != want || !errors.Is(err, wantErr) || (err != nil) != (wantErr != nil) {
		t.Errorf("read of %d bytes at %d: got %d, error %v, want %d, error %v", n, off, got, err, want, wantErr)
	}
	checkPattern(t, p[:got], off)
}

var errBad = errors.New("bad sector")

// badSector is a source that cannot read one sector.
func badSector(at int64, reads *atomic.Int64) io.ReaderAt {
	return sourceFunc(func(p []byte, off int64) (int, error) {
		reads.Add(1)
		n := len(p)
		var err error
		if off < at+2048 && off+int64(n) > at {
			n, err = int(max(at-off, 0)), errBad
		}
		fillPattern(p[:n], off)
		return n, err
	})
}

// A sector that cannot be read takes nothing else with it, and is tried again.
func TestReaderBadSector(t *testing.T) {
	const bad = PageSize + 10*2048
	var reads atomic.Int64
	r := newCache(t, 0).Reader(badSector(bad, &reads), 3*PageSize)
	for range 2 {
		checkRead(t, r, PageSize, 0, PageSize, nil)
		checkRead(t, r, 2048, bad-2048, 2048, nil)
		checkRead(t, r, 2048, bad, 0, errBad)
		checkRead(t, r, 1, bad+2047, 0, errBad)
		checkRead(t, r, 2048, bad+2048, 2048, nil)
		checkRead(t, r, 2*PageSize, 0, bad, errBad)
		checkRead(t, r, PageSize, 2*PageSize, PageSize, nil)
	}
	before := reads.Load()
	checkRead(t, r, 2048, bad, 0, errBad)
	if got := reads.Load() - before; got != 1 {
		t.Errorf("an error was answered with %d reads of the source, want 1", got)
	}
	if got := r.Stats().Held; got != 2*PageSize {
		t.Errorf("%d bytes are held, want the two whole pages", got)
	}
}

// However many want a page, it is fetched once, and all get it.
func TestReaderFetchesOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reads atomic.Int64
		gate := make(chan struct{})
		c := newCache(t, 0)
		r := c.Reader(sourceFunc(func(p []byte, off int64) (int, error) {
			reads.Add(1)
			<-gate
			fillPattern(p, off)
			return len(p), nil
		}), 8*PageSize)
		var wg sync.WaitGroup
		for i := range 64 {
			wg.Go(func() { mustRead(t, r, 512, 2*PageSize+int64(i)*1024) })
		}
		synctest.Wait()
		if got := reads.Load(); got != 1 {
			t.Errorf("%d reads of the source are under way, want 1", got)
		}
		close(gate)
		wg.Wait()
		want := Stats{Budget: DefaultBudget, Held: PageSize, Hits: 63, Misses: 1, Fetched: PageSize}
		if diff := cmp.Diff(r.Stats(), want); diff != "" {
			t.Errorf("stats (-got +want):\n%s", diff)
		}
	})
}

// All who wait for a fetch that fails get its error, without trying themselves;
// those who come later do.
func TestReaderWaitersGetError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reads atomic.Int64
		gate := make(chan struct{})
		r := newCache(t, 0).Reader(sourceFunc(func(p []byte, off int64) (int, error) {
			if reads.Add(1) == 1 {
				<-gate
				return 0, errBad
			}
			fillPattern(p, off)
			return len(p), nil
		}), 8*PageSize)
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() { checkRead(t, r, 100, 0, 0, errBad) })
		}
		synctest.Wait()
		close(gate)
		wg.Wait()
		if got := reads.Load(); got != 1 {
			t.Errorf("source was read %d times, want once", got)
		}
		mustRead(t, r, 100, 0)
	})
}

// A source that panics takes down the one who called it: those who wait get an
// error, and the next one tries again.
func TestReaderPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reads atomic.Int64
		gate := make(chan struct{})
		c := newCache(t, 4*PageSize)
		r := c.Reader(sourceFunc(func(p []byte, off int64) (int, error) {
			if reads.Add(1) == 1 {
				<-gate
				panic("decoder")
			}
			fillPattern(p, off)
			return len(p), nil
		}), 8*PageSize)
		var wg sync.WaitGroup
		var panics atomic.Int64
		wg.Go(func() {
			defer func() {
				if recover() != nil {
					panics.Add(1)
				}
			}()
			_, _ = r.ReadAt(make([]byte, 1), 0)
		})
		synctest.Wait()
		for range 8 {
			wg.Go(func() { checkRead(t, r, 100, 0, 0, errAborted) })
		}
		synctest.Wait()
		close(gate)
		wg.Wait()
		if got := panics.Load(); got != 1 {
			t.Errorf("%d readers panicked, want 1", got)
		}
		mustRead(t, r, 100, 0)
		r.Close()
		if got := c.arena.taken; got != 0 {
			t.Errorf("%d slots are lost", got)
		}
	})
}

// What finds all memory in use is read around the cache, at once.
func TestReaderBypass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		c := newCache(t, 2*PageSize)
		r := c.Reader(sourceFunc(func(p []byte, off int64) (int, error) {
			if len(p) == PageSize {
				<-gate
			}
			fillPattern(p, off)
			return len(p), nil
		}), 9*PageSize+100)
		var wg sync.WaitGroup
		for i := range int64(2) {
			wg.Go(func() { mustRead(t, r, 100, i*PageSize) })
		}
		synctest.Wait()
		checkRead(t, r, 200, 2*PageSize+50, 200, nil)
		checkRead(t, r, 200, 9*PageSize+50, 50, io.EOF)
		close(gate)
		wg.Wait()
		want := Stats{Budget: 2 * PageSize, Held: 2 * PageSize, Misses: 4, Fetched: 2 * PageSize, Bypassed: 2}
		if diff := cmp.Diff(r.Stats(), want); diff != "" {
			t.Errorf("stats (-got +want):\n%s", diff)
		}
	})
}

// A reader that is closed during a read lets it end, and keeps nothing of it.
func TestReaderCloseDuringRead(t *testing.T) {
	for _, tt := range []struct {
		name  string
		close func(*Cache, *Reader) error
	}{
		{"reader", func(_ *Cache, r *Reader) error { return r.Close() }},
		{"cache", func(c *Cache, _ *Reader) error { return c.Close() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				gate := make(chan struct{})
				c := newCache(t, 0)
				r := c.Reader(sourceFunc(func(p []byte, off int64) (int, error) {
					<-gate
					fillPattern(p, off)
					return len(p), nil
				}), PageSize)
				var wg sync.WaitGroup
				for range 8 {
					wg.Go(func() { mustRead(t, r, 100, 7) })
				}
				synctest.Wait()
				if err := tt.close(c, r); err != nil {
					t.Error(err)
				}
				checkRead(t, r, 1, 0, 0, ErrClosed)
				close(gate)
				wg.Wait()
				if got := c.Stats().Held; got != 0 {
					t.Errorf("%d bytes are still held", got)
				}
				if got := c.arena.taken; got != 0 {
					t.Errorf("%d slots are still taken", got)
				}
			})
		})
	}
}

func TestNewRefuses(t *testing.T) {
	for _, budget := range []int64{-1, 1, PageSize - 1, math.MinInt64, math.MaxInt64} {
		if c, err := New(budget); err == nil {
			t.Errorf("budget %d: got no error", budget)
			c.Close()
		}
	}
}

func TestCloseTwice(t *testing.T) {
	c := newCache(t, 0)
	r := c.Reader(&pattern{}, PageSize)
	mustRead(t, r, 10, 0)
	for range 2 {
		if err := r.Close(); err != nil {
			t.Errorf("reader: %v", err)
		}
	}
	for range 2 {
		if err := c.Close(); err != nil {
			t.Errorf("cache: %v", err)
		}
	}
}

// A reader with a share stops filling the cache there and goes on reading.
func TestReaderWithin(t *testing.T) {
	const pages, share = 40, 4
	data := make([]byte, pages*PageSize)
	for i := range data {
		data[i] = byte(i / 1000)
	}
	c, err := New(64 * PageSize)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r := c.ReaderWithin(bytes.NewReader(data), int64(len(data)), share*PageSize)
	defer r.Close()
	for range 3 {
		got := make([]byte, len(data))
		if n, err := r.ReadAt(got, 0); n != len(data) || err != nil && !errors.Is(err, io.EOF) {
			t.Fatalf("%d bytes, %v", n, err)
		}
		if !bytes.Equal(got, data) {
			t.Fatal("other bytes than the source's")
		}
	}
	s := r.Stats()
	if s.Held != share*PageSize || s.Misses != share || s.Evictions != 0 || s.Bypassed == 0 {
		t.Errorf("got %+v, want %d bytes held after %d misses, and reads around the cache", s, share*PageSize, share)
	}
}
