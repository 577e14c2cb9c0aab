package volume

import (
	"fmt"
	"io"

	"github.com/isomount/isomount/pkg/fsys"
)

// A mux shows several trees and files side by side below virtual directories.
// The top bits of a node say which tree it belongs to; tree 0 is the mux's own.
// Nothing is copied: every node leads to its own reader.
type mux struct {
	owner  fsys.Owner
	date   fsys.Time
	image  io.ReaderAt
	size   int64
	nodes  []virtual // the first is the root
	trees  []fsys.FS // tree n has tag n+1
	places []int     // the virtual node that stands for the root of tree n
}

// A virtual node is a directory, a file that is a piece of the image, or the
// place of a tree.
type virtual struct {
	name     string
	parent   int
	children []int
	tree     int // tag of the tree whose root this is, 0 for none
	file     bool
	off      int64 // of a file: byte offset in the image
	size     int64
}

const (
	muxRoot  = 2 // node of the first virtual node: 0 and 1 are FUSE's
	muxTrees = 255
	muxMask  = 1<<fsys.NodeBits - 1
)

func newMux(d Disc, owner fsys.Owner, date fsys.Time) *mux {
	return &mux{owner: owner, date: date, image: d.Data, size: d.Size, nodes: make([]virtual, 1)}
}

// dir returns the virtual directory of a name in a parent, made when it is new.
func (m *mux) dir(parent int, name string) int {
	for _, c := range m.nodes[parent].children {
		if m.nodes[c].name == name {
			return c
		}
	}
	return m.add(parent, virtual{name: name})
}

// addFile adds a piece of the image as a file.
func (m *mux) addFile(parent int, name string, off, size int64) {
	off = min(max(off, 0), m.size)
	m.add(parent, virtual{name: name, file: true, off: off, size: min(max(size, 0), m.size-off)})
}

// addTree adds a tree, if there is still a tag for it.
func (m *mux) addTree(parent int, name string, t fsys.FS) {
	if len(m.trees) == muxTrees {
		return
	}
	m.trees = append(m.trees, t)
	m.places = append(m.places, m.add(parent, virtual{name: name, tree: len(m.trees)}))
}

// add appends a node and gives it a name of its own.
func (m *mux) add(parent int, v virtual) int {
	for n, base := 2, v.name; m.child(parent, v.name) >= 0; n++ {
		v.name = fmt.Sprintf("%s~%d", base, n)
	}
	v.parent = parent
	m.nodes = append(m.nodes, v)
	i := len(m.nodes) - 1
	m.nodes[parent].children = append(m.nodes[parent].children, i)
	return i
}

func (m *mux) child(parent int, name string) int {
	for _, c := range m.nodes[parent].children {
		if m.nodes[c].name == name {
			return c
		}
	}
	return -1
}

// split returns the tree that a node belongs to and its node there; a nil tree
// means the virtual node i.
func (m *mux) split(n fsys.Node) (t fsys.FS, tag int, inner fsys.Node, i int, err error) {
	tag, inner = int(n>>fsys.NodeBits), n&muxMask
	if tag > 0 {
		if tag > len(m.trees) {
			return nil, 0, 0, 0, fsys.ErrStale
		}
		return m.trees[tag-1], tag, inner, 0, nil
	}
	i = int(inner) - muxRoot
	if inner < muxRoot || i >= len(m.nodes) {
		return nil, 0, 0, 0, fsys.ErrStale
	}
	if v := &m.nodes[i]; v.tree > 0 {
		t = m.trees[v.tree-1]
		return t, v.tree, t.Root(), 0, nil
	}
	return nil, 0, 0, i, nil
}

// join makes a node of the mux from a node of a tree.
func (m *mux) join(tag int, n fsys.Node) fsys.Node {
	if n == m.trees[tag-1].Root() {
		return fsys.Node(m.places[tag-1] + muxRoot)
	}
	return fsys.Node(tag)<<fsys.NodeBits | n&muxMask
}

// tagged makes an inode number unique among the trees.
func tagged(a fsys.Attr, tag int) fsys.Attr {
	a.Ino = a.Ino&muxMask | uint64(tag)<<fsys.NodeBits
	return a
}

// Root returns the top directory.
func (m *mux) Root() fsys.Node { return muxRoot }

// Attr describes a node.
func (m *mux) Attr(n fsys.Node) (fsys.Attr, error) {
	t, tag, inner, i, err := m.split(n)
	if err != nil {
		return fsys.Attr{}, err
	}
	if t != nil {
		a, err := t.Attr(inner)
		return tagged(a, tag), err
	}
	return m.virtualAttr(i), nil
}

func (m *mux) virtualAttr(i int) fsys.Attr {
	v := &m.nodes[i]
	a := fsys.Attr{Ino: uint64(i + muxRoot), Mode: fsys.TypeDir, Nlink: 2, ModTime: m.date, AccTime: m.date, ChgTime: m.date}
	if v.file {
		a.Mode, a.Nlink, a.Size, a.Blocks = fsys.TypeFile, 1, v.size, (v.size+511)/512
	}
	for _, c := range v.children {
		if !m.nodes[c].file {
			a.Nlink++
		}
	}
	m.owner.Apply(&a, false, false)
	return a
}

// Lookup finds a name.
func (m *mux) Lookup(dir fsys.Node, name []byte) (fsys.Node, fsys.Attr, error) {
	t, tag, inner, i, err := m.split(dir)
	if err != nil {
		return 0, fsys.Attr{}, err
	}
	if t != nil {
		n, a, err := t.Lookup(inner, name)
		if err != nil {
			return 0, fsys.Attr{}, err
		}
		return m.join(tag, n), tagged(a, tag), nil
	}
	if m.nodes[i].file {
		return 0, fsys.Attr{}, fsys.ErrNotDir
	}
	c := m.child(i, string(name))
	if c < 0 {
		return 0, fsys.Attr{}, fsys.ErrNotExist
	}
	n := fsys.Node(c + muxRoot)
	a, err := m.Attr(n)
	return n, a, err
}

// ReadDir lists a directory.
func (m *mux) ReadDir(dir fsys.Node, from uint64, yield func(*fsys.Entry) bool) error {
	t, tag, inner, i, err := m.split(dir)
	if err != nil {
		return err
	}
	if t != nil {
		return t.ReadDir(inner, from, func(e *fsys.Entry) bool {
			if e.Node != 0 { // 0 is listed and cannot be read
				e.Node = m.join(tag, e.Node)
			}
			e.Attr = tagged(e.Attr, tag)
			return yield(e)
		})
	}
	if m.nodes[i].file {
		return fsys.ErrNotDir
	}
	for k, c := range m.nodes[i].children {
		if uint64(k) < from {
			continue
		}
		e := fsys.Entry{Name: []byte(m.nodes[c].name), Node: fsys.Node(c + muxRoot), Next: uint64(k + 1)}
		if e.Attr, err = m.Attr(e.Node); err != nil {
			continue // a tree whose root cannot be read is passed over
		}
		if !yield(&e) {
			return nil
		}
	}
	return nil
}

// ReadAt reads a file.
func (m *mux) ReadAt(n fsys.Node, p []byte, off int64) (int, error) {
	t, _, inner, i, err := m.split(n)
	if err != nil {
		return 0, err
	}
	if t != nil {
		return t.ReadAt(inner, p, off)
	}
	if !m.nodes[i].file {
		return 0, fsys.ErrIsDir
	}
	return io.NewSectionReader(m.image, m.nodes[i].off, m.nodes[i].size).ReadAt(p, off)
}

// Readlink returns the target of a link.
func (m *mux) Readlink(n fsys.Node) ([]byte, error) {
	t, _, inner, _, err := m.split(n)
	if err != nil {
		return nil, err
	}
	if t == nil {
		return nil, fsys.ErrNotLink
	}
	return t.Readlink(inner)
}

// Statfs describes the image.
func (m *mux) Statfs() fsys.Statfs {
	const block = 2048
	return fsys.Statfs{BlockSize: block, Blocks: uint64(m.size+block-1) / block, NameLen: 255}
}

// Parent returns the directory above a directory.
func (m *mux) Parent(dir fsys.Node) (fsys.Node, error) {
	if i := int(dir) - muxRoot; dir>>fsys.NodeBits == 0 && i >= 0 && i < len(m.nodes) {
		if m.nodes[i].file {
			return 0, fsys.ErrNotDir
		}
		return fsys.Node(m.nodes[i].parent + muxRoot), nil
	}
	t, tag, inner, _, err := m.split(dir)
	if err != nil {
		return 0, err
	}
	p, ok := t.(fsys.ParentFS)
	if !ok {
		return 0, fsys.ErrNotSupported
	}
	up, err := p.Parent(inner)
	if err != nil {
		return 0, err
	}
	return m.join(tag, up), nil
}

// Extents tells where the bytes of a file lie.
func (m *mux) Extents(n fsys.Node, off int64, yield func(fsys.Extent) bool) error {
	t, _, inner, i, err := m.split(n)
	if err != nil {
		return err
	}
	if t != nil {
		x, ok := t.(fsys.ExtentFS)
		if !ok {
			return fsys.ErrNotSupported
		}
		return x.Extents(inner, off, yield)
	}
	v := &m.nodes[i]
	if !v.file {
		return fsys.ErrIsDir
	}
	if off < v.size {
		yield(fsys.Extent{Off: off, Len: v.size - off, Pos: v.off + off})
	}
	return nil
}

// Xattrs lists extended attributes.
func (m *mux) Xattrs(n fsys.Node) ([]string, error) {
	t, _, inner, _, err := m.split(n)
	if x, ok := t.(fsys.XattrFS); err == nil && ok {
		return x.Xattrs(inner)
	}
	return nil, err
}

// Xattr reads an extended attribute.
func (m *mux) Xattr(n fsys.Node, name string) ([]byte, error) {
	t, _, inner, _, err := m.split(n)
	if err != nil {
		return nil, err
	}
	if x, ok := t.(fsys.XattrFS); ok {
		return x.Xattr(inner, name)
	}
	return nil, fsys.ErrNoXattr
}

// Neighbours tells which files follow one in its tree.
func (m *mux) Neighbours(n fsys.Node, list []fsys.Neighbour) int {
	t, tag, inner, _, err := m.split(n)
	x, ok := t.(fsys.NeighbourFS)
	if err != nil || !ok {
		return 0
	}
	list = list[:x.Neighbours(inner, list)]
	for i := range list {
		list[i].Node = m.join(tag, list[i].Node)
	}
	return len(list)
}

// ReadImage reads bytes of the image; every tree's positions are those of it.
func (m *mux) ReadImage(p []byte, off int64) (int, error) { return m.image.ReadAt(p, off) }
