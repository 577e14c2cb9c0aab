package fsystest

import (
	"errors"
	"fmt"
	"io"
	"path"

	"github.com/isomount/isomount/pkg/fsys"
)

const (
	memBlock     = 2048 // alignment of contents in the image, and the grain of holes
	memFirstPos  = 16 * memBlock
	memFirstNode = 0x100 // node numbers are neither dense nor start at 0 or 1
	memNodeStep  = 0x20
)

// Mem is a file tree in memory: the reference against which the suite itself
// is tested, and the tree that front ends are tested with. It never changes
// once it is made.
type Mem struct {
	nodes  []memNode      // the first is the root
	byPath map[string]int // only while the tree is made
	end    int64          // size of the image
}

type memNode struct {
	attr    fsys.Attr
	parent  int
	names   []memName
	index   map[string]int // name to node
	target  string
	xattrs  map[string]string
	content io.ReaderAt
	data    []byte // what content reads, if it is in memory
	pos     int64  // where content lies in the image
	broken  bool
}

type memName struct {
	name string
	node int
}

var (
	_ fsys.FS       = (*Mem)(nil)
	_ fsys.XattrFS  = (*Mem)(nil)
	_ fsys.ExtentFS = (*Mem)(nil)
	_ fsys.ParentFS = (*Mem)(nil)
)

// NewMem makes a tree of files, which directories list in the given order.
// Directories that are not among them are made. A Mode without a type is a
// regular file; without permission bits a file has 0444, a directory 0555 and
// a link 0777.
func NewMem(files []File) (*Mem, error) {
	m := &Mem{end: memFirstPos, byPath: map[string]int{}}
	m.makeNode(&File{Mode: fsys.TypeDir}, 0)
	m.byPath["."] = 0
	for i := range files {
		if err := m.addFile(&files[i]); err != nil {
			return nil, fmt.Errorf("%q: %w", files[i].Path, err)
		}
	}
	m.byPath = nil
	return m, nil
}

func (m *Mem) addFile(f *File) error {
	if f.Path == "." {
		m.nodes[0].attr = newAttr(f, 0)
		m.nodes[0].xattrs = f.Xattrs
		return nil
	}
	if _, taken := m.byPath[f.Path]; taken || f.Path == "" || path.Clean("/" + f.Path)[1:] != f.Path {
		return errors.New("path is taken or not clean")
	}
	dir, err := m.makeDir(path.Dir(f.Path))
	if err != nil {
		return err
	}
	if f.Link == "" {
		m.enter(dir, f.Path, m.makeNode(f, dir))
		return nil
	}
	n, ok := m.byPath[f.Link]
	if !ok || m.nodes[n].attr.IsDir() {
		return fmt.Errorf("%q is no file to link to", f.Link)
	}
	m.nodes[n].attr.Nlink++
	m.enter(dir, f.Path, n)
	return nil
}

// makeDir returns the directory p, made with its parents if it is not there.
func (m *Mem) makeDir(p string) (int, error) {
	if n, ok := m.byPath[p]; ok {
		if !m.nodes[n].attr.IsDir() {
			return 0, fmt.Errorf("%q: %w", p, fsys.ErrNotDir)
		}
		return n, nil
	}
	up, err := m.makeDir(path.Dir(p))
	if err != nil {
		return 0, err
	}
	n := m.makeNode(&File{Mode: fsys.TypeDir}, up)
	m.enter(up, p, n)
	return n, nil
}

func (m *Mem) makeNode(f *File, parent int) int {
	n := len(m.nodes)
	node := memNode{attr: newAttr(f, n), parent: parent, index: map[string]int{}, target: f.Target, xattrs: f.Xattrs, broken: f.Broken}
	if node.attr.IsRegular() {
		node.data = f.Data
		node.content = f.content()
		node.pos = m.end
		m.end += (node.attr.Size + memBlock - 1) / memBlock * memBlock
	}
	m.nodes = append(m.nodes, node)
	return n
}

func (m *Mem) enter(dir int, p string, n int) {
	m.byPath[p] = n
	d := &m.nodes[dir]
	d.index[path.Base(p)] = n
	d.names = append(d.names, memName{path.Base(p), n})
	if m.nodes[n].attr.IsDir() {
		d.attr.Nlink++
	}
}

func newAttr(f *File, n int) fsys.Attr {
	a := fsys.Attr{
		Ino: uint64(memNodeOf(n)), Mode: f.Mode, Nlink: 1, UID: f.UID, GID: f.GID, Major: f.Major, Minor: f.Minor,
		ModTime: f.ModTime, AccTime: f.ModTime, ChgTime: f.ModTime,
	}
	if a.Mode&fsys.TypeMask == 0 {
		a.Mode |= fsys.TypeFile
	}
	perm := uint32(0o444)
	switch a.Mode & fsys.TypeMask {
	case fsys.TypeDir:
		perm, a.Nlink, a.Size = 0o555, 2, memBlock
	case fsys.TypeLink:
		perm, a.Size = 0o777, int64(len(f.Target))
	case fsys.TypeFile:
		a.Size = f.size()
	}
	if a.Mode&fsys.PermMask == 0 {
		a.Mode |= perm
	}
	a.Blocks = (a.Size + 511) / 512
	return a
}
