package hfsplus

import (
	"encoding/binary"
	"fmt"

	"github.com/isomount/isomount/pkg/binfmt"
	"github.com/isomount/isomount/pkg/fsys"
)

// Kinds of catalog records (TN1150 "Catalog File Data"; HFS has the same in
// one byte, Inside Macintosh: Files 2-71).
const (
	recFolder       = 1
	recFile         = 2
	recFolderThread = 3
	recFileThread   = 4
)

// File flags of HFS+ (TN1150 "File Records", and hfs_format.h for the later).
const (
	flagHasFolderCount = 0x0010
	flagHasLinkChain   = 0x0020
)

// ownerCompressed is the BSD flag UF_COMPRESSED.
const ownerCompressed = 0x20

// Lengths of names, in UTF-16 units and in bytes.
const maxName, maxNameHFS = 255, 31

// A record is a folder or a file of the catalog.
type record struct {
	pos    position
	parent uint32 // from the key
	cnid   uint32
	folder bool
	flags  uint16

	created, modified, changed, accessed uint32

	uid, gid   uint32
	ownerFlags uint8
	mode       uint16
	special    uint32 // device, link count, or number of the linked inode

	finder  [32]byte // Finder information: type, creator, flags, place
	valence uint32   // entries of a folder
	folders uint32   // folders among them, if flagHasFolderCount

	data, rsrc fork

	isLink bool // hard link whose target is lost
}

// typ returns the file type as in fsys.
func (r *record) typ() uint32 {
	if r.folder {
		return fsys.TypeDir
	}
	switch t := uint32(r.mode) & fsys.TypeMask; t {
	case fsys.TypeLink, fsys.TypeBlock, fsys.TypeChar, fsys.TypeFifo, fsys.TypeSocket:
		return t
	}
	if r.mode == 0 && string(r.finder[:8]) == "slnkrhap" {
		return fsys.TypeLink
	}
	return fsys.TypeFile
}

// A catalogKey is the key of a catalog record. A thread record, which leads
// from a node id to its parent and name, has no name in its key.
type catalogKey struct {
	parent uint32
	name   []byte // as on the disc
}

// catalogID takes the parent's id out of a key.
func (v *FS) catalogID(key []byte) (uint32, bool) {
	c := binfmt.At(key, 0)
	if v.vol.isHFS() {
		c.Skip(1)
	}
	return c.U32BE(), c.Err() == nil
}

func (v *FS) catalogKey(key []byte) (catalogKey, bool) {
	c := binfmt.At(key, 0)
	if v.vol.isHFS() {
		c.Skip(1)
	}
	k := catalogKey{parent: c.U32BE()}
	k.name = v.diskName(&c)
	return k, c.Err() == nil
}

// diskName reads a name with its length before it.
func (v *FS) diskName(c *binfmt.Cursor) []byte {
	if v.vol.isHFS() {
		return c.Bytes(min(int(c.U8()), maxNameHFS))
	}
	n := int(c.U16BE())
	if n > maxName {
		n = c.Len() + 1 // too long for anything: an error
	}
	return c.Bytes(2 * n)
}

// decode decodes a folder or file record. It tells whether it is one.
func (r *record) decode(v *FS, data []byte) bool {
	c := binfmt.At(data, 0)
	if v.vol.isHFS() {
		r.decodeHFS(&c)
	} else {
		r.decodePlus(&c)
	}
	return c.Err() == nil && r.cnid != 0
}

// peek decodes only what kind of record it is and its id. It accepts what
// decode accepts.
func (r *record) peek(v *FS, data []byte) bool {
	c := binfmt.At(data, 0)
	var kind uint16
	if v.vol.isHFS() {
		kind = uint16(c.U8())
	} else {
		kind = c.U16BE()
	}
	r.folder = kind == recFolder
	switch {
	case kind != recFolder && kind != recFile:
		return false
	case !v.vol.isHFS() && r.folder:
		return r.peekID(data, 8, 88)
	case !v.vol.isHFS():
		return r.peekID(data, 8, 248)
	case r.folder:
		return r.peekID(data, 6, 54)
	}
	return r.peekID(data, 20, 98)
}

// peekID takes the id at a byte of a record that has at least size bytes.
func (r *record) peekID(data []byte, at, size int) bool {
	if len(data) < size {
		return false
	}
	r.cnid = binary.BigEndian.Uint32(data[at:])
	return r.cnid != 0
}

// decodePlus decodes a record of HFS+.
func (r *record) decodePlus(c *binfmt.Cursor) {
	*r = record{pos: r.pos, parent: r.parent}
	kind := c.U16BE()
	if kind != recFolder && kind != recFile {
		return
	}
	r.folder = kind == recFolder
	r.flags = c.U16BE()
	r.valence = c.U32BE() // reserved in a file
	cnid := c.U32BE()
	r.created = c.U32BE()
	r.modified = c.U32BE()
	r.changed = c.U32BE()
	r.accessed = c.U32BE()
	c.Skip(4) // backupDate
	r.uid = c.U32BE()
	r.gid = c.U32BE()
	c.Skip(1) // adminFlags
	r.ownerFlags = c.U8()
	r.mode = c.U16BE()
	r.special = c.U32BE()
	copy(r.finder[:], c.Bytes(32))
	c.Skip(4) // textEncoding
	r.folders = c.U32BE()
	if !r.folder {
		r.data = decodeFork(c, cnid, forkData)
		r.rsrc = decodeFork(c, cnid, forkResource)
	}
	r.cnid = cnid
}

// decodeHFS decodes a record of HFS.
func (r *record) decodeHFS(c *binfmt.Cursor) {
	*r = record{pos: r.pos, parent: r.parent}
	kind := c.U8()
	c.Skip(1)
	switch kind {
	case recFolder:
		r.folder = true
		r.flags = c.U16BE()
		r.valence = uint32(c.U16BE())
		r.cnid = c.U32BE()
		r.created = c.U32BE()
		r.modified = c.U32BE()
		c.Skip(4) // dirBkDat
		copy(r.finder[:], c.Bytes(32))
	case recFile:
		r.decodeFileHFS(c)
	}
}

func (r *record) decodeFileHFS(c *binfmt.Cursor) {
	c.Skip(2) // filFlags, filTyp
	copy(r.finder[:], c.Bytes(16))
	r.cnid = c.U32BE()
	r.data = fork{cnid: r.cnid, kind: forkData}
	r.rsrc = fork{cnid: r.cnid, kind: forkResource}
	c.Skip(2) // filStBlk
	r.data.size = int64(c.U32BE())
	c.Skip(4 + 2) // filPyLen, filRStBlk
	r.rsrc.size = int64(c.U32BE())
	c.Skip(4) // filRPyLen
	r.created = c.U32BE()
	r.modified = c.U32BE()
	c.Skip(4) // filBkDat
	copy(r.finder[16:], c.Bytes(16))
	c.Skip(2) // filClpSize
	decodeExtentsHFS(c, &r.data.ext)
	decodeExtentsHFS(c, &r.rsrc.ext)
}

// at returns the record of a node.
func (v *FS) at(n fsys.Node) (record, error) {
	if n == rootNode {
		return v.root, nil
	}
	p := place(n)
	if n>>placeBits != 0 || p.position().leaf() == 0 {
		return record{}, fsys.ErrStale
	}
	rec, err := v.recordAt(p.position())
	if err != nil {
		return record{}, err
	}
	if p.dot() && !v.hasDot(&rec) {
		return record{}, fsys.ErrStale
	}
	return rec, nil
}

// recordAt reads the record at a position.
func (v *FS) recordAt(pos position) (record, error) {
	n := v.catalog.node()
	defer v.catalog.done(n)
	if err := v.catalog.loadLeaf(n, pos.leaf()); err != nil {
		if damaged(err) {
			return record{}, fsys.ErrStale
		}
		return record{}, err
	}
	if pos.index() < n.nrec {
		if key, data, ok := v.catalog.record(n, pos.index()); ok {
			r := record{pos: pos}
			if k, ok := v.catalogKey(key); ok && r.decode(v, data) {
				r.parent = k.parent
				return v.resolve(r)
			}
		}
	}
	return record{}, fsys.ErrStale
}

// dir returns the record of a folder.
func (v *FS) dir(n fsys.Node) (record, error) {
	rec, err := v.at(n)
	if err == nil && (!rec.folder || isDot(n)) {
		return record{}, fsys.ErrNotDir
	}
	return rec, err
}

// nodeOf returns the node of a record.
func (v *FS) nodeOf(r *record, dot bool) fsys.Node {
	if r.folder && r.cnid == cnidRoot {
		return rootNode
	}
	return fsys.Node(r.pos.place(dot))
}

// decodeThread decodes a thread record.
func (v *FS) decodeThread(data []byte) (parent uint32, name []byte, ok bool) {
	c := binfmt.At(data, 0)
	var kind uint16
	if v.vol.isHFS() {
		kind = uint16(c.U8())
		c.Skip(9) // cdrResrv2, thdResrv
	} else {
		kind = c.U16BE()
		c.Skip(2) // reserved
	}
	if kind != recFolderThread && kind != recFileThread {
		return 0, nil, false
	}
	parent = c.U32BE()
	raw := v.diskName(&c)
	return parent, v.appendName(nil, raw), c.Err() == nil
}

// findRoot reads the record of the top folder, which also has the volume's name.
func (v *FS) findRoot() error {
	s := v.newScan(cnidRootParent, 0)
	defer s.close()
	for s.next() {
		if !s.rec.folder || s.rec.cnid != cnidRoot {
			continue
		}
		v.root = s.rec
		if !v.vol.isHFS() {
			v.vol.label = string(s.name)
		}
		return nil
	}
	if s.err != nil {
		return fmt.Errorf("catalog: %w", s.err)
	}
	v.root = record{cnid: cnidRoot, folder: true}
	v.notef("the top folder has no record")
	return nil
}
