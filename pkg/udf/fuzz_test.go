package udf

import (
	"bytes"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/isomount/isomount/pkg/binfmt"
	"github.com/isomount/isomount/pkg/fsys/fsystest"
)

// smallDisc has a bit of everything in few bytes, to be damaged.
func smallDisc(tb testing.TB, k kind) []byte {
	tb.Helper()
	d := newDisc(tb, k, 512)
	d.start, d.at = 300, [3]int64{100, 120, 140}
	d.img, d.next, d.meta, d.vat = nil, 0, nil, nil
	d.fsd = addr{d.alloc(1), 0}
	d.root = d.icb()
	sub := d.icb()
	file := d.file("content of a file")
	link := d.embedded(fileSymlink, fields("\x03\x00\x00\x00\x05\x05\x00\x00", cs0("name")))
	d.dir(sub, d.root, name{name: "again", to: file}, name{name: "again", to: link})
	second := d.alloc(1)
	d.write(addr{second, 0}, allocExtent(second, shortAD(0, 512, second)))
	chained := d.put(d.icb(), entry{fileType: fileRegular, size: 2000, alloc: fields(shortAD(extHole, 512, 0), shortAD(extNext, 512, second))})
	versions := d.put(addr{d.alloc(2), 0}, entry{fileType: fileRegular, strategy: 4096, size: 1, allocKind: allocEmbedded, alloc: []byte("v")})
	streams := d.icb()
	d.dir(streams, sub, name{name: "stream", to: file})
	space := tagged(tagEAHeader, 0, fields(uint32(24), uint32(24), uint32(eaImpl), uint8(1), 3, uint32(50), uint32(2), regid("*test"), "ab"))
	attrs := d.put(d.icb(), entry{fileType: fileChar, ea: space, streams: longDesc(512, streams)})
	d.dir(d.root, d.root, name{name: "sub", flags: fidDir, to: sub}, name{name: "f", to: file}, name{name: "日/本", to: chained, use: 4},
		name{name: "v", to: versions}, name{name: "attrs", flags: fidHidden, to: attrs}, name{name: "link", to: link})
	return d.finish()
}

// FuzzOpen damages an image in two places and does everything to what is left
// of it: no panic, no endless loop, and nothing that a file system may not do.
func FuzzOpen(f *testing.F) {
	var images [][]byte
	for _, k := range []kind{kindPhysical, kindVirtual, kindSparable, kindMetadata} {
		images = append(images, smallDisc(f, k))
	}
	for img := range fsystest.Corpus(f) {
		if _, err := Open(bytes.NewReader(img), int64(len(img)), Options{}); err == nil {
			images = append(images, img)
		}
	}
	fsystest.FuzzPatches(f, images, mendBlocks, exercise)
}

func mendBlocks(img []byte, at, n int) { mend(img[at/512*512:], n+at%512) }

// mend makes checksums and CRCs of the descriptors right that were patched,
// without which hardly any patch gets further than the check of the tag.
func mend(b []byte, n int) {
	for at := 0; at < n && at+512 <= len(b); at += 512 {
		block := b[at : at+512]
		t := tag{crcLen: uint16(block[10]) | uint16(block[11])<<8}
		if end := tagSize + int(t.crcLen); end <= len(block) {
			crc := binfmt.CRC16(block[tagSize:end])
			block[8], block[9] = byte(crc), byte(crc>>8)
		}
		block[4] = tagChecksum(block)
	}
}

func exercise(t *testing.T, img []byte) {
	t.Helper()
	start := time.Now()
	fs, err := Open(bytes.NewReader(img), int64(len(img)), Options{Undelete: len(img)%2 == 0})
	if err == nil {
		err = fsystest.Exercise(fs, fsystest.Limits{})
		fs.RootEntries()
		if err != nil {
			t.Error(err)
		}
	}
	if took := time.Since(start); took > 3*time.Second*fsystest.Slow { // fuzzing shares the machine; alone it is milliseconds
		t.Errorf("took %v", took)
	}
}

func FuzzFID(f *testing.F) {
	f.Add(name{name: "name", use: 4}.fid(2048))
	f.Add(name{flags: fidParent}.fid(2048))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, size := parseFID(b)
		if size == 0 {
			return
		}
		if size < fidSize || size > fidLongest || size%4 != 0 {
			t.Errorf("descriptor of %d bytes", size)
		}
		if size <= len(b) && len(d.ident) != int(b[19]) {
			t.Errorf("name of %d bytes, want %d", len(d.ident), b[19])
		}
	})
}

func FuzzICB(f *testing.F) {
	e := entry{fileType: fileRegular, size: 4, allocKind: allocEmbedded, alloc: []byte("data"), ea: make([]byte, 24)}
	f.Add(e.encode(2048, 5))
	e.plain = true
	f.Add(e.encode(2048, 5))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > tagSize {
			mend(append(b, make([]byte, 512)...), 1)
		}
		e, err := parseICB(b, 0, addr{5, 0})
		if err == nil && (e.size < 0 || len(e.alloc)+len(e.ea) > len(b)) {
			t.Errorf("entry of size %d with %d and %d bytes in %d", e.size, len(e.alloc), len(e.ea), len(b))
		}
		eachEA(b, func(a attribute) bool {
			_, _ = a.xattr()
			return true
		})
		_, _ = deviceNumbers(b)
	})
}

// FuzzDescriptors parses everything that is read while a volume is opened.
func FuzzDescriptors(f *testing.F) {
	d := newDisc(f, kindMetadata, 2048)
	img := d.finish()
	for sector := testMain; sector < testMain+6; sector++ {
		f.Add(img[sector*2048 : (sector+1)*2048])
	}
	f.Add(img[testIntegrity*2048 : (testIntegrity+1)*2048])
	f.Add(d.bytes(d.fsd)[:2048])
	f.Add(fields(d.map2(idSparable), uint16(testPacket), uint8(2), uint8(0), uint32(100), 16))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, parse := range []func(c *binfmt.Cursor){
			func(c *binfmt.Cursor) { parsePrimary(c) },
			func(c *binfmt.Cursor) { parsePartDesc(c) },
			func(c *binfmt.Cursor) {
				l := parseLogical(c)
				maps, err := parseMaps(l.maps, l.nMaps, 0)
				if err == nil && (len(maps) == 0 || len(maps) > maxMaps) {
					t.Errorf("%d partition maps", len(maps))
				}
			},
		} {
			c := binfmt.At(b, 0)
			c.Skip(tagSize)
			parse(&c)
		}
		_, _ = parseMaps(b, 9, 0)
		_, _ = parseIntegrity(b, 0)
		_, _ = parseFileSet(b, 0)
		_, _ = parseSparing(b, 0, 0)
		_, _ = parseVAT(b, 0, fileVAT)
		_, _ = parseVAT(b, 0, fileUnknown)
		_, _ = (&FS{}).target(b, 0)
	})
}

// TestHostile opens images made to do harm: each must be answered soon, with
// little memory, and without a panic.
func TestHostile(t *testing.T) {
	le := func(v uint32) []byte { return fields(v) }
	tests := []struct {
		name   string
		kind   kind
		damage func(d *disc)
	}{
		{"partition maps longer than the descriptor", kindMetadata, func(d *disc) { patchLogical(d, 264, le(1<<31)) }},
		{"a billion partition maps", kindMetadata, func(d *disc) { patchLogical(d, 268, le(1<<30)) }},
		{"partition map of length 0", kindMetadata, func(d *disc) { patchLogical(d, 441, []byte{0}) }},
		{"metadata partition in itself", kindMetadata, func(d *disc) { patchLogical(d, 440, []byte{2, 64}) }},
		{"file set in partition 65535", kindMetadata, func(d *disc) { patchLogical(d, 256, []byte{0xff, 0xff}) }},
		{"volume descriptors of 4 GiB", kindPhysical, func(d *disc) {
			copy(d.img[256*2048:], tagged(tagAnchor, 256, pad(fields(uint32(0xffffffff), uint32(0), uint32(0xffffffff), uint32(1)), 496)))
		}},
		{"volume descriptor pointers in a circle", kindPhysical, func(d *disc) {
			for at := uint32(testMain); at < testMain+15; at++ {
				copy(d.img[at*2048:], tagged(tagPointer, at, pad(fields(uint32(1), uint32(16*2048), uint32(testMain)), 496)))
			}
		}},
		{"integrity descriptors in a circle", kindPhysical, func(d *disc) {
			b := fields(date(testDate), uint32(1), uint32(2048), uint32(testIntegrity), 32, uint32(0), uint32(0))
			copy(d.img[testIntegrity*2048:], tagged(tagIntegrity, testIntegrity, b))
		}},
		{"file sets in a circle", kindPhysical, func(d *disc) {
			b := bytes.Clone(d.bytes(d.fsd)[tagSize:512])
			copy(b[448-tagSize:], longDesc(2048, d.fsd))
			d.write(d.fsd, tagged(tagFileSet, d.fsd.block, b))
		}},
		{"directory in itself", kindPhysical, func(d *disc) {
			d.dir(d.root, d.root, name{name: "a", flags: fidDir, to: d.root}, name{name: "b", flags: fidDir, to: d.root})
		}},
		{"directory of 2^60 bytes", kindPhysical, func(d *disc) {
			d.put(d.root, entry{fileType: fileDir, size: 1 << 60, alloc: shortAD(extHole, maxExtent, 0)})
		}},
		{"directory of a million extents in one place", kindPhysical, func(d *disc) {
			one := shortAD(0, 1<<20, 0)
			d.put(d.root, entry{fileType: fileDir, size: 1 << 50, alloc: bytes.Repeat(one, 200)})
		}},
		{"directory full of tags", kindPhysical, func(d *disc) {
			b := bytes.Repeat([]byte{1, 1, 2, 0}, 1<<20)
			d.putDir(d.root, b)
		}},
		{"directory full of one entry", kindPhysical, func(d *disc) {
			d.putDir(d.root, bytes.Repeat(name{id: []byte{8}, to: d.root}.fid(2048), 1<<17))
		}},
		{"extents of one byte", kindPhysical, func(d *disc) {
			a := d.alloc(33)
			for i := a; i < a+32; i++ {
				d.write(addr{i, 0}, fields(allocExtent(i, fields(bytes.Repeat(shortAD(0, 1, 7), 252), shortAD(extNext, 2048, i+1)))))
			}
			d.dir(d.root, d.root, name{name: "f", to: d.put(d.icb(), entry{fileType: fileRegular, size: 1 << 40, alloc: shortAD(extNext, 2048, a)})})
		}},
		{"virtual allocation tables everywhere", kindVirtual, func(d *disc) {
			for range 3000 {
				a := addr{d.alloc(1), 0}
				d.put(a, entry{fileType: fileVAT, size: 4 << 20, alloc: shortAD(0, 4<<20, 0)})
			}
		}},
		{"streams that are not there", kindPhysical, func(d *disc) {
			dir := d.icb()
			fids := bytes.Repeat(name{name: "s", to: addr{1, 9}}.fid(2048), 1<<15)
			at := d.data(fids)
			d.put(dir, entry{fileType: fileStreamDir, size: uint64(len(fids)), alloc: shortAD(0, uint32(len(fids)), at.block)})
			d.put(d.root, entry{fileType: fileDir, streams: longDesc(2048, dir)})
		}},
		{"links whose content is a chain without end", kindPhysical, func(d *disc) {
			a := d.alloc(2000)
			for i := a; i < a+1999; i++ {
				d.write(addr{i, 0}, allocExtent(i, shortAD(extNext, 2048, i+1)))
			}
			link := d.put(d.icb(), entry{fileType: fileSymlink, size: 1 << 40, alloc: shortAD(extNext, 2048, a)})
			var names []name
			for i := range 400 {
				names = append(names, name{name: fmt.Sprint(i), to: link})
			}
			d.dir(d.root, d.root, names...)
		}},
		{"sparing packets of a block", kindSparable, func(d *disc) {
			d.dir(d.root, d.root, name{name: "f", to: d.put(d.icb(), entry{fileType: fileRegular, size: maxExtent, alloc: shortAD(0, maxExtent, 0)})})
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDisc(t, tt.kind, 2048)
			sample(d)
			tt.damage(d)
			d.finish()
			tt.damage(d)
			before, start := heap(), time.Now()
			f, err := Open(bytes.NewReader(d.img), int64(len(d.img)), Options{})
			if err != nil {
				t.Logf("refused: %v", err)
			} else if err := fsystest.Exercise(f, fsystest.Limits{}); err != nil {
				t.Error(err)
			}
			if took := time.Since(start); took > 10*time.Second*fsystest.Slow { // some hundred requests
				t.Errorf("took %v", took)
			}
			if grown := int64(heap() - before); grown > 64<<20 {
				t.Errorf("memory grew by %d bytes", grown)
			}
		})
	}
}

// heap is how much memory the heap ever took from the system.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapSys
}

// patchLogical changes the logical volume descriptors.
func patchLogical(d *disc, off int, b []byte) {
	for _, base := range []int64{testMain, testReserve} {
		for at := base; at < base+5; at++ {
			if block := d.img[at*2048:][:2048]; block[0] == tagLogical && block[1] == 0 {
				copy(block[off:], b)
				n := int(block[10]) | int(block[11])<<8
				crc := binfmt.CRC16(block[tagSize : tagSize+n])
				block[8], block[9] = byte(crc), byte(crc>>8)
				block[4] = tagChecksum(block)
			}
		}
	}
}
