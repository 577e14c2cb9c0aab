// Package fsystest holds the suite that every reader must pass.
//
// [Test] walks a tree, checks everything that [fsys.FS] promises and compares
// the tree with a list of [File]. [Exercise] does to a damaged or hostile tree
// everything that a user could, within limits, and is what fuzz targets call.
// [Mem] is a tree in memory, made from the same list.
package fsystest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/isomount/isomount/pkg/fsys"
)

// A File is one path of a tree: what [NewMem] makes and what [Test] expects.
// Test always compares the type, the content and the target; another field
// only if it is not zero.
type File struct {
	Path         string // slash-separated, "." is the root; need not be UTF-8
	Mode         uint32 // POSIX st_mode; without a type it is a regular file
	UID, GID     uint32
	Major, Minor uint32 // of a device
	Nlink        uint32 // compared only: NewMem counts
	ModTime      fsys.Time
	Xattrs       map[string]string
	Target       string // of a symbolic link
	Link         string // earlier path of the same file: this is a hard link to it
	Broken       bool   // is listed, but cannot be read

	// A regular file holds Data, or Size bytes of Content.
	Data    []byte
	Size    int64
	Content io.ReaderAt
}

func (f *File) size() int64 {
	if f.Content != nil {
		return f.Size
	}
	return int64(len(f.Data))
}

func (f *File) content() io.ReaderAt {
	if f.Content != nil {
		return f.Content
	}
	return bytes.NewReader(f.Data)
}

// Options refine [Test]. The zero value checks the contract only.
type Options struct {
	Want  []File      // what the tree holds, in any order; nil: not compared
	Image io.ReaderAt // what the positions of extents point into; nil: not compared

	// MaxRead is how many bytes of one file are read whole; of longer files
	// both ends and some of the middle. 0 is 1 MiB.
	MaxRead int64

	// Joined says that the tree is made of several, so that its nodes may use
	// the bits above [fsys.NodeBits].
	Joined bool
}

// Test checks that fs keeps the contract of [fsys.FS] and holds exactly want,
// which may leave out directories that are on the way to others.
func Test(t *testing.T, fs fsys.FS, want []File) {
	t.Helper()
	TestOptions(t, fs, Options{Want: want})
}

// TestOptions is Test with more to say.
func TestOptions(t *testing.T, fs fsys.FS, o Options) {
	t.Helper()
	if err := Check(fs, o); err != nil {
		t.Error(err)
	}
}

// Check is Test outside of a test: it returns everything that is wrong.
func Check(fs fsys.FS, o Options) error {
	if o.MaxRead == 0 {
		o.MaxRead = 1 << 20
	}
	c := &checker{fs: fs, Options: o, found: map[string]found{}, inodes: map[uint64]found{}}
	c.statfs()
	c.walk()
	c.compare()
	c.strangers()
	c.neighbours()
	c.concurrent()
	return errors.Join(c.errs...)
}

// maxErrs is how many errors are told: one mistake often shows everywhere.
const maxErrs = 40

// A checker goes through one tree and collects what is wrong.
type checker struct {
	Options

	fs     fsys.FS
	errs   []error
	found  map[string]found // by path
	inodes map[uint64]found // the first node with that inode number
	paths  []string         // keys of found in the order of the walk
	files  int              // how many regular files were read
}

// found is a node with the attributes that its directory gave it.
type found struct {
	node fsys.Node
	attr fsys.Attr
}

func (c *checker) errorf(path, format string, args ...any) {
	if len(c.errs) < maxErrs {
		c.errs = append(c.errs, fmt.Errorf("%q: %w", path, fmt.Errorf(format, args...)))
	}
}

func (c *checker) statfs() {
	s := c.fs.Statfs()
	if s.BlockSize == 0 || s.BlockSize&(s.BlockSize-1) != 0 {
		c.errorf(".", "statfs: block size %d is no power of two", s.BlockSize)
	}
	if s.NameLen == 0 {
		c.errorf(".", "statfs: name length is 0")
	}
}

// walk visits every node once for each of its paths, and fills found.
func (c *checker) walk() {
	root := c.fs.Root()
	a, err := c.fs.Attr(root)
	if err != nil || !a.IsDir() {
		c.errorf(".", "root is no directory: mode %o, error %v", a.Mode, err)
		return
	}
	c.visit(".", found{root, a})
	c.checkParent(".", root, root)
	c.walkDir(".", root, map[fsys.Node]bool{root: true})
}

// walkDir visits what lies in a directory. above holds the directories on the
// way to it, itself included.
func (c *checker) walkDir(path string, dir fsys.Node, above map[fsys.Node]bool) {
	for _, e := range c.checkDir(path, dir) {
		p := join(path, e.name)
		c.visit(p, found{e.node, e.attr})
		if !e.attr.IsDir() {
			continue
		}
		if above[e.node] {
			c.errorf(p, "directory holds itself")
			continue
		}
		c.checkParent(p, e.node, dir)
		above[e.node] = true
		c.walkDir(p, e.node, above)
		delete(above, e.node)
	}
}

func join(dir, name string) string {
	if dir == "." {
		return name
	}
	return dir + "/" + name
}

// visit checks one node in itself.
func (c *checker) visit(path string, f found) {
	if _, again := c.found[path]; !again {
		c.paths = append(c.paths, path)
	}
	c.found[path] = f
	if f.node == 0 || !c.checkAttr(path, f) {
		return
	}
	c.checkLink(path, f)
	c.checkXattrs(path, f.node)
	switch f.attr.Mode & fsys.TypeMask {
	case fsys.TypeDir:
		c.checkDirAsFile(path, f.node)
	case fsys.TypeFile:
		c.checkFile(path, f)
		c.checkExtents(path, f)
		c.checkFileAsDir(path, f.node)
	default:
		c.checkFileAsDir(path, f.node)
	}
}
