package master

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isomount/isomount/pkg/fsys"
)

func TestTree(t *testing.T) {
	tree := NewTree(fsys.Attr{})
	add := func(dir *Node, name string, mode uint32) *Node {
		t.Helper()
		n, err := tree.Add(dir, name, &fsys.Attr{Mode: mode}, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	sub := add(tree.Root(), "sub", fsys.TypeDir)
	for _, name := range []string{"m", "z", "a", "k"} { // out of order
		add(sub, name, fsys.TypeFile)
	}
	link, err := tree.Link(tree.Root(), "also a", sub.Child("a"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	if err := walk(tree.Root(), func(n *Node) error { got = append(got, n.Path()); return nil }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"/", "/also a", "/sub", "/sub/a", "/sub/k", "/sub/m", "/sub/z"}, got); diff != "" {
		t.Errorf("walk (-want +got):\n%s", diff)
	}
	if n := tree.Lookup("/sub//./k/"); n == nil || n.Path() != "/sub/k" {
		t.Errorf("lookup found %v", n)
	}
	for _, path := range []string{"sub/missing", "sub/a/below a file"} {
		if n := tree.Lookup(path); n != nil {
			t.Errorf("lookup of %s found %s", path, n.Path())
		}
	}
	if link.inode != sub.Child("a").inode || link.inode.links() != 2 {
		t.Errorf("link has %d links", link.inode.links())
	}
	if got, want := tree.Entries(), 6; got != want {
		t.Errorf("%d entries, want %d", got, want)
	}
	if got, want := tree.Root().inode.links(), uint32(3); got != want {
		t.Errorf("root has %d links, want %d", got, want)
	}
}

func TestTreeRefuses(t *testing.T) {
	tree := NewTree(fsys.Attr{})
	file, err := tree.Add(tree.Root(), "file", &fsys.Attr{Mode: fsys.TypeFile}, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := tree.Add(tree.Root(), "dir", &fsys.Attr{Mode: fsys.TypeDir}, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		dir  *Node
		name string
		want error
	}{
		{tree.Root(), "file", fs.ErrExist},
		{tree.Root(), "", fs.ErrInvalid},
		{tree.Root(), ".", fs.ErrInvalid},
		{tree.Root(), "..", fs.ErrInvalid},
		{tree.Root(), "a/b", fs.ErrInvalid},
		{tree.Root(), "a\x00b", fs.ErrInvalid},
		{tree.Root(), strings.Repeat("n", maxNameLen+1), ErrTooLarge},
		{file, "below", fsys.ErrNotDir},
	}
	for _, tt := range tests {
		_, err := tree.Add(tt.dir, tt.name, &fsys.Attr{Mode: fsys.TypeFile}, nil, 0)
		if !errors.Is(err, tt.want) {
			t.Errorf("add %.20q: error %v, want %v", tt.name, err, tt.want)
		}
		_, err = tree.Link(tt.dir, tt.name, file)
		if !errors.Is(err, tt.want) {
			t.Errorf("link %.20q: error %v, want %v", tt.name, err, tt.want)
		}
	}
	if _, err := tree.Link(tree.Root(), "loop", dir); !errors.Is(err, fsys.ErrIsDir) {
		t.Errorf("link to a directory: error %v", err)
	}
}

func TestNanoseconds(t *testing.T) {
	tests := []struct {
		t    fsys.Time
		want int64
	}{
		{fsys.Time{Sec: 1, Nsec: 5}, 1_000_000_005},
		{fsys.Time{Sec: -1, Nsec: 5}, -999_999_995},
		{fsys.Time{Sec: math.MaxInt64}, math.MaxInt64},
		{fsys.Time{Sec: math.MinInt64}, math.MinInt64},
	}
	for _, tt := range tests {
		if got := nanoseconds(tt.t); got != tt.want {
			t.Errorf("%v: got %d, want %d", tt.t, got, tt.want)
		}
	}
}

func TestRecordDates(t *testing.T) {
	tests := []struct {
		ns   int64
		want []byte
	}{
		{0, []byte{70, 1, 1, 0, 0, 0, 0}},
		{when.UnixNano(), []byte{120, 2, 29, 12, 34, 56, 0}},
		{math.MinInt64, []byte{0, 1, 1, 0, 0, 0, 0}},
		{math.MaxInt64, []byte{255, 12, 31, 23, 59, 59, 0}},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, appendRecordDate(nil, tt.ns)); diff != "" {
			t.Errorf("%d (-want +got):\n%s", tt.ns, diff)
		}
	}
}

// TestMemory holds the promise that a directory tree costs little: names, and
// less than 200 bytes for each.
func TestMemory(t *testing.T) {
	const files = 100_000
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	names := make([]string, files)
	for i := range names {
		names[i] = fmt.Sprintf("file%06d", i)
	}
	before := heap()
	tree := NewTree(fsys.Attr{})
	a := fsys.Attr{Mode: fsys.TypeFile, Size: 1}
	content := &fixed{}
	for _, name := range names {
		if _, err := tree.Add(tree.Root(), name, &a, content, 0); err != nil {
			t.Fatal(err)
		}
	}
	m, err := plan(tree, Options{})
	if err != nil {
		t.Fatal(err)
	}
	each := (heap() - before) / files
	t.Logf("%d bytes for each file, without its name", each)
	if each >= 200 {
		t.Errorf("%d bytes for each file", each)
	}
	runtime.KeepAlive(m)
	runtime.KeepAlive(names)
}
