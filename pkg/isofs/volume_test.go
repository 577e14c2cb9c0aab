package isofs

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/fsys/fsystest"
)

// session writes a session that begins at a sector and has one file.
func (m *testImage) session(start int, label string, blocks uint32) {
	m.next = max(m.next, start+20)
	lba, size := m.dir(nil, m.file(strings.ToUpper(label)+".;1", label))
	m.volume(start+16, 1, lba, size, func(d []byte) {
		pad(d[40:72], label)
		put32(d[80:], blocks)
	})
	m.end(start + 17)
}

// copyDescriptors puts the descriptors of a session to sector 16.
func (m *testImage) copyDescriptors(start int) {
	copy(m.data[16*sectorSize:18*sectorSize], m.data[(start+16)*sectorSize:(start+18)*sectorSize])
}

func TestSessions(t *testing.T) {
	grown := newImage()
	for i, label := range []string{"one", "two", "three"} {
		grown.session(32+32*i, label, 25)
	}
	grown.copyDescriptors(96)

	burned := newImage()
	burned.session(0, "one", 24)
	burned.session(24+11400, "two", 30)

	hybrid := newImage()
	hybrid.session(0, "one", 60)
	lba, size := hybrid.dir(nil)
	hybrid.volume(48, 1, lba, size)
	hybrid.end(49)

	for _, tt := range []struct {
		name  string
		image *testImage
		want  []Session
		main  string // the session that is shown by default
	}{
		{"grown in place", grown, []Session{{Number: 1, Start: 32, Blocks: 25, Label: "one"}, {Number: 2, Start: 64, Blocks: 25, Label: "two"}, {Number: 3, Start: 96, Blocks: 25, Label: "three"}}, "three"},
		{"burned", burned, []Session{{Number: 1, Start: 0, Blocks: 24, Label: "one"}, {Number: 2, Start: 11424, Blocks: 30, Label: "two"}}, "one"},
		{"descriptors for a partition", hybrid, []Session{{Number: 1, Start: 0, Blocks: 60, Label: "one"}}, "one"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := tt.image.open(t, Options{})
			if diff := cmp.Diff(v.Sessions(), tt.want, cmpopts.IgnoreUnexported(Session{})); diff != "" {
				t.Errorf("got - want +:\n%s", diff)
			}
			if got := v.Label(); got != tt.main {
				t.Errorf("got session %q by default, want %q", got, tt.main)
			}
			for _, s := range tt.want {
				for _, o := range []Options{{Session: s.Number}, {SBSector: s.Start}} {
					if o == (Options{}) {
						continue
					}
					f, err := tt.image.open(t, o).FS(Plain, TreeOptions{})
					if err != nil {
						t.Fatal(err)
					}
					if got := read(t, f, s.Label); got != s.Label {
						t.Errorf("%+v: got %q, want %q", o, got, s.Label)
					}
				}
			}
		})
	}
	if _, err := Open(sparseImage{grown.data, int64(len(grown.data))}, int64(len(grown.data)), Options{Session: 4}); !errors.Is(err, ErrNoTree) {
		t.Errorf("session 4: got error %v", err)
	}
}

// highSierraDisc makes a disc as it was before ISO 9660.
func highSierraDisc() *testImage {
	m := newImage()
	old := func(r []byte) []byte {
		r[24], r[25] = r[25], 0 // flags come a byte earlier: there is no time zone
		return r
	}
	sub := m.alloc(join(old(rec("\x00", uint32(m.next), sectorSize, isDir)), old(rec("\x01", uint32(m.next+2), sectorSize, isDir)), old(rec("DEEP.TXT;1", uint32(m.next+1), 4))))
	m.alloc([]byte("deep"))
	content := uint32(m.next + 1)
	root := m.alloc(join(old(rec("\x00", uint32(m.next), sectorSize, isDir)), old(rec("\x01", uint32(m.next), sectorSize, isDir)),
		old(rec("FILE.TXT;1", content, 12)), old(rec("SUB", sub, sectorSize, isDir))))
	m.alloc([]byte("high  sierra"))
	d := make([]byte, sectorSize)
	copy(d[8:], "\x01CDROM\x01")
	pad(d[16:48], "SYSTEM")
	pad(d[48:80], "SIERRA")
	put32(d[88:], uint32(len(m.data)/sectorSize))
	put16(d[136:], sectorSize)
	copy(d[180:], old(rec("\x00", root, sectorSize, isDir)))
	copy(d[790:], "1986010203040500")
	m.put(16*sectorSize, d)
	return m
}

func TestHighSierra(t *testing.T) {
	m := highSierraDisc()
	v := m.open(t, Options{})
	k, _, err := v.Choose(false, false)
	if k != HighSierra || err != nil {
		t.Fatalf("got %s, %v", k, err)
	}
	if info := v.Info(); info.Format != "highsierra" || info.Label != "SIERRA" || info.Descriptors[0].Created != "1986-01-02T03:04:05Z" {
		t.Errorf("got %+v", info)
	}
	fsystest.Test(t, m.fs(t, HighSierra, TreeOptions{}), []fsystest.File{
		{Path: "file.txt", Mode: 0o555, Data: []byte("high  sierra"), ModTime: unix("2001-02-03T04:05:06Z")},
		{Path: "sub", Mode: fsys.TypeDir | 0o555},
		{Path: "sub/deep.txt", Data: []byte("deep")},
	})
}

func TestEnhancedTree(t *testing.T) {
	build := func(own bool) *testImage {
		m := newImage()
		plain, plainSize := m.dir(nil, m.file("LONG_NAM.TXT;1", "x"))
		root, size := plain, plainSize
		if own {
			root, size = m.dir(nil, m.file("Long name, full of characters.txt", "x"))
		}
		m.volume(16, 1, plain, plainSize)
		m.volume(17, 2, root, size, func(d []byte) { d[6] = 2 })
		m.end(18)
		return m
	}
	m := build(true)
	if k, _, err := m.open(t, Options{}).Choose(false, false); k != Enhanced || err != nil {
		t.Errorf("got %s, %v", k, err)
	}
	if got := list(t, m.fs(t, Enhanced, TreeOptions{}), m.fs(t, Enhanced, TreeOptions{}).Root()); got[0] != "Long name, full of characters.txt" {
		t.Errorf("got %q", got)
	}
	if k, _, err := build(false).open(t, Options{}).Choose(false, false); k != Plain || err != nil {
		t.Errorf("with the root of the primary tree: got %s, %v", k, err)
	}
}

func TestRockRidgeIsFound(t *testing.T) {
	for _, tt := range []struct {
		name string
		own  []byte // system use of the root
		file []byte // system use of a file
		want string // name of the file in the tree that Linux would show
	}{
		{"ER", join(sp(0), er()), nm("Rock"), "Rock"},
		{"SP and PX", join(sp(0), px(fsys.TypeDir|0o755, 1)), nm("Rock"), "Rock"},
		{"PX alone", px(fsys.TypeDir|0o755, 1), nm("Rock"), "Rock"},
		{"NM alone", nil, nm("Rock"), "Rock"},
		{"skipped bytes", join(sp(14), er()), join(make([]byte, 14), nm("Rock")), "Rock"},
		{"CD-XA before it", join(xa(), sp(14), er()), join(xa(), nm("Rock")), "Rock"},
		{"CD-XA, and no SP", join(xa(), px(fsys.TypeDir|0o755, 1)), join(xa(), nm("Rock")), "Rock"},
		{"none", nil, nil, "file.txt"},
		{"CD-XA alone", xa(), xa(), "file.txt"},
		{"other entries", su("AA", []byte{2, 0}), su("AA", []byte{2, 0}), "file.txt"},
		{"junk", []byte{0xff, 0xff, 0xff, 0xff}, []byte("PX"), "file.txt"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := discWith(tt.own, func(m *testImage) [][]byte {
				return [][]byte{m.file("FILE.TXT;1", "x", withUse(tt.file))}
			})
			k, _, err := m.open(t, Options{}).Choose(false, false)
			if err != nil {
				t.Fatal(err)
			}
			f := m.fs(t, k, TreeOptions{})
			if diff := cmp.Diff(list(t, f, f.Root()), []string{tt.want}); diff != "" {
				t.Errorf("got - want +:\n%s", diff)
			}
		})
	}
}

// xa makes the attributes of a CD-XA disc.
func xa() []byte {
	b := make([]byte, xaSize)
	b[5] = 0x55
	copy(b[6:], "XA")
	return b
}

// Some writers name a directory as its own parent. The path table knows.
func TestParentFromPathTable(t *testing.T) {
	m := newImage()
	a, aSize := m.reserve(nil)
	b, bSize := m.reserve(nil)
	m.dirAt(b, bSize, nil, nil)
	m.dirAt(a, aSize, nil, nil, rec("B", b, bSize, isDir))
	root, size := m.dir(nil, rec("A", a, aSize, isDir))
	for _, lba := range []uint32{a, b} {
		put32(m.data[int(lba)*sectorSize+34+2:], lba)
	}
	entry := func(name string, lba uint32, parent byte) []byte {
		b := []byte{byte(len(name)), 0, byte(lba), byte(lba >> 8), 0, 0, parent, 0}
		return append(append(b, name...), make([]byte, len(name)%2)...)
	}
	table := join(entry("\x00", root, 1), entry("A", a, 1), entry("B", b, 2))
	at := m.alloc(table)
	m.volume(16, 1, root, size, func(d []byte) {
		put32(d[132:], uint32(len(table)))
		d[140] = byte(at)
	})
	m.end(17)
	fsystest.Test(t, m.fs(t, Plain, TreeOptions{}), []fsystest.File{{Path: "a/b", Mode: fsys.TypeDir | 0o555}})

	put32(m.data[16*sectorSize+132:], 1<<32-1) // a table of any size is not read for long
	f := m.fs(t, Plain, TreeOptions{})
	n, _ := lookup(t, f, "a", "b")
	if got, err := f.Parent(n); err != nil || got == n {
		t.Errorf("got %d, %v", got, err)
	}
}

func TestInfo(t *testing.T) {
	m := newImage()
	lba, size := m.dir(join(sp(0), er()))
	m.volume(16, 1, lba, size, func(d []byte) {
		pad(d[190:318], "SET")
		pad(d[318:446], "PUBLISHER")
		pad(d[446:574], "PREPARER \xe9")
		pad(d[574:702], "APPLICATION")
		d[87]++ // the big-endian half of the volume size
		put16(d[120:], 3)
	})
	m.volume(17, 2, lba, size, func(d []byte) { copy(d[88:], "%/G") })
	got := m.open(t, Options{}).Info()
	if got.Label != "TEST" || got.BlockSize != 2048 || got.RockRidge != "RRIP_1991A" || len(got.Sessions) != 1 {
		t.Errorf("got %+v", got)
	}
	want := Descriptor{
		Kind: DescriptorPrimary, Offset: 16 * sectorSize, Version: 1, System: "LINUX", Label: "TEST", VolumeSet: "SET",
		Publisher: "PUBLISHER", Preparer: "PREPARER é", Application: "APPLICATION", SetSize: 3, SetNumber: 1,
		Created: "2001-01-01T00:00:01Z", Modified: "2001-01-01T00:00:01Z", Expires: "2001-01-01T00:00:01Z", Effective: "2001-01-01T00:00:01Z",
	}
	if diff := cmp.Diff(got.Descriptors[0], want); diff != "" {
		t.Errorf("got - want +:\n%s", diff)
	}
	for _, want := range []string{"volume space size is", "unknown escape sequence", "no terminator", "volume 1 of a set of 3"} {
		if !strings.Contains(strings.Join(got.Notes, "\n"), want) {
			t.Errorf("%q is not noted: %q", want, got.Notes)
		}
	}
}

func TestVolumeDate(t *testing.T) {
	for _, tt := range []struct {
		name               string
		created, modified  string
		rootDate, fileDate []byte
		want               string
	}{
		{"of the file", "2002010100000000", "2003010100000000", []byte{104, 1, 1, 0, 0, 0, 0}, []byte{105, 1, 1, 0, 0, 0, 0}, "2005-01-01T00:00:00Z"},
		{"creation", "2002010100000000", "2003010100000000", []byte{104, 1, 1, 0, 0, 0, 0}, make([]byte, 7), "2002-01-01T00:00:00Z"},
		{"modification", "0000000000000000", "2003010100000000", []byte{104, 1, 1, 0, 0, 0, 0}, make([]byte, 7), "2003-01-01T00:00:00Z"},
		{"of the root", "                ", "NOTADATE20012001", []byte{104, 1, 1, 0, 0, 0, 0}, make([]byte, 7), "2004-01-01T00:00:00Z"},
		{"none", "                ", "NOTADATE20012001", make([]byte, 7), make([]byte, 7), "1970-01-01T00:00:00Z"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := disc(func(m *testImage) [][]byte {
				return [][]byte{m.file("A.;1", "a", func(r *testRecord) { copy(r.date[:], tt.fileDate) })}
			})
			copy(m.data[16*sectorSize+813:], tt.created)
			copy(m.data[16*sectorSize+830:], tt.modified)
			copy(m.data[16*sectorSize+156+18:], tt.rootDate)
			if _, a := lookup(t, m.fs(t, Plain, TreeOptions{}), "a"); a.ModTime != unix(tt.want) {
				t.Errorf("got %v, want %s", a.ModTime, tt.want)
			}
		})
	}
}

func TestCharsets(t *testing.T) {
	for _, tt := range []struct {
		name, charset string
		names         []string // as recorded
		want          []string
	}{
		{"as they are", "", []string{"\xea\xe0\xf0\xf2\xe0"}, []string{"\xea\xe0\xf0\xf2\xe0"}},
		{"named", "cp1251", []string{"\xea\xe0\xf0\xf2\xe0"}, []string{"карта"}},
		{"named otherwise", "windows-1251", []string{"\xea\xe0\xf0\xf2\xe0"}, []string{"карта"}},
		{"UTF-8", "utf8", []string{"карта"}, []string{"карта"}},
		{"guess: UTF-8 stays", "auto", []string{"карта", "\xea\xe0\xf0\xf2\xe0 \xe3\xee\xf0\xee\xe4\xe0"}, []string{"карта", "карта города"}},
		{"guess: DOS", "auto", []string{"\xaa\xa0\xe0\xe2\xa0", "\xa3\xae\xe0\xae\xa4"}, []string{"карта", "город"}},
		{"guess: KOI8-R", "auto", []string{"\xcb\xc1\xd2\xd4\xc1", "\xc7\xcf\xd2\xcf\xc4"}, []string{"карта", "город"}},
		{"guess: Japanese", "auto", []string{"\x83\x65\x83\x58\x83\x67", "\x82\xd0\x82\xe7\x82\xaa\x82\xc8"}, []string{"テスト", "ひらがな"}},
		{"guess: Korean", "auto", []string{"\xc7\xd1\xb1\xdb", "\xc6\xc4\xc0\xcf"}, []string{"한글", "파일"}},
		{"guess: Western", "auto", []string{"caf\xe9", "M\xfcller"}, []string{"café", "Müller"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := rockDisc(func(m *testImage) [][]byte {
				var records [][]byte
				for _, n := range tt.names {
					records = append(records, m.file("A.;1", "x", withUse(nm(n))))
				}
				return records
			})
			f := m.fs(t, RockRidge, TreeOptions{Charset: tt.charset})
			if diff := cmp.Diff(list(t, f, f.Root()), tt.want); diff != "" {
				t.Errorf("got - want +:\n%s", diff)
			}
			for _, name := range tt.want {
				lookup(t, f, name)
			}
		})
	}
	if _, err := rockDisc(func(*testImage) [][]byte { return nil }).open(t, Options{}).FS(RockRidge, TreeOptions{Charset: "klingon"}); err == nil {
		t.Error("an unknown character set is no error")
	}
}

// xorriso records what the names were written in.
func TestRecordedCharset(t *testing.T) {
	m := discWith(join(sp(0), er(), al(255, "\x04cs", "CP866")), func(m *testImage) [][]byte {
		return [][]byte{m.file("A.;1", "x", withUse(nm("\xcc"))), m.file("B.;1", "x", withUse(nm("b")))}
	})
	f := m.fs(t, RockRidge, TreeOptions{Charset: autoCharset})
	if diff := cmp.Diff(list(t, f, f.Root()), []string{"╠", "b"}); diff != "" {
		t.Errorf("got - want +:\n%s", diff)
	}
}

// Joliet names are shown in the character set that is asked for.
func TestJolietCharset(t *testing.T) {
	m := newImage()
	root, size := m.dir(nil, m.file(utf16be("карта é"), "x"))
	m.volume(16, 1, root, size)
	m.volume(17, 2, root, size, asJoliet)
	m.end(18)
	f := m.fs(t, Joliet, TreeOptions{Charset: "koi8-r"})
	if diff := cmp.Diff(list(t, f, f.Root()), []string{"\xcb\xc1\xd2\xd4\xc1 ?"}); diff != "" {
		t.Errorf("got - want +:\n%s", diff)
	}
}

// Trees beyond those that the index can tell apart have one of their own.
func TestManyTrees(t *testing.T) {
	m := rockDisc(func(m *testImage) [][]byte {
		return [][]byte{m.file("PLAIN.;1", "x", withUse(nm("rock")))}
	})
	v := m.open(t, Options{})
	for range 300 {
		for k, name := range map[Kind]string{Plain: "plain", RockRidge: "rock"} {
			f, err := v.FS(k, TreeOptions{})
			if err != nil {
				t.Fatal(err)
			}
			lookup(t, f, name)
		}
	}
}
