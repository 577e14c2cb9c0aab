package fusefs

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/fsys/fsystest"
)

// A shelf is a directory of files whose contents lie in the order of their
// names.
type shelf struct {
	*fsystest.Mem

	image io.ReaderAt
	files []fsys.Neighbour
}

func newShelf(tb testing.TB, sizes ...int) *shelf {
	tb.Helper()
	var list []fsystest.File
	for i, size := range sizes {
		list = append(list, fsystest.File{Path: fmt.Sprintf("f%03d", i), Data: shelved(i, size)})
	}
	s := &shelf{Mem: newTree(tb, list...)}
	s.image, _ = s.Image()
	for i := range list {
		n, a, err := s.Lookup(s.Root(), []byte(list[i].Path))
		if err != nil {
			tb.Fatal(err)
		}
		pos := fsys.Encoded
		_ = s.Extents(n, 0, func(e fsys.Extent) bool { pos = e.Pos; return false })
		s.files = append(s.files, fsys.Neighbour{Node: n, Size: a.Size, Pos: pos})
	}
	return s
}

func shelved(i, size int) []byte {
	return bytes.Repeat([]byte(fmt.Sprintf("%03d,", i)), size/4+1)[:size]
}

func (s *shelf) Neighbours(n fsys.Node, list []fsys.Neighbour) int {
	for i, f := range s.files {
		if f.Node == n {
			return copy(list, s.files[i+1:])
		}
	}
	return 0
}

func (s *shelf) ReadImage(p []byte, off int64) (int, error) { return s.image.ReadAt(p, off) }

// scan reads the files as a program would: one after the other, those only that
// are not in its cache. It returns how many it had to ask for.
func (k *kernel) scan(s *shelf) (asked int) {
	k.t.Helper()
	for i, f := range s.files {
		got, ok := k.stored[uint64(f.Node)]
		if !ok {
			asked++
			var e unix.Errno
			if e, got = k.read(uint64(f.Node), 0, int(f.Size)); e != 0 {
				k.t.Fatalf("file %d: %v", i, e)
			}
		}
		if !bytes.Equal(got, shelved(i, int(f.Size))) {
			k.t.Fatalf("file %d has wrong content", i)
		}
		within(k.t, "the stores to end", func() bool { k.collect(); return k.settled() })
	}
	return asked
}

func sizes(n int) (list []int) {
	for i := range n {
		list = append(list, 1+i*37%6000)
	}
	return list
}

func TestFilesThatFollowAreStoredAhead(t *testing.T) {
	s := newShelf(t, sizes(300)...)
	k, server := serve(t, s, Options{Ahead: true})
	k.server = server
	// One read is chance, two are a pattern; then 4, 8, 16, 32, 64, 128, 40.
	if asked := k.scan(s); asked != 8 {
		t.Errorf("asked for %d of 300 files, want 8", asked)
	}
	if got := server.Stats().Stored; got == 0 {
		t.Error("no stored bytes were counted")
	}
}

func TestNothingIsStoredForReadsWithoutAPattern(t *testing.T) {
	s := newShelf(t, sizes(100)...)
	k, server := serve(t, s, Options{Ahead: true})
	k.server = server
	for i := 99; i >= 0; i -= 2 {
		if e, got := k.read(uint64(s.files[i].Node), 0, 4096); e != 0 || len(got) != min(4096, int(s.files[i].Size)) {
			t.Fatalf("file %d: %v, %d bytes", i, e, len(got))
		}
	}
	k.collect()
	if len(k.stored) != 0 {
		t.Errorf("%d files were stored", len(k.stored))
	}
}

// A large file among small ones is left to be read, and the reader is followed
// beyond it.
func TestLargeFilesAreNotStored(t *testing.T) {
	list := sizes(60)
	list[20] = smallFile + 1
	s := newShelf(t, list...)
	k, server := serve(t, s, Options{Ahead: true})
	k.server = server
	if asked := k.scan(s); asked > 10 {
		t.Errorf("asked for %d of 60 files", asked)
	}
	if _, ok := k.stored[uint64(s.files[20].Node)]; ok {
		t.Error("the large file was stored")
	}
}

// A file that the kernel does not know ends what is stored at once, not the
// reading.
func TestAFileUnknownToTheKernelIsRead(t *testing.T) {
	s := newShelf(t, sizes(40)...)
	k, server := serve(t, s, Options{Ahead: true})
	k.server = server
	s.image = io.NewSectionReader(s.image, 0, s.files[30].Pos) // the rest cannot be read ahead
	if asked := k.scan(s); asked < 10 {
		t.Errorf("asked for %d of 40 files, though ten could not be stored", asked)
	}
}

func TestStreamsAreFollowedSideBySide(t *testing.T) {
	var a streams
	for range 3 {
		for i := range fsys.Node(aheadStreams) {
			st, ok := a.match(1000*i + 7)
			if !ok {
				t.Fatal("refused")
			}
			st.next = 1000*i + 7
			a.put(st)
		}
	}
	for i := range fsys.Node(aheadStreams) {
		st, _ := a.match(1000*i + 7)
		if st.window != 2*aheadFirst && st.window != 4*aheadFirst {
			t.Errorf("stream %d has window %d", i, st.window)
		}
		a.put(stream{})
	}
	a.match(1)
	a.match(2)
	if _, ok := a.match(3); ok {
		t.Errorf("more than %d workers may store at once", aheadWorkers)
	}
}
