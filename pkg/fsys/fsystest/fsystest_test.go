package fsystest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/isomount/isomount/pkg/fsys"
)

func sample() []File {
	text := bytes.Repeat([]byte("0123456789abcdef"), 400)
	sparse := append(append(text[:2048:2048], make([]byte, 5000)...), text...)
	return []File{
		{Path: ".", Mode: fsys.TypeDir | 0o755, ModTime: fsys.Time{Sec: 5}},
		{Path: "empty"},
		{Path: "text", Data: text, Mode: fsys.TypeFile | 0o640, UID: 7, GID: 8, ModTime: fsys.Time{Sec: -1, Nsec: 3}, Xattrs: map[string]string{"user.a": "b"}, Nlink: 2},
		{Path: "sub/sparse", Data: sparse},
		{Path: "sub/deep/one", Data: []byte{1}},
		{Path: "sub/link", Mode: fsys.TypeLink, Target: "../text"},
		{Path: "sub/again", Link: "text"},
		{Path: "dev", Mode: fsys.TypeChar | 0o600, Major: 4, Minor: 5},
		{Path: "fifo", Mode: fsys.TypeFifo},
		{Path: "not\xffutf8", Data: text[:2048]},
		{Path: "none", Mode: fsys.TypeDir},
		{Path: "large", Size: 5 << 30, Content: counter{}},
	}
}

// counter holds at each offset the low bits of the offset.
type counter struct{}

func (counter) ReadAt(p []byte, off int64) (int, error) {
	for i := range p {
		p[i] = byte((off + int64(i)) * 7 >> 3)
	}
	return len(p), nil
}

func newMem(t testing.TB, files []File) *Mem {
	t.Helper()
	m, err := NewMem(files)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestMem(t *testing.T) {
	m := newMem(t, sample())
	image, size := m.Image()
	if size <= 5<<30 {
		t.Errorf("image has %d bytes, want more than its largest file", size)
	}
	TestOptions(t, m, Options{Want: sample(), Image: image})
	if err := Exercise(m, Limits{}); err != nil {
		t.Error(err)
	}
}

func TestMemLargeDirectory(t *testing.T) {
	var files []File
	for i := range 20_000 {
		files = append(files, File{Path: fmt.Sprintf("d%d/f%d", i%2, i), Data: []byte{byte(i)}})
	}
	Test(t, newMem(t, files), files)
}

func TestMemRefuses(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files []File
	}{
		{"same path twice", []File{{Path: "a"}, {Path: "a"}}},
		{"file as directory", []File{{Path: "a"}, {Path: "a/b"}}},
		{"absolute path", []File{{Path: "/a"}}},
		{"path that climbs", []File{{Path: "a/../../b"}}},
		{"path that ends in a slash", []File{{Path: "a/"}}},
		{"empty path", []File{{}}},
		{"link to nothing", []File{{Path: "a", Link: "b"}}},
		{"link to a directory", []File{{Path: "b", Mode: fsys.TypeDir}, {Path: "a", Link: "b"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := NewMem(tt.files); err == nil {
				t.Error("got no error")
			}
		})
	}
}

// A mutant is the reference with one thing broken.
type mutant struct {
	*Mem
	root     func() fsys.Node
	attr     func(fsys.Node) (fsys.Attr, error)
	lookup   func(fsys.Node, []byte) (fsys.Node, fsys.Attr, error)
	readDir  func(fsys.Node, uint64, func(*fsys.Entry) bool) error
	readAt   func(fsys.Node, []byte, int64) (int, error)
	readlink func(fsys.Node) ([]byte, error)
	statfs   func() fsys.Statfs
	xattr    func(fsys.Node, string) ([]byte, error)
	xattrs   func(fsys.Node) ([]string, error)
	parent   func(fsys.Node) (fsys.Node, error)
	extents  func(fsys.Node, int64, func(fsys.Extent) bool) error
}

func (m *mutant) Root() fsys.Node {
	if m.root != nil {
		return m.root()
	}
	return m.Mem.Root()
}

func (m *mutant) Attr(n fsys.Node) (fsys.Attr, error) {
	if m.attr != nil {
		return m.attr(n)
	}
	return m.Mem.Attr(n)
}

func (m *mutant) Lookup(d fsys.Node, name []byte) (fsys.Node, fsys.Attr, error) {
	if m.lookup != nil {
		return m.lookup(d, name)
	}
	return m.Mem.Lookup(d, name)
}

func (m *mutant) ReadDir(d fsys.Node, from uint64, yield func(*fsys.Entry) bool) error {
	if m.readDir != nil {
		return m.readDir(d, from, yield)
	}
	return m.Mem.ReadDir(d, from, yield)
}

func (m *mutant) ReadAt(n fsys.Node, p []byte, off int64) (int, error) {
	if m.readAt != nil {
		return m.readAt(n, p, off)
	}
	return m.Mem.ReadAt(n, p, off)
}

func (m *mutant) Readlink(n fsys.Node) ([]byte, error) {
	if m.readlink != nil {
		return m.readlink(n)
	}
	return m.Mem.Readlink(n)
}

func (m *mutant) Statfs() fsys.Statfs {
	if m.statfs != nil {
		return m.statfs()
	}
	return m.Mem.Statfs()
}

func (m *mutant) Xattr(n fsys.Node, name string) ([]byte, error) {
	if m.xattr != nil {
		return m.xattr(n, name)
	}
	return m.Mem.Xattr(n, name)
}

func (m *mutant) Xattrs(n fsys.Node) ([]string, error) {
	if m.xattrs != nil {
		return m.xattrs(n)
	}
	return m.Mem.Xattrs(n)
}

func (m *mutant) Parent(n fsys.Node) (fsys.Node, error) {
	if m.parent != nil {
		return m.parent(n)
	}
	return m.Mem.Parent(n)
}

func (m *mutant) Extents(n fsys.Node, off int64, yield func(fsys.Extent) bool) error {
	if m.extents != nil {
		return m.extents(n, off, yield)
	}
	return m.Mem.Extents(n, off, yield)
}

// eachEntry breaks every entry of every listing.
func eachEntry(brk func(*fsys.Entry)) func(*mutant) {
	return func(m *mutant) {
		m.readDir = func(d fsys.Node, from uint64, yield func(*fsys.Entry) bool) error {
			return m.Mem.ReadDir(d, from, func(e *fsys.Entry) bool {
				brk(e)
				return yield(e)
			})
		}
	}
}

// eachAttr breaks attributes wherever they are told.
func eachAttr(brk func(*fsys.Attr)) func(*mutant) {
	return func(m *mutant) {
		eachEntry(func(e *fsys.Entry) { brk(&e.Attr) })(m)
		m.attr = func(n fsys.Node) (fsys.Attr, error) {
			a, err := m.Mem.Attr(n)
			brk(&a)
			return a, err
		}
		m.lookup = func(d fsys.Node, name []byte) (fsys.Node, fsys.Attr, error) {
			n, a, err := m.Mem.Lookup(d, name)
			brk(&a)
			return n, a, err
		}
	}
}

// mutants are what the suite must find, with words of what it says of them.
// Those with hostile are found by Exercise as well.
var mutants = []struct {
	name    string
	brk     func(*mutant)
	want    string
	hostile bool
}{
	{"root is a file", func(m *mutant) { m.root = func() fsys.Node { return memNodeOf(1) } }, "root is no directory", false},
	{"block size", func(m *mutant) { m.statfs = func() fsys.Statfs { return fsys.Statfs{BlockSize: 2049, NameLen: 1} } }, "power of two", false},
	{"name length", func(m *mutant) { m.statfs = func() fsys.Statfs { return fsys.Statfs{BlockSize: 2048} } }, "name length", false},
	{"slash in a name", eachEntry(func(e *fsys.Entry) { e.Name = []byte("a/b") }), "slash", true},
	{"NUL in a name", eachEntry(func(e *fsys.Entry) { e.Name = append(e.Name, 0) }), "NUL", true},
	{"empty name", eachEntry(func(e *fsys.Entry) { e.Name = nil }), "empty", true},
	{"dot listed", eachEntry(func(e *fsys.Entry) { e.Name = []byte(".") }), "name is . or ..", true},
	{"dot dot listed", eachEntry(func(e *fsys.Entry) { e.Name = []byte("..") }), "name is . or ..", true},
	{"names twice", eachEntry(func(e *fsys.Entry) { e.Name = []byte("same") }), "twice", true},
	{"next zero", eachEntry(func(e *fsys.Entry) { e.Next = 0 }), "next", true},
	{"next too large", eachEntry(func(e *fsys.Entry) { e.Next |= 1 << 62 }), "next", true},
	{"next repeats", eachEntry(func(e *fsys.Entry) { e.Next = 3 }), "next", true},
	{"listed under another name", eachEntry(func(e *fsys.Entry) { e.Name = append(e.Name, 'x') }), "lookup", true},
	{"listed with another node", eachEntry(func(e *fsys.Entry) { e.Node = memNodeOf(1) }), "lookup", true},
	{"listed with other attributes", eachEntry(func(e *fsys.Entry) { e.Attr.UID++ }), "lookup", true},
	{"resume starts over", func(m *mutant) {
		m.readDir = func(d fsys.Node, _ uint64, yield func(*fsys.Entry) bool) error { return m.Mem.ReadDir(d, 0, yield) }
	}, "readdir after", true},
	{"resume skips one", func(m *mutant) {
		m.readDir = func(d fsys.Node, from uint64, yield func(*fsys.Entry) bool) error {
			return m.Mem.ReadDir(d, from+min(from, 1), yield)
		}
	}, "readdir after", true},
	{"yield's stop ignored", func(m *mutant) {
		m.readDir = func(d fsys.Node, from uint64, yield func(*fsys.Entry) bool) error {
			return m.Mem.ReadDir(d, from, func(e *fsys.Entry) bool { yield(e); return true })
		}
	}, "after yield returned false", false},
	{"listing fails", func(m *mutant) {
		m.readDir = func(d fsys.Node, from uint64, yield func(*fsys.Entry) bool) error {
			return errors.Join(m.Mem.ReadDir(d, from, yield), io.ErrUnexpectedEOF)
		}
	}, "unexpected EOF", false},
	{"listing of a file", func(m *mutant) {
		m.readDir = func(d fsys.Node, from uint64, yield func(*fsys.Entry) bool) error {
			if err := m.Mem.ReadDir(d, from, yield); !errors.Is(err, fsys.ErrNotDir) {
				return err
			}
			return nil
		}
	}, "readdir of what is no directory", false},
	{"attributes of the node differ", func(m *mutant) {
		m.attr = func(n fsys.Node) (fsys.Attr, error) {
			a, err := m.Mem.Attr(n)
			a.ModTime.Sec++
			return a, err
		}
	}, "its directory said", false},
	{"no type", eachAttr(func(a *fsys.Attr) { a.Mode &= fsys.PermMask | fsys.TypeDir }), "no known type", true},
	{"mode bits", eachAttr(func(a *fsys.Attr) { a.Mode |= 1 << 16 }), "mode has bits", true},
	{"link count 0", eachAttr(func(a *fsys.Attr) { a.Nlink = 0 }), "link count is 0", true},
	{"negative size", eachAttr(func(a *fsys.Attr) { a.Size = -1 }), "size is negative", true},
	{"negative blocks", eachAttr(func(a *fsys.Attr) { a.Blocks = -1 }), "blocks are negative", true},
	{"nanoseconds", eachAttr(func(a *fsys.Attr) { a.AccTime.Nsec = 1e9 }), "nanoseconds", true},
	{"inode 0", eachAttr(func(a *fsys.Attr) { a.Ino = 0 }), "inode number is 0", true},
	{"inodes shared", eachAttr(func(a *fsys.Attr) { a.Ino = 9 }), "inode 9", false},
	{"node too wide", func(m *mutant) { m.root = func() fsys.Node { return 1 << 60 }; wide(m, 1<<60) }, "takes more than 56 bits", false},
	{"lookup finds anything", func(m *mutant) {
		m.lookup = func(d fsys.Node, name []byte) (fsys.Node, fsys.Attr, error) {
			n, a, err := m.Mem.Lookup(d, name)
			if errors.Is(err, fsys.ErrNotExist) {
				return memNodeOf(1), m.nodes[1].attr, nil
			}
			return n, a, err
		}
	}, "which is not there", true},
	{"lookup in a file", func(m *mutant) {
		m.lookup = func(d fsys.Node, name []byte) (fsys.Node, fsys.Attr, error) {
			n, a, err := m.Mem.Lookup(d, name)
			if errors.Is(err, fsys.ErrNotDir) {
				err = fsys.ErrNotExist
			}
			return n, a, err
		}
	}, "lookup in what is no directory", false},
	{"lookup keeps the name", func(m *mutant) {
		type answer struct {
			name []byte
			node fsys.Node
		}
		var mu sync.Mutex // guards last
		last := map[fsys.Node]answer{}
		m.lookup = func(d fsys.Node, name []byte) (fsys.Node, fsys.Attr, error) {
			mu.Lock()
			defer mu.Unlock()
			if l := last[d]; l.name != nil && bytes.Equal(l.name, name) {
				a, err := m.Mem.Attr(l.node)
				return l.node, a, err
			}
			n, a, err := m.Mem.Lookup(d, name)
			if err == nil {
				last[d] = answer{name, n}
			}
			return n, a, err
		}
	}, "lookup", false},
	{"read of a directory", func(m *mutant) {
		m.readAt = func(n fsys.Node, p []byte, off int64) (int, error) {
			k, err := m.Mem.ReadAt(n, p, off)
			if errors.Is(err, fsys.ErrIsDir) {
				err = io.EOF
			}
			return k, err
		}
	}, "read of a directory", true},
	{"short read without error", changeRead(func(p []byte, n int, _ int64, err error) (int, error) {
		if n == len(p) && n > 0 {
			return n - 1, nil
		}
		return n, err
	}), "without an error", true},
	{"no error at the end", changeRead(func(_ []byte, n int, _ int64, err error) (int, error) {
		if err == io.EOF {
			err = nil
		}
		return n, err
	}), "without an error", true},
	{"end of file too early", changeRead(func(p []byte, n int, off int64, err error) (int, error) {
		if off > 2048 && n == len(p) && n > 100 {
			return n / 2, io.EOF
		}
		return n, err
	}), "end of file after", true},
	{"end of file told in the middle", changeRead(func(p []byte, n int, _ int64, err error) (int, error) {
		if n == len(p) {
			err = io.EOF
		}
		return n, err
	}), "before the end of the file", true},
	{"rest of the last block", func(m *mutant) {
		m.readAt = func(n fsys.Node, p []byte, off int64) (int, error) {
			k, err := m.Mem.ReadAt(n, p, off)
			if err == io.EOF && k < len(p) {
				k++
			}
			return k, err
		}
	}, "where the file has", true},
	{"negative offset read", func(m *mutant) {
		m.readAt = func(n fsys.Node, p []byte, off int64) (int, error) { return m.Mem.ReadAt(n, p, max(off, 0)) }
	}, "offset -1", true},
	{"write behind the buffer", changeRead(func(p []byte, n int, _ int64, err error) (int, error) {
		if n < len(p) && len(p) < cap(p) {
			p = p[:cap(p)]
			p[len(p)-1] = 1
		}
		return n, err
	}), "behind its buffer", true},
	{"wrong bytes at an odd offset", changeRead(func(p []byte, n int, off int64, err error) (int, error) {
		if off%2048 == 1 && n > 0 {
			p[0]++
		}
		return n, err
	}), "is not what reading from the start gave", false},
	{"wrong content", changeRead(func(p []byte, n int, off int64, err error) (int, error) {
		for i := range p[:n] {
			p[i] ^= byte((off + int64(i)) >> 11)
		}
		return n, err
	}), "content from offset", false},
	{"read error", changeRead(func(_ []byte, _ int, _ int64, _ error) (int, error) { return 0, io.ErrClosedPipe }), "closed pipe", false},
	{"readlink of a file", func(m *mutant) {
		m.readlink = func(n fsys.Node) ([]byte, error) {
			if l, err := m.Mem.Readlink(n); !errors.Is(err, fsys.ErrNotLink) {
				return l, err
			}
			return []byte("x"), nil
		}
	}, "readlink of what is no link", false},
	{"link with a NUL", func(m *mutant) {
		m.readlink = func(n fsys.Node) ([]byte, error) { l, err := m.Mem.Readlink(n); return append(l, 0), err }
	}, "NUL", false},
	{"link of another size", func(m *mutant) {
		m.readlink = func(n fsys.Node) ([]byte, error) { l, err := m.Mem.Readlink(n); return append(l, 'x'), err }
	}, "target of 8 bytes", false},
	{"link elsewhere", func(m *mutant) {
		m.readlink = func(n fsys.Node) ([]byte, error) { l, err := m.Mem.Readlink(n); return bytes.ToUpper(l), err }
	}, "want \"../text\"", false},
	{"link fails", func(m *mutant) {
		m.readlink = func(n fsys.Node) ([]byte, error) {
			_, err := m.Mem.Readlink(n)
			return nil, errors.Join(err, io.ErrNoProgress)
		}
	}, "readlink: multiple", false},
	{"parent of all is the root", func(m *mutant) {
		m.parent = func(n fsys.Node) (fsys.Node, error) { _, err := m.Mem.Parent(n); return m.Mem.Root(), err }
	}, "parent: got", false},
	{"parent of a file", func(m *mutant) { m.parent = func(fsys.Node) (fsys.Node, error) { return m.Mem.Root(), nil } }, "parent of what is no directory", false},
	{"unknown xattr", func(m *mutant) { m.xattr = func(fsys.Node, string) ([]byte, error) { return nil, nil } }, "want ErrNoXattr", false},
	{"xattr without namespace", func(m *mutant) {
		m.xattrs = func(fsys.Node) ([]string, error) { return []string{"a"}, nil }
	}, "has no namespace", false},
	{"xattrs fail", func(m *mutant) {
		m.xattrs = func(fsys.Node) ([]string, error) { return nil, io.ErrNoProgress }
	}, "xattrs: multiple Read", false},
	{"extents with a gap", changeExtents(func(e *fsys.Extent) { e.Off += 512 }), "where one should start", true},
	{"extents too long", changeExtents(func(e *fsys.Extent) { e.Len++ }), "where one should start", true},
	{"extents of length 0", changeExtents(func(e *fsys.Extent) { e.Len = 0 }), "where one should start", true},
	{"extents elsewhere", changeExtents(func(e *fsys.Extent) { e.Pos += 16 }), "does not hold the bytes", false},
	{"data called a hole", changeExtents(func(e *fsys.Extent) { e.Pos = fsys.Hole }), "does not hold the bytes", false},
	{"unknown extent", changeExtents(func(e *fsys.Extent) { e.Pos = -3 }), "where one should start", true},
	{"extents end early", func(m *mutant) {
		m.extents = func(n fsys.Node, off int64, yield func(fsys.Extent) bool) error {
			return m.Mem.Extents(n, off, func(e fsys.Extent) bool { yield(e); return false })
		}
	}, "but the file at", false},
	{"extents from the start always", func(m *mutant) {
		m.extents = func(n fsys.Node, _ int64, yield func(fsys.Extent) bool) error { return m.Mem.Extents(n, 0, yield) }
	}, "where one should start", false},
	{"extents ignore stop", func(m *mutant) {
		m.extents = func(n fsys.Node, off int64, yield func(fsys.Extent) bool) error {
			return m.Mem.Extents(n, off, func(e fsys.Extent) bool { yield(e); return true })
		}
	}, "after yield returned false", false},
	{"extents of a directory", func(m *mutant) {
		m.extents = func(n fsys.Node, off int64, yield func(fsys.Extent) bool) error {
			if err := m.Mem.Extents(n, off, yield); !errors.Is(err, fsys.ErrIsDir) {
				return err
			}
			return nil
		}
	}, "extents of a directory", false},
	{"panic on a strange node", func(m *mutant) {
		m.attr = func(n fsys.Node) (fsys.Attr, error) { return m.nodes[(n-memFirstNode)/memNodeStep].attr, nil }
	}, "panic", true},
	{"directory in itself", func(m *mutant) {
		m.Mem = newMemLoop()
	}, "holds itself", false},
	{"not the same later", func(m *mutant) {
		var calls atomic.Int32
		m.root = func() fsys.Node { calls.Add(1); return m.Mem.Root() }
		changeRead(func(p []byte, n int, _ int64, err error) (int, error) {
			if calls.Load() > 4 && n > 0 {
				p[0]++
			}
			return n, err
		})(m)
	}, "do not see the same tree", false},
	{"missing and unwanted files", eachEntry(func(e *fsys.Entry) { e.Name = append(e.Name, 'x') }), "is missing", true},
	{"unwanted files", eachEntry(func(e *fsys.Entry) { e.Name = append(e.Name, 'x') }), "is not wanted", true},
	{"wrong owner", eachAttr(func(a *fsys.Attr) { a.UID++ }), "uid: got", false},
	{"wrong time", eachAttr(func(a *fsys.Attr) { a.ModTime.Sec++ }), "modification time", false},
	{"wrong permissions", eachAttr(func(a *fsys.Attr) { a.Mode ^= 0o002 }), "permissions", false},
	{"wrong type", eachAttr(func(a *fsys.Attr) {
		if a.Mode&fsys.TypeMask == fsys.TypeFifo {
			a.Mode ^= fsys.TypeFifo ^ fsys.TypeSocket
		}
	}), "got mode 140444", false},
	{"hard link broken", func(m *mutant) {
		m.Mem, _ = NewMem([]File{{Path: "text"}, {Path: "sub/again"}})
	}, "want that of \"text\"", false},
	{"xattr value", func(m *mutant) {
		m.xattr = func(n fsys.Node, name string) ([]byte, error) {
			v, err := m.Mem.Xattr(n, name)
			return append(v, 'x'), err
		}
	}, "got \"bx\"", false},
	{"xattr too many", func(m *mutant) {
		m.xattrs = func(fsys.Node) ([]string, error) { return []string{"user.a", "user.b"}, nil }
	}, "\"user.b\" is not wanted", false},
	{"wrong size", eachAttr(func(a *fsys.Attr) { a.Size += a.Size & 1 }), "got size 2, want 1", true},
}

// wide makes the root answer to a node number as well.
func wide(m *mutant, alias fsys.Node) {
	real := func(n fsys.Node) fsys.Node {
		if n == alias {
			return m.Mem.Root()
		}
		return n
	}
	m.attr = func(n fsys.Node) (fsys.Attr, error) { return m.Mem.Attr(real(n)) }
	m.readDir = func(n fsys.Node, from uint64, yield func(*fsys.Entry) bool) error {
		return m.Mem.ReadDir(real(n), from, yield)
	}
}

func changeRead(change func(p []byte, n int, off int64, err error) (int, error)) func(*mutant) {
	return func(m *mutant) {
		m.readAt = func(n fsys.Node, p []byte, off int64) (int, error) {
			k, err := m.Mem.ReadAt(n, p, off)
			if a, e := m.Attr(n); e != nil || !a.IsRegular() || off < 0 {
				return k, err
			}
			return change(p, k, off, err)
		}
	}
}

func changeExtents(change func(*fsys.Extent)) func(*mutant) {
	return func(m *mutant) {
		m.extents = func(n fsys.Node, off int64, yield func(fsys.Extent) bool) error {
			return m.Mem.Extents(n, off, func(e fsys.Extent) bool {
				change(&e)
				return yield(e)
			})
		}
	}
}

// newMemLoop returns a tree whose directory "sub" holds itself.
func newMemLoop() *Mem {
	m, _ := NewMem([]File{{Path: "sub/x"}})
	sub := m.nodes[0].index["sub"]
	m.nodes[sub].index["loop"] = sub
	m.nodes[sub].names = append(m.nodes[sub].names, memName{"loop", sub})
	return m
}

func exerciseNoPanic(f fsys.FS) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return Exercise(f, Limits{})
}

func TestSuiteFindsMutants(t *testing.T) {
	for _, tt := range mutants {
		t.Run(tt.name, func(t *testing.T) {
			m := &mutant{Mem: newMem(t, sample())}
			tt.brk(m)
			image, _ := m.Image()
			err := Check(m, Options{Want: sample(), Image: image, MaxRead: 1 << 16})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("suite says %v, want something with %q", err, tt.want)
			}
			err = exerciseNoPanic(m)
			if (err != nil) != tt.hostile {
				t.Errorf("exercise says %v, want an error: %v", err, tt.hostile)
			}
		})
	}
}

func TestExerciseEndsOnEndlessListing(t *testing.T) {
	m := &mutant{Mem: newMem(t, sample())}
	m.readDir = func(d fsys.Node, from uint64, yield func(*fsys.Entry) bool) error {
		for i := from + 1; ; i++ {
			if !yield(&fsys.Entry{Name: fmt.Append(nil, i), Node: d, Attr: m.nodes[0].attr, Next: i}) {
				return nil
			}
		}
	}
	m.lookup = func(d fsys.Node, _ []byte) (fsys.Node, fsys.Attr, error) { return 0, fsys.Attr{}, fsys.ErrStale }
	if err := Exercise(m, Limits{}); err != nil {
		t.Error(err)
	}
}
