package fsystest

import (
	"bytes"
	"io"
	"maps"
	"slices"

	"github.com/isomount/isomount/pkg/binfmt"
	"github.com/isomount/isomount/pkg/fsys"
)

// errBroken is what all methods say of a broken file.
var errBroken = binfmt.Corrupt(memFirstPos, "broken on purpose")

func memNodeOf(n int) fsys.Node { return fsys.Node(memFirstNode + n*memNodeStep) }

func (m *Mem) node(n fsys.Node) (*memNode, error) {
	i := (uint64(n) - memFirstNode) / memNodeStep
	switch {
	case i >= uint64(len(m.nodes)) || memNodeOf(int(i)) != n:
		return nil, fsys.ErrStale
	case m.nodes[i].broken:
		return nil, errBroken
	}
	return &m.nodes[i], nil
}

func (m *Mem) dir(n fsys.Node) (*memNode, error) {
	d, err := m.node(n)
	if err == nil && !d.attr.IsDir() {
		return nil, fsys.ErrNotDir
	}
	return d, err
}

func (m *Mem) file(n fsys.Node) (*memNode, error) {
	f, err := m.node(n)
	switch {
	case err != nil:
		return nil, err
	case f.attr.IsDir():
		return nil, fsys.ErrIsDir
	case !f.attr.IsRegular():
		return nil, fsys.ErrNotSupported
	}
	return f, nil
}

// Root implements [fsys.FS].
func (m *Mem) Root() fsys.Node { return memNodeOf(0) }

// Attr implements [fsys.FS].
func (m *Mem) Attr(n fsys.Node) (fsys.Attr, error) {
	f, err := m.node(n)
	if err != nil {
		return fsys.Attr{}, err
	}
	return f.attr, nil
}

// Lookup implements [fsys.FS].
func (m *Mem) Lookup(dir fsys.Node, name []byte) (fsys.Node, fsys.Attr, error) {
	d, err := m.dir(dir)
	if err != nil {
		return 0, fsys.Attr{}, err
	}
	n, ok := d.index[string(name)]
	if !ok {
		return 0, fsys.Attr{}, fsys.ErrNotExist
	}
	if m.nodes[n].broken {
		return 0, fsys.Attr{}, errBroken
	}
	return memNodeOf(n), m.nodes[n].attr, nil
}

// ReadDir implements [fsys.FS].
func (m *Mem) ReadDir(dir fsys.Node, from uint64, yield func(*fsys.Entry) bool) error {
	d, err := m.dir(dir)
	if err != nil {
		return err
	}
	for i := from; i < uint64(len(d.names)); i++ {
		n := d.names[i]
		e := fsys.Entry{Name: []byte(n.name), Node: memNodeOf(n.node), Attr: m.nodes[n.node].attr, Next: i + 1}
		if m.nodes[n.node].broken {
			e.Node, e.Attr = 0, fsys.Attr{Ino: e.Attr.Ino}
		}
		if !yield(&e) {
			return nil
		}
	}
	return nil
}

// ReadAt implements [fsys.FS].
func (m *Mem) ReadAt(n fsys.Node, p []byte, off int64) (int, error) {
	f, err := m.file(n)
	if err != nil {
		return 0, err
	}
	return io.NewSectionReader(f.content, 0, f.attr.Size).ReadAt(p, off)
}

// Readlink implements [fsys.FS].
func (m *Mem) Readlink(n fsys.Node) ([]byte, error) {
	f, err := m.node(n)
	if err != nil {
		return nil, err
	}
	if f.attr.Mode&fsys.TypeMask != fsys.TypeLink {
		return nil, fsys.ErrNotLink
	}
	return []byte(f.target), nil
}

// Statfs implements [fsys.FS].
func (m *Mem) Statfs() fsys.Statfs {
	return fsys.Statfs{BlockSize: memBlock, Blocks: uint64(m.end / memBlock), Files: uint64(len(m.nodes)), NameLen: 255}
}

// Parent implements [fsys.ParentFS].
func (m *Mem) Parent(dir fsys.Node) (fsys.Node, error) {
	d, err := m.dir(dir)
	if err != nil {
		return 0, err
	}
	return memNodeOf(d.parent), nil
}

// Xattrs implements [fsys.XattrFS].
func (m *Mem) Xattrs(n fsys.Node) ([]string, error) {
	f, err := m.node(n)
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(f.xattrs)), nil
}

// Xattr implements [fsys.XattrFS].
func (m *Mem) Xattr(n fsys.Node, name string) ([]byte, error) {
	f, err := m.node(n)
	if err != nil {
		return nil, err
	}
	v, ok := f.xattrs[name]
	if !ok {
		return nil, fsys.ErrNoXattr
	}
	return []byte(v), nil
}

// Extents implements [fsys.ExtentFS]. Blocks of zeros of a file whose content
// is in memory are holes.
func (m *Mem) Extents(n fsys.Node, off int64, yield func(fsys.Extent) bool) error {
	f, err := m.file(n)
	if err != nil {
		return err
	}
	if off < 0 {
		return fsys.ErrNotExist
	}
	for off < f.attr.Size {
		e := f.extent(off)
		if !yield(e) {
			return nil
		}
		off += e.Len
	}
	return nil
}

// extent returns the run of holes or of stored blocks that starts at off.
func (f *memNode) extent(off int64) fsys.Extent {
	end, hole := f.block(off)
	for end < f.attr.Size {
		next, same := f.block(end)
		if same != hole {
			break
		}
		end = next
	}
	e := fsys.Extent{Off: off, Len: end - off, Pos: f.pos + off}
	if hole {
		e.Pos = fsys.Hole
	}
	return e
}

// block returns the end of the block that off lies in, and whether it is a hole.
func (f *memNode) block(off int64) (end int64, hole bool) {
	if f.data == nil {
		return f.attr.Size, false
	}
	start := off / memBlock * memBlock
	end = min(start+memBlock, f.attr.Size)
	return end, len(bytes.Trim(f.data[start:end], "\x00")) == 0
}

// Image returns the bytes that extents point into, and how many there are.
func (m *Mem) Image() (io.ReaderAt, int64) { return memImage{m}, m.end }

type memImage struct{ m *Mem }

// ReadAt reads from the contents that p covers; all else is zero.
func (i memImage) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= i.m.end {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), i.m.end-off))
	clear(p[:n])
	for k := range i.m.nodes {
		if err := i.m.nodes[k].readImage(p[:n], off); err != nil {
			return 0, err
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// readImage reads what p, at byte offset off of the image, shares with the
// content of f.
func (f *memNode) readImage(p []byte, off int64) error {
	lo, hi := max(off, f.pos), min(off+int64(len(p)), f.pos+f.attr.Size)
	if f.content == nil || lo >= hi {
		return nil
	}
	n, err := f.content.ReadAt(p[lo-off:hi-off], lo-f.pos)
	if int64(n) == hi-lo {
		return nil
	}
	return err
}
