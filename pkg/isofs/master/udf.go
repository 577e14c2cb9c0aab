package master

import (
	"slices"
	"strings"
	"time"

	"github.com/isomount/isomount/pkg/fsys"
)

// Where the structures of the UDF volume lie (ECMA-167 3/8.4.2, UDF 2.2.3).
const (
	udfMain      = 32 // main volume descriptor sequence
	udfReserve   = 48 // its copy
	udfSequence  = 16 // blocks of each
	udfIntegrity = 64
	udfAnchor    = 256
	udfStart     = 257 // of the partition, which has all that the tree is made of
)

// Limits of a file entry (ECMA-167 4/14.9, 4/14.14.1).
const (
	entryHead   = 176
	entryRoom   = blockSize - entryHead
	shortAD     = 8
	maxShortAD  = 0x3FFFF800 // the longest extent of whole blocks
	nextExtents = 3 << 30    // type of an extent that has further descriptors
	allocHead   = 24         // of an allocation extent descriptor, 4/14.5
	firstUnique = 16         // UDF 3.2.1.1: lower ones are reserved
)

// A udfPlan is the UDF side of a bridge image: a second tree over the same
// files. The descriptors are those of a read-only volume with one partition.
type udfPlan struct {
	m        *image
	revision Revision
	inodes   []*Node // one for each, in the order of their file entries
	dirs     []*udfDir
	bodies   []*udfBody // symbolic links that do not fit into their file entries
	chains   []*udfChain
	size     int64 // blocks of the partition
	end      int64 // block of the last anchor
}

// A udfDir is where a directory's file identifiers lie.
type udfDir struct {
	node  *Node
	block uint32 // in the partition
	size  int64
}

// A udfBody is the content of a symbolic link.
type udfBody struct {
	data  []byte
	block uint32
}

// A udfChain has the descriptors of a file with too many extents for its entry.
type udfChain struct {
	node  *Node
	block uint32 // of the first block of them
	count int64  // blocks
}

// layRecognition plans the descriptors that tell of UDF (ECMA-167 2/8, 3/9).
func (u *udfPlan) layRecognition() {
	nsr := "NSR02"
	if u.revision >= UDF201 {
		nsr = "NSR03"
	}
	for _, id := range []string{"BEA01", nsr, "TEA01"} {
		u.m.addBytes("UDF "+id, blockSize, func() []byte { return append([]byte("\x00"+id), 1) })
	}
}

// layVolume plans the descriptors in front of the partition, each at its fixed place.
func (u *udfPlan) layVolume() {
	m := u.m
	m.skipTo(udfMain)
	m.addBytes("UDF volume descriptors", udfSequence*blockSize, func() []byte { return u.sequence(udfMain) })
	m.addBytes("UDF reserve descriptors", udfSequence*blockSize, func() []byte { return u.sequence(udfReserve) })
	m.addBytes("UDF integrity", 2*blockSize, u.integrity)
	m.skipTo(udfAnchor)
	m.addBytes("UDF anchor", blockSize, func() []byte { return u.anchor(udfAnchor) })
	m.addBytes("UDF file set", 2*blockSize, u.fileSet) // at the start of the partition
}

// layTree plans the directories and the file entries.
func (u *udfPlan) layTree() {
	m := u.m
	u.collect()
	start := m.next
	blocks := int64(0)
	take := func(n int64) uint32 {
		at := start - udfStart + blocks
		blocks += n
		return uint32(at)
	}
	for _, d := range u.dirs {
		d.block = take(blocksOf(d.size))
	}
	for _, b := range u.bodies {
		b.block = take(blocksOf(int64(len(b.data))))
	}
	for _, c := range u.chains {
		c.block = take(c.count)
	}
	for _, n := range u.inodes {
		n.inode.icb = take(1)
	}
	m.add("UDF tree", blocks, u.writeTree)
}

// udfEnd is how many blocks layEnd plans.
const udfEnd = 1

// layEnd plans the second anchor, which lies in the last block of the image.
func (u *udfPlan) layEnd() {
	u.end = u.m.next
	u.size = u.end - udfStart
	u.m.addBytes("UDF last anchor", blockSize, func() []byte { return u.anchor(uint32(u.end)) })
}

// collect finds everything that gets a file entry, and the size of directories.
func (u *udfPlan) collect() {
	var b []byte
	stack := []*Node{u.m.tree.root}
	for len(stack) > 0 {
		n := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if n.inode.icb != 0 {
			continue
		}
		n.inode.icb = 1 // layTree gives the real one
		u.inodes = append(u.inodes, n)
		switch n.inode.mode & fsys.TypeMask {
		case fsys.TypeDir:
			children := u.children(n)
			arrange(children, treeUDF, udfName, nil)
			b = u.appendIdents(b[:0], n, 0)
			d := &udfDir{node: n, size: int64(len(b))}
			n.inode.dir.udf = d
			u.dirs = append(u.dirs, d)
			for _, c := range slices.Backward(children) { // entries lie in the order of names
				stack = append(stack, c)
			}
		case fsys.TypeLink:
			if data := linkBody(n.inode.extra); len(data) > entryRoom {
				body := &udfBody{data: data}
				n.inode.extra.body = body
				u.bodies = append(u.bodies, body)
			}
		case fsys.TypeFile:
			u.collectChain(n)
		}
	}
}

func (u *udfPlan) children(n *Node) []*Node {
	var list []*Node
	for _, c := range u.m.withExtra(n.inode.dir) {
		if !u.m.iso.rock.isRelocDir(c) {
			list = append(list, c)
		}
	}
	return list
}

// extents returns how many descriptors a file of some size needs.
func extents(size int64) int64 { return (size + maxShortAD - 1) / maxShortAD }

// Descriptors that a file entry, and a block of further ones, can hold.
const (
	entryADs = entryRoom / shortAD
	allocADs = (blockSize - allocHead) / shortAD
)

func (u *udfPlan) collectChain(n *Node) {
	left := extents(n.inode.size) - entryADs
	if left <= 0 {
		return
	}
	// One descriptor of each block but the last leads to the next.
	count := (left + 1 + allocADs - 2) / (allocADs - 1)
	u.chains = append(u.chains, &udfChain{node: n, count: count})
}

// writeTree writes what layTree has planned, in the same order.
func (u *udfPlan) writeTree(o *output) error {
	var b []byte
	put := func(p []byte) error {
		if _, err := o.Write(p); err != nil {
			return err
		}
		return o.align()
	}
	for _, d := range u.dirs {
		b = u.appendIdents(b[:0], d.node, d.block)
		if err := put(b); err != nil {
			return err
		}
	}
	for _, body := range u.bodies {
		if err := put(body.data); err != nil {
			return err
		}
	}
	chains := map[*inode]*udfChain{}
	for _, c := range u.chains {
		chains[c.node.inode] = c
		if err := put(u.chain(c)); err != nil {
			return err
		}
	}
	for _, n := range u.inodes {
		if err := put(u.fileEntry(n.inode, chains[n.inode])); err != nil {
			return err
		}
	}
	return nil
}

// appendIdents appends the content of a directory: the file identifier of its
// parent, and those of its entries (ECMA-167 4/14.4). block is where it lies.
func (u *udfPlan) appendIdents(b []byte, dir *Node, block uint32) []byte {
	const isDir, isParent = 0x02, 0x08
	parent := dir
	if dir.parent != nil {
		parent = dir.parent
	}
	b = u.appendIdent(b, parent.inode, isDir|isParent, nil, block)
	var name []byte
	for _, n := range u.children(dir) {
		flags := byte(0)
		if n.IsDir() {
			flags = isDir
		}
		name = udfName(name[:0], n, n.seq[treeUDF])
		b = u.appendIdent(b, n.inode, flags, name, block)
	}
	return b
}

func (u *udfPlan) appendIdent(b []byte, i *inode, flags byte, name []byte, block uint32) []byte {
	start := len(b)
	w := udfWriter{b: b}
	w.zeros(tagLen)
	w.u16(1) // file version
	w.u8(flags)
	w.u8(byte(len(name)))
	w.longAD(blockSize, i.icb, u.unique(i))
	w.u16(0) // length of implementation use
	w.bytes(name)
	w.zeros(-len(w.b) & 3) // the start is a multiple of 4
	u.seal(w.b[start:], tagFileIdent, block+uint32(start/blockSize))
	return w.b
}

// unique returns the identifier of a file entry; the root's is 0 (UDF 3.2.1.1).
func (u *udfPlan) unique(i *inode) uint32 {
	if i == u.m.tree.root.inode {
		return 0
	}
	return i.serial + firstUnique
}

// linkBody makes the path components of a symbolic link (ECMA-167 4/14.16).
func linkBody(x *extra) []byte {
	const root, parent, current, name = 2, 3, 4, 5
	var w udfWriter
	component := func(kind byte, id []byte) {
		w.u8(kind)
		w.u8(byte(len(id)))
		w.u16(0)
		w.bytes(id)
	}
	target := x.target
	if strings.HasPrefix(target, "/") {
		component(root, nil)
	}
	for part := range strings.SplitSeq(target, "/") {
		switch part {
		case "":
		case ".":
			component(current, nil)
		case "..":
			component(parent, nil)
		default:
			component(name, udfName(nil, &Node{name: part}, 0))
		}
	}
	return w.b
}

// fileSet makes the file set descriptor (ECMA-167 4/14.1) and what ends its sequence.
func (u *udfPlan) fileSet() []byte {
	w := udfWriter{}
	w.zeros(tagLen)
	w.timestamp(u.m.date)
	w.u16(3) // interchange level
	w.u16(3) // maximum
	w.u32(1) // character sets
	w.u32(1) // maximum
	w.u32(0) // file set number
	w.u32(0) // descriptor number
	w.charset()
	w.dstring(u.m.opt.VolumeID, 128)
	w.charset()
	w.dstring(u.m.opt.VolumeID, 32)
	w.dstring("", 32) // copyright file
	w.dstring("", 32) // abstract file
	w.longAD(blockSize, u.m.tree.root.inode.icb, 0)
	u.domain(&w)
	w.fill()
	b := appendBlock(nil, u.seal(w.b, tagFileSet, 0))
	return append(b, u.terminator(1)...)
}

func (u *udfPlan) terminator(block uint32) []byte {
	return u.seal(make([]byte, descriptorLen), tagTerminator, block)
}

// domain appends the identifier of UDF with its revision (UDF 2.1.5.3).
func (u *udfPlan) domain(w *udfWriter) {
	const writeProtected = 0x03
	w.entity("*OSTA UDF Compliant", byte(u.revision), byte(u.revision>>8), writeProtected)
}

// at converts a time of an inode.
func at(ns int64) time.Time { return time.Unix(0, ns) }
