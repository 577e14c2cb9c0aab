// Package hfsplus reads the volumes of the Macintosh: HFS+ and HFSX (Apple
// Technical Note TN1150) and the older HFS (Inside Macintosh: Files, chapter 2),
// as they are found on discs that also hold ISO 9660, in disk images, and HFS+
// inside an HFS wrapper.
//
// [Find] tells where such volumes lie in an image; [Open] reads one and gives
// it as an fsys.FS. Names are UTF-8 in composed form, as Linux shows them.
// Resource forks and Finder information are shown as extended attributes or as
// AppleDouble files; see [Options].
//
// A node is the place of a catalog record: its leaf node in the B-tree and its
// index there. It is not the catalog node id, which is the inode number that
// users see, because HFS keeps no index from the id of a file to its record,
// and because it takes one read instead of two descents.
//
// Names are found by an index of the directory, not by a search in the B-tree:
// its order depends on tables of case folding that differ between versions of
// Mac OS and between writers, and what a listing shows must be found.
//
// The package does not write, does not replay journals, and knows nothing of
// partition schemes other than Apple's.
package hfsplus

import (
	"fmt"
	"io"

	"github.com/isomount/isomount/pkg/binfmt"
	"github.com/isomount/isomount/pkg/fsys"
)

// Ways to show what a file has beside its data, for [Options.Forks].
const (
	ForksXattr = "xattr" // resource forks and Finder information as extended attributes
	ForksDot   = "dot"   // resource forks as AppleDouble files ._NAME beside the file, the rest as attributes
	ForksNone  = "none"  // data forks and the extended attributes of the attributes file only
)

// Options say how to show a volume. The zero value is ready.
type Options struct {
	// Owner says who owns what on a volume that has no owners.
	Owner fsys.Owner

	// Meta reads B-trees and other metadata, so that they can be cached apart
	// from the content of files. Nil reads them like everything else.
	Meta io.ReaderAt

	// Forks is one of ForksXattr (also ""), ForksDot and ForksNone.
	Forks string
}

// An FS is the file tree of one volume.
type FS struct {
	r, meta io.ReaderAt
	size    int64 // bytes that r has
	owner   fsys.Owner
	forks   string

	vol     volume
	catalog *btree
	extents *btree // nil if there is none that can be read
	attrs   *btree // likewise
	index   *fsys.Index

	root    record // of the top folder
	private private
	notes   []string
}

var (
	_ fsys.FS       = (*FS)(nil)
	_ fsys.ExtentFS = (*FS)(nil)
	_ fsys.XattrFS  = (*FS)(nil)
	_ fsys.ParentFS = (*FS)(nil)
)

// Open reads the volume that begins at the first byte of r and has size bytes
// or fewer. An HFS volume that is but the wrapper of an HFS+ volume is passed
// through. The error is binfmt.ErrMagic when there is no volume at all.
func Open(r io.ReaderAt, size int64, o Options) (*FS, error) {
	v := &FS{r: r, meta: o.Meta, size: size, owner: o.Owner, forks: o.Forks, index: fsys.NewIndex(0)}
	if v.meta == nil {
		v.meta = r
	}
	switch v.forks {
	case "":
		v.forks = ForksXattr
	case ForksXattr, ForksDot, ForksNone:
	default:
		return nil, fmt.Errorf("forks=%s: must be %s, %s or %s", o.Forks, ForksXattr, ForksDot, ForksNone)
	}
	if err := v.readHeader(); err != nil {
		return nil, err
	}
	if err := v.openTrees(); err != nil {
		return nil, err
	}
	if err := v.findRoot(); err != nil {
		return nil, err
	}
	return v, v.findPrivate()
}

// openTrees opens the B-trees. Only the catalog is indispensable.
func (v *FS) openTrees() error {
	var err error
	if v.extents, err = v.openTree(&v.vol.extentsFile, treeExtents); err != nil {
		v.notef("extents overflow file: %v", err)
	}
	if v.catalog, err = v.openTree(&v.vol.catalogFile, treeCatalog); err != nil {
		return fmt.Errorf("catalog: %w", err)
	}
	if v.vol.attrsFile.size == 0 {
		return nil
	}
	if v.attrs, err = v.openTree(&v.vol.attrsFile, treeAttributes); err != nil {
		v.notef("attributes file: %v", err)
	}
	return nil
}

func (v *FS) notef(format string, args ...any) {
	v.notes = append(v.notes, fmt.Sprintf(format, args...))
}

// Statfs implements [fsys.FS].
func (v *FS) Statfs() fsys.Statfs {
	// HFS allocates in any multiple of 512 bytes; statfs wants a power of two.
	block := v.vol.blockSize & -v.vol.blockSize
	return fsys.Statfs{
		BlockSize: uint32(block),
		Blocks:    uint64(v.vol.blocks) * uint64(v.vol.blockSize/block),
		Files:     uint64(v.vol.files) + uint64(v.vol.folders),
		NameLen:   uint32(v.vol.nameLen()),
	}
}

// readMeta fills p from byte offset off of the image with metadata. That the
// image is too short is damage; other errors may pass.
func (v *FS) readMeta(p []byte, off int64) error {
	if off < 0 || off > v.size-int64(len(p)) {
		return binfmt.Corrupt(off, "%d bytes lie outside the image", len(p))
	}
	return binfmt.ReadFull(v.meta, p, off)
}

// Root implements [fsys.FS].
func (v *FS) Root() fsys.Node { return rootNode }
