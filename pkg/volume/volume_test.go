package volume

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/isomount/isomount/pkg/binfmt"
	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/fsys/fsystest"
)

func TestChoice(t *testing.T) {
	rotten := binfmt.Corrupt(4096, "rotten")
	rock := func(n int) Tree { return Tree{Name: "rockridge", FS: ISO9660, Entries: n} }
	joliet := func(n int) Tree { return Tree{Name: "joliet", FS: ISO9660, Entries: n} }
	plain := func(n int) Tree { return Tree{Name: "iso9660", FS: ISO9660, Entries: n} }
	udf := func(n int) Tree { return Tree{Name: "udf", FS: UDF, Entries: n} }
	hfs := func(n int) Tree { return Tree{Name: "hfsplus", FS: HFSPlus, Entries: n} }
	bad := func(tr Tree) Tree { tr.err, tr.Entries = rotten, 0; return tr }
	for _, c := range []struct {
		name  string
		trees []Tree
		opts  Options
		want  string // "" for an error
		why   string
	}{
		{"Rock Ridge comes first", []Tree{plain(5), joliet(5), rock(5), udf(5)}, Options{}, "rockridge", "owners"},
		{"then UDF", []Tree{plain(5), joliet(5), udf(5)}, Options{}, "udf", "Windows"},
		{"then Joliet", []Tree{plain(5), joliet(5)}, Options{}, "joliet", "long names"},
		{"README.TXT alone, the rest in UDF", []Tree{plain(1), udf(6)}, Options{}, "udf", ""},
		{"a Rock Ridge stub before UDF", []Tree{plain(1), rock(1), udf(6)}, Options{}, "udf", "rockridge is a stub of 1 entries"},
		{"an empty Rock Ridge root before Joliet", []Tree{plain(0), rock(0), joliet(9)}, Options{}, "joliet", "rockridge is a stub"},
		{"a UDF stub", []Tree{plain(9), joliet(9), udf(1)}, Options{}, "joliet", "udf is a stub"},
		{"HFS+ lists more, its own files", []Tree{plain(5), rock(5), hfs(9)}, Options{}, "rockridge", ""},
		{"HFS+ alone", []Tree{hfs(3)}, Options{}, "hfsplus", ""},
		{"norock", []Tree{plain(5), joliet(5), rock(5)}, Options{NoRock: true}, "joliet", ""},
		{"norock, nojoliet", []Tree{plain(5), joliet(5), rock(5)}, Options{NoRock: true, NoJoliet: true}, "iso9660", ""},
		{"the options leave a stub", []Tree{plain(0), joliet(5)}, Options{NoJoliet: true}, "iso9660", ""},
		{"an empty disc", []Tree{plain(0), rock(0)}, Options{}, "rockridge", ""},
		{"broken UDF fails loudly where only a stub is left", []Tree{plain(1), bad(udf(0))}, Options{}, "", "udf: offset 4096: rotten"},
		{"broken UDF behind Rock Ridge does not matter", []Tree{plain(5), rock(5), bad(udf(0))}, Options{}, "rockridge", ""},
		{"a broken tree with a twin on the same volume", []Tree{bad(rock(0)), joliet(5), plain(5)}, Options{}, "joliet", "rockridge cannot be read"},
		{"a broken tree with none", []Tree{bad(plain(0))}, Options{}, "", "rotten"},
		{"nothing", nil, Options{}, "", "no file system"},
		{"not what was asked for", nil, Options{FS: UDF}, "", "udf: not on this disc"},
	} {
		s := &surveyed{trees: c.trees}
		got, why, err := s.choose(c.opts)
		switch {
		case c.want == "" && (err == nil || !strings.Contains(err.Error(), c.why)):
			t.Errorf("%s: got %v, %v, want an error with %q", c.name, got, err, c.why)
		case c.want != "" && (err != nil || got.Name != c.want || !strings.Contains(why, c.why)):
			t.Errorf("%s: got %+v because %q, %v; want %s because of %q", c.name, got, why, err, c.want, c.why)
		}
	}
}

func TestRankedNamesAllTreesThatFamiliesGive(t *testing.T) {
	for _, name := range []string{"rockridge", "joliet", "enhanced", "iso9660", "highsierra", UDF, HFSPlus, "hfs", VFAT} {
		s := &surveyed{trees: []Tree{{Name: name}}}
		if len(s.ranked()) != 1 {
			t.Errorf("%s has no rank and would never be shown", name)
		}
	}
}

// A failing device is not a disc without a file system.
func TestDeviceErrorsAreNotTakenForAnUnknownDisc(t *testing.T) {
	broken := errors.New("device gone")
	_, err := Open(Disc{Data: failing{broken}, Size: 1 << 20}, Options{})
	if !errors.Is(err, broken) || errors.Is(err, binfmt.ErrMagic) {
		t.Errorf("got %v, want %v", err, broken)
	}
}

type failing struct{ err error }

func (f failing) ReadAt([]byte, int64) (int, error) { return 0, f.err }

func TestNoiseIsUnknown(t *testing.T) {
	for _, n := range []int{1, 2048, 1 << 20} {
		_, err := Open(Disc{Data: bytes.NewReader(make([]byte, n)), Size: int64(n)}, Options{})
		if !errors.Is(err, ErrUnknown) || !errors.Is(err, binfmt.ErrMagic) {
			t.Errorf("%d zeros: got %v, want ErrUnknown", n, err)
		}
	}
}

// A mux is a tree like any other, with all that is in its trees.
func TestMux(t *testing.T) {
	first, err := fsystest.NewMem([]fsystest.File{
		{Path: "a", Data: []byte("first")},
		{Path: "dir/b", Data: []byte("nested")},
		{Path: "link", Mode: fsys.TypeLink | 0o777, Target: "a"},
		{Path: "x", Xattrs: map[string]string{"user.k": "v"}},
		{Path: "rotten", Broken: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	second, err := fsystest.NewMem([]fsystest.File{{Path: "a", Data: []byte("second")}})
	if err != nil {
		t.Fatal(err)
	}
	image := bytes.Repeat([]byte("0123456789"), 1000)
	m := newMux(Disc{Data: bytes.NewReader(image), Size: int64(len(image))}, fsys.Owner{UID: 5, GID: 6}, fsys.Time{Sec: 7})
	m.addTree(0, "rockridge", first)
	boot := m.dir(0, "boot")
	m.addFile(boot, "1-bios.img", 10, 20)
	m.addFile(boot, "past.img", int64(len(image)), 20)
	m.addFile(boot, "1-bios.img", 20, 5)
	one := m.dir(m.dir(0, "sessions"), "1")
	m.addTree(one, "iso9660", second)
	fsystest.TestOptions(t, m, fsystest.Options{Joined: true, Want: []fsystest.File{
		{Path: ".", Mode: fsys.TypeDir | 0o555, UID: 5, GID: 6, ModTime: fsys.Time{Sec: 7}},
		{Path: "boot", Mode: fsys.TypeDir | 0o555},
		{Path: "boot/1-bios.img", Data: image[10:30], Mode: fsys.TypeFile | 0o555, UID: 5, GID: 6},
		{Path: "boot/1-bios.img~2", Data: image[20:25]},
		{Path: "boot/past.img"},
		{Path: "rockridge", Mode: fsys.TypeDir},
		{Path: "rockridge/a", Data: []byte("first")},
		{Path: "rockridge/dir", Mode: fsys.TypeDir},
		{Path: "rockridge/dir/b", Data: []byte("nested")},
		{Path: "rockridge/link", Mode: fsys.TypeLink, Target: "a"},
		{Path: "rockridge/rotten", Broken: true},
		{Path: "rockridge/x", Xattrs: map[string]string{"user.k": "v"}},
		{Path: "sessions", Mode: fsys.TypeDir},
		{Path: "sessions/1", Mode: fsys.TypeDir},
		{Path: "sessions/1/iso9660", Mode: fsys.TypeDir},
		{Path: "sessions/1/iso9660/a", Data: []byte("second")},
	}})
}

// Whatever bytes are on a disc, a report and the trees come of it in the end.
func FuzzOpen(f *testing.F) {
	sector := make([]byte, 40*2048)
	copy(sector[16*2048:], "\x01CD001\x01")
	copy(sector[17*2048:], "\xffCD001\x01")
	f.Add(sector, "view=all")
	copy(sector[17*2048:], "\x00NSR02\x01")
	f.Add(sector, "fs=udf,novrs")
	f.Fuzz(exercise)
}

func exercise(t *testing.T, image []byte, options string) {
	t.Helper()
	o, err := ParseOptions(options, fsys.Owner{})
	if err != nil {
		return
	}
	v, err := Open(Disc{Data: bytes.NewReader(image), Size: int64(len(image))}, o)
	if err != nil {
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("a bare EOF: %v", err)
		}
		return
	}
	if err := fsystest.Exercise(v.FS, fsystest.Limits{}); err != nil {
		t.Error(err)
	}
}

// FuzzPatch shows all trees of discs that are nearly sound, with what lies
// beside them: boot images, partitions, sessions.
func FuzzPatch(f *testing.F) {
	sound := make([]byte, 40*2048)
	copy(sound[16*2048:], "\x01CD001\x01")
	images := [][]byte{sound}
	for img := range fsystest.Corpus(f) {
		if _, err := Open(Disc{Data: bytes.NewReader(img), Size: int64(len(img))}, Options{}); err == nil {
			images = append(images, img)
		}
	}
	fsystest.FuzzPatches(f, images, nil, func(t *testing.T, img []byte) {
		t.Helper()
		exercise(t, img, "view=all")
	})
}
