package master

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/isomount/isomount/pkg/fsys"
)

// ErrTwice reports a directory that an image holds in two places.
var ErrTwice = errors.New("directory is also found elsewhere, left out here")

// FromFS makes a tree from another file tree, such as that of a disc. It stops
// at the first directory or file that cannot be read, unless skip is set: then
// it leaves it out and notes it. Content is read when the tree is written.
func FromFS(ctx context.Context, f fsys.FS, skip bool) (*Tree, []Note, error) {
	root, err := f.Attr(f.Root())
	if err != nil {
		return nil, nil, err
	}
	c := &copier{fs: f, skip: skip, tree: NewTree(root), links: map[uint64]*Node{}, seen: map[fsys.Node]bool{}}
	c.content = &fsContent{f}
	if err := c.xattrs(c.tree.root, f.Root()); err != nil {
		return nil, nil, err
	}
	stack := []copied{{c.tree.root, f.Root()}}
	for len(stack) > 0 {
		if err := ctx.Err(); err != nil {
			return nil, c.notes, err
		}
		d := stack[len(stack)-1]
		dirs, err := c.dir(d)
		if err != nil {
			return nil, c.notes, err
		}
		slices.Reverse(dirs)
		stack = append(stack[:len(stack)-1], dirs...)
	}
	return c.tree, c.notes, nil
}

// A copier fills a tree from another.
type copier struct {
	fs      fsys.FS
	skip    bool
	tree    *Tree
	content *fsContent
	links   map[uint64]*Node // files that have several names, by inode number
	seen    map[fsys.Node]bool
	notes   []Note
}

// A copied is a directory in both trees.
type copied struct {
	to   *Node
	from fsys.Node
}

// dir copies the entries of one directory and returns those that are directories.
// A disc may be damaged or hostile: a directory is copied once, wherever else it
// turns up.
func (c *copier) dir(d copied) (dirs []copied, err error) {
	if c.seen[d.from] {
		c.notes = append(c.notes, Note{d.to.Path(), ErrTwice})
		return nil, nil
	}
	c.seen[d.from] = true
	readErr := c.fs.ReadDir(d.from, 0, func(e *fsys.Entry) bool {
		var n *Node
		if n, err = c.entry(d.to, e); err != nil {
			err = c.unreadable(d.to, string(e.Name), err)
			return err == nil
		}
		if n.IsDir() {
			dirs = append(dirs, copied{n, e.Node})
		}
		return true
	})
	if err == nil && readErr != nil {
		err = c.unreadable(d.to, ".", readErr)
	}
	return dirs, err
}

func (c *copier) entry(dir *Node, e *fsys.Entry) (*Node, error) {
	a, name := &e.Attr, string(e.Name)
	if to := c.links[a.Ino]; to != nil && !a.IsDir() && a.Nlink > 1 {
		return c.tree.Link(dir, name, to)
	}
	n, err := c.create(dir, name, e)
	if err != nil {
		return nil, err
	}
	if a.Nlink > 1 && !a.IsDir() {
		c.links[a.Ino] = n
	}
	return n, c.xattrs(n, e.Node)
}

func (c *copier) create(dir *Node, name string, e *fsys.Entry) (*Node, error) {
	switch e.Attr.Mode & fsys.TypeMask {
	case fsys.TypeFile:
		return c.tree.Add(dir, name, &e.Attr, c.content, uint64(e.Node))
	case fsys.TypeLink:
		target, err := c.fs.Readlink(e.Node)
		if err != nil {
			return nil, err
		}
		return c.tree.AddLink(dir, name, &e.Attr, string(target))
	}
	return c.tree.Add(dir, name, &e.Attr, nil, 0)
}

func (c *copier) xattrs(n *Node, from fsys.Node) error {
	x, ok := c.fs.(fsys.XattrFS)
	if !ok {
		return nil
	}
	names, err := x.Xattrs(from)
	if err != nil {
		return err
	}
	slices.Sort(names)
	var xattrs []Xattr
	for _, name := range names {
		value, err := x.Xattr(from, name)
		if err != nil {
			return err
		}
		xattrs = append(xattrs, Xattr{name, slices.Clone(value)})
	}
	n.SetXattrs(xattrs)
	return nil
}

func (c *copier) unreadable(dir *Node, name string, err error) error {
	err = fmt.Errorf("%s: %w", name, err)
	if !c.skip {
		return fmt.Errorf("%s: %w", dir.Path(), err)
	}
	c.notes = append(c.notes, Note{dir.Path(), err})
	return nil
}

// An fsContent is the Content of all files of a tree.
type fsContent struct{ fs fsys.FS }

// Open implements Content.
func (f *fsContent) Open(n *Node) (io.ReadCloser, error) {
	r := io.NewSectionReader(nodeReader{f.fs, fsys.Node(n.Key())}, 0, n.Size())
	return io.NopCloser(r), nil
}

type nodeReader struct {
	fs fsys.FS
	n  fsys.Node
}

// ReadAt implements io.ReaderAt.
func (r nodeReader) ReadAt(p []byte, off int64) (int, error) { return r.fs.ReadAt(r.n, p, off) }
