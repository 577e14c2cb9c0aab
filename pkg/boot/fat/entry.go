package fat

import (
	"time"

	"github.com/isomount/isomount/pkg/binfmt"
	"github.com/isomount/isomount/pkg/fsys"
)

// slotSize is the size of a directory entry.
const slotSize = 32

// Attributes of directory entries.
const (
	attrVolume = 0x08
	attrDir    = 0x10
	attrLong   = 0x0F // all of read-only, hidden, system and volume: a slot of a long name
	attrMask   = 0x3F
)

const deleted = 0xE5 // first byte of an entry that is no more

// An entry is a directory entry (Microsoft FAT specification 1.03, "FAT
// Directory Structure").
type entry struct {
	off      int64 // byte offset in the image
	root     bool  // stands for the root directory, which has no entry
	dir      bool
	cluster  uint32 // first; 0 if it has none
	size     int64  // of a file
	modified fsys.Time
	accessed fsys.Time
}

// isEntry tells whether a slot is a file or directory.
func isEntry(slot []byte) bool {
	return slot[0] != 0 && slot[0] != deleted && slot[11]&attrVolume == 0
}

// decode decodes a slot that isEntry.
func (v *FS) decode(slot []byte, off int64) entry {
	c := binfmt.At(slot, off)
	c.Skip(11) // DIR_Name
	e := entry{off: off, dir: c.U8()&attrDir != 0}
	c.Skip(6) // DIR_NTRes to DIR_CrtDate
	e.accessed = date(c.U16LE(), 0)
	high := uint32(c.U16LE())
	clock, day := c.U16LE(), c.U16LE()
	e.modified = date(day, clock)
	e.cluster = uint32(c.U16LE())
	if v.geo.bits == 32 {
		e.cluster |= high << 16 & 0x0FFFFFFF
	}
	if size := int64(c.U32LE()); !e.dir {
		e.size = size
	}
	if e.accessed.Sec == firstDate {
		e.accessed = e.modified
	}
	return e
}

// firstDate is 1980-01-01, the beginning of DOS time and what no date is.
const firstDate = 315532800

// date converts a date and time of day, which are in the local time of the
// writer, which the disc does not tell: they are taken as UTC. What is out of
// range is moved into it, as in Linux.
func date(day, clock uint16) fsys.Time {
	month, dayOfMonth := max(int(day>>5&15), 1), max(int(day&31), 1)
	t := time.Date(1980+int(day>>9), time.Month(min(month, 12)), dayOfMonth, int(clock>>11), int(clock>>5&63), int(clock&31)*2, 0, time.UTC)
	return fsys.Time{Sec: t.Unix()}
}

// at returns the entry of a node.
func (v *FS) at(n fsys.Node) (entry, error) {
	if n == rootNode {
		return entry{root: true, dir: true, modified: v.date, accessed: v.date}, nil
	}
	off := int64(n)
	if n>>fsys.NodeBits != 0 || off%slotSize != 0 || !v.geo.holdsEntries(off) || off > v.size-slotSize {
		return entry{}, fsys.ErrStale
	}
	var slot [slotSize]byte
	if err := v.readMeta(slot[:], off); err != nil {
		return entry{}, err
	}
	if !isEntry(slot[:]) {
		return entry{}, fsys.ErrStale
	}
	return v.decode(slot[:], off), nil
}

// holdsEntries tells whether directory entries can lie at an offset.
func (g *geometry) holdsEntries(off int64) bool {
	inRoot := off >= g.rootOff && off < g.rootOff+g.rootSize && g.bits != 32
	return inRoot || (off >= g.dataOff && off < g.dataOff+int64(g.clusters)*g.clusterSize)
}

// dir returns the entry of a directory.
func (v *FS) dir(n fsys.Node) (entry, error) {
	e, err := v.at(n)
	if err == nil && !e.dir {
		err = fsys.ErrNotDir
	}
	return e, err
}

// file returns the entry of a regular file.
func (v *FS) file(n fsys.Node) (entry, error) {
	e, err := v.at(n)
	if err == nil && e.dir {
		err = fsys.ErrIsDir
	}
	return e, err
}

// node returns the node of an entry.
func (e *entry) node() fsys.Node {
	if e.root {
		return rootNode
	}
	return fsys.Node(e.off)
}

// Attr implements [fsys.FS].
func (v *FS) Attr(n fsys.Node) (fsys.Attr, error) {
	e, err := v.at(n)
	if err != nil {
		return fsys.Attr{}, err
	}
	return v.attr(&e), nil
}

// attr describes an entry. FAT knows when a file was made, but not when its
// entry was changed.
func (v *FS) attr(e *entry) fsys.Attr {
	a := fsys.Attr{
		Ino: uint64(e.node()), Mode: fsys.TypeFile, Nlink: 1, Size: e.size,
		ModTime: e.modified, ChgTime: e.modified, AccTime: e.accessed,
	}
	if e.dir {
		a.Mode, a.Size = fsys.TypeDir, v.geo.clusterSize
	}
	a.Blocks = (a.Size + 511) / 512
	v.owner.Apply(&a, false, false)
	return a
}
