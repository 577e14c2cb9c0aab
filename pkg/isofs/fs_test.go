package isofs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isomount/isomount/pkg/binfmt"
	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/fsys/fsystest"
)

func TestPlainTree(t *testing.T) {
	m := disc(func(m *testImage) [][]byte {
		lba, size := m.dir(nil, m.file("INNER.DAT;1", "inside"))
		return [][]byte{m.file("README.TXT;1", "hello"), m.file("EMPTY.;1", ""), rec("SUB", lba, size, isDir)}
	})
	f := m.fs(t, Plain, TreeOptions{Owner: fsys.Owner{UID: 7, GID: 8}})
	fsystest.TestOptions(t, f, fsystest.Options{Image: bytes.NewReader(m.data), Want: []fsystest.File{
		{Path: "readme.txt", Mode: 0o555, UID: 7, GID: 8, Nlink: 1, Data: []byte("hello"), ModTime: unix("2001-02-03T04:05:06Z")},
		{Path: "empty", Mode: 0o555, Data: nil},
		{Path: "sub", Mode: fsys.TypeDir | 0o555, UID: 7},
		{Path: "sub/inner.dat", Data: []byte("inside")},
	}})
}

func TestRockRidgeTree(t *testing.T) {
	long := strings.Repeat("n", 200)
	stamp := []byte{110, 5, 6, 7, 8, 9, 0}
	m := rockDisc(func(m *testImage) [][]byte {
		area := m.alloc(join(nm(long[100:]), px(0o100640, 1, 1000, 1001)))
		shared := m.alloc([]byte("linked"))
		link := func(name string) []byte {
			return rec(name+";1", shared, 6, withUse(px(0o100644, 2), nm(strings.ToLower(name))))
		}
		lba, size := m.dir(px(fsys.TypeDir|0o700, 2, 5, 6))
		return [][]byte{
			m.file("LONG.;1", "content", withUse(nmPart(long[:100]), ce(area, 0, uint32(len(nm(long[100:]))+36)))),
			m.file("TIMES.;1", "x", withUse(nm("Times"), px(0o104711, 1), su("TF", []byte{0x0e}, stamp, stamp, stamp))),
			link("ONE"), link("TWO"),
			rec("LINK.;1", 0, 0, withUse(nm("link"), px(fsys.TypeLink|0o777, 1), sl(0, "\x08", "", "\x00", "usr", "\x04", "", "\x02", "", "\x01", "b", "\x00", "in"))),
			rec("NULL.;1", 0, 0, withUse(nm("null"), px(fsys.TypeChar|0o666, 1), su("PN", both(1, 3)))),
			rec("DISK.;1", 0, 0, withUse(nm("disk"), px(fsys.TypeBlock|0o660, 1), su("PN", both(0, 0x0801)))),
			rec("PIPE.;1", 0, 0, withUse(nm("pipe"), px(fsys.TypeFifo|0o644, 1))),
			rec("SOCK.;1", 0, 0, withUse(nm("sock"), px(fsys.TypeSocket|0o755, 1))),
			rec("DIR", lba, size, isDir, withUse(nm("Dir"), px(fsys.TypeDir|0o755, 2))),
			m.file("NOROCK.TXT;1", "plain"),
		}
	})
	f := m.fs(t, RockRidge, TreeOptions{})
	fsystest.TestOptions(t, f, fsystest.Options{Image: bytes.NewReader(m.data), Want: []fsystest.File{
		{Path: long, Mode: 0o640, UID: 1000, GID: 1001, Data: []byte("content"), ModTime: unix("2001-02-03T04:05:06Z")},
		{Path: "Times", Mode: 0o4711, Data: []byte("x"), ModTime: unix("2010-05-06T07:08:09Z")},
		{Path: "one", Nlink: 2, Data: []byte("linked")},
		{Path: "two", Link: "one"},
		{Path: "link", Mode: fsys.TypeLink | 0o777, Target: "/usr/.././bin"},
		{Path: "null", Mode: fsys.TypeChar | 0o666, Major: 1, Minor: 3},
		{Path: "disk", Mode: fsys.TypeBlock | 0o660, Major: 8, Minor: 1},
		{Path: "pipe", Mode: fsys.TypeFifo | 0o644},
		{Path: "sock", Mode: fsys.TypeSocket | 0o755},
		{Path: "Dir", Mode: fsys.TypeDir | 0o700, UID: 5, GID: 6, Nlink: 2},
		{Path: "norock.txt", Mode: 0o555, Data: []byte("plain")},
	}})
}

func TestJolietTree(t *testing.T) {
	m := newImage()
	sub, subSize := m.dir(nil, m.file(utf16be("inner.txt"), "inner"))
	root, size := m.dir(nil, m.file(utf16be("Ünïcode näme.txt"), "u"), rec(utf16be("Sub dir"), sub, subSize, isDir),
		m.file(utf16be("CASE"), "upper"), m.file(utf16be("case"), "lower"))
	plain, plainSize := m.dir(nil, m.file("PLAIN.TXT;1", "p"))
	m.volume(16, 1, plain, plainSize)
	m.volume(17, 2, root, size, asJoliet)
	m.end(18)

	f := m.fs(t, Joliet, TreeOptions{})
	fsystest.Test(t, f, []fsystest.File{
		{Path: "Ünïcode näme.txt", Data: []byte("u")},
		{Path: "Sub dir/inner.txt", Data: []byte("inner")},
		{Path: "CASE", Data: []byte("upper")},
		{Path: "case", Data: []byte("lower")},
	})
	for _, name := range []string{"üNÏCODE nÄme.TXT", "Ünïcode näme.txt..."} {
		if got := read(t, f, name); got != "u" {
			t.Errorf("%q: got %q, want %q", name, got, "u")
		}
	}
	if got := m.open(t, Options{}).Label(); got != "Test volume" {
		t.Errorf("got label %q, want that of Joliet", got)
	}
	strict := m.fs(t, Joliet, TreeOptions{Check: CheckStrict})
	if _, _, err := strict.Lookup(strict.Root(), []byte("CASe")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("strict lookup: got error %v, want not exist", err)
	}
}

func TestRelocatedDirectories(t *testing.T) {
	m := newImage()
	moved, movedSize := m.reserve(nil)
	holder, holderSize := m.dir(nil, rec("DEEP", moved, movedSize, isDir, withUse(nm("deep"), su("RE"))))
	deep, deepSize := m.dir(px(fsys.TypeDir|0o755, 2),
		rec("DEEP.;1", moved, 0, withUse(nm("deep"), px(0o100644, 1), su("CL", both(moved)))),
		rec("LOST.;1", moved, 0, withUse(nm("lost"), px(0o100644, 1), su("CL", both(0x7ffffff0)))),
		rec("FILE.;1", moved, 0, withUse(nm("tofile"), px(0o100644, 1), su("CL", both(m.alloc([]byte("no directory")))))))
	m.dirAt(moved, movedSize, px(fsys.TypeDir|0o711, 2), su("PL", both(deep)), m.file("IN.;1", "inside", withUse(nm("in"))))
	root, size := m.dir(join(sp(0), px(fsys.TypeDir|0o755, 2), er()),
		rec("RR_MOVED", holder, holderSize, isDir, withUse(nm("rr_moved"))),
		rec("A", deep, deepSize, isDir, withUse(nm("a"))))
	m.volume(16, 1, root, size)
	m.end(17)

	fsystest.Test(t, m.fs(t, RockRidge, TreeOptions{}), []fsystest.File{
		{Path: "a/deep", Mode: fsys.TypeDir | 0o711},
		{Path: "a/deep/in", Data: []byte("inside")},
		{Path: "a/lost", Mode: 0o644},
		{Path: "a/tofile", Mode: 0o644},
	})
	shown := m.fs(t, RockRidge, TreeOptions{ShowMoved: true})
	if diff := cmp.Diff(list(t, shown, shown.Root()), []string{"rr_moved/", "a/"}); diff != "" {
		t.Errorf("with ShowMoved, got - want +:\n%s", diff)
	}
	n, _ := lookup(t, shown, "rr_moved")
	if got := list(t, shown, n); len(got) != 0 {
		t.Errorf("rr_moved lists %q, want nothing", got)
	}
}

func TestSections(t *testing.T) {
	parts := []string{strings.Repeat("a", 2*sectorSize), strings.Repeat("b", 100), "", strings.Repeat("c", 3000)}
	m := disc(func(m *testImage) [][]byte {
		var records [][]byte
		for i, p := range parts {
			flags := byte(flagMore)
			if i == len(parts)-1 {
				flags = 0
			}
			m.alloc([]byte("between"))
			records = append(records, m.file("MULTI.DAT;1", p, withFlags(flags)))
		}
		records = append(records, m.file("NEXT.;1", "next"), m.file("OPEN.;1", "open", withFlags(flagMore)), m.file("PAST.;1", "past"))
		for i := range 300 {
			records = append(records, m.file("MANY.;1", fmt.Sprintf("%04d", i), withFlags(flagMore)))
		}
		return append(records, m.file("MANY.;1", "end"))
	})
	f := m.fs(t, Plain, TreeOptions{})
	many := ""
	for i := range 300 {
		many += fmt.Sprintf("%04d", i)
	}
	fsystest.TestOptions(t, f, fsystest.Options{Image: bytes.NewReader(m.data), Want: []fsystest.File{
		{Path: "multi.dat", Data: []byte(strings.Join(parts, ""))},
		{Path: "next", Data: []byte("next")},
		{Path: "open", Data: []byte("open")},
		{Path: "past", Data: []byte("past")},
		{Path: "many", Data: []byte(many + "end")},
	}})
}

// A section may be as large as 4 GiB less a block; a file has any number.
func TestLargeFile(t *testing.T) {
	const section = 1<<32 - sectorSize
	m := disc(func(*testImage) [][]byte {
		return [][]byte{
			rec("LARGE.;1", 100, section, withFlags(flagMore)),
			rec("LARGE.;1", 100+section/sectorSize, section, withFlags(flagMore)),
			rec("LARGE.;1", 100+2*section/sectorSize, 5000),
		}
	})
	size := int64(100*sectorSize) + 2*section + 3*sectorSize
	v, err := Open(sparseImage{m.data, size}, size, Options{})
	if err != nil {
		t.Fatal(err)
	}
	f, err := v.FS(Plain, TreeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	n, a := lookup(t, f, "large")
	if want := int64(2*section + 5000); a.Size != want {
		t.Errorf("got size %d, want %d", a.Size, want)
	}
	for _, off := range []int64{1 << 31, section - 1, section, 1 << 32, 2*section - 3, 2*section + 4990} {
		var got, want [8]byte
		if _, err := f.ReadAt(n, got[:], off); err != nil {
			t.Errorf("ReadAt(%d): %v", off, err)
		}
		_, _ = sparseImage{m.data, size}.ReadAt(want[:], 100*sectorSize+off)
		if got != want {
			t.Errorf("ReadAt(%d) = %x, want %x", off, got, want)
		}
	}
}

// A sparseImage has data at its beginning and then bytes that tell where they are.
type sparseImage struct {
	data []byte
	size int64
}

func (s sparseImage) ReadAt(p []byte, off int64) (int, error) {
	for i := range p {
		at := off + int64(i)
		switch {
		case at >= s.size:
			return i, io.EOF
		case at < int64(len(s.data)):
			p[i] = s.data[at]
		default:
			p[i] = byte(at / 8 >> (at % 8 * 5))
		}
	}
	return len(p), nil
}

func TestInterleavedFile(t *testing.T) {
	content := strings.Repeat("0123456789abcdef", 7*sectorSize/16) + "the end"
	m := disc(func(m *testImage) [][]byte {
		lba := uint32(m.next)
		m.next += 40
		for at, block := 0, int(lba); at < len(content); at, block = at+2*sectorSize, block+5 {
			m.put(block*sectorSize, []byte(content[at:min(at+2*sectorSize, len(content))]))
		}
		return [][]byte{rec("INTER.;1", lba, len(content), func(r *testRecord) { r.unit, r.gap = 2, 3 })}
	})
	fsystest.TestOptions(t, m.fs(t, Plain, TreeOptions{}), fsystest.Options{
		Image: bytes.NewReader(m.data), Want: []fsystest.File{{Path: "inter", Data: []byte(content)}},
	})
}

func TestExtendedAttributeRecord(t *testing.T) {
	m := disc(func(m *testImage) [][]byte {
		lba := m.alloc(append(make([]byte, sectorSize), "content"...))
		return [][]byte{rec("EAR.;1", lba, 7, func(r *testRecord) { r.ear = 1 })}
	})
	if got := read(t, m.fs(t, Plain, TreeOptions{}), "ear"); got != "content" {
		t.Errorf("got %q, want %q", got, "content")
	}
}

func TestSmallBlocks(t *testing.T) {
	for _, block := range []int{512, 1024, 2048} {
		t.Run(fmt.Sprint(block), func(t *testing.T) {
			m := newImageOf(block)
			sub, subSize := m.dir(nil, m.file("C.;1", "c"))
			records := [][]byte{m.file("A.;1", "a"), rec("SUB", sub, subSize, isDir)}
			var want []fsystest.File
			for i := range 100 {
				name := fmt.Sprintf("MULTI%02d.;1", i)
				records = append(records, m.file(name, "x", withFlags(flagMore)), m.file(name, "y"))
				want = append(want, fsystest.File{Path: fmt.Sprintf("multi%02d", i), Data: []byte("xy")})
			}
			root, size := m.dir(nil, records...)
			m.volume(16, 1, root, size)
			m.end(17)
			fsystest.Test(t, m.fs(t, Plain, TreeOptions{}), append(want,
				fsystest.File{Path: "a", Data: []byte("a")}, fsystest.File{Path: "sub/c", Data: []byte("c")}))
		})
	}
}

func TestSameNames(t *testing.T) {
	m := disc(func(m *testImage) [][]byte {
		return [][]byte{
			m.file("SAME.TXT;1", "one"), m.file("SAME.TXT;1", "two"), m.file("same.txt;1", "three"),
			m.file("B.;1", "b"), m.file("B~2.;1", "taken"), m.file("B.;1", "b two"),
			m.file("FORK.;1", "fork", withFlags(flagAssociated)), m.file("FORK.;1", "data"),
		}
	})
	want := []fsystest.File{
		{Path: "same.txt", Data: []byte("one")},
		{Path: "same~2.txt", Data: []byte("two")},
		{Path: "same~3.txt", Data: []byte("three")},
		{Path: "b", Data: []byte("b")},
		{Path: "b~2", Data: []byte("taken")},
		{Path: "b~3", Data: []byte("b two")},
		{Path: "fork", Data: []byte("data")},
	}
	fsystest.Test(t, m.fs(t, Plain, TreeOptions{}), want)
	fsystest.Test(t, m.fs(t, Plain, TreeOptions{ShowAssoc: true}), append(want, fsystest.File{Path: "fork~2", Data: []byte("fork")}))
	fsystest.Test(t, m.fs(t, Plain, TreeOptions{Unhide: true}), append(want, fsystest.File{Path: "fork~2", Data: []byte("fork")}))
}

// A directory that is not scanned for each name finds twins all the same.
func TestSameNamesInLargeDirectory(t *testing.T) {
	var want []fsystest.File
	m := disc(func(m *testImage) [][]byte {
		content := m.alloc([]byte("0123456789"))
		var records [][]byte
		add := func(id, shown string, size int) {
			records = append(records, rec(id, content, size))
			want = append(want, fsystest.File{Path: shown, Data: []byte("0123456789")[:size]})
		}
		add("SAME.TXT;1", "same.txt", 1)
		for i := range manyNames + 100 {
			add(fmt.Sprintf("F%05d.;1", i), fmt.Sprintf("f%05d", i), 0)
		}
		add("SAME.TXT;1", "same~2.txt", 2)
		add("same~3.txt;1", "same~3.txt", 3)
		add("same.txt", "same~4.txt", 4)
		return records
	})
	fsystest.Test(t, m.fs(t, Plain, TreeOptions{}), want)
}

func TestLargeDirectoryRelaxed(t *testing.T) {
	m := disc(func(m *testImage) [][]byte {
		var records [][]byte
		for i := range 500 {
			records = append(records, rec(fmt.Sprintf("Name%03d;1", i), 0, 0))
		}
		return append(records, m.file("A.;1", "upper"), m.file("a.;1", "lower"))
	})
	f := m.fs(t, Plain, TreeOptions{Map: MapOff, Check: CheckRelaxed})
	for name, want := range map[string]string{"A.;1": "upper", "a.;1": "lower", "nAME007;1": ""} {
		if got := read(t, f, name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if _, _, err := f.Lookup(f.Root(), []byte("name500;1")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got error %v, want not exist", err)
	}
}

func TestOptions(t *testing.T) {
	m := disc(func(m *testImage) [][]byte {
		return [][]byte{m.file("HIDDEN.;1", "h", withFlags(flagHidden)), m.file("Mixed.Txt;1", "m")}
	})
	for _, tt := range []struct {
		name string
		o    TreeOptions
		want []string
	}{
		{"default", TreeOptions{}, []string{"hidden", "mixed.txt"}},
		{"map=off", TreeOptions{Map: MapOff}, []string{"HIDDEN.;1", "Mixed.Txt;1"}},
		{"hide", TreeOptions{Hide: true}, []string{"mixed.txt"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := m.fs(t, Plain, tt.o)
			if diff := cmp.Diff(list(t, f, f.Root()), tt.want); diff != "" {
				t.Errorf("got - want +:\n%s", diff)
			}
		})
	}
}

// What is damaged is passed over, and everything behind it is shown.
func TestDamagedDirectory(t *testing.T) {
	broken := func(change func(b []byte)) func(m *testImage) [][]byte {
		return func(m *testImage) [][]byte {
			r := m.file("BROKEN.TXT;1", "broken")
			change(r)
			return [][]byte{m.file("FIRST.;1", "first"), r, m.file("LAST.;1", "last")}
		}
	}
	for _, tt := range []struct {
		name   string
		change func(b []byte)
		want   []string
	}{
		{"too short for its name", func(b []byte) { b[0] = 36 }, []string{"first", "last"}},
		{"too short for anything", func(b []byte) { b[0] = 2 }, []string{"first", "last"}},
		{"name too long", func(b []byte) { b[32] = 200 }, []string{"first", "last"}},
		{"name empty", func(b []byte) { b[32] = 0 }, []string{"first", "last"}},
		{"slash in the name", func(b []byte) { b[34] = '/' }, []string{"first", "b.oken.txt", "last"}},
		{"NUL in the name", func(b []byte) { b[34] = 0 }, []string{"first", "b_oken.txt", "last"}},
		{"zero ends the sector", func(b []byte) { b[0] = 0 }, []string{"first"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := disc(broken(tt.change)).fs(t, Plain, TreeOptions{})
			if diff := cmp.Diff(list(t, f, f.Root()), tt.want); diff != "" {
				t.Errorf("got - want +:\n%s", diff)
			}
			fsystest.Test(t, f, nil)
		})
	}
}

func TestRecordAcrossSectors(t *testing.T) {
	m := newImage()
	lba, size := m.reserve([][]byte{make([]byte, 3*sectorSize)})
	out := join(rec("\x00", lba, size, isDir), rec("\x01", lba, size, isDir))
	var want []string
	for i := range 100 {
		name := fmt.Sprintf("FILE%03d.TXT;1", i)
		out = append(out, m.file(name, "x")...)
		want = append(want, fmt.Sprintf("file%03d.txt", i))
	}
	m.put(int(lba)*sectorSize, out)
	m.volume(16, 1, lba, size)
	m.end(17)
	f := m.fs(t, Plain, TreeOptions{})
	if diff := cmp.Diff(list(t, f, f.Root()), want); diff != "" {
		t.Errorf("got - want +:\n%s", diff)
	}
	fsystest.Test(t, f, nil)
}

func TestDirectoryWithoutDots(t *testing.T) {
	m := newImage()
	sub := m.alloc(m.file("IN.;1", "in"))
	root := m.alloc(join(rec("SUB", sub, sectorSize, isDir), m.file("A.;1", "a")))
	m.volume(16, 1, root, sectorSize)
	m.end(17)
	fsystest.Test(t, m.fs(t, Plain, TreeOptions{}), []fsystest.File{
		{Path: "sub/in", Data: []byte("in")}, {Path: "a", Data: []byte("a")},
	})
}

// An image that ends too early shows what is left, and says where it ends.
func TestTruncatedImage(t *testing.T) {
	m := disc(func(m *testImage) [][]byte {
		var records [][]byte
		for i := range 200 {
			records = append(records, rec(fmt.Sprintf("F%03d.;1", i), 1000, 3000))
		}
		return append(records, m.file("A.;1", "here"))
	})
	root := m.fs(t, Plain, TreeOptions{}).rootStart
	m.data = m.data[:root+sectorSize+100]
	f := m.fs(t, Plain, TreeOptions{})
	n := 0
	err := f.ReadDir(f.Root(), 0, func(*fsys.Entry) bool { n++; return true })
	if n < 40 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %d entries and error %v", n, err)
	}
	node, _ := lookup(t, f, "f000")
	if _, err := f.ReadAt(node, make([]byte, 10), 0); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("read of what is missing: got error %v", err)
	}
	if _, _, err := f.Lookup(f.Root(), []byte("none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Lookup: got error %v, want not exist", err)
	}
}

// An error that may pass must not make names disappear for good.
func TestReadErrorPasses(t *testing.T) {
	m := disc(func(m *testImage) [][]byte {
		var records [][]byte
		for i := range 200 {
			records = append(records, m.file(fmt.Sprintf("F%03d.;1", i), "x"))
		}
		return records
	})
	r := &faulty{r: bytes.NewReader(m.data)}
	v, err := Open(r, int64(len(m.data)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	f, err := v.FS(Plain, TreeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r.bad = f.rootStart + sectorSize
	n := 0
	err = f.ReadDir(f.Root(), 0, func(*fsys.Entry) bool { n++; return true })
	if n < 100 || !errors.Is(err, errFaulty) {
		t.Errorf("got %d entries and error %v, want those of the good sectors", n, err)
	}
	if got := read(t, f, "f000"); got != "x" {
		t.Errorf("got %q from a good sector", got)
	}
	if _, _, err := f.Lookup(f.Root(), []byte("f060")); !errors.Is(err, errFaulty) {
		t.Errorf("Lookup: got error %v, want that of the bad sector", err)
	}
	r.bad = 0
	if got := read(t, f, "f060"); got != "x" {
		t.Errorf("got %q after the error passed", got)
	}
}

func TestOpenErrors(t *testing.T) {
	good := func() *testImage { return disc(func(*testImage) [][]byte { return nil }) }
	var corrupt *binfmt.CorruptError
	for _, tt := range []struct {
		name   string
		change func(m *testImage)
		check  func(err error) bool
	}{
		{"empty", func(m *testImage) { m.data = nil }, func(err error) bool { return errors.Is(err, binfmt.ErrMagic) }},
		{"zeros", func(m *testImage) { clear(m.data) }, func(err error) bool { return errors.Is(err, binfmt.ErrMagic) }},
		{"other identifier", func(m *testImage) { m.data[16*sectorSize+5] = '2' }, func(err error) bool { return errors.Is(err, binfmt.ErrMagic) }},
		{"block size 0", func(m *testImage) { put16(m.data[16*sectorSize+128:], 0) }, func(err error) bool { return errors.As(err, &corrupt) }},
		{"block size 4096", func(m *testImage) { put16(m.data[16*sectorSize+128:], 4096) }, func(err error) bool { return errors.As(err, &corrupt) }},
		{"no root record", func(m *testImage) { clear(m.data[16*sectorSize+156:][:34]) }, func(err error) bool { return errors.As(err, &corrupt) }},
		{"root past the end", func(m *testImage) { put32(m.data[16*sectorSize+158:], 1<<31) }, func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }},
		{"root is no directory", func(m *testImage) { put32(m.data[16*sectorSize+158:], 17) }, func(err error) bool { return errors.As(err, &corrupt) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := good()
			tt.change(m)
			v, err := Open(bytes.NewReader(m.data), int64(len(m.data)), Options{})
			if err == nil {
				_, err = v.FS(Plain, TreeOptions{})
			}
			if !tt.check(err) {
				t.Errorf("got error %v", err)
			}
		})
	}
}

func TestChoose(t *testing.T) {
	// Trees are made of nothing, of one file, or are not there.
	build := func(rock bool, plain, joliet int) *testImage {
		m := newImage()
		own := []byte(nil)
		if rock {
			own = join(sp(0), er())
		}
		var records [][]byte
		if plain > 0 {
			records = append(records, m.file("A.;1", "a"))
		}
		lba, size := m.dir(own, records...)
		m.volume(16, 1, lba, size)
		if joliet >= 0 {
			records = nil
			if joliet > 0 {
				records = append(records, m.file(utf16be("b"), "b"))
			}
			lba, size = m.dir(nil, records...)
			m.volume(17, 2, lba, size, asJoliet)
		}
		m.end(18)
		return m
	}
	for _, tt := range []struct {
		name             string
		image            *testImage
		noRock, noJoliet bool
		want             Kind
	}{
		{"Rock Ridge before Joliet", build(true, 1, 1), false, false, RockRidge},
		{"norock", build(true, 1, 1), true, false, Joliet},
		{"norock,nojoliet", build(true, 1, 1), true, true, Plain},
		{"Joliet before plain", build(false, 1, 1), false, false, Joliet},
		{"nojoliet", build(false, 1, 1), false, true, Plain},
		{"plain", build(false, 1, -1), false, false, Plain},
		{"Rock Ridge tree empty", build(true, 0, 1), false, false, Joliet},
		{"both empty", build(true, 0, 0), false, false, RockRidge},
		{"empty, and nojoliet", build(true, 0, 1), false, true, RockRidge},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, why, err := tt.image.open(t, Options{}).Choose(tt.noRock, tt.noJoliet)
			if got != tt.want || why == "" || err != nil {
				t.Errorf("got %s because %q, %v, want %s", got, why, err, tt.want)
			}
		})
	}
}
