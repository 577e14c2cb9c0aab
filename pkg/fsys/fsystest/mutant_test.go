package fsystest

import "github.com/isomount/isomount/pkg/fsys"

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
		eachEntry(func(e *fsys.Entry) {
			if e.Node != 0 {
				brk(&e.Attr)
			}
		})(m)
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
