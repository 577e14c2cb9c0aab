package hfsplus

import "github.com/isomount/isomount/pkg/fsys"

// A position is where a catalog record lies: its leaf node and its index there.
type position uint64

const (
	indexBits  = 12
	leafBits   = 26
	maxRecords = 1 << indexBits
	maxLeaves  = 1 << 22 // leaves of one directory, so that cookies fit
)

func positionOf(leaf uint32, index int) position {
	return position(leaf)<<indexBits | position(index)
}

func (p position) leaf() uint32 { return uint32(p >> indexBits) }
func (p position) index() int   { return int(p & (maxRecords - 1)) }

// A place is a position and whether the AppleDouble file that belongs to the
// record is meant instead of the record.
type place uint64

func (p position) place(dot bool) place {
	if dot {
		return place(p)<<1 | 1
	}
	return place(p) << 1
}

func (p place) position() position { return position(p >> 1) }
func (p place) dot() bool          { return p&1 != 0 }

// placeBits is how many bits a place takes. Node numbers of files are places.
const placeBits = leafBits + indexBits + 1

// rootNode is the node of the top folder. It is no place, because node 0 of a
// B-tree is no leaf.
const rootNode fsys.Node = 2

func isDot(n fsys.Node) bool { return place(n).dot() }

// cookie returns what fsys.Entry.Next says after the entry at p, in the leaf
// that is number leaves of its directory.
func (p place) cookie(leaves uint32) uint64 {
	return uint64(leaves)<<placeBits | uint64(p) + 1
}

func fromCookie(c uint64) (p place, leaves uint32) {
	c--
	return place(c & (1<<placeBits - 1)), uint32(c >> placeBits)
}
