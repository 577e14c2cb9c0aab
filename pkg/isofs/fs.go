package isofs

import (
	"cmp"
	"fmt"
	"io/fs"
	"sync/atomic"

	"github.com/isomount/isomount/pkg/binfmt"
	"github.com/isomount/isomount/pkg/fsys"
)

// Check says how names are compared (check=).
type Check uint8

// Ways of comparing names.
const (
	CheckDefault Check = iota // relaxed for Joliet, else strict
	CheckRelaxed              // upper and lower case are the same
	CheckStrict
)

// TreeOptions say how to show a tree. The zero value shows what Linux shows by
// default, owned by root.
type TreeOptions struct {
	Owner     fsys.Owner
	Map       Map   // of plain names
	Check     Check // how names are looked up
	Hide      bool  // leave out files whose existence bit is set (hide)
	Unhide    bool  // the same as ShowAssoc: Linux makes nothing else of it
	ShowAssoc bool  // list associated files
	ShowMoved bool  // list the directory that holds relocated directories only

	// Charset is that of names (iocharset=). Joliet names are shown in it; of
	// other names it is the one that they were written in, and they are shown
	// in UTF-8. "auto" guesses the latter, for names that are no UTF-8. ""
	// shows Joliet names in UTF-8 and leaves others as they are.
	Charset string

	NoZisofs bool // show compressed files as they are (nocompress)
}

// FS is a tree of a volume.
type FS struct {
	v     *Volume
	kind  Kind
	o     TreeOptions
	rock  bool
	fold  bool // names are looked up without regard to case
	chars *charset

	d         *descriptor // whose root this is the tree of
	root      fsys.Node
	rootStart int64 // byte offset of the root directory
	layouts   [64]atomic.Pointer[layout]
	twins     twinCache

	index   *fsys.Index
	names   fsys.Node // marks this tree's directories in index
	subdirs fsys.Node // marks what they hold by where it begins
}

var (
	_ fsys.FS       = (*FS)(nil)
	_ fsys.ExtentFS = (*FS)(nil)
	_ fsys.ParentFS = (*FS)(nil)
	_ fsys.XattrFS  = (*FS)(nil)
)

// FS returns a tree of the volume. That its root can be read is made sure of.
func (v *Volume) FS(k Kind, o TreeOptions) (*FS, error) {
	f, err := v.tree(k, o)
	if err == nil {
		f.claimIndex()
	}
	return f, err
}

// claimIndex takes two tags of the volume's index. When they are used up the
// tree has an index of its own.
func (f *FS) claimIndex() {
	const tags = 1 << (64 - fsys.NodeBits)
	f.index = f.v.index
	n := f.v.tags.Add(2)
	if n > tags {
		f.index, n = fsys.NewIndex(0), 2
	}
	f.names, f.subdirs = fsys.Node(n-2)<<fsys.NodeBits, fsys.Node(n-1)<<fsys.NodeBits
}

// tree is FS for a tree whose directories are only listed.
func (v *Volume) tree(k Kind, o TreeOptions) (*FS, error) {
	d := v.descriptorOf(k)
	if d == nil {
		return nil, fmt.Errorf("%s: %w", k, ErrNoTree)
	}
	f := &FS{v: v, kind: k, o: o, d: d, rock: k == RockRidge}
	f.fold = o.Check == CheckRelaxed || o.Check == CheckDefault && k == Joliet
	if err := f.findRoot(); err != nil {
		return nil, fmt.Errorf("root of the %s tree: %w", k, err)
	}
	chars, err := f.newCharset()
	if err != nil {
		return nil, err
	}
	f.chars = chars
	return f, nil
}

// findRoot finds the root directory and reads its first sector.
func (f *FS) findRoot() error {
	r, err := f.v.rootRecord(f.d)
	if err != nil {
		return err
	}
	f.rootStart, f.root = f.v.extentOf(&r), fsys.Node(r.off)
	s := getScratch()
	defer putScratch(s)
	if err := f.v.readMeta(s.scan.buf[:sectorSize], f.rootStart); err != nil {
		return err
	}
	if f.dot(s, f.rootStart) {
		f.root = fsys.Node(f.rootStart)
		return nil
	}
	if !r.isDir() || !looksLikeDirectory(s.scan.buf[:sectorSize], f.v.highSierra) {
		return binfmt.Corrupt(f.rootStart, "no directory here")
	}
	return nil
}

// looksLikeDirectory tells whether a sector begins with a directory record.
func looksLikeDirectory(sector []byte, highSierra bool) bool {
	var r record
	return r.decode(sector, 0, highSierra) && looksLikeRecord(sector)
}

// Root returns the top directory.
func (f *FS) Root() fsys.Node { return f.root }

// Kind returns which tree this is.
func (f *FS) Kind() Kind { return f.kind }

// Attr describes a node.
func (f *FS) Attr(n fsys.Node) (fsys.Attr, error) {
	s := getScratch()
	defer putScratch(s)
	if err := f.load(s, n); err != nil {
		return fsys.Attr{}, err
	}
	var a fsys.Attr
	f.attr(&a, n, s)
	return a, nil
}

// Lookup finds a name in a directory. Of names that differ only in case the
// exact one comes first.
func (f *FS) Lookup(dir fsys.Node, name []byte) (fsys.Node, fsys.Attr, error) {
	s := getScratch()
	defer putScratch(s)
	d, err := f.directory(s, dir)
	if err != nil {
		return 0, fsys.Attr{}, err
	}
	at, err := f.find(d, s, name)
	if err != nil {
		return 0, fsys.Attr{}, err
	}
	if at < 0 || !f.entryAt(d, s, at) {
		return 0, fsys.Attr{}, cmp.Or(s.err, fs.ErrNotExist)
	}
	target := getScratch()
	defer putScratch(target)
	var a fsys.Attr
	n := f.resolve(&a, s, target)
	return n, a, nil
}

// ReadDir lists a directory.
func (f *FS) ReadDir(dir fsys.Node, from uint64, yield func(*fsys.Entry) bool) error {
	s, target := getScratch(), getScratch()
	defer putScratch(s)
	defer putScratch(target)
	d, err := f.directory(s, dir)
	if err != nil {
		return err
	}
	twins := f.twinsOf(d)
	var e fsys.Entry
	return f.list(d, int64(min(from, maxDirectory)), s, false, func() bool {
		e.Name = twins.rename(s)
		e.Next = uint64(s.scan.pos)
		e.Attr = fsys.Attr{}
		e.Node = f.resolve(&e.Attr, s, target)
		return yield(&e)
	})
}

// Readlink returns the target of a symbolic link.
func (f *FS) Readlink(n fsys.Node) ([]byte, error) {
	s := getScratch()
	defer putScratch(s)
	if err := f.load(s, n); err != nil {
		return nil, err
	}
	if f.typeOf(s) != fsys.TypeLink {
		return nil, fsys.ErrNotLink
	}
	link, ok := s.rock.target()
	if !ok {
		return nil, binfmt.Corrupt(s.rec.off, "symbolic link without a target")
	}
	return f.chars.decode(make([]byte, 0, len(link)), link), nil
}

// Statfs describes the tree as a whole.
func (f *FS) Statfs() fsys.Statfs {
	size := uint64(f.v.blockSize())
	blocks := uint64(f.d.blocks)
	if blocks == 0 {
		blocks = uint64(f.v.size) / size
	}
	return fsys.Statfs{BlockSize: uint32(size), Blocks: blocks, NameLen: maxName}
}
