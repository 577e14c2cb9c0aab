package master

import (
	"math"

	"github.com/isomount/isomount/pkg/fsys"
)

// icbType gives the file type of an ICB (ECMA-167 4/14.6.6).
func icbType(mode uint32) byte {
	switch mode & fsys.TypeMask {
	case fsys.TypeDir:
		return 4
	case fsys.TypeFile:
		return 5
	case fsys.TypeBlock:
		return 6
	case fsys.TypeChar:
		return 7
	case fsys.TypeFifo:
		return 9
	case fsys.TypeSocket:
		return 10
	case fsys.TypeLink:
		return 12
	}
	return 0
}

// Ways in which a file entry tells where its data is (ECMA-167 4/14.6.8).
const (
	allocShort    = 0
	allocEmbedded = 3
)

// fileEntry makes the file entry of an inode (ECMA-167 4/14.9).
func (u *udfPlan) fileEntry(i *inode, chain *udfChain) []byte {
	a := u.allocation(i, chain)
	attrs := u.deviceAttribute(i)
	w := udfWriter{}
	w.zeros(tagLen)
	u.icbTag(&w, i, a.kind)
	w.u32(i.uid)
	w.u32(i.gid)
	w.u32(udfPerm(i.mode))
	w.u16(udfLinks(i))
	w.zeros(6) // record format, display attributes, length
	w.u64(uint64(a.size))
	w.u64(uint64(a.blocks))
	w.timestamp(at(i.atime))
	w.timestamp(at(i.mtime))
	w.timestamp(at(i.ctime))
	w.u32(1)    // checkpoint
	w.zeros(16) // extended attribute ICB
	w.implementer()
	w.u64(uint64(u.unique(i)))
	w.u32(uint32(len(attrs)))
	w.u32(uint32(len(a.data)))
	w.bytes(attrs)
	w.bytes(a.data)
	return u.seal(w.b, tagFileEntry, i.icb)
}

// icbTag appends the tag that says what kind of file it is (ECMA-167 4/14.6).
func (u *udfPlan) icbTag(w *udfWriter, i *inode, alloc uint16) {
	w.u32(0)   // prior direct entries
	w.u16(4)   // strategy type: one direct entry
	w.zeros(2) // strategy parameter
	w.u16(1)   // maximum number of entries
	w.u8(0)
	w.u8(icbType(i.mode))
	w.zeros(6) // parent ICB
	w.u16(alloc | udfSpecial(i.mode))
}

// An allocation is what a file entry tells of where its data is.
type allocation struct {
	kind   uint16
	size   int64
	blocks int64
	data   []byte // descriptors, or the data itself
}

func (u *udfPlan) allocation(i *inode, chain *udfChain) allocation {
	switch i.mode & fsys.TypeMask {
	case fsys.TypeDir:
		return extentAllocation(i.dir.udf.size, i.dir.udf.block, 0)
	case fsys.TypeLink:
		if b := i.extra.body; b != nil {
			return extentAllocation(int64(len(b.data)), b.block, 0)
		}
		data := linkBody(i.extra)
		return allocation{kind: allocEmbedded, size: int64(len(data)), data: data}
	case fsys.TypeFile:
		next := uint32(0)
		if chain != nil {
			next = chain.block
		}
		return extentAllocation(i.size, i.lba-udfStart, next)
	}
	return allocation{}
}

// extentAllocation describes data that lies in one piece. Those descriptors
// that do not fit are in the block next.
func extentAllocation(size int64, block, next uint32) allocation {
	a := allocation{kind: allocShort, size: size, blocks: blocksOf(size)}
	most := extents(size)
	if next != 0 {
		most = entryADs - 1
	}
	w := udfWriter{}
	appendADs(&w, size, block, 0, most)
	if next != 0 {
		w.extent(nextExtents|blockSize, next)
	}
	a.data = w.b
	return a
}

// appendADs appends count short allocation descriptors (ECMA-167 4/14.14.1) of
// a file, from the one with number from on.
func appendADs(w *udfWriter, size int64, block uint32, from, count int64) {
	for k := from; k < from+count && k < extents(size); k++ {
		w.extent(uint32(min(size-k*maxShortAD, maxShortAD)), block+uint32(k)*(maxShortAD/blockSize))
	}
}

// chain makes the blocks with those descriptors that do not fit into the file
// entry (ECMA-167 4/14.5).
func (u *udfPlan) chain(c *udfChain) []byte {
	var b []byte
	size, block := c.node.inode.size, c.node.inode.lba-udfStart
	from := int64(entryADs - 1)
	for k := range c.count {
		var ads udfWriter
		most := int64(allocADs)
		last := k == c.count-1
		if !last {
			most--
		}
		appendADs(&ads, size, block, from, most)
		from += most
		if !last {
			ads.extent(nextExtents|blockSize, c.block+uint32(k)+1)
		}
		w := udfWriter{}
		w.zeros(tagLen)
		w.u32(0) // previous extent: not recorded
		w.u32(uint32(len(ads.b)))
		w.bytes(ads.b)
		b = appendBlock(b, u.seal(w.b, tagAllocation, c.block+uint32(k)))
	}
	return b
}

// deviceAttribute makes the extended attribute that holds the number of a
// device (ECMA-167 4/14.10.7), or nothing.
func (u *udfPlan) deviceAttribute(i *inode) []byte {
	kind := i.mode & fsys.TypeMask
	if kind != fsys.TypeBlock && kind != fsys.TypeChar {
		return nil
	}
	const (
		headLen = 24
		attrLen = 24 + 32
	)
	none := uint32(headLen + attrLen)
	if u.revision >= UDF201 {
		none = math.MaxUint32
	}
	w := udfWriter{}
	w.zeros(tagLen)
	w.u32(none) // implementation attributes, UDF 3.3.4.1
	w.u32(none) // application attributes
	head := u.seal(w.b, tagEAHeader, i.icb)
	w = udfWriter{b: head}
	w.u32(12) // type: device specification
	w.u8(1)   // subtype
	w.zeros(3)
	w.u32(attrLen)
	w.u32(32) // implementation use
	w.u32(i.more().major)
	w.u32(i.more().minor)
	w.implementer()
	return w.b
}

// udfPerm converts permission bits (ECMA-167 4/14.9.5).
func udfPerm(mode uint32) uint32 {
	return mode&7 | mode>>3&7<<5 | mode>>6&7<<10
}

// udfSpecial converts the bits above the permissions (ECMA-167 4/14.6.8).
func udfSpecial(mode uint32) (flags uint16) {
	for i, bit := range []uint32{0o4000, 0o2000, 0o1000} { // set-uid, set-gid, sticky
		if mode&bit != 0 {
			flags |= 1 << (6 + i)
		}
	}
	return flags
}

// udfLinks returns the number of file identifiers that point to an inode: that
// of a directory includes the parent entries of its subdirectories.
func udfLinks(i *inode) uint16 {
	n := i.links()
	if i.dir != nil {
		n--
	}
	return uint16(min(n, math.MaxUint16))
}
