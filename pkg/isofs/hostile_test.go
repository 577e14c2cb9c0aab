package isofs

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/fsys/fsystest"
)

// hostile are images of the kinds that once broke a reader. None may crash, hang
// or take much memory, and the good file beside the trap must be shown. They
// are the seeds of FuzzOpen too.
var hostile = []struct {
	name  string
	image func() *testImage
	rock  bool
}{
	// CVE-2014-5472, CVE-2014-9420: continuation areas that never end.
	{"CE of itself", func() *testImage {
		return trap(func(m *testImage) []byte {
			at := uint32(m.next)
			return join(nmPart("loop"), ce(m.alloc(join(nmPart("x"), ce(at, 0, 40))), 0, 40))
		})
	}, true},
	{"CE of each other", func() *testImage {
		return trap(func(m *testImage) []byte {
			at := uint32(m.next)
			m.alloc(ce(at+1, 0, 28))
			m.alloc(ce(at, 0, 28))
			return ce(at, 0, 28)
		})
	}, true},
	{"CE at ever new places of one area", func() *testImage {
		return trap(func(m *testImage) []byte {
			at := uint32(m.next)
			var area []byte
			for i := range uint32(500) {
				area = append(area, ce(at, 4*i+4, 2000)...)
			}
			m.alloc(area)
			return ce(at, 0, 2000)
		})
	}, true},
	{"CE past the end", func() *testImage {
		return trap(func(*testImage) []byte { return ce(1<<32-1, 1<<32-1, 1<<32-1) })
	}, true},
	{"CE of 4 GiB", func() *testImage {
		return trap(func(m *testImage) []byte { return ce(uint32(m.next), 0, 1<<32-1) })
	}, true},
	// CVE-2014-9584, CVE-2009-3736 (libarchive), CVE-2015-8915: lengths of entries that are not checked.
	{"entry of length 0", func() *testImage {
		return trap(func(*testImage) []byte { return []byte("NM\x00\x01\x00zero") })
	}, true},
	{"entry of length 3", func() *testImage {
		return trap(func(*testImage) []byte { return []byte("NM\x03\x01") })
	}, true},
	{"entry that ends past its record", func() *testImage {
		return trap(func(*testImage) []byte { return []byte("PX\xff\x01") })
	}, true},
	{"entries shorter than their fields", func() *testImage {
		return trap(func(*testImage) []byte {
			return join(su("PX"), su("PN", []byte{1}), su("TF"), su("TF", []byte{0xff}), su("SL"), su("SL", []byte{0, 0, 200}), su("NM"),
				su("CL", []byte{1}), su("ZF", []byte("pz")), su("SF", []byte{1}), su("AL"), su("CE"), su("ER", []byte{255}), su("SP"))
		})
	}, true},
	// CVE-2012-6549 and others: names that are longer than what they are put into.
	{"name of 10,000 bytes", func() *testImage {
		return trap(func(m *testImage) []byte {
			var area []byte
			for range 40 {
				area = append(area, nmPart(strings.Repeat("n", 250))...)
			}
			return ce(m.alloc(area), 0, uint32(len(area)))
		})
	}, true},
	{"link of 60,000 bytes", func() *testImage {
		return trap(func(m *testImage) []byte {
			var area []byte
			for range 240 {
				area = append(area, sl(1, "\x01", strings.Repeat("l", 245))...)
			}
			return join(px(fsys.TypeLink|0o777, 1), ce(m.alloc(area), 0, uint32(len(area))))
		})
	}, true},
	// CVE-2016-4809, CVE-2015-8934, CVE-2019-1000020: compressed files and relocated directories.
	{"zisofs of huge blocks", func() *testImage {
		return trap(func(*testImage) []byte { return zf("ZF", "pz", 0xff, 1<<32-1) })
	}, true},
	{"zisofs of huge size", func() *testImage {
		return trap(func(*testImage) []byte { return zf("Z2", "PZ", 20, 1<<64-1) })
	}, true},
	{"zisofs over something else", func() *testImage {
		return trap(func(*testImage) []byte { return zf("ZF", "pz", 15, 2) })
	}, true},
	{"relocated to its own directory", func() *testImage {
		return trap(func(*testImage) []byte { return su("CL", both(trapRoot)) })
	}, true},
	{"relocated to nowhere", func() *testImage {
		return trap(func(*testImage) []byte { return su("CL", both(1<<32-1)) })
	}, true},
	// CVE-2012-6549, and reads past the end of a sector: lengths of records.
	{"record of 255 bytes at the end", func() *testImage {
		return plainTrap(func(m *testImage) []byte { r := m.file("TRAP.;1", "x"); r[0] = 255; return r })
	}, false},
	{"record of 1 byte", func() *testImage {
		return plainTrap(func(m *testImage) []byte { r := m.file("TRAP.;1", "x"); r[0] = 1; return r })
	}, false},
	{"name longer than its record", func() *testImage {
		return plainTrap(func(m *testImage) []byte { r := m.file("TRAP.;1", "x"); r[32] = 255; return r })
	}, false},
	// kdomanski/iso9660, go-diskfs: arithmetic in 32 bits.
	{"extent of 4 GiB at block 2^32-1", func() *testImage {
		return plainTrap(func(*testImage) []byte {
			return rec("TRAP.;1", 1<<32-1, 1<<32-1, func(r *testRecord) { r.ear = 255 })
		})
	}, false},
	{"interleaved beyond all bounds", func() *testImage {
		return plainTrap(func(*testImage) []byte {
			return rec("TRAP.;1", 1<<32-1, 1<<32-1, func(r *testRecord) { r.unit, r.gap = 255, 255 })
		})
	}, false},
	{"directory of 4 GiB", func() *testImage {
		return plainTrap(func(m *testImage) []byte {
			lba, _ := m.dir(nil)
			put32(m.data[int(lba)*sectorSize+10:], 1<<32-1)
			return rec("TRAP", lba, 1<<32-1, isDir)
		})
	}, false},
	{"directory past the end", func() *testImage {
		return plainTrap(func(*testImage) []byte { return rec("TRAP", 1<<31, sectorSize, isDir) })
	}, false},
	// CVE-2015-8933 and many others: recursion.
	{"directory that holds itself", func() *testImage {
		return plainTrap(func(m *testImage) []byte {
			lba, size := m.reserve(nil)
			m.dirAt(lba, size, nil, nil, rec("UP", lba, size, isDir))
			return rec("TRAP", lba, size, isDir)
		})
	}, false},
	{"directory that holds the root", func() *testImage {
		return plainTrap(func(*testImage) []byte { return rec("TRAP", trapRoot, 2*sectorSize, isDir) })
	}, false},
	{"sections without end", func() *testImage {
		return plainTrap(func(*testImage) []byte { return rec("TRAP.;1", 20, 1<<32-1, withFlags(flagMore)) })
	}, false},
	{"30 levels of two entries for one directory", func() *testImage {
		return plainTrap(func(m *testImage) []byte {
			lba, size := m.dir(nil)
			for range 30 {
				lba, size = m.dir(nil, rec("A", lba, size, isDir), rec("B", lba, size, isDir))
			}
			return rec("TRAP", lba, size, isDir)
		})
	}, false},
	{"thousands of the same name", func() *testImage {
		m := newImage()
		records := [][]byte{m.file("GOOD.;1", "good")}
		for range 5000 {
			records = append(records, m.file("SAME.;1", ""))
			m.next = 21
		}
		m.next = 30
		lba, size := m.dir(nil, records...)
		m.volume(16, 1, lba, size)
		m.end(17)
		return m
	}, false},
}

// trapRoot is the block of the root of a trap.
const trapRoot = 20

// trap makes a Rock Ridge disc of a good file and of one with a system use area
// that is not.
func trap(use func(m *testImage) []byte) *testImage {
	m := newImage()
	m.next = trapRoot + 2
	good := m.file("GOOD.;1", "good", withUse(px(0o100644, 1), nm("good")))
	bad := m.file("TRAP.;1", "trap", withUse(px(0o100644, 1), use(m)))
	m.dirAt(trapRoot, 2*sectorSize, join(sp(0), er()), nil, bad, good)
	m.volume(16, 1, trapRoot, 2*sectorSize)
	m.end(17)
	return m
}

// plainTrap makes a disc of a good file and of a record that is not.
func plainTrap(bad func(m *testImage) []byte) *testImage {
	m := newImage()
	m.next = trapRoot + 2
	good := m.file("GOOD.;1", "good")
	r := bad(m)
	m.dirAt(trapRoot, 2*sectorSize, nil, nil, good, r)
	m.volume(16, 1, trapRoot, 2*sectorSize)
	m.end(17)
	return m
}

func TestHostileImages(t *testing.T) {
	for _, tt := range hostile {
		t.Run(tt.name, func(t *testing.T) {
			m := tt.image()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			exercise(t, m.data)
			kind := Plain
			if tt.rock {
				kind = RockRidge
			}
			if got := read(t, m.fs(t, kind, TreeOptions{}), "good"); got != "good" {
				t.Errorf("got %q from the file beside it", got)
			}
			runtime.ReadMemStats(&after)
			if took := time.Since(start); took > 5*time.Second*fsystest.Slow {
				t.Errorf("took %v", took)
			}
			if n := after.TotalAlloc - before.TotalAlloc; n > 64<<20*fsystest.Slow {
				t.Errorf("allocated %d bytes", n)
			}
		})
	}
}

// An image that ends within its descriptors is either opened or refused.
func TestTruncatedDescriptors(t *testing.T) {
	data := rockDisc(func(m *testImage) [][]byte { return [][]byte{m.file("A.;1", "a")} }).data
	for n := 0; n < len(data); n += 512 {
		exercise(t, data[:n])
	}
}

// Any node at all is answered without harm.
func TestStrangeNodes(t *testing.T) {
	m := rockDisc(func(m *testImage) [][]byte { return [][]byte{m.file("A.;1", "a")} })
	f := m.fs(t, RockRidge, TreeOptions{})
	for n := range fsys.Node(len(m.data)) {
		if a, err := f.Attr(n); err == nil && a.Nlink == 0 {
			t.Errorf("node %d: %+v", n, a)
		}
		_ = f.ReadDir(n, 0, func(*fsys.Entry) bool { return false })
		_, _ = f.Parent(n)
	}
}

func FuzzOpen(f *testing.F) {
	for _, h := range hostile {
		f.Add(h.image().data)
	}
	f.Add(highSierraDisc().data)
	f.Add(withAttributes(al(40, "\x03a", "b", "", "\x17\x35\x65\x81\x17")).data)
	f.Add(packed(zisofsFile(f, "pz", []byte("content")), zf("ZF", "pz", testShift, 7)).data)
	f.Add(packed(sparseFile(2, 1<<17, sparsePiece{512, []byte("content")}), sf(1<<17, 2)).data)
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<20 {
			return
		}
		exercise(t, data)
	})
}

// FuzzPatch changes a few bytes of images that get further than those of FuzzOpen.
func FuzzPatch(f *testing.F) {
	var images [][]byte
	for _, h := range hostile {
		images = append(images, h.image().data)
	}
	images = append(images, packed(sparseFile(3, 1<<25, sparsePiece{1 << 24, noise(1000)}), sf(1<<25, 3)).data)
	for img := range fsystest.Corpus(f) {
		if _, err := Open(bytes.NewReader(img), int64(len(img)), Options{}); err == nil {
			images = append(images, img)
		}
	}
	fsystest.FuzzPatches(f, images, nil, func(t *testing.T, img []byte) {
		t.Helper()
		exercise(t, img)
	})
}

// FuzzDirectory fuzzes the root directory alone, in an image that is otherwise
// good, so that the fuzzer does not have to find its way there.
func FuzzDirectory(f *testing.F) {
	for _, h := range hostile {
		m := h.image()
		f.Add(m.data[trapRoot*sectorSize : min(len(m.data), 40*sectorSize)])
	}
	f.Fuzz(func(t *testing.T, dir []byte) {
		if len(dir) > 64<<10 {
			return
		}
		m := newImage()
		m.put(trapRoot*sectorSize, dir)
		m.volume(16, 1, trapRoot, max(sectorSize, len(dir)/2))
		m.volume(17, 2, trapRoot, max(sectorSize, len(dir)/2), asJoliet)
		m.end(18)
		exercise(t, m.data)
	})
}

func FuzzRecord(f *testing.F) {
	f.Add(rec("FILE.TXT;1", 30, 100, withUse(px(0o100644, 1), nm("file"))), false)
	f.Add(rec("\x00", 30, 100, isDir), true)
	f.Fuzz(func(t *testing.T, b []byte, highSierra bool) {
		var r record
		if !r.decode(b, 0, highSierra) {
			return
		}
		if r.length > len(b) || recordHead+len(r.name)+len(r.use) > r.length {
			t.Errorf("record of %d bytes in %d: name %d, system use %d", r.length, len(b), len(r.name), len(r.use))
		}
		before := join(r.date, r.name, r.use)
		var buf [maxRecord]byte
		r.copyTo(&buf)
		if !bytes.Equal(before, join(r.date, r.name, r.use)) {
			t.Error("the copy differs")
		}
	})
}

func FuzzSystemUse(f *testing.F) {
	f.Add(join(px(0o100644, 1), nm("a"), sl(1, "\x08", ""), su("TF", []byte{0x0e}, make([]byte, 21))), []byte("continued"))
	f.Add(ce(20, 0, 100), ce(20, 30, 50))
	f.Fuzz(func(t *testing.T, use, area []byte) {
		m := newImage()
		m.put(trapRoot*sectorSize, area)
		v := &Volume{r: bytes.NewReader(m.data), meta: bytes.NewReader(m.data), size: int64(len(m.data)), primary: &descriptor{blockSize: sectorSize}}
		var s susp
		var x rock
		s.start(v, use)
		x.parse(&s, false)
		if len(x.name) > maxName || len(x.link) > maxLink {
			t.Errorf("name of %d and link of %d bytes", len(x.name), len(x.link))
		}
		if s.limit < 0 || s.hops > maxAreas {
			t.Errorf("%d areas, %d bytes left", s.hops, s.limit)
		}
	})
}

func FuzzBoot(f *testing.F) {
	f.Add(join(validation(PlatformBIOS, ""), bootImage(bootable, 0x20, 4, 30), bootSectionHeader(bootSection, PlatformEFI, 3, "x")))
	f.Fuzz(func(t *testing.T, catalog []byte) {
		if len(catalog) > maxBootCatalog {
			return
		}
		m := newImage()
		m.volume(16, 1, 20, sectorSize)
		boot := make([]byte, sectorSize)
		copy(boot, "\x00CD001\x01"+bootRecordID)
		binary.LittleEndian.PutUint32(boot[71:], 20)
		m.put(17*sectorSize, boot)
		m.put(20*sectorSize, catalog)
		entries, _ := m.open(t, Options{}).Boot()
		for _, e := range entries {
			if e.Offset < 0 || e.Size < 0 || e.Size > 0 && e.Offset+e.Size > int64(len(m.data)) {
				t.Errorf("boot image from %d of %d bytes", e.Offset, e.Size)
			}
		}
	})
}
