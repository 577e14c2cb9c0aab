package hfsplus

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/isomount/isomount/pkg/binfmt"
	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/fsys/fsystest"
)

// walkNames returns the paths of all entries.
func walkNames(tb testing.TB, v *FS) map[string]bool {
	tb.Helper()
	all := map[string]bool{}
	var walk func(path string, dir fsys.Node)
	walk = func(path string, dir fsys.Node) {
		err := v.ReadDir(dir, 0, func(e *fsys.Entry) bool {
			p := path + string(e.Name)
			all[p] = true
			if e.Attr.IsDir() && strings.Count(p, "/") < 5 {
				walk(p+"/", e.Node)
			}
			return len(all) < 10_000
		})
		if err != nil {
			tb.Logf("readdir of %q: %v", path, err)
		}
	}
	walk("", v.Root())
	return all
}

// A wide folder between two small ones, in nodes of 1024 bytes.
func damagedImage(tb testing.TB, damage func(nodes [][]byte)) []byte {
	tb.Helper()
	b := newBuilder(tb, sigPlus)
	for _, name := range []string{"a", "wide", "z"} {
		dir := b.folder(cnidRoot, name, node{})
		count := 3
		if name == "wide" {
			count = 100
		}
		for i := range count {
			b.file(dir, fmt.Sprintf("file %03d", i), node{data: []byte("x")})
		}
	}
	b.damage = func(tree string, nodes [][]byte) {
		if tree == "catalog" {
			damage(nodes)
		}
	}
	return b.image()
}

// wideID is the id of the wide folder: the one before is 16, its files 17 to 19.
const wideID = 20

// leaves returns the numbers of the leaves whose records are all in it.
func leaves(nodes [][]byte) []int {
	var found []int
	for i, n := range nodes {
		if n[8] != kindLeaf {
			continue
		}
		inside := true
		for k := range int(be.Uint16(n[10:])) {
			at := be.Uint16(n[len(n)-2*(k+1):])
			inside = inside && be.Uint32(n[at+2:]) == wideID
		}
		if inside {
			found = append(found, i)
		}
	}
	return found
}

func records(node []byte) int { return int(be.Uint16(node[10:])) }

func TestDamagedCatalog(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(nodes [][]byte) (lost int)
		notes  string
	}{
		{"none", func([][]byte) int { return 0 }, ""},
		{"no index nodes", func(nodes [][]byte) int {
			for _, n := range nodes {
				if n[8] == kindIndex {
					clear(n)
				}
			}
			return 0
		}, "links are broken"},
		{"root out of range", func(nodes [][]byte) int {
			be.PutUint32(nodes[0][16:], 1<<31)
			return 0
		}, "links are broken"},
		{"root is a leaf of height 7", func(nodes [][]byte) int {
			be.PutUint32(nodes[0][16:], 1)
			nodes[1][9] = 7
			return 0
		}, "links are broken"},
		{"index node is its own child", func(nodes [][]byte) int {
			root := be.Uint32(nodes[0][16:])
			n := nodes[root]
			for i := range records(n) {
				at := int(be.Uint16(n[len(n)-2*(i+1):]))
				be.PutUint32(n[at+2+int(be.Uint16(n[at:])):], root)
			}
			return 0
		}, "links are broken"},
		{"index out of order", func(nodes [][]byte) int {
			n := nodes[be.Uint32(nodes[0][16:])]
			at := int(be.Uint16(n[len(n)-2:]))
			be.PutUint32(n[at+2:], 1<<31)
			return 0
		}, "links are broken"},
		{"leaf cleared", func(nodes [][]byte) int {
			n := nodes[leaves(nodes)[3]]
			lost := records(n)
			clear(n)
			return lost
		}, "links are broken"},
		{"leaf links to an earlier one", func(nodes [][]byte) int {
			l := leaves(nodes)
			be.PutUint32(nodes[l[3]], uint32(l[1]))
			return 0
		}, "links are broken"},
		{"leaf links to itself", func(nodes [][]byte) int {
			l := leaves(nodes)
			be.PutUint32(nodes[l[3]], uint32(l[3]))
			return 0
		}, "links are broken"},
		{"leaf links to the header", func(nodes [][]byte) int {
			be.PutUint32(nodes[leaves(nodes)[3]], uint32(1<<30))
			return 0
		}, "links are broken"},
		{"freed node still looks like a leaf", func(nodes [][]byte) int {
			l := leaves(nodes)
			nodes[0][nodeHead+106+128+l[3]/8] &^= 0x80 >> (l[3] % 8)
			be.PutUint32(nodes[0][16:], 1<<31)
			return records(nodes[l[3]])
		}, "links are broken"},
		{"record of another folder", func(nodes [][]byte) int {
			n := nodes[leaves(nodes)[3]]
			at := be.Uint16(n[len(n)-4:])
			be.PutUint32(n[at+2:], 1<<31)
			return 1
		}, ""},
		{"record outside the node", func(nodes [][]byte) int {
			n := nodes[leaves(nodes)[3]]
			be.PutUint16(n[len(n)-4:], 0xFFFF)
			return 2 // the record before it ends there
		}, ""},
		{"record of an unknown kind", func(nodes [][]byte) int {
			n := nodes[leaves(nodes)[3]]
			at := be.Uint16(n[len(n)-4:])
			n[int(at)+2+int(be.Uint16(n[at:]))+1] = 9
			return 1
		}, ""},
		{"key longer than its record", func(nodes [][]byte) int {
			n := nodes[leaves(nodes)[3]]
			be.PutUint16(n[be.Uint16(n[len(n)-4:]):], 0xFFFE)
			return 1
		}, ""},
		{"number of records", func(nodes [][]byte) int {
			be.PutUint16(nodes[leaves(nodes)[3]][10:], 0xFFFF)
			return 0
		}, ""},
		{"file without a number", func(nodes [][]byte) int {
			n := nodes[leaves(nodes)[3]]
			at := be.Uint16(n[len(n)-4:])
			be.PutUint32(n[int(at)+2+int(be.Uint16(n[at:]))+8:], 0)
			return 1
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			lost := 0
			img := damagedImage(t, func(nodes [][]byte) { lost = c.damage(nodes) })
			v := open(t, img, Options{})
			got := walkNames(t, v)
			if want := 3 + 3 + 100 + 3 - lost; len(got) != want {
				t.Errorf("got %d entries, want %d", len(got), want)
			}
			if notes := strings.Join(v.Info().Notes, "\n"); (c.notes == "") != (notes == "") || !strings.Contains(notes, c.notes) {
				t.Errorf("got notes %q, want %q", notes, c.notes)
			}
			if err := fsystest.Exercise(v, fsystest.Limits{}); err != nil {
				t.Error(err)
			}
		})
	}
}

// A catalog that is too large to be read whole is listed as far as it goes,
// with an error, and nothing twice.
func TestTooLargeToMend(t *testing.T) {
	img := damagedImage(t, func(nodes [][]byte) {
		l := leaves(nodes)
		be.PutUint32(nodes[l[3]], uint32(l[1]))
	})
	v := open(t, img, Options{})
	v.catalog.mendLimit = 0
	n, _, err := v.Lookup(v.Root(), []byte("wide"))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	err = v.ReadDir(n, 0, func(e *fsys.Entry) bool {
		if seen[string(e.Name)] {
			t.Errorf("%q is there twice", e.Name)
		}
		seen[string(e.Name)] = true
		return len(seen) < 1000
	})
	if !isCorrupt(err) || len(seen) < 4 || len(seen) > 99 {
		t.Errorf("got %d entries, error %v, want some and a CorruptError", len(seen), err)
	}
	if err := fsystest.Exercise(v, fsystest.Limits{}); err != nil {
		t.Error(err)
	}
}

func TestOpenErrors(t *testing.T) {
	plain := damagedImage(t, func([][]byte) {})
	hfs := newBuilder(t, sigHFS).image()
	edit := func(img []byte, off int, b ...byte) []byte {
		img = bytes.Clone(img)
		copy(img[off:], b)
		return img
	}
	for _, c := range []struct {
		name string
		img  []byte
		want any // error: that error; string: in a CorruptError; nil: opens
	}{
		{"empty", nil, binfmt.ErrMagic},
		{"short", plain[:1500], binfmt.ErrMagic},
		{"zeros", make([]byte, 1<<16), binfmt.ErrMagic},
		{"another signature", edit(plain, 1024, 'H', '*'), binfmt.ErrMagic},
		{"header alone", plain[:1536], "without a header"},
		{"block size 0, copy is good", edit(plain, 1024+40, 0, 0, 0, 0), nil},
		{"block size 3, copy as well", edit(edit(plain, 1024+40, 0, 0, 0, 3), len(plain)-1024+40, 0, 0, 0, 3), "allocation blocks of 3 bytes"},
		{"no blocks", edit(edit(plain, 1024+44, 0, 0, 0, 0), len(plain)-1024+44, 0, 0, 0, 0), "without blocks"},
		{"catalog of no bytes", edit(plain, 1024+272, make([]byte, 8)...), "without a header"},
		{"catalog elsewhere", edit(plain, 1024+272+16, 0, 0, 0, 1), "no header node"},
		{"catalog past the end", edit(plain, 1024+272+16, 0x7F), "without a header"},
		{"catalog of 2^63 bytes", edit(plain, 1024+272, 0xFF), nil},
		{"HFS block size 100", edit(hfs, 1024+20, 0, 0, 0, 100), "allocation blocks of 100 bytes"},
		{"HFS without a catalog", edit(hfs, 1024+146, 0, 0, 0, 0), "without a header"},
		{"wrapper with nothing inside", wrap(make([]byte, 1<<14)), "no volume in HFS wrapper"},
		{"wrapper cut short", wrap(plain)[:10_000], "outside"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, err := Open(bytes.NewReader(c.img), int64(len(c.img)), Options{})
			switch want := c.want.(type) {
			case nil:
				if err != nil {
					t.Fatalf("got error %v", err)
				}
				if len(walkNames(t, v)) != 109 {
					t.Error("entries are missing")
				}
			case error:
				if !errors.Is(err, want) {
					t.Errorf("got error %v, want %v", err, want)
				}
			case string:
				if !isCorrupt(err) || !strings.Contains(err.Error(), want) {
					t.Errorf("got error %v, want a CorruptError with %q", err, want)
				}
			}
		})
	}
}

// A reader that fails is no damage: nothing is mended, nothing is lost for good.
type failing struct {
	r    io.ReaderAt
	fail bool
}

var errDevice = errors.New("device is gone")

func (f *failing) ReadAt(p []byte, off int64) (int, error) {
	if f.fail {
		return 0, errDevice
	}
	return f.r.ReadAt(p, off)
}

func TestDeviceErrors(t *testing.T) {
	img := damagedImage(t, func([][]byte) {})
	r := &failing{r: bytes.NewReader(img)}
	v, err := Open(r, int64(len(img)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	n, _, err := v.Lookup(v.Root(), []byte("wide"))
	if err != nil {
		t.Fatal(err)
	}
	r.fail = true
	if err := v.ReadDir(n, 0, func(*fsys.Entry) bool { return true }); !errors.Is(err, errDevice) {
		t.Errorf("readdir: got error %v, want %v", err, errDevice)
	}
	if _, _, err := v.Lookup(n, []byte("file 000")); !errors.Is(err, errDevice) {
		t.Errorf("lookup: got error %v, want %v", err, errDevice)
	}
	if _, err := v.Attr(n); !errors.Is(err, errDevice) {
		t.Errorf("attr: got error %v, want %v", err, errDevice)
	}
	if _, err := Open(r, int64(len(img)), Options{}); !errors.Is(err, errDevice) {
		t.Errorf("open: got error %v, want %v", err, errDevice)
	}
	r.fail = false
	if got := len(walkNames(t, v)); got != 109 || v.Info().Notes != nil {
		t.Errorf("afterwards: got %d entries and notes %q, want 109", got, v.Info().Notes)
	}
}

// An image that ends early shows what is still there.
func TestCutImage(t *testing.T) {
	b := newBuilder(t, sigPlus)
	data := fsystest.Noise(3000)
	id := b.file(cnidRoot, "file", node{data: data})
	// The file's last block becomes the image's last block, and is cut off.
	end := uint32(len(b.image()) / 512)
	for _, l := range b.catalog {
		if l.data[1] == recFile && be.Uint32(l.data[8:]) == id {
			be.PutUint32(l.data[88+16:], end-3)
		}
	}
	b.content = b.content[:b.blocks(len(data))]
	v := open(t, b.image(), Options{})
	n, a, err := v.Lookup(v.Root(), []byte("file"))
	if err != nil || a.Size != 3000 {
		t.Fatalf("got %+v, error %v", a, err)
	}
	k, err := v.ReadAt(n, make([]byte, 3000), 0)
	if k != 3*512 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %d bytes, error %v, want %d and io.ErrUnexpectedEOF", k, err, 3*512)
	}
	if err := fsystest.Exercise(v, fsystest.Limits{}); err != nil {
		t.Error(err)
	}
}

func TestDamagedExtents(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(nodes [][]byte)
	}{
		{"no records", func(nodes [][]byte) { clear(nodes[1]) }},
		{"no root", func(nodes [][]byte) { be.PutUint32(nodes[0][16:], 77) }},
		{"no header", func(nodes [][]byte) { clear(nodes[0]) }},
		{"empty extents", func(nodes [][]byte) { clear(nodes[1][nodeHead+12 : nodeHead+12+64]) }},
		{"blocks past 2^32", func(nodes [][]byte) {
			copy(nodes[1][nodeHead+12:], "\xff\xff\xff\xff\xff\xff\xff\xff")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBuilder(t, sigPlus)
			data := fsystest.Noise(20 * 512)
			b.file(cnidRoot, "file", node{data: data, frag: 1})
			b.damage = func(tree string, nodes [][]byte) {
				if tree == "extents" {
					c.damage(nodes)
				}
			}
			v := open(t, b.image(), Options{})
			n, a, err := v.Lookup(v.Root(), []byte("file"))
			if err != nil || a.Size != int64(len(data)) {
				t.Fatalf("got %+v, error %v", a, err)
			}
			got := make([]byte, len(data))
			if k, err := v.ReadAt(n, got, 0); k != 8*512 || !isCorrupt(err) || !bytes.Equal(got[:k], data[:k]) {
				t.Errorf("got %d bytes, error %v, want the first %d and a CorruptError", k, err, 8*512)
			}
			if err := fsystest.Exercise(v, fsystest.Limits{}); err != nil {
				t.Error(err)
			}
		})
	}
}

// What is said of attributes is lost with their file, and nothing else.
func TestDamagedAttributes(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(nodes [][]byte)
		want   int // attributes that are left
	}{
		{"none", func([][]byte) {}, 3},
		{"no header", func(nodes [][]byte) { clear(nodes[0]) }, 0},
		{"no leaf", func(nodes [][]byte) { clear(nodes[1]) }, 0},
		{"one record", func(nodes [][]byte) { be.PutUint16(nodes[1][be.Uint16(nodes[1][1020:]):], 0xFFF0) }, 2},
		{"value longer than its record", func(nodes [][]byte) {
			at := be.Uint16(nodes[1][1020:])
			be.PutUint32(nodes[1][at+2+be.Uint16(nodes[1][at:])+12:], 0xFFFFFFF0)
		}, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBuilder(t, sigPlus)
			id := b.file(cnidRoot, "file", node{data: []byte("data")})
			for _, name := range []string{"one", "three", "two"} {
				b.attribute(id, name, name)
			}
			b.damage = func(tree string, nodes [][]byte) {
				if tree == "attrs" {
					c.damage(nodes)
				}
			}
			v := open(t, b.image(), Options{})
			n, _, err := v.Lookup(v.Root(), []byte("file"))
			if err != nil {
				t.Fatal(err)
			}
			names, err := v.Xattrs(n)
			if err != nil || len(names) != c.want {
				t.Errorf("got %q, error %v, want %d", names, err, c.want)
			}
			if err := fsystest.Exercise(v, fsystest.Limits{}); err != nil {
				t.Error(err)
			}
		})
	}
}
