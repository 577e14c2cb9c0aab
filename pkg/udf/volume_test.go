package udf

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isomount/isomount/pkg/binfmt"
	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/fsys/fsystest"
)

// sample fills a disc with a bit of everything and says what it holds.
func sample(d *disc) []fsystest.File {
	when := fsys.Time{Sec: testDate.Unix(), Nsec: uint32(testDate.Nanosecond())}
	long := bytes.Repeat([]byte("0123456789abcde\n"), int(d.bs)/4) // four blocks
	sub := d.icb()
	hello := d.file("hello\n")
	link := d.embedded(fileSymlink, fields("\x03\x00\x00\x00\x05", uint8(len(cs0("größe"))), uint16(0), cs0("größe")))
	d.dir(sub, d.root, name{name: "hard", to: hello}, name{name: "link", to: link}, name{name: "größe", to: d.file("x")})
	many := d.icb()
	var names []name
	want := []fsystest.File{
		{Path: ".", Mode: fsys.TypeDir | 0o755, ModTime: when},
		{Path: "hello", Mode: 0o644, Nlink: 1, Data: []byte("hello\n"), ModTime: when},
		{Path: "empty", Data: nil},
		{Path: "long", Data: long},
		{Path: "sub", Mode: fsys.TypeDir | 0o755},
		{Path: "sub/hard", Link: "hello"},
		{Path: "sub/link", Mode: fsys.TypeLink | 0o777, Target: "../größe"},
		{Path: "sub/größe", Data: []byte("x")},
		{Path: "many", Mode: fsys.TypeDir | 0o755},
	}
	for i := range 100 { // more than a block of names
		n := fmt.Sprintf("name %d of a hundred", i)
		names = append(names, name{name: n, to: d.file(n)})
		want = append(want, fsystest.File{Path: "many/" + n, Data: []byte(n)})
	}
	d.dir(many, d.root, names...)
	d.dir(d.root, d.root,
		name{name: "hello", to: hello}, name{name: "empty", to: d.embedded(fileRegular, nil)}, name{name: "long", to: d.file(string(long))},
		name{name: "sub", flags: fidDir, to: sub}, name{name: "many", flags: fidDir, to: many})
	return want
}

func TestVolumes(t *testing.T) {
	for _, k := range []kind{kindPhysical, kindVirtual, kindSparable, kindMetadata} {
		for _, bs := range []int64{512, 1024, 2048, 4096, 8192, 32768} {
			t.Run(fmt.Sprintf("%s %d", k, bs), func(t *testing.T) {
				d := newDisc(t, k, bs)
				want := sample(d)
				img := d.finish()
				f := open(t, img, Options{})
				if got := f.Info().Notes; got != nil {
					t.Errorf("notes = %q, want none", got)
				}
				fsystest.TestOptions(t, f, fsystest.Options{Want: want, Image: bytes.NewReader(img)})
			})
		}
	}
}

func TestVATOfUDF150(t *testing.T) {
	d := newDisc(t, kindVirtual, 2048)
	d.rev = 0x0150
	want := sample(d)
	fsystest.Test(t, open(t, d.finish(), Options{}), want)
}

func TestInfo(t *testing.T) {
	d := newDisc(t, kindMetadata, 2048)
	d.rev, d.label = 0x0260, "日本"
	sample(d)
	got := open(t, d.finish(), Options{}).Info()
	got.Updated, got.Partitions[0].Length, got.Partitions[1].Length = testDate, 0, 0
	want := Info{
		Revision: "2.60", MinRead: "2.01", MinWrite: "2.60", MaxWrite: "2.60", Label: "日本", VolumeID: "volume", VolumeSet: "volume set",
		FileSet: "files", Domain: "*OSTA UDF Compliant", Application: "*app", Writer: "*test", Recognition: "NSR03", Anchor: 256, Sequence: "main",
		SectorSize: 2048, BlockSize: 2048, Recorded: testDate, Updated: testDate, Files: 3, Directories: 2,
		Partitions: []Partition{{Kind: "physical", Start: testStart * 2048}, {Kind: "metadata"}},
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("info (-got +want):\n%s", diff)
	}
}

// TestRepair damages what there is a second of.
func TestRepair(t *testing.T) {
	wipe := func(sector, n int64) func(*disc) {
		return func(d *disc) { clear(d.img[sector*d.bs : (sector+n)*d.bs]) }
	}
	tests := []struct {
		name   string
		kind   kind
		damage func(*disc)
		note   string // part of what is noted
	}{
		{"anchor at 256", kindPhysical, wipe(256, 1), "anchor at 256 missing"},
		{"both anchors and padding", kindPhysical, func(d *disc) {
			wipe(256, 1)(d)
			d.img = append(d.img, make([]byte, 999*2048)...)
		}, "anchor at 256 missing"},
		{"anchor 150 before the end", kindPhysical, func(d *disc) {
			wipe(256, 1)(d)
			d.img = append(d.img, make([]byte, 150*2048)...)
		}, "anchor at 256 missing"},
		{"recognition sequence", kindPhysical, wipe(16, 3), "no volume recognition sequence"},
		{"main sequence", kindPhysical, wipe(testMain, 16), "main volume descriptor sequence unreadable, reserve used"},
		{"one main descriptor", kindPhysical, func(d *disc) { d.img[(testMain+1)*2048+100] ^= 1 }, "incomplete, reserve used for the rest"},
		{"first of the main sequence", kindPhysical, wipe(testMain, 1), "incomplete, reserve used for the rest"},
		{"integrity", kindPhysical, wipe(testIntegrity, 1), "no logical volume integrity descriptor"},
		{"file set", kindPhysical, func(d *disc) {
			copy(d.img[(testStart+int64(d.next)-1)*2048:], tagged(tagFileSet, d.next-1, d.bytes(d.fsd)[tagSize:512]))
			d.zero(d.fsd)
		}, "file set descriptor lost"},
		{"metadata file", kindMetadata, func(d *disc) { d.zero(d.metaICB) }, "metadata main file lost, mirror used"},
		{"metadata mirror", kindMetadata, func(d *disc) { d.zero(d.mirrorICB) }, "metadata mirror file lost"},
		{"a sparing table", kindSparable, wipe(testStart-16, 1), "sparing table at 272"},
		{"padding after a VAT", kindVirtual, func(d *disc) { d.img = append(d.img, make([]byte, 300*2048)...) }, "found 300 blocks before the end"},
		{"junk after a VAT", kindVirtual, func(d *disc) {
			d.img = append(d.img, bytes.Repeat([]byte{0x0a, 1}, 50*1024)...)
		}, "found 50 blocks before the end"},
		{"part of a block at the end", kindVirtual, func(d *disc) { d.img = append(d.img, 1, 2, 3) }, ""},
		{"an anchor that lies", kindPhysical, func(d *disc) {
			copy(d.img[256*2048:], tagged(tagAnchor, 256, pad(fields(uint32(2048), uint32(1), uint32(2048), uint32(2)), 496)))
		}, "anchor at 256 missing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDisc(t, tt.kind, 2048)
			want := sample(d)
			d.finish()
			tt.damage(d)
			f := open(t, d.img, Options{})
			fsystest.Test(t, f, want)
			if notes := strings.Join(f.Info().Notes, "\n"); !strings.Contains(notes, tt.note) {
				t.Errorf("notes = %q, want one with %q", notes, tt.note)
			}
		})
	}
}

// TestCutImage reads an image that ends within its partition.
func TestCutImage(t *testing.T) {
	d := newDisc(t, kindPhysical, 2048)
	want := sample(d)
	d.alloc(100)
	end := d.alloc(0)
	d.finish()
	d.img = d.img[:(d.start+int64(end)-7)*2048]
	f := open(t, d.img, Options{})
	fsystest.Test(t, f, want)
	if diff := cmp.Diff(f.Info().Notes, []string{"image is 14336 bytes short of the end of partition 0"}); diff != "" {
		t.Errorf("notes (-got +want):\n%s", diff)
	}
}

// TestMirroredEntry damages one file entry of a metadata partition.
func TestMirroredEntry(t *testing.T) {
	d := newDisc(t, kindMetadata, 2048)
	want := sample(d)
	d.finish()
	f := open(t, d.img, Options{})
	n, _, err := f.Lookup(f.Root(), []byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	a, _ := nodeAddr(n)
	pos, _, err := f.locate(a, 0)
	if err != nil {
		t.Fatal(err)
	}
	d.img[pos+60] ^= 0xff
	fsystest.Test(t, open(t, d.img, Options{}), want)
}

func TestNoUDF(t *testing.T) {
	iso := make([]byte, 1<<20)
	copy(iso[32768:], "\x01CD001\x01")
	copy(iso[34816:], "\xffCD001\x01")
	for _, tt := range []struct {
		name string
		img  []byte
	}{
		{"nothing", nil},
		{"short", make([]byte, 1000)},
		{"zeros", make([]byte, 1<<20)},
		{"ISO 9660", iso},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Open(bytes.NewReader(tt.img), int64(len(tt.img)), Options{}); !errors.Is(err, binfmt.ErrMagic) {
				t.Errorf("open = %v, want ErrMagic", err)
			}
		})
	}
}

// TestRefused opens volumes that are UDF without a doubt and cannot be read.
func TestRefused(t *testing.T) {
	tests := []struct {
		name   string
		kind   kind
		damage func(*disc)
	}{
		{"both sequences lost", kindPhysical, func(d *disc) {
			clear(d.img[testMain*2048 : (testMain+16)*2048])
			clear(d.img[testReserve*2048 : (testReserve+16)*2048])
		}},
		{"no anchor", kindPhysical, func(d *disc) {
			clear(d.img[256*2048 : 257*2048])
			clear(d.img[len(d.img)-2048:])
		}},
		{"root lost", kindPhysical, func(d *disc) { d.zero(d.root) }},
		{"root is a file", kindPhysical, func(d *disc) { d.embedded(fileRegular, nil); d.put(d.root, entry{fileType: fileRegular}) }},
		{"root in no partition", kindPhysical, func(d *disc) { d.root = addr{1, 7}; d.putFileSet() }},
		{"VAT lost", kindVirtual, func(d *disc) { clear(d.img[len(d.img)-2048:]) }},
		{"VAT too short", kindVirtual, func(d *disc) {
			d.put(addr{d.next - 1, 0}, entry{fileType: fileVAT, allocKind: allocEmbedded, alloc: make([]byte, 100), size: 100})
		}},
		{"both metadata files lost", kindMetadata, func(d *disc) { d.zero(d.metaICB); d.zero(d.mirrorICB) }},
		{"metadata files are other files", kindMetadata, func(d *disc) {
			d.put(d.metaICB, entry{fileType: fileRegular})
			d.put(d.mirrorICB, entry{fileType: fileRegular})
		}},
		{"cut in the middle", kindMetadata, func(d *disc) { d.img = d.img[:300*2048] }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDisc(t, tt.kind, 2048)
			sample(d)
			d.finish()
			tt.damage(d)
			_, err := Open(bytes.NewReader(d.img), int64(len(d.img)), Options{})
			if err == nil || errors.Is(err, binfmt.ErrMagic) {
				t.Errorf("open = %v, want an error that says what is damaged", err)
			}
		})
	}
}

func TestOptions(t *testing.T) {
	d := newDisc(t, kindPhysical, 2048)
	sample(d)
	img := d.finish()
	elsewhere := int64(len(img))/2048 - 1

	t.Run("anchor", func(t *testing.T) {
		if got := open(t, img, Options{Anchor: elsewhere}).Info().Anchor; got != elsewhere {
			t.Errorf("anchor = %d, want %d", got, elsewhere)
		}
	})
	t.Run("last block", func(t *testing.T) {
		long := append(bytes.Clone(img), bytes.Repeat([]byte{1}, 9<<20)...)
		clear(long[256*2048 : 257*2048])
		if _, err := Open(bytes.NewReader(long), int64(len(long)), Options{}); err == nil {
			t.Error("open found an anchor 9 MiB before the end")
		}
		if got := open(t, long, Options{LastBlock: elsewhere}).Info().Anchor; got != elsewhere {
			t.Errorf("anchor = %d, want %d", got, elsewhere)
		}
	})
	t.Run("block size", func(t *testing.T) {
		if _, err := Open(bytes.NewReader(img), int64(len(img)), Options{BlockSize: 512}); err == nil {
			t.Error("open with the wrong block size gave no error")
		}
		open(t, img, Options{BlockSize: 2048})
	})
	t.Run("no recognition sequence", func(t *testing.T) {
		clear(img[vrsStart : vrsStart+3*2048])
		if got := open(t, img, Options{NoVRS: true}).Info().Notes; got != nil {
			t.Errorf("notes = %q, want none", got)
		}
	})
	t.Run("character set", func(t *testing.T) {
		f := open(t, img, Options{Charset: "iso8859-1"})
		sub, _, err := f.Lookup(f.Root(), []byte("sub"))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := f.Lookup(sub, []byte("gr\xf6\xdfe")); err != nil {
			t.Errorf("lookup of a name in ISO 8859-1: %v", err)
		}
		if _, err := Open(bytes.NewReader(img), int64(len(img)), Options{Charset: "klingon"}); err == nil {
			t.Error("open with an unknown character set gave no error")
		}
	})
}

// TestMeta checks that only content is read from the image itself.
func TestMeta(t *testing.T) {
	d := newDisc(t, kindMetadata, 2048)
	want := sample(d)
	img := d.finish()
	data := &counter{r: bytes.NewReader(img)}
	f, err := Open(data, int64(len(img)), Options{Meta: bytes.NewReader(img)})
	if err != nil {
		t.Fatal(err)
	}
	n, a, err := f.Lookup(f.Root(), []byte("long"))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.ReadDir(f.Root(), 0, func(*fsys.Entry) bool { return true }); err != nil {
		t.Fatal(err)
	}
	if n := data.n.Load(); n != 0 {
		t.Errorf("%d reads of the image before a file was read, want 0", n)
	}
	if _, err := f.ReadAt(n, make([]byte, a.Size), 0); err != nil || data.n.Load() != 1 {
		t.Errorf("read = %v with %d reads of the image, want nil with 1", err, data.n.Load())
	}
	fsystest.Test(t, f, want)
}

// TestProbeCost counts what it takes to say that a disc is UDF, or is not: a
// read may be a round trip to a server.
func TestProbeCost(t *testing.T) {
	d := newDisc(t, kindPhysical, 2048)
	sample(d)
	iso := make([]byte, 20<<20)
	copy(iso[32768:], "\x01CD001\x01")
	for _, tt := range []struct {
		name string
		img  []byte
		want int64
	}{{"UDF", d.finish(), 20}, {"not UDF", iso, 60}} {
		r := &counter{r: bytes.NewReader(tt.img)}
		if _, err := Open(r, int64(len(tt.img)), Options{}); err != nil && !errors.Is(err, binfmt.ErrMagic) {
			t.Error(err)
		}
		if got := r.n.Load(); got > tt.want {
			t.Errorf("%s: %d reads, want at most %d", tt.name, got, tt.want)
		}
	}
}

type counter struct {
	r io.ReaderAt
	n atomic.Int64
}

func (c *counter) ReadAt(p []byte, off int64) (int, error) {
	c.n.Add(1)
	return c.r.ReadAt(p, off)
}
