package hfsplus

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
	"unicode/utf16"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/unicode/norm"
)

// The builder makes small volumes in memory that no tool of Linux makes:
// fragmented files, hard links, attributes, compression, damage. Linux mounts
// what it makes.

var be = binary.BigEndian

// A leaf is a record of a B-tree under construction.
type leaf struct{ key, data []byte }

// A builder is a volume under construction. Blocks of content are allocated
// in order, from the first block on.
type builder struct {
	tb        testing.TB
	sig       uint16
	blockSize int
	nodeSize  int
	binary    bool // names are told apart by case
	writer    uint32

	nextCNID uint32
	content  [][]byte // blocks, from number first on
	first    uint32
	catalog  []leaf
	extents  []leaf
	attrs    []leaf
	valence  map[uint32]uint32
	damage   func(tree string, nodes [][]byte) // of each tree, before it is written
}

// A node describes a folder or file for the builder.
type node struct {
	mode     uint16
	uid, gid uint32
	special  uint32
	flags    uint16
	owner    uint8  // BSD flags
	finder   string // first bytes of the Finder information
	modified uint32 // seconds since 1904; 0 is made the builder's date
	created  uint32 // likewise
	data     []byte // of a file
	rsrc     []byte // of a file
	frag     int    // cut into pieces of that many blocks, other blocks between them
	cnid     uint32 // 0: the next
	folders  uint32 // folder count, with flagHasFolderCount
	noThread bool   // a file of HFS
}

const builderDate = 3_000_000_000 // 1999-01-24 05:20:00 UTC

func newBuilder(tb testing.TB, sig uint16) *builder {
	tb.Helper()
	b := &builder{tb: tb, sig: sig, blockSize: 512, nodeSize: 1024, nextCNID: 16, first: 3, valence: map[uint32]uint32{}}
	if sig == sigHFS {
		b.nodeSize, b.first = 512, 0
	}
	b.folderAt(cnidRootParent, "Volume", node{cnid: cnidRoot, mode: 0o40755})
	return b
}

func (b *builder) name(s string) []byte {
	var out []byte
	if b.sig == sigHFS {
		for _, r := range s {
			c, ok := charmap.Macintosh.EncodeRune(r)
			if !ok {
				b.tb.Fatalf("%q is not Mac OS Roman", s)
			}
			out = append(out, c)
		}
		return append([]byte{byte(len(out))}, out...)
	}
	units := utf16.Encode([]rune(norm.NFD.String(s)))
	out = be.AppendUint16(out, uint16(len(units)))
	for _, u := range units {
		out = be.AppendUint16(out, u)
	}
	return out
}

// key makes the key of a catalog record, without its length.
func (b *builder) key(parent uint32, name []byte) []byte {
	var k []byte
	if b.sig == sigHFS {
		k = append(k, 0)
	}
	k = be.AppendUint32(k, parent)
	if name == nil {
		name = b.name("")
	}
	return append(k, name...)
}

// folder adds a folder to another and returns its id.
func (b *builder) folder(parent uint32, name string, n node) uint32 {
	if n.mode == 0 && b.sig != sigHFS {
		n.mode = 0o40755
	}
	return b.folderAt(parent, name, n)
}

func (b *builder) folderAt(parent uint32, name string, n node) uint32 {
	n = b.number(parent, n)
	raw := b.name(name)
	b.catalog = append(b.catalog,
		leaf{b.key(parent, raw), nil}, // its record, when its valence is known
		leaf{b.key(n.cnid, nil), b.thread(recFolderThread, parent, raw)})
	i := len(b.catalog) - 2
	b.catalog[i].data = b.record(recFolder, n)
	return n.cnid
}

func (b *builder) number(parent uint32, n node) node {
	if n.cnid == 0 {
		n.cnid = b.nextCNID
		b.nextCNID++
	}
	if n.modified == 0 {
		n.modified = builderDate
	}
	if n.created == 0 {
		n.created = builderDate
	}
	b.valence[parent]++
	return n
}

// file adds a file and returns its id.
func (b *builder) file(parent uint32, name string, n node) uint32 {
	return b.rawFile(parent, b.name(name), n)
}

// rawFile is file with a name as it is on the disc.
func (b *builder) rawFile(parent uint32, raw []byte, n node) uint32 {
	n = b.number(parent, n)
	if n.mode == 0 && b.sig != sigHFS {
		n.mode = 0o100644
	}
	b.catalog = append(b.catalog, leaf{b.key(parent, raw), b.record(recFile, n)})
	if !n.noThread {
		b.catalog = append(b.catalog, leaf{b.key(n.cnid, nil), b.thread(recFileThread, parent, raw)})
	}
	return n.cnid
}

func (b *builder) thread(kind uint16, parent uint32, raw []byte) []byte {
	var d []byte
	if b.sig == sigHFS {
		d = append([]byte{byte(kind)}, make([]byte, 9)...)
	} else {
		d = be.AppendUint16(nil, kind)
		d = append(d, 0, 0)
	}
	d = append(be.AppendUint32(d, parent), raw...)
	if b.sig == sigHFS {
		d = append(d, make([]byte, 46-len(d))...)
	}
	return d
}

// record makes a folder or file record. The valence of folders is set by image.
func (b *builder) record(kind uint16, n node) []byte {
	if b.sig == sigHFS {
		return b.recordHFS(kind, n)
	}
	d := be.AppendUint16(nil, kind)
	d = be.AppendUint16(d, n.flags)
	d = be.AppendUint32(d, 0)
	d = be.AppendUint32(d, n.cnid)
	for _, date := range []uint32{n.created, n.modified, n.modified, n.modified, 0, n.uid, n.gid} {
		d = be.AppendUint32(d, date)
	}
	d = append(d, 0, n.owner)
	d = be.AppendUint16(d, n.mode)
	d = be.AppendUint32(d, n.special)
	d = append(d, finderBytes(n.finder)...)
	d = be.AppendUint32(d, 0)
	d = be.AppendUint32(d, n.folders)
	if kind == recFile {
		d = append(d, b.fork(n.cnid, 0, n.data, n.frag)...)
		d = append(d, b.fork(n.cnid, 0xFF, n.rsrc, n.frag)...)
	}
	return d
}

func (b *builder) recordHFS(kind uint16, n node) []byte {
	d := []byte{byte(kind), 0}
	info := finderBytes(n.finder)
	if kind == recFolder {
		d = be.AppendUint16(d, n.flags)
		d = be.AppendUint16(d, 0)
		for _, x := range []uint32{n.cnid, n.created, n.modified, 0} {
			d = be.AppendUint32(d, x)
		}
		return append(append(d, info...), make([]byte, 16)...)
	}
	data := b.fork(n.cnid, 0, n.data, n.frag)
	rsrc := b.fork(n.cnid, 0xFF, n.rsrc, n.frag)
	d = append(append(d, 0, 0), info[:16]...)
	d = be.AppendUint32(d, n.cnid)
	for _, size := range []int{len(n.data), len(n.rsrc)} {
		d = append(d, 0, 0)
		d = be.AppendUint32(d, uint32(size))
		d = be.AppendUint32(d, uint32(b.blocks(size)*b.blockSize))
	}
	for _, x := range []uint32{n.created, n.modified, 0} {
		d = be.AppendUint32(d, x)
	}
	d = append(append(d, info[16:]...), 0, 0)
	return append(append(append(d, data...), rsrc...), 0, 0, 0, 0)
}

func finderBytes(s string) []byte {
	f := make([]byte, 32)
	copy(f, s)
	return f
}

func (b *builder) blocks(n int) int { return (n + b.blockSize - 1) / b.blockSize }

// put allocates blocks for content and returns the extents: pieces of frag
// blocks, or one.
func (b *builder) put(content []byte, frag int) []extent {
	var ext []extent
	total := b.blocks(len(content))
	if frag == 0 {
		frag = max(total, 1)
	}
	for done := 0; done < total; done += frag {
		n := min(frag, total-done)
		ext = append(ext, extent{b.first + uint32(len(b.content)), uint32(n)})
		for range n {
			block := make([]byte, b.blockSize)
			copy(block, content)
			content = content[min(len(content), b.blockSize):]
			b.content = append(b.content, block)
		}
		if n < total {
			b.content = append(b.content, bytes.Repeat([]byte{0xDB}, b.blockSize))
		}
	}
	return ext
}

func (b *builder) perRecord() int {
	if b.sig == sigHFS {
		return extentsHFS
	}
	return extentsPlus
}

// fork stores content and returns the fork data: all of it in HFS+, the extents
// only in HFS.
func (b *builder) fork(cnid uint32, kind uint8, content []byte, frag int) []byte {
	ext := b.put(content, frag)
	inline := ext[:min(len(ext), b.perRecord())]
	at := uint32(0)
	for i, e := range ext {
		if i > 0 && i%b.perRecord() == 0 {
			b.extents = append(b.extents, leaf{b.extentKey(cnid, kind, at), b.extentRecord(ext[i:min(len(ext), i+b.perRecord())])})
		}
		at += e.count
	}
	if b.sig == sigHFS {
		return b.extentRecord(inline)
	}
	d := be.AppendUint64(nil, uint64(len(content)))
	d = be.AppendUint32(d, 0)
	d = be.AppendUint32(d, uint32(b.blocks(len(content))))
	return append(d, b.extentRecord(inline)...)
}

func (b *builder) extentRecord(ext []extent) []byte {
	var d []byte
	for i := range b.perRecord() {
		var e extent
		if i < len(ext) {
			e = ext[i]
		}
		if b.sig == sigHFS {
			d = be.AppendUint16(be.AppendUint16(d, uint16(e.start)), uint16(e.count))
		} else {
			d = be.AppendUint32(be.AppendUint32(d, e.start), e.count)
		}
	}
	return d
}

func (b *builder) extentKey(cnid uint32, kind uint8, block uint32) []byte {
	if b.sig == sigHFS {
		return be.AppendUint16(be.AppendUint32([]byte{kind}, cnid), uint16(block))
	}
	return be.AppendUint32(be.AppendUint32([]byte{kind, 0}, cnid), block)
}

// attribute adds an extended attribute whose value is stored beside its name.
func (b *builder) attribute(cnid uint32, name, value string) {
	d := be.AppendUint32(nil, attrInline)
	d = append(d, make([]byte, 8)...)
	d = be.AppendUint32(d, uint32(len(value)))
	d = append(d, value...)
	if len(d)%2 != 0 {
		d = append(d, 0)
	}
	b.attrs = append(b.attrs, leaf{b.attrKey(cnid, name, 0), d})
}

// longAttribute adds one whose value has extents of its own.
func (b *builder) longAttribute(cnid uint32, name, value string, frag int) {
	ext := b.put([]byte(value), frag)
	d := be.AppendUint32(nil, attrFork)
	d = be.AppendUint32(d, 0)
	d = be.AppendUint64(d, uint64(len(value)))
	d = be.AppendUint32(d, 0)
	d = be.AppendUint32(d, uint32(b.blocks(len(value))))
	d = append(d, b.extentRecord(ext[:min(len(ext), extentsPlus)])...)
	b.attrs = append(b.attrs, leaf{b.attrKey(cnid, name, 0), d})
	at := uint32(0)
	for i, e := range ext {
		if i > 0 && i%extentsPlus == 0 {
			d := be.AppendUint64(nil, attrExtents<<32)
			d = append(d, b.extentRecord(ext[i:min(len(ext), i+extentsPlus)])...)
			b.attrs = append(b.attrs, leaf{b.attrKey(cnid, name, at), d})
		}
		at += e.count
	}
}

func (b *builder) attrKey(cnid uint32, name string, block uint32) []byte {
	k := be.AppendUint32([]byte{0, 0}, cnid)
	k = be.AppendUint32(k, block)
	k = be.AppendUint16(k, uint16(len([]rune(name))))
	return append(k, utf16Bytes(name)...)
}

// image finishes the volume and returns it.
func (b *builder) image() []byte {
	b.sort()
	var ext [3][]extent
	var size [3]int
	for i, tree := range []struct {
		name    string
		records []leaf
		shape   shape
	}{
		{"extents", b.extents, shape{maxKey: 10, fixed: true}},
		{"catalog", b.catalog, shape{maxKey: 516, compare: 0xCF}},
		{"attrs", b.attrs, shape{maxKey: 266}},
	} {
		if tree.name == "attrs" && len(tree.records) == 0 {
			continue
		}
		if b.sig == sigHFS {
			tree.shape = shape{maxKey: []int{7, 37}[i], fixed: true}
		}
		if b.binary {
			tree.shape.compare = keysBinary
		}
		nodes := b.tree(tree.records, tree.shape)
		if b.damage != nil {
			b.damage(tree.name, nodes)
		}
		file := bytes.Join(nodes, nil)
		size[i], ext[i] = len(file), b.put(file, 0)
	}
	if b.sig == sigHFS {
		return b.imageHFS(size, ext)
	}
	return b.imagePlus(size, ext)
}

// sort puts the records in order and tells the folders how much is in them.
func (b *builder) sort() {
	slices.SortStableFunc(b.catalog, func(x, y leaf) int { return b.compare(x.key, y.key) })
	slices.SortStableFunc(b.extents, func(x, y leaf) int {
		at := 2
		if b.sig == sigHFS {
			at = 1
		}
		return cmpOr(bytes.Compare(x.key[at:at+4], y.key[at:at+4]), bytes.Compare(x.key, y.key))
	})
	slices.SortStableFunc(b.attrs, func(x, y leaf) int {
		return cmpOr(bytes.Compare(x.key[2:6], y.key[2:6]), bytes.Compare(x.key[12:], y.key[12:]), bytes.Compare(x.key[6:10], y.key[6:10]))
	})
	for _, r := range b.catalog {
		switch {
		case b.sig == sigHFS && r.data[0] == recFolder:
			be.PutUint16(r.data[4:], uint16(b.valence[be.Uint32(r.data[6:])]))
		case b.sig != sigHFS && r.data[1] == recFolder:
			be.PutUint32(r.data[4:], b.valence[be.Uint32(r.data[8:])])
		}
	}
}

func cmpOr(c ...int) int {
	for _, x := range c {
		if x != 0 {
			return x
		}
	}
	return 0
}

// compare orders catalog keys as far as the names of tests need it.
func (b *builder) compare(x, y []byte) int {
	head, id := 6, 0
	if b.sig == sigHFS {
		head, id = 6, 1
	}
	if c := bytes.Compare(x[id:id+4], y[id:id+4]); c != 0 {
		return c
	}
	fold := func(k []byte) []byte {
		k = bytes.Clone(k[head:])
		if b.binary {
			return k
		}
		for i := range k {
			if k[i] >= 'A' && k[i] <= 'Z' && (b.sig == sigHFS || (i%2 == 1 && k[i-1] == 0)) {
				k[i] += 'a' - 'A'
			}
			if b.sig != sigHFS && i%2 == 1 && k[i] == 0 && k[i-1] == 0 {
				k[i], k[i-1] = 0xFF, 0xFF // TN1150 FastUnicodeCompare
			}
		}
		return k
	}
	return bytes.Compare(fold(x), fold(y))
}

// A shape is what the header of a B-tree says about keys.
type shape struct {
	maxKey  int
	fixed   bool // keys in index nodes have that length
	compare byte
}

// tree makes the nodes of a B-tree of records in order.
func (b *builder) tree(records []leaf, s shape) [][]byte {
	fixed := 0
	if s.fixed {
		fixed = s.maxKey
	}
	nodes := [][]byte{nil}
	level, height := records, 1
	var root, firstLeaf, lastLeaf int
	for len(level) > 0 {
		var up []leaf
		start := len(nodes)
		for len(level) > 0 {
			num := len(nodes)
			n := b.fill(level, height, fixed)
			pointer := be.AppendUint32(nil, uint32(num))
			up = append(up, leaf{level[0].key, pointer})
			nodes = append(nodes, b.makeNode(level[:n], height, fixed))
			level = level[n:]
		}
		b.link(nodes[start:], start)
		if height == 1 {
			firstLeaf, lastLeaf = start, len(nodes)-1
		}
		root = len(nodes) - 1
		if len(up) == 1 {
			break
		}
		level, height = up, height+1
	}
	if root == 0 {
		height = 0
	}
	nodes[0] = b.headerNode(len(nodes), height, root, len(records), firstLeaf, lastLeaf, s)
	return nodes
}

// pack makes the bytes of a record.
func (b *builder) pack(r leaf, height, fixed int) []byte {
	length := len(r.key)
	if height > 1 && fixed > 0 {
		length = fixed
	}
	var d []byte
	if b.sig == sigHFS {
		d = []byte{byte(length)}
	} else {
		d = be.AppendUint16(nil, uint16(length))
	}
	d = append(d, r.key...)
	d = append(d, make([]byte, length-len(r.key))...)
	if len(d)%2 != 0 {
		d = append(d, 0)
	}
	return append(d, r.data...)
}

// fill returns how many records fit into a node.
func (b *builder) fill(records []leaf, height, fixed int) int {
	room := b.nodeSize - nodeHead - 2
	for i, r := range records {
		if room -= len(b.pack(r, height, fixed)) + 2; room < 0 {
			if i == 0 {
				b.tb.Fatal("record does not fit into a node")
			}
			return i
		}
	}
	return len(records)
}

func (b *builder) makeNode(records []leaf, height, fixed int) []byte {
	n := make([]byte, b.nodeSize)
	n[8] = kindIndex
	if height == 1 {
		n[8] = kindLeaf
	}
	n[9] = byte(height)
	be.PutUint16(n[10:], uint16(len(records)))
	at := nodeHead
	for i, r := range records {
		be.PutUint16(n[len(n)-2*(i+1):], uint16(at))
		at += copy(n[at:], b.pack(r, height, fixed))
	}
	be.PutUint16(n[len(n)-2*(len(records)+1):], uint16(at))
	return n
}

func (b *builder) link(nodes [][]byte, first int) {
	for i := range nodes {
		if i > 0 {
			be.PutUint32(nodes[i][4:], uint32(first+i-1))
			be.PutUint32(nodes[i-1], uint32(first+i))
		}
	}
}

func (b *builder) headerNode(count, height, root, records, firstLeaf, lastLeaf int, s shape) []byte {
	n := make([]byte, b.nodeSize)
	n[8] = kindHeader
	be.PutUint16(n[10:], 3)
	h := be.AppendUint16(nil, uint16(height))
	for _, x := range []int{root, records, firstLeaf, lastLeaf} {
		h = be.AppendUint32(h, uint32(x))
	}
	h = be.AppendUint16(be.AppendUint16(h, uint16(b.nodeSize)), uint16(s.maxKey))
	h = be.AppendUint32(be.AppendUint32(h, uint32(count)), 0)
	h = append(h, 0, 0)
	h = append(be.AppendUint32(h, uint32(b.nodeSize)), 0)
	var attributes uint32
	if b.sig != sigHFS {
		attributes = 2 // long keys
		if !s.fixed {
			attributes |= variableKeys
		}
	}
	h = be.AppendUint32(append(h, s.compare), attributes)
	copy(n[nodeHead:], h)
	const bitmap = nodeHead + 106 + 128
	for i := range count {
		n[bitmap+i/8] |= 0x80 >> (i % 8)
	}
	for i, off := range []int{nodeHead, nodeHead + 106, bitmap, len(n) - 8} {
		be.PutUint16(n[len(n)-2*(i+1):], uint16(off))
	}
	return n
}

// counts returns how many files and folders there are.
func (b *builder) counts() (files, folders uint32) {
	kind := 1
	if b.sig == sigHFS {
		kind = 0
	}
	for _, r := range b.catalog {
		switch r.data[kind] {
		case recFile:
			files++
		case recFolder:
			folders++
		}
	}
	return files, folders - 1
}

func (b *builder) imagePlus(size [3]int, ext [3][]extent) []byte {
	total := int(b.first) + len(b.content) + 3 // the header's copy is in the last blocks
	total += total & 1
	h := be.AppendUint16(nil, b.sig)
	h = be.AppendUint16(h, 4+(b.sig&1^1)) // version 5 of HFSX
	files, folders := b.counts()
	for _, x := range []uint32{volUnmounted, b.writer, 0, builderDate, builderDate, 0, 0, files, folders, uint32(b.blockSize), uint32(total), 1, 0, 0, 0, b.nextCNID, 1} {
		h = be.AppendUint32(h, x)
	}
	h = append(h, make([]byte, 8+24)...)
	h = be.AppendUint64(h, 0x0123456789ABCDEF)
	h = append(h, make([]byte, 80)...) // allocation file
	for i := range size {
		h = be.AppendUint64(h, uint64(size[i]))
		h = be.AppendUint32(h, 0)
		h = be.AppendUint32(h, uint32(b.blocks(size[i])))
		h = append(h, b.extentRecord(ext[i])...)
	}
	img := make([]byte, total*b.blockSize)
	copy(img[headerOff:], h)
	copy(img[len(img)-headerOff:], h)
	for i, block := range b.content {
		copy(img[(int(b.first)+i)*b.blockSize:], block)
	}
	return img
}

func (b *builder) imageHFS(size [3]int, ext [3][]extent) []byte {
	const base = 5 // blocks of 512 bytes: boot blocks, directory block, bitmap
	h := be.AppendUint16(nil, sigHFS)
	h = be.AppendUint32(be.AppendUint32(h, builderDate), builderDate)
	h = be.AppendUint16(h, volUnmounted)
	h = append(h, 0, 0, 0, 3, 0, 0)
	h = be.AppendUint16(h, uint16(len(b.content)))
	h = be.AppendUint32(be.AppendUint32(h, uint32(b.blockSize)), uint32(b.blockSize))
	h = be.AppendUint32(be.AppendUint16(h, base), b.nextCNID)
	h = append(h, 0, 0)
	name := make([]byte, 28)
	copy(name, b.name("Volume"))
	h = append(h, name...)
	h = append(h, make([]byte, 20)...)
	files, folders := b.counts()
	h = be.AppendUint32(be.AppendUint32(h, files), folders)
	h = append(h, make([]byte, 32+6)...)
	for i := range 2 {
		h = be.AppendUint32(h, uint32(size[i]))
		h = append(h, b.extentRecord(ext[i])...)
	}
	img := make([]byte, base*512+len(b.content)*b.blockSize+1024)
	copy(img[headerOff:], h)
	copy(img[len(img)-headerOff:], h)
	for i, block := range b.content {
		copy(img[base*512+i*b.blockSize:], block)
	}
	return img
}
