package udf

import (
	"bytes"
	"fmt"

	"github.com/isomount/isomount/pkg/binfmt"
	"github.com/isomount/isomount/pkg/fsys"
)

// An addr names a logical block (lb_addr, ECMA-167 4/7.1).
type addr struct {
	block uint32 // RBP 0
	ref   uint16 // RBP 4: index into the partition maps
}

// node packs an address: partition reference plus one above the block, so
// that no node is 0 or 1.
func (a addr) node() fsys.Node { return fsys.Node(uint64(a.ref)+1)<<32 | fsys.Node(a.block) }

// nodeAddr is the reverse of addr.node.
func nodeAddr(n fsys.Node) (addr, bool) {
	ref := uint64(n) >> 32
	if ref == 0 || ref > maxMaps {
		return addr{}, false
	}
	return addr{block: uint32(n), ref: uint16(ref - 1)}, true
}

func parseAddr(c *binfmt.Cursor) addr {
	return addr{block: c.U32LE(), ref: c.U16LE()}
}

// Extent types (ECMA-167 4/14.14.1.1).
const (
	extRecorded  = 0
	extAllocated = 1 // not recorded: reads as zeros
	extHole      = 2 // not allocated either
	extNext      = 3 // the next extent of allocation descriptors
)

// A longAD is a long allocation descriptor (ECMA-167 4/14.14.2).
type longAD struct {
	kind   uint8
	length uint32 // bytes
	addr
}

func parseLongAD(c *binfmt.Cursor) longAD {
	n := c.U32LE()    // RBP 0
	a := parseAddr(c) // RBP 4
	c.Skip(6)         // RBP 10: implementation use
	return longAD{kind: uint8(n >> 30), length: n & maxExtent, addr: a}
}

// maxExtent is the largest length of an extent (ECMA-167 4/14.14.1.1).
const maxExtent = 1<<30 - 1

// An extentAD is an extent of the volume in sectors (ECMA-167 3/7.1).
type extentAD struct {
	length uint32 // bytes
	sector uint32
}

func parseExtentAD(c *binfmt.Cursor) extentAD {
	return extentAD{length: c.U32LE(), sector: c.U32LE()}
}

// A regID is an entity identifier (ECMA-167 1/7.4).
type regID struct {
	ident  string
	suffix [8]byte
}

func parseRegID(c *binfmt.Cursor) regID {
	c.Skip(1) // flags
	ident := c.Bytes(23)
	var id regID
	copy(id.suffix[:], c.Bytes(8))
	if i := bytes.IndexByte(ident, 0); i >= 0 {
		ident = ident[:i]
	}
	id.ident = string(ident)
	return id
}

// revision is the UDF revision of a domain or UDF identifier (UDF 2.1.5.3).
func (id *regID) revision() revision {
	return revision(id.suffix[0]) | revision(id.suffix[1])<<8
}

// A revision is a UDF revision in its binary-coded form: 0x0250 is 2.50.
type revision uint16

func (r revision) String() string {
	if r == 0 {
		return ""
	}
	return fmt.Sprintf("%x.%02x", uint16(r)>>8, uint16(r)&0xff)
}

// dstring decodes a fixed-length string whose last byte tells how much of it
// is used (ECMA-167 1/7.2.12).
func dstring(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	n := min(int(b[len(b)-1]), len(b)-1)
	return cs0String(b[:n])
}
