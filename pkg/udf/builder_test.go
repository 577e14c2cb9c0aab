package udf

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/isomount/isomount/pkg/binfmt"
)

// A disc is a UDF volume under construction. Tests put descriptors where they
// want them; finish adds what makes a volume of them. Clauses are those of
// ECMA-167.
type disc struct {
	tb      testing.TB
	kind    kind
	rev     uint16
	bs      int64
	start   int64    // first sector of the physical partition
	at      [3]int64 // sectors of the sequences and the integrity descriptor
	img     []byte   // the image so far
	next    uint32   // next free block of the physical partition
	meta    []byte   // content of the metadata file
	vat     []uint32
	root    addr
	label   string
	noVRS   bool
	minRead uint16
	moved   map[uint32]uint32 // sparable: packet to its place on the disc

	metaICB   addr // of the metadata file
	mirrorICB addr
	fsd       addr
}

const (
	testMain      = 32 // sectors of the volume structures
	testReserve   = 64
	testIntegrity = 96
	testStart     = 288
	testPacket    = 32
)

var testDate = time.Date(2001, 1, 1, 0, 0, 1, 123456000, time.UTC)

func newDisc(tb testing.TB, k kind, bs int64) *disc {
	tb.Helper()
	d := &disc{tb: tb, kind: k, rev: 0x0201, bs: bs, start: testStart, label: "label", minRead: 0x0201, moved: map[uint32]uint32{}}
	per := max(2048/bs, 1)
	d.at = [3]int64{testMain * per, testReserve * per, testIntegrity * per}
	if bs < 2048 {
		d.start = 1200 // behind the integrity sequence
	}
	if k == kindVirtual {
		d.rev = 0x0200
	}
	d.fsd = addr{d.alloc(1), 0}
	d.root = d.icb()
	return d
}

// alloc reserves blocks of the physical partition.
func (d *disc) alloc(n int) uint32 {
	at := d.next
	d.next += uint32(n)
	d.grow((d.start + int64(d.next)) * d.bs)
	return at
}

func (d *disc) grow(size int64) {
	if n := size - int64(len(d.img)); n > 0 {
		d.img = append(d.img, make([]byte, n)...)
	}
}

// bytes returns the place of a block.
func (d *disc) bytes(a addr) []byte {
	if a.ref == 1 && d.kind == kindMetadata {
		return d.meta[int64(a.block)*d.bs:]
	}
	block := int64(a.block)
	if a.ref == 1 && d.kind == kindVirtual {
		block = int64(d.vat[a.block])
	}
	return d.img[(d.start+block)*d.bs:]
}

func (d *disc) write(a addr, b []byte) { copy(d.bytes(a), b) }

// icb reserves a block where file entries go in this kind of volume.
func (d *disc) icb() addr {
	switch d.kind {
	case kindMetadata:
		d.meta = append(d.meta, make([]byte, d.bs)...)
		return addr{uint32(int64(len(d.meta))/d.bs - 1), 1}
	case kindVirtual:
		d.vat = append(d.vat, d.alloc(1))
		return addr{uint32(len(d.vat) - 1), 1}
	case kindPhysical, kindSparable, kindUnknown:
	}
	return addr{d.alloc(1), 0}
}

// tagged makes a descriptor (3/7.2).
func tagged(ident uint16, location uint32, body []byte) []byte {
	b := make([]byte, tagSize, tagSize+len(body))
	le := binary.LittleEndian
	le.PutUint16(b, ident)
	le.PutUint16(b[2:], 3)
	le.PutUint16(b[8:], binfmt.CRC16(body))
	le.PutUint16(b[10:], uint16(len(body)))
	le.PutUint32(b[12:], location)
	b[4] = tagChecksum(b)
	return append(b, body...)
}

// fields appends numbers little-endian, and bytes as they are.
func fields(values ...any) []byte {
	var b []byte
	le := binary.LittleEndian
	for _, v := range values {
		switch v := v.(type) {
		case uint8:
			b = append(b, v)
		case uint16:
			b = le.AppendUint16(b, v)
		case uint32:
			b = le.AppendUint32(b, v)
		case uint64:
			b = le.AppendUint64(b, v)
		case int: // that many zeros
			b = append(b, make([]byte, v)...)
		case []byte:
			b = append(b, v...)
		case string:
			b = append(b, v...)
		default:
			panic(fmt.Sprintf("field of type %T", v))
		}
	}
	return b
}

// pad makes b n bytes long.
func pad(b []byte, n int) []byte { return append(b, make([]byte, max(n-len(b), 0))...) }

func date(t time.Time) []byte {
	micro := t.Nanosecond() / 1000
	return stamp(0x1000, uint16(t.Year()), byte(t.Month()), byte(t.Day()), byte(t.Hour()), byte(t.Minute()), byte(t.Second()),
		byte(micro/10000), byte(micro/100%100), byte(micro%100))
}

func regid(ident string, suffix ...byte) []byte {
	return slices.Concat([]byte{0}, pad([]byte(ident), 23), pad(suffix, 8))
}

func charspec() []byte { return pad([]byte("\x00OSTA Compressed Unicode"), 64) }

func dstr(s string, n int) []byte {
	id := cs0(s)
	if s == "" {
		return make([]byte, n)
	}
	return append(pad(id, n-1), byte(len(id)))
}

// shortAD and longDesc make allocation descriptors (4/14.14).
func shortAD(kind uint8, length, block uint32) []byte {
	return fields(length|uint32(kind)<<30, block)
}

func longDesc(length uint32, a addr) []byte {
	return fields(length, a.block, a.ref, 6)
}

// An entry is what a test says of a file entry (4/14.9, 4/14.17).
type entry struct {
	plain     bool // a file entry, not an extended one
	strategy  uint16
	fileType  uint8
	flags     uint16
	uid, gid  uint32
	mode      uint32
	links     uint16
	size      uint64
	blocks    uint64
	modified  []byte
	eaICB     []byte
	streams   []byte
	ea        []byte
	allocKind uint16
	alloc     []byte
}

func (e *entry) encode(bs int64, location uint32) []byte {
	perms := e.mode&7 | e.mode&0o70<<2 | e.mode&0o700<<4
	strategy := e.strategy
	if strategy == 0 {
		strategy = 4
	}
	if e.modified == nil {
		e.modified = date(testDate)
	}
	t := date(testDate.Add(time.Hour))
	b := fields(uint32(0), strategy, uint16(0), uint16(1), uint8(0), e.fileType, 6, e.flags|e.allocKind,
		e.uid, e.gid, perms, e.links, 6, e.size)
	if e.plain {
		b = fields(b, e.blocks, t, e.modified, t, uint32(1), pad(e.eaICB, 16))
	} else {
		b = fields(b, e.size, e.blocks, t, e.modified, t, t, uint32(1), uint32(0), pad(e.eaICB, 16), pad(e.streams, 16))
	}
	b = fields(b, regid("*test"), uint64(17), uint32(len(e.ea)), uint32(len(e.alloc)), e.ea, e.alloc)
	ident := uint16(tagExtFile)
	if e.plain {
		ident = tagFile
	}
	if out := tagged(ident, location, b); int64(len(out)) <= bs {
		return out
	}
	panic("file entry longer than a block")
}

// put writes a file entry.
func (d *disc) put(a addr, e entry) addr {
	if e.links == 0 {
		e.links = 1
	}
	d.write(a, e.encode(d.bs, a.block))
	return a
}

// data stores bytes in the physical partition.
func (d *disc) data(b []byte) addr {
	a := addr{d.alloc(int((int64(len(b)) + d.bs - 1) / d.bs)), 0}
	d.write(a, b)
	return a
}

// file stores a regular file in one extent.
func (d *disc) file(content string) addr {
	at := d.data([]byte(content))
	return d.put(d.icb(), entry{
		fileType: fileRegular, mode: 0o644, size: uint64(len(content)), blocks: uint64((int64(len(content)) + d.bs - 1) / d.bs),
		allocKind: allocLong, alloc: longDesc(uint32(len(content)), at),
	})
}

// embedded stores a file in its entry.
func (d *disc) embedded(fileType uint8, content []byte) addr {
	return d.put(d.icb(), entry{fileType: fileType, mode: 0o644, size: uint64(len(content)), allocKind: allocEmbedded, alloc: content})
}

// A name is an entry of a directory.
type name struct {
	name  string
	id    []byte // the identifier, if it is not that of name
	flags uint8
	to    addr
	use   int // bytes of implementation use
}

// fid makes a file identifier descriptor (4/14.4).
func (n name) fid(bs int64) []byte {
	id := n.id
	if id == nil && n.flags&fidParent == 0 {
		id = cs0(n.name)
	}
	b := fields(uint16(1), n.flags, uint8(len(id)), longDesc(uint32(bs), n.to), uint16(n.use), n.use, id)
	return tagged(tagFileIdent, 0, pad(b, (len(b)+tagSize+3)&^3-tagSize))
}

// dir stores a directory at a.
func (d *disc) dir(a, parent addr, names ...name) {
	d.putDir(a, d.fids(parent, names))
}

func (d *disc) fids(parent addr, names []name) []byte {
	out := name{flags: fidParent | fidDir, to: parent}.fid(d.bs)
	for _, n := range names {
		out = append(out, n.fid(d.bs)...)
	}
	return out
}

// putDir stores a directory with these descriptors.
func (d *disc) putDir(a addr, fids []byte) {
	e := entry{fileType: fileDir, mode: 0o755, links: 1, size: uint64(len(fids))}
	if int64(len(fids)) <= d.bs-300 && d.kind != kindSparable {
		e.allocKind, e.alloc = allocEmbedded, fids
		d.put(a, e)
		return
	}
	n := (int64(len(fids)) + d.bs - 1) / d.bs
	e.blocks = uint64(n)
	at := addr{uint32(int64(len(d.meta)) / d.bs), 1}
	if d.kind == kindMetadata {
		d.meta = append(d.meta, make([]byte, n*d.bs)...)
	} else {
		at = addr{d.alloc(int(n)), 0}
	}
	d.write(at, fids)
	e.allocKind, e.alloc = allocLong, longDesc(uint32(len(fids)), at)
	d.put(a, e)
}

// finish writes the volume structures and returns the image.
func (d *disc) finish() []byte {
	d.putFileSet()
	maps := [][]byte{fields(uint8(1), uint8(6), uint16(1), uint16(0))}
	switch d.kind {
	case kindMetadata:
		maps = append(maps, d.finishMetadata())
	case kindSparable:
		maps = [][]byte{d.finishSparable()}
	case kindVirtual:
		maps = append(maps, fields(d.map2(idVirtual), 24))
		d.finishVAT()
	case kindPhysical, kindUnknown:
	}
	length := d.next
	if d.kind != kindVirtual {
		d.alloc(32) // so that nothing else is in the last sectors
	}
	d.putVolume(maps, length)
	return d.img
}

func (d *disc) map2(ident string) []byte {
	return fields(uint8(2), uint8(64), 2, regid(ident, byte(d.rev), byte(d.rev>>8)), uint16(1), uint16(0))
}

func (d *disc) putFileSet() {
	b := fields(date(testDate), uint16(3), uint16(3), uint32(1), uint32(1), uint32(0), uint32(0), charspec(), dstr(d.label, 128),
		charspec(), dstr("files", 32), 64, longDesc(uint32(d.bs), d.root), regid("*OSTA UDF Compliant", byte(d.rev), byte(d.rev>>8)), 64)
	d.write(d.fsd, tagged(tagFileSet, d.fsd.block, pad(b, 496)))
}

// finishMetadata stores the metadata file in two extents, the second first,
// and a copy of it (UDF 2.2.10).
func (d *disc) finishMetadata() []byte {
	const unit = 4
	n := (len(d.meta)/int(d.bs) + 2*unit - 1) / unit * unit
	d.meta = pad(d.meta, n*int(d.bs))
	half := int64(n) / 2 * d.bs
	store := func(fileType uint8) addr {
		second, first := d.data(d.meta[half:]), d.data(d.meta[:half])
		return d.put(addr{d.alloc(1), 0}, entry{
			fileType: fileType, size: uint64(len(d.meta)),
			alloc: slices.Concat(shortAD(0, uint32(half), first.block), shortAD(0, uint32(int64(len(d.meta))-half), second.block)),
		})
	}
	d.metaICB, d.mirrorICB = store(fileMetadata), store(fileMetadataMirror)
	return fields(d.map2(idMetadata), d.metaICB.block, d.mirrorICB.block, uint32(0xffffffff), uint32(unit), uint16(unit), uint8(1), 5)
}

// finishSparable moves every second packet (UDF 2.2.9).
func (d *disc) finishSparable() []byte {
	d.alloc(int(-d.next & (testPacket - 1)))
	spare := uint32(d.start) + d.next + 64
	var entries []byte
	count := 0
	for p := uint32(testPacket); p < d.next; p += 2 * testPacket {
		from := d.img[(d.start+int64(p))*d.bs:][:testPacket*d.bs]
		d.grow(int64(spare+testPacket) * d.bs)
		from = d.img[(d.start+int64(p))*d.bs:][:len(from)]
		copy(d.img[int64(spare)*d.bs:], from)
		copy(from, bytes.Repeat([]byte("junk"), len(from)/4))
		entries = append(entries, fields(p, spare)...)
		d.moved[p] = spare
		spare += testPacket
		count++
	}
	entries = append(entries, fields(uint32(0xffffffff), spare)...)
	table := fields(regid(idSparing, byte(d.rev), byte(d.rev>>8)), uint16(count+1), uint16(0), uint32(1), entries)
	places := []uint32{uint32(d.start) - 16, uint32(d.start) - 8}
	for _, at := range places {
		copy(d.img[int64(at)*d.bs:], tagged(tagSparing, at, table))
	}
	return fields(d.map2(idSparable), uint16(testPacket), uint8(2), uint8(0), uint32(tagSize+len(table)), places[0], places[1], 8)
}

// finishVAT writes the virtual allocation table into the last block (UDF
// 2.2.11).
func (d *disc) finishVAT() {
	var table []byte
	for _, v := range d.vat {
		table = append(table, fields(v)...)
	}
	e := entry{fileType: fileVAT}
	if d.rev >= 0x0200 {
		table = fields(uint16(vatMinHead), uint16(0), dstr(d.label, 128), uint32(0xffffffff), uint32(1), uint32(1), uint16(0x150), uint16(0x150), uint16(0x150), uint16(0), table)
	} else {
		table = fields(table, regid(idVAT, 0x50, 1), uint32(0xffffffff))
		e.fileType, e.plain = fileUnknown, true
	}
	e.size = uint64(len(table))
	e.alloc = shortAD(0, uint32(len(table)), d.data(table).block)
	d.put(addr{d.alloc(1), 0}, e)
}

// putVolume writes what leads to the partition.
func (d *disc) putVolume(maps [][]byte, length uint32) {
	for i, id := range []string{"BEA01", "NSR03", "TEA01"} {
		if !d.noVRS {
			copy(d.img[vrsStart+int64(i)*max(2048, d.bs):], "\x00"+id+"\x01")
		}
	}
	main, reserve, integrity := d.at[0], d.at[1], d.at[2]
	rev := []byte{byte(d.rev), byte(d.rev >> 8)}
	table := bytes.Join(maps, nil)
	descs := [][]byte{
		tagPrimary: fields(uint32(1), uint32(0), dstr("volume", 32), uint16(1), uint16(1), uint16(2), uint16(2), uint32(1), uint32(1),
			dstr("volume set", 128), charspec(), charspec(), 16, regid("*app"), date(testDate), regid("*test"), 64, 6),
		tagPartition: fields(uint32(2), uint16(1), uint16(0), regid("+NSR03"), 128, uint32(1), uint32(d.start), length, regid("*test"), 128),
		tagLogical: fields(uint32(3), charspec(), dstr(d.label, 128), uint32(d.bs), regid("*OSTA UDF Compliant", rev...), longDesc(uint32(d.bs), d.fsd),
			uint32(len(table)), uint32(len(maps)), regid("*test"), 128, uint32(2*d.bs), uint32(integrity), table),
		tagTerminating: nil,
	}
	for _, base := range []int64{main, reserve} {
		at := base
		for ident, body := range descs {
			if body != nil || ident == tagTerminating {
				copy(d.img[at*d.bs:], tagged(uint16(ident), uint32(at), pad(body, 496)))
				at++
			}
		}
	}
	parts := len(maps)
	lvid := fields(date(testDate), uint32(1), uint32(0), uint32(0), 32, uint32(parts), uint32(46), parts*8,
		regid("*test"), uint32(3), uint32(2), d.minRead, d.rev, d.rev)
	copy(d.img[integrity*d.bs:], tagged(tagIntegrity, uint32(integrity), lvid))
	anchors := []int64{anchorLBA}
	if d.kind != kindVirtual {
		d.grow((int64(len(d.img))/d.bs + 1) * d.bs)
		anchors = append(anchors, int64(len(d.img))/d.bs-1)
	}
	for _, at := range anchors {
		b := fields(uint32(16*d.bs), uint32(main), uint32(16*d.bs), uint32(reserve), 480)
		copy(d.img[at*d.bs:], tagged(tagAnchor, uint32(at), b))
	}
}

// open opens the image of a disc.
func open(tb testing.TB, img []byte, o Options) *FS {
	tb.Helper()
	f, err := Open(bytes.NewReader(img), int64(len(img)), o)
	if err != nil {
		tb.Fatalf("open: %v", err)
	}
	return f
}

// zero clears a block.
func (d *disc) zero(a addr) { clear(d.bytes(a)[:d.bs]) }
