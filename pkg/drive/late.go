package drive

import (
	"fmt"

	"github.com/isomount/isomount/pkg/fsys"
)

// A late tree stands in for that of an image that is still being opened. Who
// asks it waits, and is answered by the server's deadline if that takes long.
type late struct {
	opened <-chan struct{} // closed when tree is set
	tree   fsys.FS
}

var (
	_ fsys.XattrFS     = (*late)(nil)
	_ fsys.NeighbourFS = (*late)(nil)
	_ fsys.ExtentFS    = (*late)(nil)
	_ fsys.ParentFS    = (*late)(nil)
)

// lateRoot stands for the root, whose node is not known yet. No tree has this
// node, since it is the kernel's for the root.
const lateRoot fsys.Node = 1

// inner waits for the tree and translates a node for it.
func (l *late) inner(n fsys.Node) (fsys.FS, fsys.Node) {
	<-l.opened
	if n == lateRoot {
		n = l.tree.Root()
	}
	return l.tree, n
}

// outer translates a node of the tree.
func (l *late) outer(n fsys.Node) fsys.Node {
	if n == l.tree.Root() {
		return lateRoot
	}
	return n
}

// Root does not wait.
func (l *late) Root() fsys.Node { return lateRoot }

func (l *late) Attr(n fsys.Node) (fsys.Attr, error) {
	t, n := l.inner(n)
	return t.Attr(n)
}

func (l *late) Lookup(dir fsys.Node, name []byte) (fsys.Node, fsys.Attr, error) {
	t, dir := l.inner(dir)
	n, attr, err := t.Lookup(dir, name)
	return l.outer(n), attr, err
}

func (l *late) ReadDir(dir fsys.Node, from uint64, yield func(*fsys.Entry) bool) error {
	t, dir := l.inner(dir)
	return t.ReadDir(dir, from, yield)
}

func (l *late) ReadAt(n fsys.Node, p []byte, off int64) (int, error) {
	t, n := l.inner(n)
	return t.ReadAt(n, p, off)
}

func (l *late) Readlink(n fsys.Node) ([]byte, error) {
	t, n := l.inner(n)
	return t.Readlink(n)
}

func (l *late) Statfs() fsys.Statfs {
	t, _ := l.inner(lateRoot)
	return t.Statfs()
}

func (l *late) Xattrs(n fsys.Node) ([]string, error) {
	t, n := l.inner(n)
	if x, ok := t.(fsys.XattrFS); ok {
		return x.Xattrs(n)
	}
	return nil, l.lacks("extended attributes")
}

func (l *late) Xattr(n fsys.Node, name string) ([]byte, error) {
	t, n := l.inner(n)
	if x, ok := t.(fsys.XattrFS); ok {
		return x.Xattr(n, name)
	}
	return nil, l.lacks("extended attributes")
}

func (l *late) Extents(n fsys.Node, off int64, yield func(fsys.Extent) bool) error {
	t, n := l.inner(n)
	if x, ok := t.(fsys.ExtentFS); ok {
		return x.Extents(n, off, yield)
	}
	return l.lacks("extents")
}

// Neighbours implements [fsys.NeighbourFS].
func (l *late) Neighbours(n fsys.Node, list []fsys.Neighbour) int {
	t, n := l.inner(n)
	x, ok := t.(fsys.NeighbourFS)
	if !ok {
		return 0
	}
	list = list[:x.Neighbours(n, list)]
	for i := range list {
		list[i].Node = l.outer(list[i].Node)
	}
	return len(list)
}

// ReadImage implements [fsys.NeighbourFS].
func (l *late) ReadImage(p []byte, off int64) (int, error) {
	t, _ := l.inner(lateRoot)
	if x, ok := t.(fsys.NeighbourFS); ok {
		return x.ReadImage(p, off)
	}
	return 0, l.lacks("neighbours")
}

func (l *late) Parent(dir fsys.Node) (fsys.Node, error) {
	t, dir := l.inner(dir)
	if p, ok := t.(fsys.ParentFS); ok {
		up, err := p.Parent(dir)
		return l.outer(up), err
	}
	return 0, l.lacks("parents")
}

func (l *late) lacks(what string) error { return fmt.Errorf("%w: %s", fsys.ErrNotSupported, what) }
