package udf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isomount/isomount/pkg/binfmt"
	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/fsys/fsystest"
)

// allocExtent makes an allocation extent descriptor (4/14.5).
func allocExtent(location uint32, descs []byte) []byte {
	return slices.Concat(tagged(tagAllocExtent, location, fields(uint32(0), uint32(len(descs)))), descs)
}

// extAD makes an extended allocation descriptor (4/14.14.3).
func extAD(length, recorded, information uint32, a addr) []byte {
	return fields(length, recorded, information, a.block, a.ref, uint16(0))
}

// TestExtents stores one file in every way there is.
func TestExtents(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 5*128) // five blocks
	zeros := make([]byte, 2048)
	tests := []struct {
		name string
		make func(d *disc, at []addr) entry // at: the five blocks, stored apart
		want []byte
	}{
		{"short", func(_ *disc, at []addr) entry {
			var b []byte
			for _, a := range at {
				b = append(b, shortAD(extRecorded, 2048, a.block)...)
			}
			return entry{alloc: b}
		}, content},
		{"long", func(_ *disc, at []addr) entry {
			var b []byte
			for _, a := range at {
				b = append(b, longDesc(2048, a)...)
			}
			return entry{allocKind: allocLong, alloc: b}
		}, content},
		{"extended", func(_ *disc, at []addr) entry {
			var b []byte
			for _, a := range at {
				b = append(b, extAD(2048, 2048, 2048, a)...)
			}
			return entry{allocKind: allocExtended, alloc: b}
		}, content},
		{"plain file entry", func(_ *disc, at []addr) entry {
			return entry{plain: true, alloc: slices.Concat(shortAD(0, 2048, at[0].block), shortAD(0, 2048, at[1].block))}
		}, content[:4096]},
		{"embedded", func(*disc, []addr) entry {
			return entry{allocKind: allocEmbedded, alloc: content[:100]}
		}, content[:100]},
		{"hole in the middle", func(_ *disc, at []addr) entry {
			return entry{alloc: slices.Concat(shortAD(0, 2048, at[0].block), shortAD(extHole, 2048, 0), shortAD(0, 2048, at[2].block))}
		}, slices.Concat(content[:2048], zeros, content[4096:6144])},
		{"allocated and not recorded", func(_ *disc, at []addr) entry {
			return entry{alloc: slices.Concat(shortAD(extAllocated, 2048, at[0].block), shortAD(0, 2048, at[1].block))}
		}, slices.Concat(zeros, content[2048:4096])},
		{"size beyond the extents", func(_ *disc, at []addr) entry {
			return entry{size: 6000, alloc: shortAD(0, 2048, at[0].block)}
		}, pad(slices.Clone(content[:2048]), 6000)},
		{"extents beyond the size", func(_ *disc, at []addr) entry {
			return entry{size: 100, alloc: slices.Concat(shortAD(0, 2048, at[0].block), shortAD(0, 2048, at[1].block))}
		}, content[:100]},
		{"extent that ends within a block", func(_ *disc, at []addr) entry {
			return entry{alloc: slices.Concat(shortAD(0, 1000, at[0].block), shortAD(0, 2048, at[1].block))}
		}, slices.Concat(content[:1000], content[2048:4096])},
		{"extent of length 0 ends the list", func(_ *disc, at []addr) entry {
			return entry{size: 4096, alloc: slices.Concat(shortAD(0, 2048, at[0].block), shortAD(0, 0, 0), shortAD(0, 2048, at[1].block))}
		}, slices.Concat(content[:2048], zeros)},
		{"continued", func(d *disc, at []addr) entry {
			second, third := addr{d.alloc(1), 0}, addr{d.alloc(1), 0}
			d.write(third, allocExtent(third.block, slices.Concat(shortAD(0, 2048, at[3].block), shortAD(0, 2048, at[4].block))))
			d.write(second, allocExtent(second.block, slices.Concat(shortAD(0, 2048, at[1].block), shortAD(0, 2048, at[2].block), shortAD(extNext, 2048, third.block))))
			return entry{size: uint64(len(content)), alloc: slices.Concat(shortAD(0, 2048, at[0].block), shortAD(extNext, 2048, second.block))}
		}, content},
	}
	d := newDisc(t, kindPhysical, 2048)
	var blocks []addr
	for i := range 5 {
		blocks = append(blocks, d.data(content[i*2048:(i+1)*2048]))
		d.alloc(1)
	}
	var names []name
	var want []fsystest.File
	for _, tt := range tests {
		e := tt.make(d, blocks)
		e.fileType = fileRegular
		if e.size == 0 {
			e.size = uint64(len(tt.want))
		}
		names = append(names, name{name: tt.name, to: d.put(d.icb(), e)})
		want = append(want, fsystest.File{Path: tt.name, Data: tt.want})
	}
	d.dir(d.root, d.root, names...)
	img := d.finish()
	fsystest.TestOptions(t, open(t, img, Options{}), fsystest.Options{Want: want, Image: bytes.NewReader(img)})
}

// TestBadExtents reads files of which a part is lost: the rest must be right.
func TestBadExtents(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 128)
	tests := []struct {
		name string
		make func(d *disc, good addr) entry
		good int64 // bytes that can be read
	}{
		{"partition that is not there", func(_ *disc, good addr) entry {
			return entry{size: 4096, allocKind: allocLong, alloc: slices.Concat(longDesc(2048, good), longDesc(2048, addr{0, 9}))}
		}, 2048},
		{"behind the end of the image", func(_ *disc, good addr) entry {
			return entry{size: 4096, alloc: slices.Concat(shortAD(0, 2048, good.block), shortAD(0, 2048, 1<<31))}
		}, 2048},
		{"last block number", func(_ *disc, good addr) entry {
			return entry{size: 4096, alloc: slices.Concat(shortAD(0, 2048, good.block), shortAD(0, 2048, 0xffffffff))}
		}, 2048},
		{"continuation that is none", func(_ *disc, good addr) entry {
			return entry{size: 4096, alloc: slices.Concat(shortAD(0, 2048, good.block), shortAD(extNext, 2048, good.block))}
		}, 2048},
		{"continuation behind the end", func(_ *disc, good addr) entry {
			return entry{size: 4096, alloc: slices.Concat(shortAD(0, 2048, good.block), shortAD(extNext, 2048, 1<<30))}
		}, 2048},
		{"continuation in a circle", func(d *disc, good addr) entry {
			a := d.alloc(1)
			d.write(addr{a, 0}, allocExtent(a, slices.Concat(shortAD(0, 2048, good.block), shortAD(extNext, 2048, a))))
			return entry{size: 1 << 50, alloc: slices.Concat(shortAD(0, 2048, good.block), shortAD(extNext, 2048, a))}
		}, 4096},
		{"encoded", func(_ *disc, good addr) entry {
			return entry{size: 4096, allocKind: allocExtended, alloc: slices.Concat(extAD(2048, 2048, 2048, good), extAD(2048, 100, 2048, good))}
		}, 2048},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDisc(t, kindPhysical, 2048)
			e := tt.make(d, d.data(content))
			e.fileType = fileRegular
			d.dir(d.root, d.root, name{name: "f", to: d.put(d.icb(), e)})
			f := open(t, d.finish(), Options{})
			n, a, err := f.Lookup(f.Root(), []byte("f"))
			if err != nil {
				t.Fatal(err)
			}
			p := make([]byte, tt.good+1)
			got, err := f.ReadAt(n, p, 0)
			if err == nil || errors.Is(err, io.EOF) || int64(got) != tt.good || !bytes.Equal(p[:2048], content) {
				t.Errorf("read = %d, %v; want the first %d bytes and an error", got, err, tt.good)
			}
			if _, err := f.ReadAt(n, p, a.Size-1); err == nil {
				t.Error("read of the last byte gave no error")
			}
		})
	}
}

// TestFragments reads a file of many extents, whose blocks lie in descending
// order.
func TestFragments(t *testing.T) {
	const blocks, per = 3000, 30 * 8
	d := newDisc(t, kindPhysical, 512)
	first := d.alloc(blocks)
	content := make([]byte, blocks*512)
	for i := range content {
		content[i] = byte(i * 7 >> 8)
	}
	var descs []byte
	for i := range uint32(blocks) {
		at := first + blocks - 1 - i
		d.write(addr{at, 0}, content[i*512:(i+1)*512])
		descs = append(descs, shortAD(0, 512, at)...)
	}
	var next []byte
	for len(descs) > per { // from the end of the list to its start
		a, cut := d.alloc(1), (len(descs)-1)/per*per
		d.write(addr{a, 0}, allocExtent(a, slices.Concat(descs[cut:], next)))
		next, descs = shortAD(extNext, 512, a), descs[:cut]
	}
	e := entry{fileType: fileRegular, size: uint64(len(content)), alloc: slices.Concat(descs, next)}
	d.dir(d.root, d.root, name{name: "f", to: d.put(d.icb(), e)})
	f := open(t, d.finish(), Options{})
	fsystest.Test(t, f, []fsystest.File{{Path: "f", Data: content}})

	n, _, err := f.Lookup(f.Root(), []byte("f"))
	if err != nil {
		t.Fatal(err)
	}
	in := f.inodes.get(n)
	if in == nil {
		t.Fatal("the file's extents were not kept")
	}
	if got := len(in.extents.runs); got != blocks {
		t.Errorf("%d runs kept, want %d", got, blocks)
	}
}

// sparseDisc is an image of which only some pieces are not zero.
type sparseDisc map[int64][]byte

func (s sparseDisc) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	for at, b := range s {
		lo, hi := max(at, off), min(at+int64(len(b)), off+int64(len(p)))
		if lo < hi {
			copy(p[lo-off:hi-off], b[lo-at:hi-at])
		}
	}
	return len(p), nil
}

// TestLarge reads a file of 9 GiB whose last extent lies 6 TiB into the image.
func TestLarge(t *testing.T) {
	const extent = 1<<30 - 2048
	d := newDisc(t, kindPhysical, 2048)
	var descs []byte
	for i := range uint32(9) {
		descs = append(descs, shortAD(0, extent, 0xc0000000+i*(extent/2048))...)
	}
	size := int64(9 * extent)
	d.dir(d.root, d.root, name{name: "f", to: d.put(d.icb(), entry{fileType: fileRegular, size: uint64(size), alloc: descs})})
	img := d.finish()
	end := []byte("the last bytes")
	endPos := (testStart+0xc0000000)*2048 + size - int64(len(end))
	disc := sparseDisc{0: img, endPos: end}
	f, err := Open(disc, 8<<40, Options{Anchor: 256})
	if err != nil {
		t.Fatal(err)
	}
	n, a, err := f.Lookup(f.Root(), []byte("f"))
	if err != nil || a.Size != size {
		t.Fatalf("lookup = size %d, %v; want %d", a.Size, err, size)
	}
	p := make([]byte, 100)
	k, err := f.ReadAt(n, p, size-int64(len(end)))
	if !errors.Is(err, io.EOF) || !bytes.Equal(p[:k], end) {
		t.Errorf("read at the end = %q, %v; want %q, EOF", p[:k], err, end)
	}
	var got []fsys.Extent
	if err := f.Extents(n, 5<<30, func(e fsys.Extent) bool { got = append(got, e); return true }); err != nil {
		t.Fatal(err)
	}
	want := []fsys.Extent{{Off: 5 << 30, Len: size - 5<<30, Pos: (testStart+0xc0000000)*2048 + 5<<30}}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("extents (-got +want):\n%s", diff)
	}
}

// TestStrategy4096 follows indirect entries to the newest file entry.
func TestStrategy4096(t *testing.T) {
	indirect := func(location uint32, to addr) []byte {
		icbTag := fields(uint32(0), uint16(4096), uint16(1), uint16(2), uint8(0), uint8(3), 6, uint16(0))
		return tagged(tagIndirect, location, fields(icbTag, longDesc(4096, to)))
	}
	tests := []struct {
		name string
		make func(d *disc, version []addr) // each with a block behind it
		want string
	}{
		{"one", func(*disc, []addr) {}, "version 0"},
		{"three", func(d *disc, v []addr) {
			d.write(addr{v[0].block + 1, 0}, indirect(v[0].block+1, v[1]))
			d.write(addr{v[1].block + 1, 0}, indirect(v[1].block+1, v[2]))
		}, "version 2"},
		{"next one not recorded", func(d *disc, v []addr) {
			d.write(addr{v[0].block + 1, 0}, indirect(v[0].block+1, v[1]))
			d.write(addr{v[1].block + 1, 0}, indirect(v[1].block+1, addr{d.alloc(1), 0}))
		}, "version 1"},
		{"next one outside the volume", func(d *disc, v []addr) {
			d.write(addr{v[0].block + 1, 0}, indirect(v[0].block+1, addr{1 << 30, 5}))
		}, "version 0"},
		{"circle", func(d *disc, v []addr) {
			d.write(addr{v[0].block + 1, 0}, indirect(v[0].block+1, v[1]))
			d.write(addr{v[1].block + 1, 0}, indirect(v[1].block+1, v[0]))
		}, "version 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDisc(t, kindPhysical, 2048)
			var versions []addr
			for i := range 3 {
				content := []byte{'v', 'e', 'r', 's', 'i', 'o', 'n', ' ', byte('0' + i)}
				a := addr{d.alloc(2), 0}
				versions = append(versions, d.put(a, entry{fileType: fileRegular, strategy: 4096, size: 9, allocKind: allocEmbedded, alloc: content}))
			}
			tt.make(d, versions)
			d.dir(d.root, d.root, name{name: "f", to: versions[0]})
			fsystest.Test(t, open(t, d.finish(), Options{}), []fsystest.File{{Path: "f", Data: []byte(tt.want)}})
		})
	}
}

// TestLinks decodes path components (4/14.16).
func TestLinks(t *testing.T) {
	comp := func(kind uint8, name string) []byte {
		var id []byte
		if name != "" {
			id = cs0(name)
		}
		return fields(kind, uint8(len(id)), uint16(0), id)
	}
	long := bytes.Repeat(comp(compName, "component"), 150) // more than a block
	tests := []struct {
		name    string
		content []byte
		want    string // "": an error
	}{
		{"relative", slices.Concat(comp(compParent, ""), comp(compSelf, ""), comp(compName, "日本")), ".././日本"},
		{"absolute", slices.Concat(comp(compRoot, ""), comp(compName, "usr"), comp(compName, "lib")), "/usr/lib"},
		{"root", comp(compRoot, ""), "/"},
		{"agreed root without a name", slices.Concat(comp(compAgreed, ""), comp(compName, "x")), "/x"},
		{"agreed root with a name", slices.Concat(comp(compAgreed, "C:"), comp(compName, "x")), "x"},
		{"root in the middle", slices.Concat(comp(compName, "a"), comp(compRoot, ""), comp(compName, "b")), "/b"},
		{"name with a slash", comp(compName, "a/b"), "a_b#" + hexCRC("a/b")},
		{"more than a block", long, string(bytes.Repeat([]byte("component/"), 149)) + "component"},
		{"nothing", nil, ""},
		{"cut short", comp(compName, "abc")[:6], ""},
		{"too long", bytes.Repeat(comp(compName, "component"), 500), ""},
	}
	d := newDisc(t, kindPhysical, 2048)
	var names []name
	for _, tt := range tests {
		a := d.data(tt.content)
		names = append(names, name{name: tt.name, to: d.put(d.icb(), entry{
			fileType: fileSymlink, size: uint64(len(tt.content)), alloc: shortAD(0, uint32(len(tt.content)), a.block),
		})})
	}
	d.dir(d.root, d.root, names...)
	f := open(t, d.finish(), Options{})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n, a, err := f.Lookup(f.Root(), []byte(tt.name))
			if err != nil {
				t.Fatal(err)
			}
			got, err := f.Readlink(n)
			if string(got) != tt.want || (err == nil) != (tt.want != "") {
				t.Errorf("target = %q, %v; want %q", got, err, tt.want)
			}
			if err == nil && a.Size != int64(len(got)) {
				t.Errorf("size = %d, want %d", a.Size, len(got))
			}
		})
	}
}

// TestDamagedEntries refuses file entries that cannot be read right.
func TestDamagedEntries(t *testing.T) {
	le := binary.LittleEndian
	tests := []struct {
		name   string
		damage func(b []byte)
	}{
		{"tag checksum", func(b []byte) { b[4]++ }},
		{"tag version", func(b []byte) { b[2], b[4] = 9, b[4]+6 }},
		{"tag location", func(b []byte) { b[12], b[4] = b[12]+1, b[4]+1 }},
		{"CRC", func(b []byte) { b[100] ^= 1 }},
		{"another descriptor", func(b []byte) { copy(b, tagged(tagTerminating, le.Uint32(b[12:]), nil)) }},
		{"strategy", func(b []byte) { le.PutUint16(b[20:], 5) }},
		{"kind of descriptors", func(b []byte) { b[34] = 4 }},
		{"extended attributes longer than the block", func(b []byte) { le.PutUint32(b[208:], 1<<31) }},
		{"descriptors longer than the block", func(b []byte) { le.PutUint32(b[212:], 1<<31) }},
		{"both lengths that add up to 0", func(b []byte) { le.PutUint32(b[208:], 1<<31); le.PutUint32(b[212:], 1<<31) }},
		{"size below 0", func(b []byte) { le.PutUint64(b[56:], 1<<63) }},
		{"embedded with another size", func(b []byte) { le.PutUint64(b[56:], 5) }},
		{"file type", func(b []byte) { b[27] = 200 }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDisc(t, kindPhysical, 2048)
			a := d.embedded(fileRegular, []byte("content"))
			b := d.bytes(a)[:2048]
			tt.damage(b)
			if tt.name != "CRC" { // the rest must be found without its help
				le.PutUint16(b[8:], binfmt.CRC16(b[16:16+le.Uint16(b[10:])]))
				if tt.name != "tag checksum" {
					b[4] = tagChecksum(b)
				}
			}
			d.dir(d.root, d.root, name{name: "before", to: d.file("x")}, name{name: "f", to: a}, name{name: "after", to: d.file("y")})
			f := open(t, d.finish(), Options{})
			var corrupt *binfmt.CorruptError
			if _, _, err := f.Lookup(f.Root(), []byte("f")); !errors.As(err, &corrupt) {
				t.Errorf("lookup = %v, want a CorruptError", err)
			}
			want := []string{"before", "f: not readable", "after"}
			if diff := cmp.Diff(listing(t, f, f.Root()), want); diff != "" {
				t.Errorf("listing (-got +want):\n%s", diff)
			}
		})
	}
}

// listing returns the names of a directory in order.
func listing(tb testing.TB, f *FS, dir fsys.Node) []string {
	tb.Helper()
	var names []string
	err := f.ReadDir(dir, 0, func(e *fsys.Entry) bool {
		n := string(e.Name)
		if e.Node == 0 {
			n += ": not readable"
		}
		names = append(names, n)
		return true
	})
	if err != nil {
		tb.Errorf("readdir: %v", err)
	}
	return names
}
