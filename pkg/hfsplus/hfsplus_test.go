package hfsplus

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isomount/isomount/pkg/binfmt"
	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/fsys/fsystest"
)

func open(tb testing.TB, img []byte, o Options) *FS {
	tb.Helper()
	v, err := Open(bytes.NewReader(img), int64(len(img)), o)
	if err != nil {
		tb.Fatalf("open: %v", err)
	}
	return v
}

func check(t *testing.T, img []byte, o Options, want []fsystest.File) *FS {
	t.Helper()
	v := open(t, img, o)
	fsystest.TestOptions(t, v, fsystest.Options{Want: want, Image: bytes.NewReader(img)})
	return v
}

var (
	date      = fsys.Time{Sec: epoch1904 + builderDate}
	later     = fsys.Time{Sec: epoch1904 + builderDate + 100}
	hiddenDir = "\x00\x00\x00\x00HFS+ Private Data"
)

// plusTree fills a volume of HFS+ with everything that it can have.
func plusTree(b *builder) []fsystest.File {
	var want []fsystest.File
	add := func(parent uint32, dir, name, shown string, n node) {
		b.file(parent, name, n)
		mode := uint32(n.mode)
		if mode == 0 {
			mode = 0o100644
		}
		want = append(want, fsystest.File{Path: dir + shown, Mode: mode, UID: n.uid, GID: n.gid, Nlink: 1, Data: n.data, ModTime: date})
	}
	add(cnidRoot, "", "empty", "empty", node{})
	for _, size := range []int{1, 511, 512, 513, 5000} {
		name := fmt.Sprintf("file of %d", size)
		add(cnidRoot, "", name, name, node{data: fsystest.Noise(size)})
	}
	for _, blocks := range []int{1, 3} {
		for _, pieces := range []int{8, 9, 16, 17, 40} {
			name := fmt.Sprintf("%d pieces of %d", pieces, blocks)
			add(cnidRoot, "", name, name, node{data: fsystest.Noise(pieces*blocks*512 - 100), frag: blocks})
		}
	}
	add(cnidRoot, "", "owned", "owned", node{mode: 0o104755, uid: 501, gid: 20})
	names := b.folder(cnidRoot, "names", node{mode: 0o40700})
	for _, n := range [][2]string{
		{"grüße", "grüße"},
		{"한국어", "한국어"},
		{"日本語", "日本語"},
		{"😀", "😀"},
		{"with/slash", "with:slash"},
		{"NUL\x00", "NUL␀"},
		{strings.Repeat("é", 127), strings.Repeat("é", 127)},
		{strings.Repeat("語", 255), strings.Repeat("語", 255)},
		{" leading", " leading"},
		{"~", "~"},
		{".hidden", ".hidden"},
	} {
		add(names, "names/", n[0], n[1], node{data: []byte(n[1])})
	}
	want = append(want, fsystest.File{Path: "names", Mode: 0o40700, ModTime: date})
	special := b.folder(cnidRoot, "special", node{})
	add(special, "special/", "null", "null", node{mode: 0o20666, special: 0x03000002})
	add(special, "special/", "disk", "disk", node{mode: 0o60640, special: 0x0E123456})
	add(special, "special/", "fifo", "fifo", node{mode: 0o10600})
	add(special, "special/", "socket", "socket", node{mode: 0o140755})
	want[len(want)-4].Major, want[len(want)-4].Minor = 3, 2
	want[len(want)-3].Major, want[len(want)-3].Minor = 14, 0x123456
	b.file(special, "link", node{mode: 0o120755, data: []byte("../names/grüße"), finder: "slnkrhap"})
	b.file(special, "old link", node{data: []byte("nowhere"), finder: "slnkrhap", mode: 0o120777})
	want = append(want,
		fsystest.File{Path: "special/link", Mode: 0o120755, Target: "../names/grüße", Xattrs: map[string]string{}},
		fsystest.File{Path: "special/old link", Mode: 0o120777, Target: "nowhere"})
	b.folder(cnidRoot, "empty folder", node{flags: flagHasFolderCount, folders: 0, modified: builderDate + 100})
	want = append(want, fsystest.File{Path: "empty folder", Mode: 0o40755, Nlink: 2, ModTime: later})
	wide := b.folder(cnidRoot, "wide", node{})
	for i := range 300 {
		name := fmt.Sprintf("entry %03d", i)
		add(wide, "wide/", name, name, node{data: []byte(name)})
	}
	return want
}

func TestPlus(t *testing.T) {
	for _, c := range []struct {
		name      string
		sig       uint16
		blockSize int
		nodeSize  int
	}{
		{"blocks 512 nodes 1024", sigPlus, 512, 1024},
		{"blocks 512 nodes 4096", sigPlus, 512, 4096},
		{"blocks 4096 nodes 8192", sigPlus, 4096, 8192},
		{"HFSX", sigX, 512, 1024},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBuilder(t, c.sig)
			b.blockSize, b.nodeSize = c.blockSize, c.nodeSize
			want := plusTree(b)
			v := check(t, b.image(), Options{}, want)
			if got := v.RootEntries(); got != 21 {
				t.Errorf("root entries: got %d, want 21", got)
			}
		})
	}
}

func TestInfo(t *testing.T) {
	b := newBuilder(t, sigX)
	b.binary = true
	b.file(cnidRoot, "a", node{})
	b.folder(cnidRoot, "b", node{})
	got := open(t, b.image(), Options{}).Info()
	want := Info{
		Format: "HFSX", Label: "Volume", ID: "0123456789abcdef", BlockSize: 512, Blocks: got.Blocks, FreeBlocks: 1, Files: 1, Folders: 1,
		Created: infoTime(builderDate), Modified: infoTime(builderDate), CaseSensitive: true, Clean: true,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

// A journal that was not played back is told of, since what is shown may be old.
func TestJournal(t *testing.T) {
	img := newBuilder(t, sigPlus).image()
	for _, c := range []struct {
		attributes       uint32
		journaled, clean bool
		notes            int
	}{
		{volUnmounted, false, true, 0},
		{volUnmounted | volJournaled, true, true, 0},
		{volJournaled, true, false, 1},
		{0, false, false, 0},
	} {
		be.PutUint32(img[headerOff+4:], c.attributes)
		got := open(t, img, Options{}).Info()
		if got.Journaled != c.journaled || got.Clean != c.clean || len(got.Notes) != c.notes {
			t.Errorf("attributes %#x: got %+v, want %+v", c.attributes, got, c)
		}
	}
}

func TestHFS(t *testing.T) {
	b := newBuilder(t, sigHFS)
	var want []fsystest.File
	add := func(parent uint32, dir, name, shown string, n node) {
		b.file(parent, name, n)
		want = append(want, fsystest.File{Path: dir + shown, Mode: 0o100555, UID: 7, GID: 8, Data: n.data, ModTime: date})
	}
	for _, pieces := range []int{1, 3, 4, 6, 7, 30} {
		name := fmt.Sprintf("%d pieces", pieces)
		add(cnidRoot, "", name, name, node{data: fsystest.Noise(pieces*512 - 3), frag: 1, noThread: pieces == 1})
	}
	add(cnidRoot, "", "Grüße/∞", "Grüße:∞", node{data: []byte("Roman")})
	dir := b.folder(cnidRoot, "Ordner ƒ", node{})
	for i := range 100 {
		name := fmt.Sprintf("file %d with a name of 31 char", i)
		add(dir, "Ordner ƒ/", name, name, node{data: []byte(name)})
	}
	img := b.image()
	v := check(t, img, Options{Owner: fsys.Owner{UID: 7, GID: 8}}, want)
	if got := v.Info(); got.Format != "HFS" || got.Label != "Volume" || got.Files != 107 || got.Folders != 1 {
		t.Errorf("info: got %+v", got)
	}
}

// Allocation blocks of HFS are any multiple of 512 bytes, and bytes of statfs a
// power of two.
func TestHFSOddBlocks(t *testing.T) {
	b := newBuilder(t, sigHFS)
	b.blockSize = 1536
	data := fsystest.Noise(20000)
	b.file(cnidRoot, "file", node{data: data, frag: 2})
	v := check(t, b.image(), Options{}, []fsystest.File{{Path: "file", Data: data}})
	if got := v.Statfs(); got.BlockSize != 512 || got.Blocks != uint64(v.vol.blocks)*3 {
		t.Errorf("statfs: got %+v", got)
	}
}

func TestLookup(t *testing.T) {
	for _, c := range []struct {
		name   string
		sig    uint16
		binary bool
		look   string
		want   string // content of what is found; "" is nothing
	}{
		{"exact", sigPlus, false, "Größe", "1"},
		{"other case", sigPlus, false, "gRÖSSE", ""},
		{"other case", sigPlus, false, "gRÖßE", "1"},
		{"decomposed", sigPlus, false, "Gro\u0308ße", "1"},
		{"combining at once", sigPlus, false, "gro\u0308ße", "1"},
		{"case-insensitive HFSX", sigX, false, "GRÖßE", "1"},
		{"case-sensitive", sigX, true, "Größe", "1"},
		{"case-sensitive, decomposed", sigX, true, "Gro\u0308ße", "1"},
		{"case-sensitive, other case", sigX, true, "größe", ""},
		{"HFS", sigHFS, false, "Größe", "1"},
		{"HFS, other case", sigHFS, false, "gRÖßE", "1"},
		{"too long", sigPlus, false, strings.Repeat("x", 2000), ""},
		{"empty", sigPlus, false, "", ""},
	} {
		t.Run(c.name+" "+c.look[:min(len(c.look), 10)], func(t *testing.T) {
			b := newBuilder(t, c.sig)
			b.binary = c.binary
			b.file(cnidRoot, "Größe", node{data: []byte("1")})
			b.file(cnidRoot, "other", node{data: []byte("2")})
			v := open(t, b.image(), Options{})
			n, a, err := v.Lookup(v.Root(), []byte(c.look))
			if c.want == "" {
				if !errors.Is(err, fs.ErrNotExist) {
					t.Fatalf("got %+v, error %v, want ErrNotExist", a, err)
				}
				return
			}
			got := make([]byte, a.Size)
			if _, rerr := v.ReadAt(n, got, 0); err != nil || rerr != nil || string(got) != c.want {
				t.Errorf("got %q, errors %v, %v, want %q", got, err, rerr, c.want)
			}
		})
	}
}

func TestCaseSensitive(t *testing.T) {
	b := newBuilder(t, sigX)
	b.binary = true
	var want []fsystest.File
	for _, name := range []string{"README", "Readme", "readme"} {
		b.file(cnidRoot, name, node{data: []byte(name)})
		want = append(want, fsystest.File{Path: name, Data: []byte(name)})
	}
	check(t, b.image(), Options{}, want)
}

// A name that is there twice, or that two names are shown as, gets a suffix.
func TestSameNames(t *testing.T) {
	b := newBuilder(t, sigPlus)
	b.file(cnidRoot, "same", node{data: []byte("1")})
	b.file(cnidRoot, "same", node{data: []byte("2")})
	b.file(cnidRoot, "a/b", node{data: []byte("3")})
	b.file(cnidRoot, "a:b", node{data: []byte("4")})
	b.rawFile(cnidRoot, append([]byte{0, 2}, 0, 'e', 3, 1), node{data: []byte("5")})
	b.rawFile(cnidRoot, append([]byte{0, 1}, 0, 0xE9), node{data: []byte("6")}) // composed, as Linux writes with nodecompose
	v := open(t, b.image(), Options{})
	fsystest.Test(t, v, nil)
	var names []string
	var content []byte
	err := v.ReadDir(v.Root(), 0, func(e *fsys.Entry) bool {
		name, _, _ := strings.Cut(string(e.Name), "~")
		names = append(names, name)
		content = append(content, 0)
		_, err := v.ReadAt(e.Node, content[len(content)-1:], 0)
		return err == nil
	})
	slices.Sort(names)
	slices.Sort(content)
	if want := []string{"a:b", "a:b", "same", "same", "é", "é"}; err != nil || !slices.Equal(names, want) || string(content) != "123456" {
		t.Errorf("got %q, contents %q, error %v, want %q", names, content, err, want)
	}
}

// Names of which no UTF-8 can be made, and those that no directory can have.
func TestHostileNames(t *testing.T) {
	b := newBuilder(t, sigPlus)
	b.rawFile(cnidRoot, []byte{0, 1, 0xD8, 0x00}, node{})                   // lone high surrogate
	b.rawFile(cnidRoot, []byte{0, 2, 0xDC, 0x00, 0, 'x'}, node{})           // lone low surrogate
	b.rawFile(cnidRoot, []byte{0, 1, 0, '.'}, node{})                       // "."
	b.rawFile(cnidRoot, []byte{0, 2, 0, '.', 0, '.'}, node{})               // ".."
	b.rawFile(cnidRoot, []byte{0, 200, 0, 'l', 0, 'o'}, node{})             // longer than its key
	b.rawFile(cnidRoot, append([]byte{1, 0}, make([]byte, 512)...), node{}) // 256 characters
	b.file(cnidRoot, "good", node{})
	check(t, b.image(), Options{}, []fsystest.File{{Path: "\xED\xA0\x80"}, {Path: "\xED\xB0\x80x"}, {Path: "good"}})
}

func TestHardLinks(t *testing.T) {
	b := newBuilder(t, sigPlus)
	dir := b.folder(cnidRoot, "dir", node{})
	files := b.folder(cnidRoot, hiddenDir, node{created: builderDate + 50})
	folders := b.folder(cnidRoot, ".HFS+ Private Directory Data\r", node{})
	b.file(files, "iNode77", node{data: []byte("linked"), special: 3, uid: 5})
	b.file(cnidRoot, "one", node{finder: "hlnkhfs+", special: 77, created: builderDate + 50})
	b.file(dir, "two", node{finder: "hlnkhfs+", special: 77, created: builderDate}) // made with the volume
	b.file(dir, "not a link", node{finder: "hlnkhfs+", special: 77, created: builderDate + 9, data: []byte("text")})
	lost := b.file(dir, "lost", node{finder: "hlnkhfs+", special: 78, created: builderDate + 50})
	b.folder(files, "iNode80", node{})
	b.file(dir, "lost too", node{finder: "hlnkhfs+", special: 80, created: builderDate + 50})
	linked := b.folder(folders, "dir_99", node{})
	b.file(linked, "inside", node{data: []byte("in")})
	b.folder(linked, "sub", node{})
	alias := b.file(dir, "folder", node{finder: "fdrpMACS", special: 99, flags: flagHasLinkChain})
	b.attribute(linked, "com.apple.system.hfs.firstlink", fmt.Sprint(alias))
	img := b.image()

	v := open(t, img, Options{})
	got := list(t, v, v.Root())
	if d := cmp.Diff(got, []string{"dir", "one"}); d != "" {
		t.Errorf("root: -got +want:\n%s", d)
	}
	dirNode, _, _ := v.Lookup(v.Root(), []byte("dir"))
	n, a, err := v.Lookup(dirNode, []byte("lost"))
	if err != nil || a.Ino != uint64(lost) {
		t.Errorf("lost link: got %+v, error %v", a, err)
	}
	if _, err := v.ReadAt(n, make([]byte, 1), 0); !isCorrupt(err) {
		t.Errorf("read of a lost link: got error %v, want a CorruptError", err)
	}
	if _, a, err := v.Lookup(dirNode, []byte("lost too")); err != nil || !a.IsRegular() {
		t.Errorf("link of a file to a folder: got %+v, error %v, want a file", a, err)
	}
	for _, name := range []string{privateFiles, privateFolders} {
		if _, _, err := v.Lookup(v.Root(), []byte(name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("lookup of %q: got error %v, want ErrNotExist", name, err)
		}
	}

	// Without the lost links the tree is sound.
	b.catalog = slices.DeleteFunc(b.catalog, func(l leaf) bool { return bytes.Contains(l.key, b.name("lost")[2:]) })
	check(t, b.image(), Options{}, []fsystest.File{
		{Path: "one", Mode: 0o100644, Nlink: 3, UID: 5, Data: []byte("linked")},
		{Path: "dir/two", Link: "one"},
		{Path: "dir/not a link", Nlink: 1, Data: []byte("text")},
		{Path: "dir/folder/inside", Data: []byte("in")},
		{Path: "dir/folder/sub", Mode: 0o40755},
	})
}

func isCorrupt(err error) bool {
	_, ok := errors.AsType[*binfmt.CorruptError](err)
	return ok
}

func list(t *testing.T, v *FS, dir fsys.Node) []string {
	t.Helper()
	var names []string
	if err := v.ReadDir(dir, 0, func(e *fsys.Entry) bool { names = append(names, string(e.Name)); return true }); err != nil {
		t.Errorf("readdir: %v", err)
	}
	slices.Sort(names)
	return names
}

func TestDevices(t *testing.T) {
	for _, c := range []struct {
		name         string
		writer       uint32
		special      uint32
		major, minor uint32
	}{
		{"Mac OS X", 0x31302E30, 0x0E000005, 14, 5},
		{"Linux", writerLinux, 8<<20 | 70000, 8, 70000},
		{"libisofs", writerLibisofs, 0x11112C70, 300, 70000},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBuilder(t, sigPlus)
			b.writer = c.writer
			b.file(cnidRoot, "dev", node{mode: 0o20666, special: c.special})
			check(t, b.image(), Options{}, []fsystest.File{{Path: "dev", Mode: 0o20666, Major: c.major, Minor: c.minor}})
		})
	}
}

func TestDates(t *testing.T) {
	b := newBuilder(t, sigPlus)
	for name, mac := range map[string]uint32{"1904": 1, "1969": 2082844799, "1970": 2082844800, "2040": 1<<32 - 1} {
		b.file(cnidRoot, name, node{modified: mac})
	}
	unset := b.file(cnidRoot, "unset", node{})
	for _, l := range b.catalog {
		if l.data[1] == recFile && be.Uint32(l.data[8:]) == unset {
			clear(l.data[12:32])
		}
	}
	check(t, b.image(), Options{}, []fsystest.File{
		{Path: "1904", ModTime: fsys.Time{Sec: -2082844799}},
		{Path: "1969", ModTime: fsys.Time{Sec: -1}},
		{Path: "1970"},
		{Path: "2040", ModTime: fsys.Time{Sec: 2212122495}},
		{Path: "unset", ModTime: date}, // the volume's
	})
}

// An HFS+ volume in an HFS wrapper, as on discs for old Macs.
func wrap(inner []byte) []byte {
	h := be.AppendUint16(nil, sigHFS)
	h = append(h, make([]byte, 8)...)
	h = be.AppendUint16(h, 0x8200) // locked, with spared blocks
	h = append(h, make([]byte, 6)...)
	h = be.AppendUint16(h, 1000)
	h = be.AppendUint32(h, 1024)
	h = be.AppendUint32(h, 1024)
	h = be.AppendUint16(h, 5)
	h = append(h, make([]byte, 0x7C-len(h))...)
	h = be.AppendUint16(h, sigPlus)
	h = be.AppendUint16(h, 7)
	h = be.AppendUint16(h, uint16((len(inner)+1023)/1024))
	img := make([]byte, 5*512+7*1024)
	copy(img[headerOff:], h)
	return slices.Concat(img, inner)
}

func TestWrapped(t *testing.T) {
	b := newBuilder(t, sigPlus)
	want := plusTree(b)
	img := wrap(b.image())
	if v := check(t, img, Options{}, want); !v.Info().Wrapped {
		t.Error("info does not say that the volume is wrapped")
	}
}

func TestOptions(t *testing.T) {
	if _, err := Open(bytes.NewReader(nil), 0, Options{Forks: "fork"}); err == nil || errors.Is(err, binfmt.ErrMagic) {
		t.Errorf("unknown way to show forks: got error %v", err)
	}
}
