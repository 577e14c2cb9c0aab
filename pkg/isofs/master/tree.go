package master

import (
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math"
	"slices"
	"strings"

	"github.com/isomount/isomount/pkg/fsys"
)

// Content gives the bytes of regular files. One Content may serve many files,
// so that each costs no memory of its own: it is told which one is meant.
type Content interface {
	// Open starts reading the file n, whose Key is as the Content's maker set it.
	Open(n *Node) (io.ReadCloser, error)
}

// A Tree is what an image will hold. It is not safe for use by several
// goroutines at once.
type Tree struct {
	root    *Node
	nodes   []Node  // slab from which nodes are cut
	inodes  []inode // slab from which inodes are cut
	entries int
}

// A Node is an entry of a directory: a name for an inode.
type Node struct {
	name   string
	parent *Node // nil for the root
	inode  *inode
	seq    [3]uint32 // by treeKind: 0, or the number that tells its name from others
}

// An inode is a file, directory, link or device; hard links share it.
type inode struct {
	mode, uid, gid      uint32
	nlink               uint32 // of anything but a directory
	mtime, atime, ctime int64  // nanoseconds since 1970
	size                int64
	content             Content
	key                 uint64 // for content
	serial              uint32 // RRIP 4.1.1: file serial number
	lba                 uint32 // first block of its data
	icb                 uint32 // UDF: logical block of its file entry
	sum                 uint32 // place in the list of checksums, from 1
	dir                 *directory
	extra               *extra
}

// An extra holds what few inodes have.
type extra struct {
	target       string // of a symbolic link
	major, minor uint32 // of a device
	xattrs       []Xattr
	patch        *patch
	body         *udfBody
}

// A directory is what an inode of type directory has beside its attributes.
type directory struct {
	node      *Node
	children  []*Node
	index     map[string]*Node // by name; built once children are added out of order
	subdirs   uint32
	ordered   bool // children are in the order of their names
	relocated bool // see relocate.go
	iso       *dirLayout
	joliet    *dirLayout
	udf       *udfDir
}

// An Xattr is an extended attribute. Name has its namespace, such as "user.".
type Xattr struct {
	Name  string
	Value []byte
}

// NewTree returns a tree that has only a root with the given attributes. A mode
// of 0 means a directory that everybody may read.
func NewTree(root fsys.Attr) *Tree {
	if root.Mode == 0 {
		root.Mode = fsys.TypeDir | 0o755
	}
	root.Mode = root.Mode&fsys.PermMask | fsys.TypeDir
	t := &Tree{}
	t.root = t.newNode(nil, "", t.newInode(&root))
	return t
}

// Root returns the top directory.
func (t *Tree) Root() *Node { return t.root }

// Entries returns how many names the tree has, without the root.
func (t *Tree) Entries() int { return t.entries }

// Add puts a new file, directory, or special file into a directory. c gives the
// content of a regular file of a.Size bytes and is nil otherwise; key is kept
// for it. An entry of that name is an error that wraps fs.ErrExist.
func (t *Tree) Add(dir *Node, name string, a *fsys.Attr, c Content, key uint64) (*Node, error) {
	if err := checkName(dir, name); err != nil {
		return nil, err
	}
	i := t.newInode(a)
	if c != nil {
		i.content, i.key, i.size = c, key, a.Size
	}
	return t.insert(dir, name, i)
}

// AddLink puts a symbolic link into a directory.
func (t *Tree) AddLink(dir *Node, name string, a *fsys.Attr, target string) (*Node, error) {
	n, err := t.Add(dir, name, a, nil, 0)
	if err != nil {
		return nil, err
	}
	n.inode.more().target = target
	return n, nil
}

// Link gives another name to what is not a directory.
func (t *Tree) Link(dir *Node, name string, to *Node) (*Node, error) {
	if to.IsDir() {
		return nil, &fs.PathError{Op: "link", Path: to.Path(), Err: fsys.ErrIsDir}
	}
	if err := checkName(dir, name); err != nil {
		return nil, err
	}
	n, err := t.insert(dir, name, to.inode)
	if err != nil {
		return nil, err
	}
	to.inode.nlink++
	return n, nil
}

// Lookup returns the entry at a slash-separated path below the root, or nil.
func (t *Tree) Lookup(path string) *Node {
	n := t.root
	for elem := range strings.SplitSeq(path, "/") {
		if elem == "" || elem == "." {
			continue
		}
		if n = n.Child(elem); n == nil {
			return nil
		}
	}
	return n
}

// Name returns the name in its directory, "" for the root.
func (n *Node) Name() string { return n.name }

// Key returns what Add was given.
func (n *Node) Key() uint64 { return n.inode.key }

// Size returns the length of a regular file's content.
func (n *Node) Size() int64 { return n.inode.size }

// Mode returns type and permission bits as in POSIX st_mode.
func (n *Node) Mode() uint32 { return n.inode.mode }

// IsDir tells whether the node is a directory.
func (n *Node) IsDir() bool { return n.inode.dir != nil }

// IsRegular tells whether the node is a file with content.
func (n *Node) IsRegular() bool { return n.inode.mode&fsys.TypeMask == fsys.TypeFile }

// SetXattrs sets the extended attributes, ACLs among them as Linux has them:
// "system.posix_acl_access" and "system.posix_acl_default".
func (n *Node) SetXattrs(x []Xattr) {
	if len(x) > 0 {
		n.inode.more().xattrs = x
	}
}

// Path returns the path below the root, "/" for the root itself.
func (n *Node) Path() string {
	if n.parent == nil {
		return "/"
	}
	var names []string
	for ; n.parent != nil; n = n.parent {
		names = append(names, n.name)
	}
	slices.Reverse(names)
	return "/" + strings.Join(names, "/")
}

// Child returns the entry of a directory with that name, or nil.
func (n *Node) Child(name string) *Node {
	d := n.inode.dir
	if d == nil {
		return nil
	}
	if d.ordered {
		i, ok := slices.BinarySearchFunc(d.children, name, compareName)
		if !ok {
			return nil
		}
		return d.children[i]
	}
	return d.index[name]
}

func compareName(n *Node, name string) int { return strings.Compare(n.name, name) }

func (t *Tree) insert(dir *Node, name string, i *inode) (*Node, error) {
	if dir.Child(name) != nil {
		return nil, &fs.PathError{Op: "add", Path: strings.TrimSuffix(dir.Path(), "/") + "/" + name, Err: fs.ErrExist}
	}
	n := t.newNode(dir, name, i)
	dir.inode.dir.add(n)
	t.entries++
	return n, nil
}

// add appends a child. As long as children come in the order of their names,
// which is how directories are scanned, no index is needed to find them.
func (d *directory) add(n *Node) {
	if last := len(d.children) - 1; d.ordered && last >= 0 && d.children[last].name > n.name {
		d.ordered = false
		d.index = make(map[string]*Node, len(d.children)+1)
		for _, c := range d.children {
			d.index[c.name] = c
		}
	}
	if !d.ordered {
		d.index[n.name] = n
	}
	d.children = append(d.children, n)
	if n.IsDir() {
		d.subdirs++
	}
}

// sort brings the children into the order of their names.
func (d *directory) sort() {
	if d.ordered {
		return
	}
	slices.SortFunc(d.children, func(a, b *Node) int { return strings.Compare(a.name, b.name) })
	d.ordered, d.index = true, nil
}

// All goes through all entries below the root, directories before what is in them,
// in the order of their names.
func (t *Tree) All() iter.Seq[*Node] {
	return func(yield func(*Node) bool) {
		_ = walk(t.root, func(n *Node) error { // the only error is the end
			if n != t.root && !yield(n) {
				return io.EOF
			}
			return nil
		})
	}
}

// Remove takes out an entry that is no directory.
func (t *Tree) Remove(n *Node) error {
	if n.IsDir() {
		return &fs.PathError{Op: "remove", Path: n.Path(), Err: fsys.ErrIsDir}
	}
	d := n.parent.inode.dir
	d.children = slices.DeleteFunc(d.children, func(c *Node) bool { return c == n })
	delete(d.index, n.name)
	n.inode.nlink--
	t.entries--
	return nil
}

func checkName(dir *Node, name string) error {
	if !dir.IsDir() {
		return &fs.PathError{Op: "add", Path: dir.Path(), Err: fsys.ErrNotDir}
	}
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return &fs.PathError{Op: "add", Path: dir.Path(), Err: fmt.Errorf("name %q: %w", name, fs.ErrInvalid)}
	}
	if len(name) > maxNameLen {
		return &fs.PathError{Op: "add", Path: dir.Path(), Err: fmt.Errorf("name of %d bytes: %w", len(name), ErrTooLarge)}
	}
	return nil
}

// maxNameLen bounds names that come from elsewhere than a Linux file system,
// where they have 255 bytes at most.
const maxNameLen = 1024

// Nodes and inodes are made many at a time, as many as fit into 32 KiB, the
// largest size that Go's allocator does not round up to pages.
const (
	nodeSlab  = 682 // of 48 bytes
	inodeSlab = 315 // of 104 bytes
)

func (t *Tree) newNode(parent *Node, name string, i *inode) *Node {
	if len(t.nodes) == 0 {
		t.nodes = make([]Node, nodeSlab)
	}
	n := &t.nodes[0]
	t.nodes = t.nodes[1:]
	n.name, n.parent, n.inode = name, parent, i
	if i.dir != nil && i.dir.node == nil {
		i.dir.node = n
	}
	return n
}

func (t *Tree) newInode(a *fsys.Attr) *inode {
	if len(t.inodes) == 0 {
		t.inodes = make([]inode, inodeSlab)
	}
	i := &t.inodes[0]
	t.inodes = t.inodes[1:]
	i.nlink = 1
	i.setAttr(a)
	if a.IsDir() {
		i.dir = &directory{ordered: true}
	}
	return i
}

func (i *inode) setAttr(a *fsys.Attr) {
	i.mode, i.uid, i.gid = a.Mode, a.UID, a.GID
	i.mtime, i.atime, i.ctime = nanoseconds(a.ModTime), nanoseconds(a.AccTime), nanoseconds(a.ChgTime)
	if a.Major != 0 || a.Minor != 0 {
		i.more().major, i.more().minor = a.Major, a.Minor
	}
}

func (i *inode) more() *extra {
	if i.extra == nil {
		i.extra = &extra{}
	}
	return i.extra
}

// nanoseconds converts a time, to the nearest that fits if it is too far away.
func nanoseconds(t fsys.Time) int64 {
	const most = math.MaxInt64 / 1_000_000_000
	switch {
	case t.Sec >= most:
		return math.MaxInt64
	case t.Sec <= -most:
		return math.MinInt64
	}
	return t.Sec*1e9 + int64(t.Nsec)
}

// walk calls visit for every entry below dir, directories before what is in
// them, in the order of their names. It uses no recursion: trees may be deep.
func walk(dir *Node, visit func(*Node) error) error {
	stack := []*Node{dir}
	for len(stack) > 0 {
		n := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if err := visit(n); err != nil {
			return err
		}
		if n.inode.dir == nil {
			continue
		}
		n.inode.dir.sort()
		for _, c := range slices.Backward(n.inode.dir.children) {
			stack = append(stack, c)
		}
	}
	return nil
}
