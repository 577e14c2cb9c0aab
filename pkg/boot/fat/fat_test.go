package fat

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isomount/isomount/pkg/binfmt"
	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/fsys/fsystest"
)

func open(tb testing.TB, img []byte) *FS {
	tb.Helper()
	v, err := Open(bytes.NewReader(img), int64(len(img)), Options{Owner: fsys.Owner{UID: 7, GID: 8}})
	if err != nil {
		tb.Fatalf("open: %v", err)
	}
	return v
}

var date0 = fsys.Time{Sec: time.Date(2001, 2, 14, 3, 4, 6, 0, time.UTC).Unix()}

// A sound tree, in all three kinds.
func tree() (files []file, want []fsystest.File) {
	add := func(dir *[]file, prefix, long, short, shown string, data []byte, nt byte) {
		*dir = append(*dir, file{name: long, short: short, data: data, nt: nt})
		want = append(want, fsystest.File{Path: prefix + shown, Mode: 0o100555, UID: 7, GID: 8, Nlink: 1, Data: data, ModTime: date0})
	}
	add(&files, "", "", "README  TXT", "README.TXT", []byte("upper case"), 0)
	add(&files, "", "", "LOWER   TXT", "lower.txt", []byte("lower case"), lowerBase|lowerExt)
	add(&files, "", "", "MIXED   C  ", "MIXED.c", nil, lowerExt)
	add(&files, "", "", "NOEXT      ", "NOEXT", fsystest.Noise(511), 0)
	add(&files, "", "", "GR\x9AN    TXT", "GRÜN.TXT", fsystest.Noise(512), 0)
	add(&files, "", "", "\x05ABC    TXT", "σABC.TXT", fsystest.Noise(513), 0)
	add(&files, "", "A long name.html", "ALONGN~1HTM", "A long name.html", fsystest.Noise(70_000), 0)
	add(&files, "", "grüße 日本語 😀", "GRE~1      ", "grüße 日本語 😀", []byte("unicode"), 0)
	add(&files, "", strings.Repeat("x", 255), "XXXXXX~1   ", strings.Repeat("x", 255), []byte("255"), 0)
	add(&files, "", strings.Repeat("語", 255), "255~1      ", strings.Repeat("語", 255), []byte("765"), 0)
	var sub, deep []file
	for i := range 100 {
		name := fmt.Sprintf("entry number %03d", i)
		add(&sub, "sub/", name, "", name, []byte(name), 0)
	}
	add(&deep, "sub/deep/", "", "FILE       ", "FILE", []byte("deep"), 0)
	sub = append(sub, file{name: "deep", short: "DEEP       ", isDir: true, dir: deep})
	files = append(files, file{name: "sub", short: "SUB        ", isDir: true, dir: sub}, file{short: "EMPTY      ", isDir: true})
	want = append(want, fsystest.File{Path: "EMPTY", Mode: 0o40555, ModTime: date0})
	return files, want
}

func TestTree(t *testing.T) {
	for _, bits := range []int{12, 16, 32} {
		for _, c := range []struct{ clusterSize, gap int }{{512, 0}, {512, 1}, {4096, 0}} {
			t.Run(fmt.Sprintf("FAT%d clusters of %d gap %d", bits, c.clusterSize, c.gap), func(t *testing.T) {
				b := newBuilder(t, bits, c.clusterSize)
				b.gap = c.gap
				files, want := tree()
				img := b.image(files...)
				v := open(t, img)
				fsystest.TestOptions(t, v, fsystest.Options{Want: want, Image: bytes.NewReader(img)})
				if got := v.Info().Format; got != fmt.Sprintf("FAT%d", bits) {
					t.Errorf("format: got %s", got)
				}
			})
		}
	}
}

func TestInfo(t *testing.T) {
	for _, c := range []struct {
		name string
		bits int
		edit func(*builder)
		want Info
	}{
		{"FAT12", 12, func(*builder) {}, Info{Format: "FAT12", Label: "LABEL", Serial: "1234-ABCD"}},
		{"FAT16", 16, func(*builder) {}, Info{Format: "FAT16", Label: "LABEL", Serial: "1234-ABCD"}},
		{"FAT32", 32, func(*builder) {}, Info{Format: "FAT32", Label: "LABEL", Serial: "1234-ABCD"}},
		{"label in the boot sector", 12, func(b *builder) { b.label = "" }, Info{Format: "FAT12", Label: "BOOT LABEL", Serial: "1234-ABCD"}},
		{"no label", 12, func(b *builder) {
			b.label = ""
			b.edit = func(h []byte) { copy(h[43:], "NO NAME    ") }
		}, Info{Format: "FAT12", Serial: "1234-ABCD"}},
		{"DOS 3", 12, func(b *builder) {
			b.label = ""
			b.edit = func(h []byte) { h[38] = 0 }
		}, Info{Format: "FAT12"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBuilder(t, c.bits, 512)
			c.edit(b)
			img := b.image(file{data: []byte("x")})
			if c.bits == 16 {
				img = append(img, make([]byte, b.count()*512)...)
			}
			got := open(t, img).Info()
			c.want.OEM, c.want.ClusterSize, c.want.Clusters = "mkfs.fat", 512, uint32(b.count())
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
	img := newBuilder(t, 16, 512).image()
	if got := open(t, img).Info().Notes; len(got) != 1 || !strings.Contains(got[0], "the image at") {
		t.Errorf("image cut short: got notes %q", got)
	}
}

func readAll(t *testing.T, v *FS, n fsys.Node, a fsys.Attr) string {
	t.Helper()
	b := make([]byte, a.Size)
	if k, err := v.ReadAt(n, b, 0); k < len(b) {
		t.Errorf("read: got %d bytes, error %v", k, err)
	}
	return string(b)
}

func TestLookup(t *testing.T) {
	b := newBuilder(t, 12, 512)
	v := open(t, b.image(
		file{name: "Größe.html", short: "GRE~1   HTM", data: []byte("1")},
		file{short: "PLAIN   TXT", data: []byte("2")},
		file{name: "gre~1.htm", short: "OTHER   HTM", data: []byte("3")}, // the short name of another
	))
	for name, want := range map[string]string{
		"Größe.html": "1", "GRÖßE.HTML": "1", "größe.HTML": "1", "GRE~1.HTM": "1", "PLAIN.TXT": "2", "plain.txt": "2",
		"gre~1.htm": "3", "OTHER.HTM": "3", "": "", "none": "", "LABEL": "", "PLAIN": "", strings.Repeat("x", 3000): "",
	} {
		n, a, err := v.Lookup(v.Root(), []byte(name))
		switch {
		case want == "":
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%.20q: got %+v, error %v, want ErrNotExist", name, a, err)
			}
		case err != nil || readAll(t, v, n, a) != want:
			t.Errorf("%q: got %+v, error %v, want content %q", name, a, err, want)
		}
	}
}

func names(t *testing.T, v *FS, dir fsys.Node) []string {
	t.Helper()
	var all []string
	if err := v.ReadDir(dir, 0, func(e *fsys.Entry) bool { all = append(all, string(e.Name)); return len(all) < 100_000 }); err != nil {
		t.Logf("readdir: %v", err)
	}
	return all
}

// Long names that are not whole, and short ones that cannot be shown.
func TestNames(t *testing.T) {
	long := func(edit func(slots []byte) []byte) file {
		return file{raw: slices.Concat(edit(longSlots("A long name of more than one slot.txt", "ALONGN~1TXT")), slot(file{short: "ALONGN~1TXT"}, 0, 0))}
	}
	for _, c := range []struct {
		name string
		file file
		want []string
	}{
		{"whole", long(func(s []byte) []byte { return s }), []string{"A long name of more than one slot.txt"}},
		{"first slot is missing", long(func(s []byte) []byte { return s[32:] }), []string{"ALONGN~1.TXT"}},
		{"last slot is missing", long(func(s []byte) []byte { return s[:64] }), []string{"ALONGN~1.TXT"}},
		{"a slot twice", long(func(s []byte) []byte { return slices.Concat(s[:64], s[32:]) }), []string{"ALONGN~1.TXT"}},
		{"deleted slot between", long(func(s []byte) []byte { s[32] = deleted; return s }), []string{"ALONGN~1.TXT"}},
		{"checksum of another", long(func(s []byte) []byte { s[13]++; s[45]++; s[77]++; return s }), []string{"ALONGN~1.TXT"}},
		{"checksums differ", long(func(s []byte) []byte { s[45]++; return s }), []string{"ALONGN~1.TXT"}},
		{"21 slots", long(func(s []byte) []byte { s[0] = lastSlot | 21; return s }), []string{"ALONGN~1.TXT"}},
		{"name starts anew", long(func(s []byte) []byte {
			return slices.Concat(longSlots("abandoned name that is long", "X          "), s)
		}), []string{"A long name of more than one slot.txt"}},
		{"slash", file{name: "a/b", short: "A_B        "}, []string{"a_b"}},
		{"slash in a short name", file{short: "A/B        "}, []string{"A_B"}},
		{"dots as a long name", file{name: "..", short: "DOTS       "}, []string{"DOTS"}},
		{"empty long name", file{name: "\x00", short: "EMPTY      "}, []string{"EMPTY"}},
		{"lone surrogate", file{raw: slices.Concat(func() []byte {
			s := longSlots("x", "SURR       ")
			le.PutUint16(s[1:], 0xD800)
			return s
		}(), slot(file{short: "SURR       "}, 0, 0))}, []string{"\xED\xA0\x80"}},
		{"no short name", file{short: "           "}, nil},
		{"extension only", file{short: "        TXT"}, nil},
		{"deleted", file{short: "\xE5GONE      "}, nil},
		{"label", file{short: "LABEL      ", attr: attrVolume}, nil},
		{"hidden and system", file{short: "IO      SYS", attr: 0x07}, []string{"IO.SYS"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := open(t, newBuilder(t, 12, 512).image(c.file, file{short: "NEXT       "}))
			if d := cmp.Diff(append(c.want, "NEXT"), names(t, v, v.Root())); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
			fsystest.Test(t, v, nil)
		})
	}
}

func TestSameNames(t *testing.T) {
	v := open(t, newBuilder(t, 16, 512).image(
		file{name: "same", short: "SAME~1     ", data: []byte("1")},
		file{name: "same", short: "SAME~2     ", data: []byte("2")},
		file{name: "Same", short: "SAME~3     ", data: []byte("3")},
		file{name: "same~4", short: "SAME~4     ", data: []byte("4")}, // what the second is not called
	))
	fsystest.Test(t, v, nil)
	all := names(t, v, v.Root())
	var got []string
	for _, name := range all {
		n, a, err := v.Lookup(v.Root(), []byte(name))
		if err != nil {
			t.Errorf("lookup of %q: %v", name, err)
		}
		got = append(got, readAll(t, v, n, a))
	}
	if d := cmp.Diff([]string{"1", "2", "3", "4"}, got); d != "" || len(all) != 4 {
		t.Errorf("%q: -want +got:\n%s", all, d)
	}
}

func TestDates(t *testing.T) {
	for _, c := range []struct {
		name       string
		day, clock uint16
		want       time.Time
	}{
		{"first", 1<<5 | 1, 0, time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)},
		{"last", 127<<9 | 12<<5 | 31, 23<<11 | 59<<5 | 29, time.Date(2107, 12, 31, 23, 59, 58, 0, time.UTC)},
		{"no month and day", 20 << 9, 0, time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)},
		{"month 15", 20<<9 | 15<<5 | 1, 0, time.Date(2000, 12, 1, 0, 0, 0, 0, time.UTC)},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := date(c.day, c.clock); got.Sec != c.want.Unix() {
				t.Errorf("got %v, want %v", time.Unix(got.Sec, 0).UTC(), c.want)
			}
		})
	}
}

func TestOpenErrors(t *testing.T) {
	good := newBuilder(t, 12, 512).image(file{short: "FILE       "})
	for _, c := range []struct {
		name string
		edit func(h []byte)
	}{
		{"sectors of 0 bytes", func(h []byte) { le.PutUint16(h[11:], 0) }},
		{"sectors of 513 bytes", func(h []byte) { le.PutUint16(h[11:], 513) }},
		{"sectors of 32768 bytes", func(h []byte) { le.PutUint16(h[11:], 32768) }},
		{"clusters of 0 sectors", func(h []byte) { h[13] = 0 }},
		{"clusters of 3 sectors", func(h []byte) { h[13] = 3 }},
		{"no reserved sectors, as NTFS", func(h []byte) { le.PutUint16(h[14:], 0) }},
		{"no tables", func(h []byte) { h[16] = 0 }},
		{"200 tables", func(h []byte) { h[16] = 200 }},
		{"no root directory", func(h []byte) { le.PutUint16(h[17:], 0) }},
		{"unknown media", func(h []byte) { h[21] = 0x12 }},
		{"no sectors", func(h []byte) { le.PutUint16(h[19:], 0) }},
		{"fewer sectors than tables", func(h []byte) { le.PutUint16(h[19:], 7) }},
		{"tables of 0 sectors", func(h []byte) { le.PutUint16(h[22:], 0) }},
		{"zeros", func(h []byte) { clear(h) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			img := bytes.Clone(good)
			c.edit(img[:512])
			if _, err := Open(bytes.NewReader(img), int64(len(img)), Options{}); !errors.Is(err, binfmt.ErrMagic) {
				t.Errorf("got error %v, want ErrMagic", err)
			}
		})
	}
	if _, err := Open(bytes.NewReader(good[:100]), 100, Options{}); !errors.Is(err, binfmt.ErrMagic) {
		t.Errorf("short: got error %v, want ErrMagic", err)
	}
}

// Damage to chains costs what lies behind it, and no more.
func TestChains(t *testing.T) {
	data := fsystest.Noise(10 * 512)
	for _, c := range []struct {
		name string
		edit func(fat []uint32) // the file's clusters are 2 to 11
		want int                // bytes that can be read from the front; -1: all, but some twice
	}{
		{"sound", func([]uint32) {}, 5120},
		{"ends early", func(f []uint32) { f[4] = 0xFFF }, 3 * 512},
		{"leads to a free cluster", func(f []uint32) { f[4] = 0 }, 3 * 512},
		{"leads to cluster 1", func(f []uint32) { f[4] = 1 }, 3 * 512},
		{"leads to a bad cluster", func(f []uint32) { f[4] = 0xFF7 }, 3 * 512},
		{"leads past the end", func(f []uint32) { f[4] = 0xFF0 }, 3 * 512},
		{"goes round", func(f []uint32) { f[4] = 2 }, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBuilder(t, 12, 512)
			start := b.alloc(data)
			c.edit(b.fat)
			img := b.image(file{short: "FILE       ", start: start, size: uint32(len(data))})
			v := open(t, img)
			n, a, err := v.Lookup(v.Root(), []byte("FILE"))
			if err != nil || a.Size != int64(len(data)) {
				t.Fatalf("got %+v, error %v", a, err)
			}
			got := make([]byte, len(data))
			k, err := v.ReadAt(n, got, 0)
			want := bytes.Repeat(data[:3*512], 4)[:len(data)]
			if c.want >= 0 {
				want = data[:c.want]
			}
			if !bytes.Equal(got[:k], want) || (err != nil) != (k < len(data)) {
				t.Errorf("got %d bytes, error %v, want %d", k, err, len(want))
			}
			if err != nil && !damaged(err) {
				t.Errorf("got error %v, want a CorruptError", err)
			}
			if err := fsystest.Exercise(v, fsystest.Limits{}); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestDirectoryChains(t *testing.T) {
	for _, c := range []struct {
		name string
		bits int
		edit func(b *builder, img []byte)
		want int // entries of sub
		err  bool
	}{
		{"goes round", 12, func(b *builder, _ []byte) { b.fat[4] = 2 }, 46, true},
		{"ends early", 12, func(b *builder, _ []byte) { b.fat[4] = 0xFFF }, 46, false},
		{"leads to a bad cluster", 12, func(b *builder, _ []byte) { b.fat[4] = 0xFF7 }, 46, true},
		{"leads nowhere", 12, func(b *builder, _ []byte) { b.fat[4] = 0xFF0 }, 46, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var sub []file
			for i := range 100 {
				sub = append(sub, file{short: fmt.Sprintf("FILE%03d    ", i)})
			}
			b := newBuilder(t, c.bits, 512)
			start := b.alloc(make([]byte, b.dirSize(sub)))
			b.fill(start, b.slots(sub, start, 0, false))
			c.edit(b, nil)
			v := open(t, b.image(file{short: "SUB        ", isDir: true, start: start}))
			n, _, err := v.Lookup(v.Root(), []byte("SUB"))
			if err != nil {
				t.Fatal(err)
			}
			count := 0
			err = v.ReadDir(n, 0, func(*fsys.Entry) bool { count++; return count < 10_000 })
			if count != c.want || (err != nil) != c.err {
				t.Errorf("got %d entries, error %v, want %d", count, err, c.want)
			}
			if err := fsystest.Exercise(v, fsystest.Limits{}); err != nil {
				t.Error(err)
			}
		})
	}
}

// A directory that is its own child, one without a cluster, and one whose
// cluster is none.
func TestHostileDirectories(t *testing.T) {
	b := newBuilder(t, 12, 512)
	start := b.alloc(make([]byte, 512))
	b.fill(start, b.slots([]file{{short: "SELF       ", isDir: true, start: start}}, start, 0, false))
	v := open(t, b.image(
		file{short: "LOOP       ", isDir: true, start: start},
		file{raw: slot(file{short: "NOTHING    ", isDir: true}, 0, 0)},
		file{raw: slot(file{short: "NOWHERE    ", isDir: true}, 0xFF0, 0)},
	))
	if got := names(t, v, v.Root()); len(got) != 3 {
		t.Errorf("got %q, want three", got)
	}
	for name, wantErr := range map[string]bool{"NOTHING": false, "NOWHERE": true} {
		n, _, err := v.Lookup(v.Root(), []byte(name))
		if err != nil {
			t.Fatal(err)
		}
		if err := v.ReadDir(n, 0, func(*fsys.Entry) bool { return true }); (err != nil) != wantErr {
			t.Errorf("%s: got error %v", name, err)
		}
	}
	if err := fsystest.Exercise(v, fsystest.Limits{}); err != nil {
		t.Error(err)
	}
}

// FAT32 numbers clusters with 28 bits, in two halves, and may use another
// table than the first.
func TestFAT32(t *testing.T) {
	b := newBuilder(t, 32, 512)
	empty := make([]byte, 512)
	for len(b.fat) < 70_000 {
		b.fat = append(b.fat, 0)
		b.clusters = append(b.clusters, empty)
	}
	data := fsystest.Noise(1500)
	b.edit = func(h []byte) { le.PutUint16(h[40:], 0x80|1) }
	img := b.image(file{short: "FAR        ", data: data})
	v := open(t, img)
	clear(img[builderReserved*512:][:v.geo.fatSize])
	fsystest.Test(t, v, []fsystest.File{{Path: "FAR", Data: data}})
	le.PutUint16(img[40:], 0x80|2)
	if _, err := Open(bytes.NewReader(img), int64(len(img)), Options{}); !errors.Is(err, binfmt.ErrMagic) {
		t.Errorf("table 2 of 2: got error %v, want ErrMagic", err)
	}
}

// Reading a large fragmented file at random goes through marks on the way.
func TestLargeFile(t *testing.T) {
	data := fsystest.Noise(3 << 20)
	b := newBuilder(t, 32, 512)
	b.gap = 1
	v := open(t, b.image(file{short: "LARGE      ", data: data}))
	n, _, err := v.Lookup(v.Root(), []byte("LARGE"))
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		off := rnd.IntN(len(data) - 1)
		got := make([]byte, min(1+rnd.IntN(3000), len(data)-off))
		if _, err := v.ReadAt(n, got, int64(off)); (err != nil && !errors.Is(err, io.EOF)) || !bytes.Equal(got, data[off:off+len(got)]) {
			t.Fatalf("read of %d bytes at %d: error %v, or other bytes", len(got), off, err)
		}
	}
	if got := len(v.marks.files); got != 1 {
		t.Errorf("marks: got %d files, want 1", got)
	}
	if got := len(v.marks.files[3]); got < 90 || got > maxMarks {
		t.Errorf("marks: got %d", got)
	}
}

func TestMarksForget(t *testing.T) {
	var m marks
	for first := range uint32(100) {
		m.passed(first, 200, 64, 7)
		m.passed(first, 200, 128, 8)
	}
	if len(m.files) > maxMarkedFiles {
		t.Errorf("got marks of %d files, want at most %d", len(m.files), maxMarkedFiles)
	}
	if at, cluster := m.before(99, 200, 150); at != 128 || cluster != 8 {
		t.Errorf("got cluster %d at %d, want 8 at 128", cluster, at)
	}
	if at, cluster := m.before(55555, 200, 150); at != 0 || cluster != 55555 {
		t.Errorf("unknown file: got cluster %d at %d, want its first", cluster, at)
	}
}

type failing struct {
	r    io.ReaderAt
	from int64 // offset from which reading fails
}

var errDevice = errors.New("device is gone")

func (f *failing) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > f.from {
		return 0, errDevice
	}
	return f.r.ReadAt(p, off)
}

func TestDeviceErrors(t *testing.T) {
	b := newBuilder(t, 12, 512)
	img := b.image(file{short: "FILE       ", data: fsystest.Noise(2000)}, file{short: "DIR        ", isDir: true})
	r := &failing{bytes.NewReader(img), 1 << 40}
	v, err := Open(r, int64(len(img)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	n, _, err := v.Lookup(v.Root(), []byte("FILE"))
	if err != nil {
		t.Fatal(err)
	}
	r.from = 0
	if _, err := v.ReadAt(n, make([]byte, 10), 0); !errors.Is(err, errDevice) {
		t.Errorf("read: got error %v", err)
	}
	if err := v.ReadDir(v.Root(), 0, func(*fsys.Entry) bool { return true }); !errors.Is(err, errDevice) {
		t.Errorf("readdir: got error %v", err)
	}
	if _, err := Open(r, int64(len(img)), Options{}); !errors.Is(err, errDevice) {
		t.Errorf("open: got error %v", err)
	}
	r.from = v.geo.dataOff // content fails, all else can be read
	if k, err := v.ReadAt(n, make([]byte, 10), 0); k != 0 || !errors.Is(err, errDevice) {
		t.Errorf("read: got %d bytes, error %v", k, err)
	}
}

// An image that ends within the root directory shows what is before its end,
// wherever the listing begins.
func TestCutImage(t *testing.T) {
	var files []file
	for i := range 200 {
		files = append(files, file{short: fmt.Sprintf("FILE%04d   ", i)})
	}
	img := newBuilder(t, 12, 512).image(files...)
	whole := open(t, img)
	v := open(t, img[:whole.geo.rootOff+150*slotSize+10])
	if got := names(t, v, v.Root()); len(got) != 149 { // and the label
		t.Errorf("got %d entries, want 149", len(got))
	}
	if err := fsystest.Exercise(v, fsystest.Limits{}); err != nil {
		t.Error(err)
	}
	if _, _, err := v.Lookup(v.Root(), []byte("FILE0148")); err != nil {
		t.Errorf("lookup of the last that is whole: %v", err)
	}
}
