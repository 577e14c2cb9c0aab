package hfsplus

import (
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"github.com/isomount/isomount/pkg/binfmt"
)

// Limits of B-trees. The node sizes are those of TN1150 "B-Trees"; HFS has 512.
const (
	minNode  = 512
	maxNode  = 32768
	maxDepth = 16
	maxNodes = 1 << leafBits // nodes that a position can name
)

// Kinds of nodes (TN1150 "Node Descriptor").
const (
	kindIndex  = 0x00
	kindHeader = 0x01
	kindLeaf   = 0xFF
)

const nodeHead = 14 // bytes of a node descriptor

// A treeKind tells the three B-trees of a volume apart.
type treeKind int

const (
	treeCatalog treeKind = iota
	treeExtents
	treeAttributes
)

// A btree is a B*-tree in a file of the volume. It trusts nothing but the
// node size: depth, links and order are checked on the way.
type btree struct {
	v             *FS
	file          fork
	nodeSize      int
	nodes         uint32 // that the file has room for
	root          uint32
	bigKeys       bool // key lengths have two bytes (HFS+)
	fixedKey      int  // length of a key in an index node, or 0 if it varies
	caseSensitive bool // catalog of HFSX

	pool  sync.Pool
	order atomic.Pointer[[]leafRef] // leaves in order, once links are broken
	mend  sync.Mutex                // held while order is made

	mendLimit int64 // mendLimit, except in tests
}

// A bnode is a node that was read.
type bnode struct {
	buf    []byte
	num    uint32
	off    int64 // byte offset in the tree's file, for messages
	next   uint32
	kind   byte
	height int
	nrec   int
}

// openTree reads the header node of a B-tree.
func (v *FS) openTree(f *fork, kind treeKind) (*btree, error) {
	t := &btree{v: v, file: *f, bigKeys: !v.vol.isHFS(), mendLimit: mendLimit}
	var b [minNode]byte
	if n, err := v.readFork(v.meta, f, b[:], 0); n < len(b) {
		return nil, shortTree(err)
	}
	c := binfmt.At(b[8:], 8)
	if c.U8() != kindHeader {
		return nil, binfmt.Corrupt(8, "B-tree has no header node")
	}
	c.Skip(5 + 2) // rest of the descriptor; treeDepth
	t.root = c.U32BE()
	c.Skip(12) // leafRecords, firstLeafNode, lastLeafNode
	t.nodeSize = int(c.U16BE())
	maxKey := int(c.U16BE())
	c.Skip(15) // totalNodes to btreeType
	t.caseSensitive = v.vol.signature == sigX && c.U8() == keysBinary
	t.shapeKeys(kind, maxKey, b[:])
	if t.nodeSize < minNode || t.nodeSize > maxNode || t.nodeSize&(t.nodeSize-1) != 0 {
		return nil, binfmt.Corrupt(32, "B-tree with nodes of %d bytes", t.nodeSize)
	}
	t.nodes = uint32(min(min(f.size, v.size)/int64(t.nodeSize), maxNodes))
	t.pool.New = func() any { return &bnode{buf: make([]byte, t.nodeSize)} }
	return t, nil
}

// keysBinary is the keyCompareType of an HFSX catalog whose names are told
// apart by case.
const keysBinary = 0xBC

// variableKeys is the B-tree attribute that says that keys in index nodes are
// as long as they need.
const variableKeys = 4

// shapeKeys finds out how long keys are in index nodes.
func (t *btree) shapeKeys(kind treeKind, maxKey int, b []byte) {
	attributes := binary.BigEndian.Uint32(b[52:])
	if t.bigKeys && (kind != treeExtents || attributes&variableKeys != 0) {
		return
	}
	t.fixedKey = maxKey
}

func shortTree(err error) error {
	if damaged(err) {
		return binfmt.Corrupt(0, "B-tree without a header")
	}
	return err
}

// node returns a buffer for a node; done gives it back.
func (t *btree) node() *bnode  { return t.pool.Get().(*bnode) } //nolint:errcheck,forcetypeassert // the pool holds nothing else
func (t *btree) done(n *bnode) { t.pool.Put(n) }

// load reads a node.
func (t *btree) load(n *bnode, num uint32) error {
	n.num, n.off, n.nrec = num, int64(num)*int64(t.nodeSize), 0
	if num >= t.nodes {
		return binfmt.Corrupt(n.off, "B-tree has %d nodes, but no node %d", t.nodes, num)
	}
	if k, err := t.v.readFork(t.v.meta, &t.file, n.buf, n.off); k < len(n.buf) {
		if damaged(err) {
			return binfmt.Corrupt(n.off, "B-tree node %d is lost", num)
		}
		return err
	}
	c := binfmt.At(n.buf, n.off)
	n.next = c.U32BE()
	c.Skip(4) // bLink
	n.kind = c.U8()
	n.height = int(c.U8())
	n.nrec = n.count(int(c.U16BE()))
	return nil
}

// count returns how many records a node has that claims to have so many. The
// offsets of records stand backwards at the end of the node, and behind them
// the offset of the free space; when that is not between, the claim is wrong,
// and the records are those whose offsets go up.
func (n *bnode) count(claim int) int {
	claim = min(claim, (len(n.buf)-nodeHead)/2-1, maxRecords)
	if free := n.offset(claim); nodeHead <= free && free <= len(n.buf)-2*(claim+1) {
		return claim
	}
	i := 0
	for i < claim && n.offset(i) < n.offset(i+1) && n.offset(i+1) <= len(n.buf)-2*(i+2) {
		i++
	}
	return i
}

// offset returns where record i begins, as the node says.
func (n *bnode) offset(i int) int {
	return int(binary.BigEndian.Uint16(n.buf[len(n.buf)-2*(i+1):]))
}

// loadLeaf reads a leaf node.
func (t *btree) loadLeaf(n *bnode, num uint32) error {
	if err := t.load(n, num); err != nil {
		return err
	}
	if num == 0 || n.kind != kindLeaf {
		n.nrec = 0
		return binfmt.Corrupt(n.off, "B-tree node %d is no leaf", num)
	}
	return nil
}

// record returns key and data of a record; ok is false if it is damaged.
func (t *btree) record(n *bnode, i int) (key, data []byte, ok bool) {
	from, to := n.offset(i), n.offset(i+1)
	if from < nodeHead || from >= to || to > len(n.buf)-2*(i+2) {
		return nil, nil, false
	}
	return t.split(n.buf[from:to:to], n.kind == kindIndex)
}

// split takes a record apart (TN1150 "Keyed Records").
func (t *btree) split(rec []byte, index bool) (key, data []byte, ok bool) {
	head := 1
	if t.bigKeys {
		head = 2
	}
	if len(rec) < head {
		return nil, nil, false
	}
	length := int(rec[0])
	if t.bigKeys {
		length = int(binary.BigEndian.Uint16(rec))
	}
	room := head + length
	if index && t.fixedKey > 0 {
		room = head + max(length, t.fixedKey)
	}
	room += room & 1 // data begins at an even offset
	if length == 0 || room > len(rec) {
		return nil, nil, false
	}
	return rec[head : head+length], rec[room:], true
}

// descend loads into n the leaf that holds the last of the records of which
// before is true; in a sound tree these are the first records of all. Every
// step goes down by one, so there is no going round.
func (t *btree) descend(n *bnode, before func(key []byte) bool) error {
	num, height := t.root, 0
	for {
		if err := t.load(n, num); err != nil {
			return err
		}
		if n.height < 1 || n.height > maxDepth || (height > 0 && n.height != height-1) {
			return binfmt.Corrupt(n.off, "B-tree node %d at height %d below one at %d", num, n.height, height)
		}
		height = n.height
		if height == 1 {
			return t.loadLeaf(n, num)
		}
		var err error
		if num, err = t.child(n, before); err != nil {
			return err
		}
	}
}

// child returns the last child of an index node whose key is before, or the
// first child.
func (t *btree) child(n *bnode, before func(key []byte) bool) (uint32, error) {
	var child uint32
	passed := false
	for i := range n.nrec {
		key, data, ok := t.record(n, i)
		if !ok || len(data) < 4 || n.kind != kindIndex {
			return 0, binfmt.Corrupt(n.off, "B-tree node %d: record %d is damaged", n.num, i)
		}
		is := before(key)
		if is && passed {
			return 0, binfmt.Corrupt(n.off, "B-tree node %d is not in order", n.num)
		}
		passed = passed || !is
		if is || child == 0 {
			child = binary.BigEndian.Uint32(data)
		}
	}
	if child == 0 {
		return 0, binfmt.Corrupt(n.off, "B-tree node %d has no children", n.num)
	}
	return child, nil
}

// A walk goes through leaves one after the other, each at most once.
type walk struct {
	t      *btree
	n      *bnode
	leaves uint32              // how many were passed, in earlier walks too
	seen   map[uint32]struct{} // those of this walk, from the second on
	slot   int                 // of the leaf in t.order
}

// next loads the next leaf. It tells whether there is one.
func (w *walk) next() (bool, error) {
	if order := w.t.order.Load(); order != nil {
		return w.nextMended(*order)
	}
	if w.n.next == 0 {
		return false, nil
	}
	if w.seen == nil {
		w.seen = map[uint32]struct{}{}
	}
	w.seen[w.n.num] = struct{}{}
	w.leaves++
	if _, again := w.seen[w.n.next]; again || w.leaves >= min(w.t.nodes, maxLeaves) {
		return false, binfmt.Corrupt(w.n.off, "leaves of a B-tree go round at node %d", w.n.next)
	}
	err := w.t.loadLeaf(w.n, w.n.next)
	return err == nil, err
}

// damaged tells errors that are the disc's fault, and stay, from others.
func damaged(err error) bool {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return true
	}
	_, corrupt := errors.AsType[*binfmt.CorruptError](err)
	return corrupt
}
