package fsys_test

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isomount/isomount/pkg/fsys"
)

// scanOf returns a scan of n names whose positions are 10 apart, and counts
// how often it is run.
func scanOf(n int, runs *atomic.Int32) fsys.Scan {
	return func(add func([]byte, uint64)) error {
		runs.Add(1)
		var buf []byte
		for i := range n {
			buf = fmt.Appendf(buf[:0], "name%d", i)
			add(buf, uint64(i*10))
		}
		return nil
	}
}

// find returns the positions that an index finds.
func find(x *fsys.Index, dir fsys.Node, name []byte, scan fsys.Scan) ([]uint64, error) {
	places, err := x.Find(dir, name, scan)
	var all []uint64
	for _, p := range places {
		all = append(all, p.Pos)
	}
	return all, err
}

func TestIndexFind(t *testing.T) {
	var runs atomic.Int32
	x := fsys.NewIndex(0)
	scan := scanOf(10_000, &runs)
	for _, i := range []int{0, 1, 4999, 9999} {
		got, err := find(x, 7, fmt.Appendf(nil, "name%d", i), scan)
		if err != nil || !slices.Contains(got, uint64(i*10)) || len(got) > 3 {
			t.Errorf("name%d: got %v, error %v, want %d", i, got, err, i*10)
		}
	}
	misses := 0
	for i := range 1000 {
		if got, _ := find(x, 7, fmt.Appendf(nil, "other%d", i), scan); got != nil {
			misses++
		}
	}
	if misses > 2 { // of 2^32 hashes
		t.Errorf("%d of 1000 other names were found", misses)
	}
	if got := runs.Load(); got != 1 {
		t.Errorf("directory was scanned %d times, want once", got)
	}
}

func TestIndexSameName(t *testing.T) {
	x := fsys.NewIndex(0)
	scan := func(add func([]byte, uint64)) error {
		add([]byte("twin"), 30)
		add([]byte("only"), 20)
		add([]byte("twin"), 10)
		return nil
	}
	got, err := find(x, 1, []byte("twin"), scan)
	if diff := cmp.Diff(got, []uint64{10, 30}); diff != "" || err != nil {
		t.Errorf("positions (-got +want), error %v:\n%s", err, diff)
	}
	if dup, err := x.Duplicates(1, scan); !dup || err != nil {
		t.Errorf("duplicates: got %v, error %v, want true", dup, err)
	}
	var runs atomic.Int32
	if dup, err := x.Duplicates(2, scanOf(100, &runs)); dup || err != nil {
		t.Errorf("duplicates among 100 names: got %v, error %v, want false", dup, err)
	}
}

func TestIndexScanError(t *testing.T) {
	x := fsys.NewIndex(0)
	bad := func(func([]byte, uint64)) error { return io.ErrUnexpectedEOF }
	if _, err := find(x, 1, []byte("a"), bad); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("find: got error %v", err)
	}
	if _, err := x.Duplicates(1, bad); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("duplicates: got error %v", err)
	}
	var runs atomic.Int32
	got, err := find(x, 1, []byte("name3"), scanOf(5, &runs))
	if diff := cmp.Diff(got, []uint64{30}); diff != "" || err != nil {
		t.Errorf("an error is remembered (-got +want), error %v:\n%s", err, diff)
	}
}

// The least recently used directories go first, and are scanned again.
func TestIndexBudget(t *testing.T) {
	const names = 100
	x := fsys.NewIndex((256 + names*16) * 3) // room for three directories
	var runs [5]atomic.Int32
	find := func(dir int) {
		t.Helper()
		got, err := find(x, fsys.Node(dir), []byte("name5"), scanOf(names, &runs[dir]))
		if err != nil || !slices.Contains(got, 50) {
			t.Fatalf("directory %d: got %v, error %v", dir, got, err)
		}
	}
	for _, dir := range []int{0, 1, 2, 0, 3, 0, 2, 3, 1} {
		find(dir)
	}
	var got []int32
	for i := range runs {
		got = append(got, runs[i].Load())
	}
	if diff := cmp.Diff(got, []int32{1, 2, 1, 1, 0}); diff != "" {
		t.Errorf("scans of each directory (-got +want):\n%s", diff)
	}
}

// Directories without entries take room too.
func TestIndexOfEmptyDirectories(t *testing.T) {
	x := fsys.NewIndex(1 << 20)
	var runs atomic.Int32
	for dir := range 10_000 {
		if _, err := find(x, fsys.Node(dir), []byte("name"), scanOf(0, &runs)); err != nil {
			t.Fatal(err)
		}
	}
	before := runs.Load()
	if _, err := find(x, 0, []byte("name"), scanOf(0, &runs)); err != nil || runs.Load() == before {
		t.Errorf("the first of 10,000 empty directories is still kept (%v)", err)
	}
}

// A directory larger than the budget is kept as long as it is the only one.
func TestIndexLargerThanBudget(t *testing.T) {
	x := fsys.NewIndex(64)
	var runs atomic.Int32
	for range 3 {
		if got, err := find(x, 1, []byte("name900"), scanOf(1000, &runs)); err != nil || !slices.Contains(got, 9000) {
			t.Fatalf("got %v, error %v", got, err)
		}
	}
	if got := runs.Load(); got != 1 {
		t.Errorf("scanned %d times, want once", got)
	}
}

// However many ask, one scans and all wait for it.
func TestIndexConcurrent(t *testing.T) {
	const askers = 64
	x := fsys.NewIndex(0)
	var runs atomic.Int32
	var here, done sync.WaitGroup
	here.Add(askers)
	scan := func(add func([]byte, uint64)) error {
		here.Wait() // until all are on their way into Find
		return scanOf(100, &runs)(add)
	}
	for i := range askers {
		done.Go(func() {
			here.Done()
			got, err := find(x, 1, fmt.Appendf(nil, "name%d", i), scan)
			if err != nil || !slices.Contains(got, uint64(i*10)) {
				t.Errorf("name%d: got %v, error %v", i, got, err)
			}
		})
	}
	done.Wait()
	if got := runs.Load(); got != 1 {
		t.Errorf("scanned %d times, want once", got)
	}
}

// Directories come and go while others look: with -race this finds unguarded
// fields.
func TestIndexChurn(t *testing.T) {
	x := fsys.NewIndex(16 * 50 * 4)
	var runs atomic.Int32
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 500 {
				dir := fsys.Node((i*7 + g) % 16)
				if got, err := find(x, dir, []byte("name7"), scanOf(50, &runs)); err != nil || !slices.Contains(got, 70) {
					t.Errorf("got %v, error %v", got, err)
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkIndexFind(b *testing.B) {
	x := fsys.NewIndex(0)
	var runs atomic.Int32
	scan := scanOf(100_000, &runs)
	name := []byte("name77777")
	b.ReportAllocs()
	for b.Loop() {
		if got, _ := find(x, 1, name, scan); len(got) == 0 {
			b.Fatal("not found")
		}
	}
}
