package cache

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pattern is a source without end, whose bytes are those of noise over and over.
type pattern struct {
	reads atomic.Int64
	bytes atomic.Int64
}

// noise has a length that is prime, so that no two pages are alike.
var noise = func() []byte {
	b := make([]byte, 65521)
	_, _ = rand.NewChaCha8([32]byte{}).Read(b)
	return b
}()

func fillPattern(p []byte, off int64) {
	for len(p) > 0 {
		n := copy(p, noise[off%int64(len(noise)):])
		p, off = p[n:], off+int64(n)
	}
}

func (s *pattern) ReadAt(p []byte, off int64) (int, error) {
	s.reads.Add(1)
	s.bytes.Add(int64(len(p)))
	fillPattern(p, off)
	return len(p), nil
}

// checkPattern compares what was read at an offset with what a pattern holds.
func checkPattern(tb testing.TB, p []byte, off int64) {
	tb.Helper()
	for len(p) > 0 {
		want := noise[off%int64(len(noise)):]
		n := min(len(p), len(want))
		if !bytes.Equal(p[:n], want[:n]) {
			tb.Fatalf("the %d bytes at %d are not those of the source", n, off)
		}
		p, off = p[n:], off+int64(n)
	}
}

// nothing is a source that is read in no time.
var nothing = sourceFunc(func(p []byte, _ int64) (int, error) { return len(p), nil })

// sourceFunc is a source that is a function.
type sourceFunc func(p []byte, off int64) (int, error)

func (f sourceFunc) ReadAt(p []byte, off int64) (int, error) { return f(p, off) }

func newCache(tb testing.TB, budget int64) *Cache {
	tb.Helper()
	c, err := New(budget)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := c.Close(); err != nil {
			tb.Error(err)
		}
	})
	return c
}

// mustRead reads n bytes and compares them with what a pattern holds.
func mustRead(tb testing.TB, r io.ReaderAt, n int, off int64) {
	tb.Helper()
	p := make([]byte, n)
	if k, err := r.ReadAt(p, off); k != n || (err != nil && !errors.Is(err, io.EOF)) {
		tb.Fatalf("read of %d bytes at %d: got %d, error %v", n, off, k, err)
	}
	checkPattern(tb, p, off)
}
