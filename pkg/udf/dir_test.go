package udf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/fsys/fsystest"
)

// rootWith opens a disc whose root holds these entries; those without an
// address get a file.
func rootWith(t *testing.T, o Options, names ...name) *FS {
	t.Helper()
	d := newDisc(t, kindPhysical, 2048)
	for i := range names {
		if names[i].to == (addr{}) {
			names[i].to = d.file(fmt.Sprint(i))
		}
	}
	d.dir(d.root, d.root, names...)
	return open(t, d.finish(), o)
}

func TestShownEntries(t *testing.T) {
	names := []name{
		{name: "plain"},
		{name: "hidden", flags: fidHidden},
		{name: "deleted", flags: fidDeleted},
		{id: []byte("\xfe" + "renamed"), flags: fidDeleted},
		{name: "Non-Allocatable Space", flags: fidHidden},
		{name: "with use", use: 4},
		{name: "with much use", use: 3000},
		{name: "last"},
	}
	tests := []struct {
		name string
		opts Options
		want []string
	}{
		{"default", Options{}, []string{"plain", "hidden", "with use", "with much use", "last"}},
		{"hide", Options{Hide: true}, []string{"plain", "with use", "with much use", "last"}},
		{"undelete", Options{Undelete: true}, []string{"plain", "hidden", "deleted", "renamed", "with use", "with much use", "last"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := rootWith(t, tt.opts, slices.Clone(names)...)
			if diff := cmp.Diff(listing(t, f, f.Root()), tt.want); diff != "" {
				t.Errorf("listing (-got +want):\n%s", diff)
			}
			if got := f.RootEntries(); got != len(tt.want) {
				t.Errorf("root entries = %d, want %d", got, len(tt.want))
			}
			_, _, err := f.Lookup(f.Root(), []byte("deleted"))
			if found := err == nil; found != tt.opts.Undelete {
				t.Errorf("lookup of a deleted entry = %v", err)
			}
		})
	}
}

// TestSameNames gives every entry a name of its own.
func TestSameNames(t *testing.T) {
	long := strings.Repeat("n", 250) + ".txt"
	tests := []struct {
		name  string
		names []string
		want  []string
	}{
		{"extension", []string{"report.txt", "x", "report.txt", "report.txt"}, []string{"report.txt", "x", "report~2.txt", "report~3.txt"}},
		{"none", []string{"report", "report"}, []string{"report", "report~2"}},
		{"leading dot", []string{".rc", ".rc"}, []string{".rc", ".rc~2"}},
		{"number is taken", []string{"a", "a~2", "a"}, []string{"a", "a~2", "a~3"}},
		{"number is taken later", []string{"a", "a", "a~2"}, []string{"a", "a~3", "a~2"}},
		{"number is there twice", []string{"a", "a", "a~2", "a~2"}, []string{"a", "a~3", "a~2", "a~2~2"}},
		{"longest name", []string{long, long}, []string{long, strings.Repeat("n", 249) + "~2.txt"}},
		{"longest name of wide characters", []string{strings.Repeat("é", 127), strings.Repeat("é", 127)}, []string{strings.Repeat("é", 127), strings.Repeat("é", 126) + "~2"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var names []name
			var want []fsystest.File
			for i := range tt.names {
				names = append(names, name{name: tt.names[i]})
				want = append(want, fsystest.File{Path: tt.want[i], Data: []byte(fmt.Sprint(i))})
			}
			f := rootWith(t, Options{}, names...)
			if diff := cmp.Diff(listing(t, f, f.Root()), tt.want); diff != "" {
				t.Errorf("listing (-got +want):\n%s", diff)
			}
			fsystest.Test(t, f, want)
		})
	}
}

// TestTooManySameNames checks the limit on renamed entries: what is beyond is
// left out, and nothing is there twice.
func TestTooManySameNames(t *testing.T) {
	d := newDisc(t, kindPhysical, 2048)
	to := d.file("x")
	fids := d.fids(d.root, []name{{name: "first", to: to}})
	fids = append(fids, bytes.Repeat(name{name: "same", to: to}.fid(2048), maxRenames+10)...)
	fids = append(fids, name{name: "last", to: to}.fid(2048)...)
	d.putDir(d.root, fids)
	f := open(t, d.finish(), Options{})
	names := listing(t, f, f.Root())
	if got, want := len(names), maxRenames+2; got != want {
		t.Fatalf("%d entries, want %d", got, want)
	}
	slices.Sort(names)
	if got := len(slices.Compact(names)); got != maxRenames+2 {
		t.Errorf("%d different names, want %d", got, maxRenames+2)
	}
	for _, n := range []string{"first", "same", "same~65536", "last"} {
		if _, _, err := f.Lookup(f.Root(), []byte(n)); err != nil {
			t.Errorf("lookup of %s: %v", n, err)
		}
	}
	if _, _, err := f.Lookup(f.Root(), []byte("same~65537")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("lookup beyond the limit = %v, want ErrNotExist", err)
	}
}

// TestDamagedDirectory damages one descriptor in the middle of a directory:
// all others must be listed.
func TestDamagedDirectory(t *testing.T) {
	const count, victim = 200, 77
	all := make([]string, count)
	for i := range all {
		all[i] = fmt.Sprintf("entry %03d", i)
	}
	without := slices.Delete(slices.Clone(all), victim, victim+1)
	fidLen := len(name{name: all[0]}.fid(2048))
	tests := []struct {
		name   string
		damage func(b []byte) // the descriptor
		want   []string
	}{
		{"number", func(b []byte) { b[0] = 0 }, without},
		{"zeros", func(b []byte) { clear(b[:fidLen]) }, without},
		{"noise", func(b []byte) { copy(b[:fidLen], bytes.Repeat([]byte{1, 1, 2, 0, 0xa5}, 20)) }, without},
		{"checksum", func(b []byte) { b[4]++ }, all},
		{"checksum and content", func(b []byte) { b[4]++; b[30]++ }, without},
		{"version", func(b []byte) { b[2]++ }, all},
		{"length of the name", func(b []byte) { b[19] = 255 }, nil},
		{"length of the use", func(b []byte) { binary.LittleEndian.PutUint16(b[36:], 0xffff) }, without},
		{"no file", func(b []byte) { clear(b[20:24]) }, without},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDisc(t, kindPhysical, 2048)
			to := d.file("x")
			var names []name
			for _, n := range all {
				names = append(names, name{name: n, to: to})
			}
			fids := d.fids(d.root, names)
			at := len(fids) - (count-victim)*fidLen
			tt.damage(fids[at:])
			d.putDir(d.root, fids)
			f := open(t, d.finish(), Options{})
			got := listing(t, f, f.Root())
			if tt.want == nil { // what comes after is cut off by a few, no more
				if len(got) < count-8 || got[len(got)-1] != all[count-1] {
					t.Errorf("%d entries listed, last %s; want nearly %d", len(got), got[len(got)-1], count)
				}
				return
			}
			if diff := cmp.Diff(got, tt.want); diff != "" {
				t.Errorf("listing (-got +want):\n%s", diff)
			}
			for _, n := range tt.want {
				if _, _, err := f.Lookup(f.Root(), []byte(n)); err != nil {
					t.Errorf("lookup of %s: %v", n, err)
				}
			}
		})
	}
}

// faulty fails reads that touch a range.
type faulty struct {
	b      []byte
	lo, hi int64
}

var errMedium = errors.New("medium error")

func (r faulty) ReadAt(p []byte, off int64) (int, error) {
	if off < r.hi && off+int64(len(p)) > r.lo {
		return 0, errMedium
	}
	return bytes.NewReader(r.b).ReadAt(p, off)
}

// TestBadSectors lists a directory of which a block cannot be read.
func TestBadSectors(t *testing.T) {
	d := newDisc(t, kindPhysical, 2048)
	to := d.file("x")
	var names []name
	for i := range 500 {
		names = append(names, name{name: fmt.Sprintf("entry %03d", i), to: to})
	}
	fids := d.fids(d.root, names)
	at := (d.start + int64(d.next)) * 2048 // where putDir puts them
	d.putDir(d.root, fids)
	img := d.finish()
	f, err := Open(faulty{img, at + 3*2048, at + 4*2048}, int64(len(img)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	last := ""
	err = f.ReadDir(f.Root(), 0, func(e *fsys.Entry) bool {
		n++
		last = string(e.Name)
		return true
	})
	lostEntries := 2048/len(names[0].fid(2048)) + 2
	if n < len(names)-lostEntries || last != "entry 499" {
		t.Errorf("%d entries, the last one %q; want at least %d up to entry 499", n, last, len(names)-lostEntries)
	}
	if !errors.Is(err, errMedium) {
		t.Errorf("readdir = %v, want the medium error after the entries", err)
	}
	if _, _, err := f.Lookup(f.Root(), []byte(last)); err != nil {
		t.Errorf("lookup of %s: %v", last, err)
	}
	if _, _, err := f.Lookup(f.Root(), []byte("no such file")); !errors.Is(err, errMedium) {
		t.Errorf("lookup of what may be in the bad block = %v, want the medium error", err)
	}
}

// TestListingAllocates checks that no entry costs memory.
func TestListingAllocates(t *testing.T) {
	d := newDisc(t, kindPhysical, 2048)
	var names []name
	for i := range 1000 {
		names = append(names, name{name: fmt.Sprintf("entry %03d 日本", i), to: d.embedded(fileRegular, []byte("x"))})
	}
	d.dir(d.root, d.root, names...)
	f := open(t, d.finish(), Options{})
	got := testing.AllocsPerRun(10, func() {
		if err := f.ReadDir(f.Root(), 0, func(*fsys.Entry) bool { return true }); err != nil {
			t.Fatal(err)
		}
	})
	if got > 20 {
		t.Errorf("%v allocations for a listing of 1000 entries, want at most 20", got)
	}
}

// TestSparseDirectory lists a directory with a hole in it.
func TestSparseDirectory(t *testing.T) {
	d := newDisc(t, kindPhysical, 2048)
	to := d.file("x")
	first := d.data(pad(d.fids(d.root, []name{{name: "a", to: to}}), 2048))
	second := d.data(name{name: "b", to: to}.fid(2048))
	size := uint64(1<<20 + 4096)
	d.put(d.root, entry{fileType: fileDir, mode: 0o755, size: size, alloc: slices.Concat(
		shortAD(0, 2048, first.block), shortAD(extHole, 1<<20, 0), shortAD(0, 2048, second.block))})
	f := open(t, d.finish(), Options{})
	if diff := cmp.Diff(listing(t, f, f.Root()), []string{"a", "b"}); diff != "" {
		t.Errorf("listing (-got +want):\n%s", diff)
	}
}

func TestParent(t *testing.T) {
	d := newDisc(t, kindPhysical, 2048)
	sub, deep, orphan := d.icb(), d.icb(), d.icb()
	d.dir(d.root, d.root, name{name: "sub", flags: fidDir, to: sub}, name{name: "orphan", flags: fidDir, to: orphan})
	d.dir(sub, d.root, name{name: "deep", flags: fidDir, to: deep})
	d.dir(deep, sub)
	d.putDir(orphan, nil)
	f := open(t, d.finish(), Options{})
	for _, tt := range []struct {
		name     string
		dir, top addr
	}{{"root", d.root, d.root}, {"sub", sub, d.root}, {"deep", deep, sub}} {
		if got, err := f.Parent(tt.dir.node()); err != nil || got != tt.top.node() {
			t.Errorf("parent of %s = %#x, %v; want %#x", tt.name, got, err, tt.top.node())
		}
	}
	if _, err := f.Parent(orphan.node()); err == nil {
		t.Error("parent of a directory without an entry for it gave no error")
	}
}

func TestAttributes(t *testing.T) {
	device := func(major, minor uint32) []byte {
		a := fields(uint32(eaDevice), uint8(1), 3, uint32(24), uint32(0), major, minor)
		return slices.Concat(tagged(tagEAHeader, 0, fields(uint32(0xffffffff), uint32(0xffffffff))), a)
	}
	when := fsys.Time{Sec: testDate.Unix(), Nsec: 123456000}
	later := fsys.Time{Sec: when.Sec + 3600, Nsec: when.Nsec}
	base := fsys.Attr{Nlink: 1, ModTime: when, AccTime: later, ChgTime: later}
	with := func(change func(a *fsys.Attr)) fsys.Attr {
		a := base
		change(&a)
		return a
	}
	tests := []struct {
		name  string
		entry entry
		owner fsys.Owner
		want  fsys.Attr
	}{
		{
			"file",
			entry{fileType: fileRegular, uid: 1, gid: 2, mode: 0o640, links: 3, size: 4096, blocks: 2},
			fsys.Owner{UID: 9, GID: 9, FileMode: 0o111},
			with(func(a *fsys.Attr) {
				a.Mode, a.UID, a.GID, a.Nlink, a.Size, a.Blocks = fsys.TypeFile|0o640, 1, 2, 3, 4096, 8
			}),
		},
		{
			"set bits",
			entry{fileType: fileRegular, mode: 0o755, flags: flagSetUID | flagSetGID | flagSticky},
			fsys.Owner{},
			with(func(a *fsys.Attr) { a.Mode = fsys.TypeFile | 0o7755 }),
		},
		{"directory", entry{fileType: fileDir, mode: 0o700, links: 4}, fsys.Owner{}, with(func(a *fsys.Attr) { a.Mode, a.Nlink = fsys.TypeDir|0o700, 5 })},
		{
			"no owner",
			entry{fileType: fileRegular, uid: noID, gid: noID},
			fsys.Owner{UID: 1000, GID: 100},
			with(func(a *fsys.Attr) { a.Mode, a.UID, a.GID = fsys.TypeFile, 1000, 100 }),
		},
		{
			"no owner and none named",
			entry{fileType: fileRegular, uid: noID, gid: noID},
			fsys.Owner{},
			with(func(a *fsys.Attr) { a.Mode, a.UID, a.GID = fsys.TypeFile, overflowID, overflowID }),
		},
		{
			"owner forced to root",
			entry{fileType: fileRegular, uid: noID, gid: 5},
			fsys.Owner{ForceUID: true, ForceGID: true},
			with(func(a *fsys.Attr) { a.Mode = fsys.TypeFile }),
		},
		{
			"mode given",
			entry{fileType: fileRegular, mode: 0o640},
			fsys.Owner{SetFile: true, FileMode: 0o444},
			with(func(a *fsys.Attr) { a.Mode = fsys.TypeFile | 0o444 }),
		},
		{
			"mode of directories given",
			entry{fileType: fileRegular, mode: 0o640},
			fsys.Owner{SetDir: true, DirMode: 0o444, Umask: 0o40},
			with(func(a *fsys.Attr) { a.Mode = fsys.TypeFile | 0o600 }),
		},
		{
			"link",
			entry{fileType: fileSymlink, allocKind: allocEmbedded, size: 4, alloc: []byte{compParent, 0, 0, 0}},
			fsys.Owner{Umask: 0o77},
			with(func(a *fsys.Attr) { a.Mode, a.Size = fsys.TypeLink|0o777, 2 }),
		},
		{
			"block device",
			entry{fileType: fileBlock, mode: 0o660, ea: device(8, 70000)},
			fsys.Owner{},
			with(func(a *fsys.Attr) { a.Mode, a.Major, a.Minor = fsys.TypeBlock|0o660, 8, 70000 }),
		},
		{
			"character device",
			entry{fileType: fileChar, plain: true, mode: 0o666, ea: device(1, 3)},
			fsys.Owner{},
			with(func(a *fsys.Attr) { a.Mode, a.Major, a.Minor = fsys.TypeChar|0o666, 1, 3 }),
		},
		{"device without numbers", entry{fileType: fileChar}, fsys.Owner{}, with(func(a *fsys.Attr) { a.Mode = fsys.TypeChar })},
		{"fifo", entry{fileType: fileFifo}, fsys.Owner{}, with(func(a *fsys.Attr) { a.Mode = fsys.TypeFifo })},
		{"socket", entry{fileType: fileSocket}, fsys.Owner{}, with(func(a *fsys.Attr) { a.Mode = fsys.TypeSocket })},
		{"real-time file", entry{fileType: fileRealTime}, fsys.Owner{}, with(func(a *fsys.Attr) { a.Mode = fsys.TypeFile })},
		{"invalid date", entry{fileType: fileRegular, modified: make([]byte, 12)}, fsys.Owner{}, with(func(a *fsys.Attr) { a.Mode = fsys.TypeFile })},
		{"too many blocks", entry{fileType: fileRegular, blocks: 1 << 63}, fsys.Owner{}, with(func(a *fsys.Attr) { a.Mode = fsys.TypeFile })},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDisc(t, kindPhysical, 2048)
			a := d.put(d.icb(), tt.entry)
			d.dir(d.root, d.root, name{name: "f", to: a})
			f := open(t, d.finish(), Options{Owner: tt.owner})
			_, got, err := f.Lookup(f.Root(), []byte("f"))
			if err != nil {
				t.Fatal(err)
			}
			tt.want.Ino = uint64(d.start) + uint64(a.block)
			if diff := cmp.Diff(got, tt.want); diff != "" {
				t.Errorf("attributes (-got +want):\n%s", diff)
			}
		})
	}
}

// TestNoLinks shows a file whose link count says that nobody knows it.
func TestNoLinks(t *testing.T) {
	d := newDisc(t, kindPhysical, 2048)
	a := d.icb()
	e := entry{fileType: fileRegular, size: 1, allocKind: allocEmbedded, alloc: []byte("x")}
	d.write(a, e.encode(2048, a.block))
	d.dir(d.root, d.root, name{name: "f", to: a})
	fsystest.Test(t, open(t, d.finish(), Options{}), []fsystest.File{{Path: "f", Data: []byte("x"), Nlink: 1}})
}

func TestXattrs(t *testing.T) {
	ea := func(kind uint32, subtype uint8, data ...any) []byte {
		b := fields(data...)
		return fields(kind, subtype, 3, uint32(12+len(b)), b)
	}
	header := tagged(tagEAHeader, 0, fields(uint32(24), uint32(24)))
	d := newDisc(t, kindPhysical, 2048)
	more := slices.Concat(header, ea(eaApp, 1, uint32(3), regid("*app"), "abc"))
	eaFile := d.put(d.icb(), entry{fileType: fileEA, size: uint64(len(more)), allocKind: allocEmbedded, alloc: more})
	streamDir := d.icb()
	long := d.put(d.icb(), entry{fileType: fileRegular, size: maxXattrValue + 1})
	d.put(streamDir, entry{fileType: fileStreamDir, allocKind: allocEmbedded, alloc: nil})
	fids := d.fids(d.root, []name{
		{name: "stream", to: d.file("its content")},
		{name: "*UDF Macintosh Resource Fork", to: d.embedded(fileRegular, []byte("fork"))},
		{name: strings.Repeat("日", 85), to: d.embedded(fileRegular, nil)},
		{name: "too long", to: long},
		{name: "deleted", to: long, flags: fidDeleted},
		{name: "not readable", to: addr{0xffff, 0}},
	})
	at := d.data(fids)
	d.put(streamDir, entry{fileType: fileStreamDir, size: uint64(len(fids)), alloc: shortAD(0, uint32(len(fids)), at.block)})
	space := slices.Concat(header,
		ea(5, 1, uint32(1), uint32(1), "times"),
		ea(eaImpl, 1, uint32(4), regid("*UDF Mac FinderInfo"), "info"),
		ea(eaImpl, 1, uint32(3), regid("*UDF Mac FinderInfo"), "two"),
		ea(eaImpl, 1, uint32(4), regid("*UDF FreeEASpace"), "free"),
		ea(eaDevice, 1, uint32(0), uint32(1), uint32(3)),
	)
	f1 := d.put(d.icb(), entry{
		fileType: fileRegular, ea: space, eaICB: longDesc(2048, eaFile), streams: longDesc(2048, streamDir),
		allocKind: allocEmbedded, alloc: []byte("x"), size: 1,
	})
	lostICB := longDesc(2048, addr{0xffff, 0})
	f2 := d.put(d.icb(), entry{fileType: fileRegular, ea: space[:len(space)-10], eaICB: lostICB, streams: lostICB})
	d.dir(d.root, d.root, name{name: "f1", to: f1}, name{name: "f2", to: f2}, name{name: "none", to: d.file("x")})
	f := open(t, d.finish(), Options{})

	longName := "user." + strings.Repeat("日", 81) + "#" + hexCRC(string(cs0(strings.Repeat("日", 85))[1:]))
	want := map[string]string{
		"user.udf.ea.5.1":                     "\x01\x00\x00\x00\x01\x00\x00\x00times",
		"user.udf.impl.*UDF Mac FinderInfo":   "info",
		"user.udf.impl.*UDF Mac FinderInfo~2": "two",
		"user.udf.app.*app":                   "abc",
		"user.stream":                         "its content",
		"user.*UDF Macintosh Resource Fork":   "fork",
		longName:                              "",
	}
	names, err := f.Xattrs(f1.node())
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, n := range names {
		v, err := f.Xattr(f1.node(), n)
		if err != nil {
			t.Errorf("xattr %s: %v", n, err)
		}
		got[n] = string(v)
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("attributes (-got +want):\n%s", diff)
	}
	for _, n := range []string{"security.capability", "user.none", "stream", ""} {
		if _, err := f.Xattr(f1.node(), n); !errors.Is(err, fsys.ErrNoXattr) {
			t.Errorf("xattr %q = %v, want ErrNoXattr", n, err)
		}
	}
	if names, err := f.Xattrs(f2.node()); err == nil || len(names) != 3 {
		t.Errorf("damaged attributes = %q, %v; want three and an error", names, err)
	}
	if v, err := f.Xattr(f2.node(), "user.udf.impl.*UDF Mac FinderInfo"); err != nil || string(v) != "info" {
		t.Errorf("an attribute beside damaged ones = %q, %v; want info", v, err)
	}
}

// TestNodes asks for nodes that no directory hands out.
func TestNodes(t *testing.T) {
	d := newDisc(t, kindMetadata, 2048)
	sample(d)
	f := open(t, d.finish(), Options{})
	for _, n := range []fsys.Node{0, 1, 1 << 32, 3 << 32, 1<<56 - 1, 1<<64 - 1, addr{1 << 30, 0}.node(), addr{1 << 30, 1}.node()} {
		if _, err := f.Attr(n); err == nil {
			t.Errorf("attr of %#x gave no error", n)
		}
	}
	if _, err := f.Attr(addr{1 << 30, 1}.node()); !errors.Is(err, fsys.ErrStale) {
		t.Errorf("attr of a block outside the partition = %v, want ErrStale", err)
	}
}
