package cache

import (
	"errors"
	"io"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pattern is a source without end that holds at each offset what byteAt says.
type pattern struct {
	reads atomic.Int64
	bytes atomic.Int64
}

func byteAt(off int64) byte { return byte(off ^ off>>8 ^ off>>16*7) }

func fillPattern(p []byte, off int64) {
	for i := range p {
		p[i] = byteAt(off + int64(i))
	}
}

func (s *pattern) ReadAt(p []byte, off int64) (int, error) {
	s.reads.Add(1)
	s.bytes.Add(int64(len(p)))
	fillPattern(p, off)
	return len(p), nil
}

// checkPattern compares what was read at an offset with what a pattern holds.
func checkPattern(t testing.TB, p []byte, off int64) {
	t.Helper()
	for i, b := range p {
		if b != byteAt(off+int64(i)) {
			t.Fatalf("byte %d of what was read at %d: got %#x, want %#x", i, off, b, byteAt(off+int64(i)))
		}
	}
}

// sourceFunc is a source that is a function.
type sourceFunc func(p []byte, off int64) (int, error)

func (f sourceFunc) ReadAt(p []byte, off int64) (int, error) { return f(p, off) }

func newCache(t testing.TB, budget int64) *Cache {
	t.Helper()
	c, err := New(budget)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// mustRead reads n bytes and compares them with what a pattern holds.
func mustRead(t testing.TB, r io.ReaderAt, n int, off int64) {
	t.Helper()
	p := make([]byte, n)
	if k, err := r.ReadAt(p, off); k != n || (err != nil && !errors.Is(err, io.EOF)) {
		t.Fatalf("read of %d bytes at %d: got %d, error %v", n, off, k, err)
	}
	checkPattern(t, p, off)
}
