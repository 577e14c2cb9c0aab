package master

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/fsys/fsystest"
	"github.com/isomount/isomount/pkg/isofs"
)

func TestRockRidgeTree(t *testing.T) {
	files := variety()
	files[1].Xattrs = map[string]string{"user.note": "x", "user.big": strings.Repeat("v", 5000)}
	files[5].Xattrs = map[string]string{"user.of directory": "y"}
	files[0].Xattrs = map[string]string{"user.of root": "z"}
	image := imageOf(t, treeOf(t, files), Options{})
	fsystest.TestOptions(t, readISO(t, image, isofs.RockRidge), fsystest.Options{Want: files, Image: bytes.NewReader(image)})
}

func TestJolietTree(t *testing.T) {
	files := variety()
	image := imageOf(t, treeOf(t, files), Options{LongJoliet: true})
	want := onlyFiles(files)
	for i := range want {
		switch {
		case strings.HasPrefix(want[i].Path, "nnn"):
			want[i].Path = want[i].Path[:maxJolietLong]
		case want[i].Path == "upper":
			want[i].Path = "upper001"
		}
	}
	fsystest.Test(t, readISO(t, image, isofs.Joliet), want)
}

func TestPlainTree(t *testing.T) {
	files := variety()
	image := imageOf(t, treeOf(t, files), Options{NoRockRidge: true, NoJoliet: true})
	want := onlyFiles(files)
	short := map[string]string{
		"other name": "other_name", "dir/sub/three blocks": "dir/sub/three_blocks", "größe 日本 😀": "gr__e_____",
		"UPPER": "upper", "upper": "upper001", ".profile": "_profile", strings.Repeat("n", 253): strings.Repeat("n", 30),
	}
	for i := range want {
		if name, ok := short[want[i].Path]; ok {
			want[i].Path = name
		}
	}
	fsystest.Test(t, readISO(t, image, isofs.Plain), want)
}

func TestUDFTree(t *testing.T) {
	for _, rev := range []Revision{UDF102, UDF201} {
		t.Run(fmt.Sprintf("%#x", uint16(rev)), func(t *testing.T) {
			files := variety()
			image := imageOf(t, treeOf(t, files), Options{UDF: rev})
			fsystest.TestOptions(t, readUDF(t, image), fsystest.Options{Want: files, Image: bytes.NewReader(image)})
			fsystest.TestOptions(t, readISO(t, image, isofs.RockRidge), fsystest.Options{Want: files, Image: bytes.NewReader(image)})
		})
	}
}

// deepFiles nests directories so deep that some must be relocated, some of
// them out of others that are relocated too.
func deepFiles() []fsystest.File {
	var files []fsystest.File
	dir := "top"
	for i := range 30 {
		dir += fmt.Sprintf("/level %02d", i)
		files = append(files, fsystest.File{Path: dir + "/file", Data: []byte(dir)})
	}
	files = append(files, fsystest.File{Path: dir + "/leaf/x", Data: []byte("x")}, fsystest.File{Path: dir + "/leaf2", Mode: fsys.TypeDir})
	dir = "wide"
	for range 6 {
		dir += "/" + strings.Repeat("d", 31)
	}
	for i := range 3 {
		files = append(files, fsystest.File{Path: fmt.Sprintf("%s/%02d/%s", dir, i, strings.Repeat("f", 30)), Data: []byte{byte(i)}})
	}
	return append(files, fsystest.File{Path: "rr_moved/mine", Data: []byte("a file of the user's")})
}

func TestRelocation(t *testing.T) {
	files := deepFiles()
	tree := treeOf(t, files)
	var b bytes.Buffer
	r, err := Write(t.Context(), &b, tree, Options{Date: when}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := r.Relocated, 7; got < want {
		t.Errorf("%d directories relocated, want at least %d", got, want)
	}
	fsystest.Test(t, readISO(t, b.Bytes(), isofs.RockRidge), files)
	fsystest.Test(t, readISO(t, b.Bytes(), isofs.Joliet), files)
	if err := checkHierarchy(b.Bytes()); err != nil {
		t.Error(err)
	}
}

// checkHierarchy checks the limits of ECMA-119 6.8.2.1 in the plain ISO tree.
func checkHierarchy(image []byte) error {
	v, err := isofs.Open(bytes.NewReader(image), int64(len(image)), isofs.Options{})
	if err != nil {
		return err
	}
	f, err := v.FS(isofs.Plain, isofs.TreeOptions{Map: isofs.MapOff})
	if err != nil {
		return err
	}
	var errs []error
	err = fs.WalkDir(fsys.IOFS(f), ".", func(name string, d fs.DirEntry, err error) error {
		level := strings.Count(name, "/") + 2 // the root is level 1
		if d.IsDir() && level > maxLevel || len(name) > maxPath {
			errs = append(errs, fmt.Errorf("%s: level %d, %d characters", name, level, len(name)))
		}
		return err
	})
	return errors.Join(append(errs, err)...)
}

func TestDeepWithoutRelocation(t *testing.T) {
	tree := treeOf(t, deepFiles())
	if _, err := Write(t.Context(), io.Discard, tree, Options{NoRockRidge: true}, nil); !errors.Is(err, ErrTooDeep) {
		t.Errorf("error %v, want ErrTooDeep", err)
	}
	image := imageOf(t, tree, Options{Deep: true})
	fsystest.Test(t, readISO(t, image, isofs.RockRidge), deepFiles())
	image = imageOf(t, tree, Options{Deep: true, NoRockRidge: true})
	fsystest.Test(t, readISO(t, image, isofs.Joliet), deepFiles())
}

func TestReproducible(t *testing.T) {
	files := variety()
	opt := Options{Reproducible: true, UDF: UDF102, MD5: true}
	want := sha256.Sum256(imageOf(t, treeOf(t, files), opt))
	tree := treeOf(t, files)
	imageOf(t, tree, Options{NoJoliet: true, MD5: true}) // must leave no traces
	if got := sha256.Sum256(imageOf(t, tree, opt)); got != want {
		t.Error("a second image of the same tree differs")
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(files), func(i, j int) { files[i], files[j] = files[j], files[i] })
	i := indexOf(files, "other name")
	files[i], files[len(files)-1] = files[len(files)-1], files[i]
	if got := sha256.Sum256(imageOf(t, treeOf(t, files), opt)); got != want {
		t.Error("an image of the same tree built in another order differs")
	}
}

func indexOf(files []fsystest.File, name string) int {
	for i := range files {
		if files[i].Path == name {
			return i
		}
	}
	return -1
}

func TestReproducibleClampsTimes(t *testing.T) {
	files := []fsystest.File{
		{Path: "new", ModTime: at1(when.Unix() + 1000)},
		{Path: "old", ModTime: at1(when.Unix() - 1000)},
	}
	image := imageOf(t, treeOf(t, files), Options{Reproducible: true})
	files[0].ModTime = at1(when.Unix())
	fsystest.Test(t, readISO(t, image, isofs.RockRidge), files)
}

func TestLargeFiles(t *testing.T) {
	tests := []struct {
		size    int64
		records int
	}{
		{maxExtent - 1, 1},
		{maxExtent, 1},
		{maxExtent + 1, 2},
		{2 * maxExtent, 2},
		{300 << 30, 76},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.size), func(t *testing.T) {
			tree := NewTree(fsys.Attr{})
			a := fsys.Attr{Mode: fsys.TypeFile | 0o444, Size: tt.size}
			if _, err := tree.Add(tree.Root(), "large", &a, fixed{func() io.Reader { return &endless{} }}, 0); err != nil {
				t.Fatal(err)
			}
			image := headOf(t, tree, Options{UDF: UDF201})
			for _, f := range []fsys.FS{readISO(t, image, isofs.RockRidge), readISO(t, image, isofs.Joliet), readUDF(t, image)} {
				n, attr, err := f.Lookup(f.Root(), []byte("large"))
				if err != nil || attr.Size != tt.size {
					t.Errorf("%T: size %d, %v, want %d", f, attr.Size, err, tt.size)
				}
				if err := checkContiguous(f, n, tt.size); err != nil {
					t.Errorf("%T: %v", f, err)
				}
			}
			if got := bytes.Count(image, []byte("LARGE.;1")); got != tt.records {
				t.Errorf("%d records, want %d", got, tt.records)
			}
		})
	}
}

// headOf returns an image without the content of files.
func headOf(t *testing.T, tree *Tree, opt Options) []byte {
	t.Helper()
	opt.Date = when
	m, err := plan(tree, opt)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	o := newOutput(t.Context(), &b, 0, nil, nil)
	for _, s := range m.sections {
		if s.what == "files" {
			break
		}
		if err := s.writeTo(o); err != nil {
			t.Fatal(err)
		}
	}
	if err := o.close(nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// checkContiguous checks that a file lies in one piece.
func checkContiguous(f fsys.FS, n fsys.Node, size int64) error {
	var first, next int64
	err := f.(fsys.ExtentFS).Extents(n, 0, func(e fsys.Extent) bool {
		if next == 0 {
			first = e.Pos
		} else if e.Pos != next {
			return false
		}
		next = e.Pos + e.Len
		return true
	})
	if next-first != size {
		return errors.Join(fmt.Errorf("first piece has %d bytes, want %d", next-first, size), err)
	}
	return err
}

func TestWriteFailures(t *testing.T) {
	full := errors.New("no space left")
	broken := errors.New("bad sector")
	small := func(r io.Reader) *Tree {
		tree := NewTree(fsys.Attr{})
		a := fsys.Attr{Mode: fsys.TypeFile, Size: 3 << 20}
		if _, err := tree.Add(tree.Root(), "file", &a, fixed{func() io.Reader { return r }}, 0); err != nil {
			t.Fatal(err)
		}
		return tree
	}
	tests := []struct {
		name string
		tree *Tree
		w    io.Writer
		want error
		path string
	}{
		{"full disk", small(&endless{}), &limited{n: 1 << 20, err: full}, full, ""},
		{"full disk at the end", small(&endless{}), &limited{n: 3<<20 + 100<<10, err: full}, full, ""},
		{"file became shorter", small(strings.NewReader("abc")), io.Discard, ErrShort, "/file"},
		{"unreadable", small(io.MultiReader(strings.NewReader("abc"), errReader{broken})), io.Discard, broken, "/file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Write(t.Context(), tt.w, tt.tree, Options{}, nil)
			if !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			if err != nil && !strings.Contains(err.Error(), tt.path) {
				t.Errorf("error %q does not name %s", err, tt.path)
			}
		})
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	tree := treeOf(t, []fsystest.File{{Path: "f", Data: noise(1, 20<<20)}})
	_, err := Write(ctx, io.Discard, tree, Options{}, func(done, _ int64) {
		if done > 5<<20 {
			cancel()
		}
		if done > 8<<20 {
			t.Errorf("went on to byte %d", done)
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
}

func TestCancelStuckPipe(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	tree := treeOf(t, []fsystest.File{{Path: "f", Data: noise(1, 4<<20)}})
	calls := 0
	_, err = Write(ctx, w, tree, Options{}, func(int64, int64) { // as many pieces as it can have under way
		if calls++; calls == buffers-1 {
			cancel()
		}
	})
	cancel()
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
}

// limited is a disk that is full after n bytes.
type limited struct {
	n   int
	err error
}

func (l *limited) Write(p []byte) (int, error) {
	if len(p) > l.n {
		n := l.n
		l.n = 0
		return n, l.err
	}
	l.n -= len(p)
	return len(p), nil
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

func TestClosedPipe(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	r.Close()
	tree := treeOf(t, []fsystest.File{{Path: "f", Data: noise(1, 100)}})
	if _, err := Write(t.Context(), w, tree, Options{}, nil); !errors.Is(err, os.ErrClosed) && !strings.Contains(fmt.Sprint(err), "broken pipe") {
		t.Errorf("error %v, want a broken pipe", err)
	}
}

func TestProgress(t *testing.T) {
	tree := treeOf(t, []fsystest.File{{Path: "f", Data: noise(1, 5<<20)}})
	var last, total int64
	calls := 0
	r, err := Write(t.Context(), io.Discard, tree, Options{}, func(done, of int64) {
		if done < last || done > of {
			t.Errorf("%d of %d bytes after %d", done, of, last)
		}
		last, total = done, of
		calls++
	})
	if err != nil {
		t.Fatal(err)
	}
	if size := r.Blocks * blockSize; last != size || total != size || calls < 5 {
		t.Errorf("last call %d of %d, %d calls, want %d", last, total, calls, size)
	}
}

func TestTooLarge(t *testing.T) {
	tree := NewTree(fsys.Attr{})
	for i := range 3 {
		a := fsys.Attr{Mode: fsys.TypeFile, Size: 3 << 40}
		if _, err := tree.Add(tree.Root(), fmt.Sprint(i), &a, fixed{}, 0); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Write(t.Context(), io.Discard, tree, Options{}, nil); !errors.Is(err, ErrTooLarge) {
		t.Errorf("error %v, want ErrTooLarge", err)
	}
}

func TestVolumeFields(t *testing.T) {
	tree := treeOf(t, []fsystest.File{{Path: "copying.txt", Data: []byte("GPL")}})
	opt := Options{
		VolumeID: "Größe", VolumeSetID: "set", SystemID: "SYS", PublisherID: "pub", PreparerID: "prep", ApplicationID: "app",
		CopyrightFile: "copying.txt", SystemArea: []byte("boot"), UDF: UDF102,
	}
	image := imageOf(t, tree, opt)
	if got := string(image[:5]); got != "boot\x00" {
		t.Errorf("system area %q", got)
	}
	v, err := isofs.Open(bytes.NewReader(image), int64(len(image)), isofs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range v.Info().Descriptors {
		if d.Label != "" {
			got = append(got, strings.Join([]string{string(d.Kind), d.Label, d.VolumeSet, d.System, d.Publisher, d.Preparer, d.Application, d.Copyright, d.Abstract}, "|"))
		}
	}
	want := []string{
		"primary|Gr__e|set|SYS|pub|prep|app|COPYING.TXT;1|",
		"joliet|Größe|set|SYS|pub|prep|app|copying.txt;1|",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("descriptors (-want +got):\n%s", diff)
	}
}

func TestOptionErrors(t *testing.T) {
	long := strings.Repeat("ü", 33)
	tests := []struct {
		name string
		opt  Options
		want error
	}{
		{"label", Options{VolumeID: long}, ErrOption},
		{"publisher", Options{PublisherID: strings.Repeat("p", 129)}, ErrOption},
		{"system area", Options{SystemArea: make([]byte, systemArea+1)}, ErrOption},
		{"checksums without Rock Ridge", Options{MD5: true, NoRockRidge: true}, ErrOption},
		{"UDF revision", Options{UDF: 0x0260}, ErrOption},
		{"no such file", Options{AbstractFile: "missing"}, fs.ErrNotExist},
		{"a directory", Options{BiblioFile: "dir"}, fs.ErrNotExist},
	}
	tree := treeOf(t, []fsystest.File{{Path: "dir", Mode: fsys.TypeDir}})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			if _, err := Write(t.Context(), &b, tree, tt.opt, nil); !errors.Is(err, tt.want) || b.Len() > 0 {
				t.Errorf("error %v after %d bytes, want %v before the first", err, b.Len(), tt.want)
			}
		})
	}
}

func TestLongNameIsNoted(t *testing.T) {
	tree := treeOf(t, []fsystest.File{{Path: strings.Repeat("a", 253)}, {Path: strings.Repeat("b", 254)}})
	r, err := Write(t.Context(), io.Discard, tree, Options{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Notes) != 1 || r.Notes[0].Path != "/"+strings.Repeat("b", 254) || !errors.Is(r.Notes[0].Err, ErrLongName) {
		t.Errorf("notes %v", r.Notes)
	}
}

func TestPadding(t *testing.T) {
	tree := treeOf(t, nil)
	padded, bare := imageOf(t, tree, Options{}), imageOf(t, tree, Options{NoPadding: true})
	if got, want := len(padded)-len(bare), 150*blockSize; got != want {
		t.Errorf("padding of %d bytes, want %d", got, want)
	}
}

func TestManyDirectories(t *testing.T) {
	if testing.Short() {
		t.Skip("makes 70,000 directories")
	}
	tree := NewTree(fsys.Attr{})
	for i := range 70_000 {
		a := fsys.Attr{Mode: fsys.TypeDir | 0o755}
		d, err := tree.Add(tree.Root(), fmt.Sprintf("d%05d", i), &a, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		if i >= 69_990 {
			if _, err := tree.Add(d, "sub", &a, nil, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	image := imageOf(t, tree, Options{})
	f := readISO(t, image, isofs.RockRidge)
	for _, name := range []string{"d00000", "d69995/sub"} {
		n := f.Root()
		for elem := range strings.SplitSeq(name, "/") {
			var err error
			if n, _, err = f.Lookup(n, []byte(elem)); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
	a, err := f.Attr(f.Root())
	if err != nil || a.Nlink != 70_002 {
		t.Errorf("root has %d links, %v, want 70002", a.Nlink, err)
	}
}

func TestXattrsOutsideOfUDFAreNoted(t *testing.T) {
	files := []fsystest.File{{Path: "a", Data: []byte("a"), Xattrs: map[string]string{"user.x": "1"}}, {Path: "b", Data: []byte("b")}}
	for _, tt := range []struct {
		udf  Revision
		want bool
	}{{0, false}, {UDF102, true}} {
		tree := treeOf(t, files)
		r, err := Write(t.Context(), io.Discard, tree, Options{UDF: tt.udf}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := len(r.Notes) == 1 && errors.Is(r.Notes[0].Err, ErrUDFXattrs); got != tt.want {
			t.Errorf("UDF %x: notes %v", tt.udf, r.Notes)
		}
	}
}
