package hfsplus

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/fsys/fsystest"
)

func TestXattrs(t *testing.T) {
	b := newBuilder(t, sigPlus)
	rsrc, long := fsystest.Noise(3000), string(fsystest.Noise(20*512))
	file := b.file(cnidRoot, "file", node{rsrc: rsrc, finder: "TEXTttxt" + strings.Repeat("\x01", 24), data: []byte("data")})
	b.attribute(file, "com.example.one", "1")
	b.attribute(file, "user.two", "zwei")
	b.attribute(file, "security.capability", "inert")
	b.attribute(file, "", "no name")
	b.longAttribute(file, "long", long, 1)
	b.longAttribute(file, "huge", strings.Repeat("x", maxXattr+1), 0)
	dir := b.folder(cnidRoot, "dir", node{finder: "\x00\x01"})
	b.attribute(dir, "on folder", "ordner")
	img := b.image()

	// Of the extended information, half is not the Finder's.
	info := "TEXTttxt" + strings.Repeat("\x01", 8) + strings.Repeat("\x00", 8) + "\x01\x01\x01\x01" + strings.Repeat("\x00", 4)
	all := map[string]string{
		"user.com.example.one": "1", "user.two": "zwei", "user.security.capability": "inert", "user.long": long,
		"user.com.apple.FinderInfo": info, "user.com.apple.ResourceFork": string(rsrc),
	}
	for _, c := range []struct {
		forks string
		drop  []string
	}{
		{ForksXattr, nil},
		{ForksDot, []string{"user.com.apple.ResourceFork"}},
		{ForksNone, []string{"user.com.apple.ResourceFork", "user.com.apple.FinderInfo"}},
	} {
		t.Run(c.forks, func(t *testing.T) {
			xattrs := maps.Clone(all)
			for _, name := range c.drop {
				delete(xattrs, name)
			}
			onDir := map[string]string{"user.on folder": "ordner", "user.com.apple.FinderInfo": "\x00\x01" + strings.Repeat("\x00", 30)}
			if c.forks == ForksNone {
				delete(onDir, "user.com.apple.FinderInfo")
			}
			want := []fsystest.File{
				{Path: "file", Data: []byte("data"), Xattrs: xattrs},
				{Path: "dir", Mode: 0o40755, Xattrs: onDir},
			}
			if c.forks == ForksDot {
				want = append(want, fsystest.File{Path: "._file", Data: double(info, rsrc), Xattrs: map[string]string{}})
			}
			check(t, img, Options{Forks: c.forks}, want)
		})
	}
	v := open(t, img, Options{})
	n, _, _ := v.Lookup(v.Root(), []byte("file"))
	if _, err := v.Xattr(n, "user.huge"); !errors.Is(err, fsys.ErrNotSupported) {
		t.Errorf("attribute too long for Linux: got error %v, want ErrNotSupported", err)
	}
}

// double makes an AppleDouble file.
func double(info string, rsrc []byte) []byte {
	d := []byte("\x00\x05\x16\x07\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02")
	d = append(d, "\x00\x00\x00\x09\x00\x00\x00\x32\x00\x00\x00\x20"...)
	d = append(d, "\x00\x00\x00\x02\x00\x00\x00\x52"...)
	d = binary.BigEndian.AppendUint32(d, uint32(len(rsrc)))
	return append(append(d, finderBytes(info)...), rsrc...)
}

// A resource fork that no attribute of Linux can hold is an AppleDouble file,
// or is not shown at all.
func TestLargeResourceFork(t *testing.T) {
	b := newBuilder(t, sigHFS)
	rsrc := fsystest.Noise(maxXattr + 1)
	b.file(cnidRoot, "large", node{rsrc: rsrc, frag: 40, data: []byte("data")})
	b.file(cnidRoot, "._large", node{data: []byte("was there before")})
	img := b.image()
	want := []fsystest.File{{Path: "large", Data: []byte("data"), Xattrs: map[string]string{}}, {Path: "._large", Data: []byte("was there before")}}
	v := check(t, img, Options{}, want)
	n, _, _ := v.Lookup(v.Root(), []byte("large"))
	if _, err := v.Xattr(n, "user.com.apple.ResourceFork"); !errors.Is(err, fsys.ErrNotSupported) {
		t.Errorf("got error %v, want ErrNotSupported", err)
	}

	v = open(t, img, Options{Forks: ForksDot})
	fsystest.TestOptions(t, v, fsystest.Options{Image: bytes.NewReader(img)})
	var suffixed string
	for _, name := range list(t, v, v.Root()) {
		if strings.HasPrefix(name, "._large~") {
			suffixed = name
		}
	}
	n, a, err := v.Lookup(v.Root(), []byte(suffixed))
	got := make([]byte, a.Size)
	if _, rerr := v.ReadAt(n, got, 0); err != nil || rerr != nil || !bytes.Equal(got, double("", rsrc)) {
		t.Errorf("%q: got %d bytes, errors %v, %v", suffixed, a.Size, err, rerr)
	}
}

func deflate(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z := zlib.NewWriter(&out)
	if _, err := z.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// decmpfs makes the value of com.apple.decmpfs.
func decmpfs(kind uint32, size int, data []byte) string {
	d := binary.LittleEndian.AppendUint32(nil, cmpMagic)
	d = binary.LittleEndian.AppendUint32(d, kind)
	d = binary.LittleEndian.AppendUint64(d, uint64(size))
	return string(append(d, data...))
}

// chunks makes the resource fork of a compressed file; every other chunk is
// stored.
func chunks(t *testing.T, b []byte) []byte {
	t.Helper()
	var parts [][]byte
	for i := 0; i < len(b); i += cmpChunk {
		part := b[i:min(len(b), i+cmpChunk)]
		if i/cmpChunk%2 == 0 {
			parts = append(parts, deflate(t, part))
		} else {
			parts = append(parts, append([]byte{0xFF}, part...))
		}
	}
	table := binary.LittleEndian.AppendUint32(nil, uint32(len(parts)))
	at := 4 + 8*len(parts)
	for _, p := range parts {
		table = binary.LittleEndian.AppendUint32(table, uint32(at))
		table = binary.LittleEndian.AppendUint32(table, uint32(len(p)))
		at += len(p)
	}
	head := make([]byte, 256)
	be.PutUint32(head, 256)
	length := be.AppendUint32(nil, uint32(at))
	return slices.Concat(head, length, table, bytes.Join(parts, nil))
}

// lzvn compresses b by what is said once and then over and over: its first
// twelve bytes.
func lzvn(b []byte) []byte {
	const again = 12
	out := append([]byte{0xE0 | byte(min(again, len(b)))}, b[:min(again, len(b))]...)
	if len(b) > again+4 {
		out = append(out, 0x40|1<<3, again, b[0]) // a literal and a match of 4, to set the distance
		for left := len(b) - again - 5; left > 0; {
			n := min(left, 15)
			out = append(out, 0xF0|byte(n))
			left -= n
		}
	}
	return append(out, 6, 0, 0, 0, 0, 0, 0, 0)
}

// lzfseBlock makes a stream of one block of LZVN.
func lzfseBlock(b []byte) []byte {
	packed := lzvn(b)
	out := binary.LittleEndian.AppendUint32([]byte("bvxn"), uint32(len(b)))
	out = binary.LittleEndian.AppendUint32(out, uint32(len(packed)))
	return append(append(out, packed...), "bvx$"...)
}

// offsetChunks makes the resource fork of a file compressed by LZVN or LZFSE;
// every other chunk is stored.
func offsetChunks(b []byte, pack func([]byte) []byte) []byte {
	var parts [][]byte
	for i := 0; i < len(b); i += cmpChunk {
		part := b[i:min(len(b), i+cmpChunk)]
		if i/cmpChunk%2 == 0 {
			parts = append(parts, pack(part))
		} else {
			parts = append(parts, append([]byte{0x06}, part...))
		}
	}
	at := 4 * (len(parts) + 1)
	table := binary.LittleEndian.AppendUint32(nil, uint32(at))
	for _, p := range parts {
		at += len(p)
		table = binary.LittleEndian.AppendUint32(table, uint32(at))
	}
	return slices.Concat(table, bytes.Join(parts, nil))
}

// compressedVolume has a file of every kind of compression.
func compressedVolume(t *testing.T) ([]byte, []fsystest.File) {
	t.Helper()
	text := bytes.Repeat([]byte("compress me "), 20_000)
	b := newBuilder(t, sigPlus)
	b.nodeSize = 8192
	add := func(name, value string, rsrc []byte) {
		id := b.file(cnidRoot, name, node{owner: ownerCompressed, rsrc: rsrc})
		b.attribute(id, xattrCompressed, value)
		b.attribute(id, "other", "x")
	}
	add("stored", decmpfs(1, 5, []byte("12345")), nil)
	add("zlib", decmpfs(3, 3000, deflate(t, text[:3000])), nil)
	add("zlib stored", decmpfs(3, 5, []byte("\xff12345")), nil)
	add("chunks", decmpfs(4, len(text), nil), chunks(t, text))
	add("one chunk", decmpfs(4, 100, nil), chunks(t, text[:100]))
	add("empty", decmpfs(3, 0, nil), nil)
	add("LZVN", decmpfs(7, 3000, lzvn(text[:3000])), nil)
	add("LZVN stored", decmpfs(7, 5, []byte("\x0612345")), nil)
	add("LZVN chunks", decmpfs(8, len(text), nil), offsetChunks(text, lzvn))
	add("marked", decmpfs(9, 5, []byte("\xcc12345")), nil)
	add("LZFSE", decmpfs(11, 3000, lzfseBlock(text[:3000])), nil)
	add("LZFSE stored", decmpfs(11, 5, []byte("\xff12345")), nil)
	add("LZFSE chunks", decmpfs(12, len(text), nil), offsetChunks(text, lzfseBlock))
	want := []fsystest.File{
		{Path: "stored", Data: []byte("12345")},
		{Path: "zlib", Data: text[:3000]},
		{Path: "zlib stored", Data: []byte("12345")},
		{Path: "chunks", Data: text, Nlink: 1},
		{Path: "one chunk", Data: text[:100]},
		{Path: "empty"},
		{Path: "LZVN", Data: text[:3000]},
		{Path: "LZVN stored", Data: []byte("12345")},
		{Path: "LZVN chunks", Data: text, Nlink: 1},
		{Path: "marked", Data: []byte("12345")},
		{Path: "LZFSE", Data: text[:3000]},
		{Path: "LZFSE stored", Data: []byte("12345")},
		{Path: "LZFSE chunks", Data: text, Nlink: 1},
	}
	for i := range want {
		want[i].Xattrs = map[string]string{"user.other": "x"}
	}
	return b.image(), want
}

func TestCompression(t *testing.T) {
	img, want := compressedVolume(t)
	for _, forks := range []string{ForksXattr, ForksDot} {
		t.Run(forks, func(t *testing.T) {
			check(t, img, Options{Forks: forks}, want)
		})
	}
}

func TestCompressionErrors(t *testing.T) {
	many := chunks(t, make([]byte, 100_000))
	far := bytes.Clone(many)
	binary.LittleEndian.PutUint32(far[264:], 1<<30)
	huge := bytes.Clone(many)
	binary.LittleEndian.PutUint32(huge[268:], 1<<31)
	for _, c := range []struct {
		name   string
		value  string
		rsrc   []byte
		size   int64
		want   error // nil: a CorruptError
		exists bool  // the attribute stays visible
	}{
		{"unknown kind", decmpfs(13, 100, []byte("x")), nil, 100, fsys.ErrNotSupported, false},
		{"no LZVN", decmpfs(7, 100, []byte("x")), nil, 100, nil, false},
		{"no LZFSE", decmpfs(11, 100, []byte("x")), nil, 100, nil, false},
		{"LZVN, fewer bytes than said", decmpfs(7, 3000, lzvn([]byte("few"))), nil, 3000, nil, false},
		{"LZFSE chunks that are zlib", decmpfs(12, 100, nil), many, 100, nil, false},
		{"LZVN without resource fork", decmpfs(8, 3000, nil), nil, 3000, nil, false},
		{"LZVN, no chunk", decmpfs(8, 3000, nil), binary.LittleEndian.AppendUint32(nil, 4), 3000, nil, false},
		{"LZVN chunk that ends before it begins", decmpfs(8, 3000, nil), []byte{8, 0, 0, 0, 4, 0, 0, 0}, 3000, nil, false},
		{"no zlib", decmpfs(3, 100, []byte("no zlib stream")), nil, 100, nil, false},
		{"zlib cut short", decmpfs(3, 3000, deflate(t, make([]byte, 3000))[:10]), nil, 3000, nil, false},
		{"fewer bytes than said", decmpfs(3, 3000, deflate(t, make([]byte, 2000))), nil, 3000, nil, false},
		{"stored, fewer bytes than said", decmpfs(1, 3000, []byte("x")), nil, 3000, nil, false},
		{"attribute of a terabyte", decmpfs(3, 1<<40, deflate(t, make([]byte, 3000))), nil, 1 << 40, nil, false},
		{"fewer chunks than said", decmpfs(4, 1<<40, nil), chunks(t, nil), 1 << 40, nil, false},
		{"no resource fork", decmpfs(4, 3000, nil), nil, 3000, nil, false},
		{"chunk outside", decmpfs(4, 3000, nil), far, 3000, nil, false},
		{"chunk of gigabytes", decmpfs(4, 3000, nil), huge, 3000, nil, false},
		{"not compressed", "no magic number", nil, 4, nil, true},
		{"negative size", decmpfs(3, -1, nil), nil, 4, nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBuilder(t, sigPlus)
			id := b.file(cnidRoot, "file", node{owner: ownerCompressed, rsrc: c.rsrc, data: []byte("data")})
			b.attribute(id, xattrCompressed, c.value)
			v := open(t, b.image(), Options{})
			n, a, err := v.Lookup(v.Root(), []byte("file"))
			if err != nil || a.Size != c.size {
				t.Fatalf("got size %d, error %v, want %d", a.Size, err, c.size)
			}
			_, err = v.ReadAt(n, make([]byte, 1), 0)
			switch {
			case c.exists:
				if err != nil {
					t.Errorf("read: got error %v", err)
				}
			case c.want != nil:
				if !errors.Is(err, c.want) {
					t.Errorf("read: got error %v, want %v", err, c.want)
				}
			case !damaged(err) || errors.Is(err, nil):
				t.Errorf("read: got error %v, want damage", err)
			}
			if err := fsystest.Exercise(v, fsystest.Limits{}); err != nil {
				t.Error(err)
			}
		})
	}
}
