package udf

import (
	"container/list"
	"slices"
	"sync"

	"github.com/isomount/isomount/pkg/fsys"
)

// An inode is a file entry with everything that reading its content needs. It
// does not change after it is made.
type inode struct {
	icb     // without its slices
	ea      []byte
	data    []byte // the content, if it is embedded
	extents extentList

	dirEnd     int64     // directories: see FS.dirEnd
	renameOnce sync.Once // guards renamed
	renamed    *renames  // directories
}

// at is extentList.at for the whole of the file's content.
func (in *inode) at(off int64) (pos, n int64) {
	pos, n = in.extents.at(off)
	return pos, min(n, in.size-off)
}

// cost estimates the bytes of memory that an inode takes.
func (in *inode) cost() int {
	return 512 + len(in.ea) + len(in.data) + 16*cap(in.extents.runs)
}

// loadInode reads an inode from the disc.
func (f *FS) loadInode(w *window, a addr) (*inode, error) {
	e, err := f.readICB(w, a)
	if err != nil {
		return nil, err
	}
	in := &inode{icb: e, ea: slices.Clone(e.ea)}
	in.icb.ea, in.alloc = nil, nil
	if e.allocKind == allocEmbedded {
		in.data = slices.Clone(e.alloc)
	} else {
		in.extents = f.extents(w, &e)
		in.extents.runs = slices.Clip(in.extents.runs)
	}
	if e.isDir() {
		in.dirEnd = f.dirEnd(in)
	}
	return in, nil
}

// inode returns the inode of a node, from memory if it was used lately.
func (f *FS) inode(n fsys.Node) (*inode, error) {
	if in := f.inodes.get(n); in != nil {
		return in, nil
	}
	a, err := f.nodeAddr(n)
	if err != nil {
		return nil, err
	}
	w := f.window()
	defer f.release(w)
	in, err := f.loadInode(w, a)
	if err != nil {
		return nil, err
	}
	f.inodes.put(n, in)
	return in, nil
}

// nodeAddr returns the address of a node, ErrStale if it cannot be one.
func (f *FS) nodeAddr(n fsys.Node) (addr, error) {
	a, ok := nodeAddr(n)
	if !ok {
		return addr{}, fsys.ErrStale
	}
	if pos, _, err := f.locate(a, 0); err != nil || pos >= f.size {
		return addr{}, fsys.ErrStale
	}
	return a, nil
}

// dir returns the inode of a directory.
func (f *FS) dir(n fsys.Node) (*inode, error) {
	in, err := f.inode(n)
	if err != nil {
		return nil, err
	}
	if !in.isDir() {
		return nil, fsys.ErrNotDir
	}
	return in, nil
}

// inodeBudget is how many bytes of inodes are kept.
const inodeBudget = 4 << 20

// An inodeCache keeps the inodes used last, so that a fragmented file is not
// resolved anew for every read.
type inodeCache struct {
	mu    sync.Mutex // guards the fields below
	size  int
	order list.List // of *cached, the one used last in front
	items map[fsys.Node]*list.Element
}

type cached struct {
	node fsys.Node
	in   *inode
}

func (c *inodeCache) get(n fsys.Node) *inode {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.items[n]
	if e == nil {
		return nil
	}
	c.order.MoveToFront(e)
	return e.Value.(*cached).in //nolint:errcheck // the list holds nothing else
}

// put keeps in and drops the inodes used longest ago when there are too many.
func (c *inodeCache) put(n fsys.Node, in *inode) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.items[n] != nil {
		return
	}
	if c.items == nil {
		c.items = map[fsys.Node]*list.Element{}
	}
	c.items[n] = c.order.PushFront(&cached{n, in})
	c.size += in.cost()
	for c.size > inodeBudget && c.order.Len() > 1 {
		last := c.order.Remove(c.order.Back()).(*cached) //nolint:errcheck // as above
		delete(c.items, last.node)
		c.size -= last.in.cost()
	}
}
