package main

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/fsys/fsystest"
)

// A liar is a tree that breaks the promises of fsys.FS: names are replaced, and
// files named bad cannot be read.
type liar struct {
	*fsystest.Mem

	names map[string]string
	read  func(n fsys.Node, p []byte, off int64) (int, error)
}

func (l *liar) ReadDir(n fsys.Node, from uint64, yield func(*fsys.Entry) bool) error {
	return l.Mem.ReadDir(n, from, func(e *fsys.Entry) bool {
		if name, ok := l.names[string(e.Name)]; ok {
			e.Name = []byte(name)
		}
		return yield(e)
	})
}

func (l *liar) ReadAt(n fsys.Node, p []byte, off int64) (int, error) {
	if l.read != nil {
		if k, err := l.read(n, p, off); err != nil {
			return k, err
		}
	}
	return l.Mem.ReadAt(n, p, off)
}

func newLiar(t *testing.T, files []fsystest.File, names map[string]string) *liar {
	t.Helper()
	m, err := fsystest.NewMem(files)
	if err != nil {
		t.Fatal(err)
	}
	return &liar{Mem: m, names: names}
}

// extractTree extracts a whole tree into a new directory, and returns its
// content and what was noted.
func extractTree(ctx context.Context, t *testing.T, f fsys.FS, prepare func(dir string)) (string, *extractJob, error) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "target")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if prepare != nil {
		prepare(dir)
	}
	j := &extractJob{app: &app{out: io.Discard, err: io.Discard}, fs: f, failed: map[string]bool{}}
	places, err := pick(context.WithoutCancel(ctx), f, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := planner{fs: f, bad: j.bad}
	todo, err := p.make(context.WithoutCancel(ctx), places)
	if err != nil {
		t.Fatal(err)
	}
	target, err := newTarget(dir)
	if err != nil {
		t.Fatal(err)
	}
	target.bad, target.over = j.bad, true
	err = j.write(ctx, target, todo)
	if err := target.Close(); err != nil {
		t.Error(err)
	}
	return dir, j, err
}

// listTree lists everything below dir.
func listTree(t *testing.T, dir string) string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if d.IsDir() {
			rel += "/"
		}
		list = append(list, rel)
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return strings.Join(list, " ")
}

func noteList(j *extractJob) string {
	var list []string
	for _, n := range j.Notes {
		list = append(list, n.Path+": "+n.Error)
	}
	return strings.Join(list, "; ")
}

// Whatever the names are, nothing is written outside of the target.
func TestExtractStaysInside(t *testing.T) {
	text := []byte("text")
	for _, tt := range []struct {
		name  string
		files []fsystest.File
		names map[string]string
		link  string // a link "way" to this is in the target before
		want  string // what is in the target
		note  string
	}{
		{"parent", []fsystest.File{{Path: "x", Data: text}}, map[string]string{"x": ".."}, "", "", "name cannot be used"},
		{"itself", []fsystest.File{{Path: "x", Data: text}}, map[string]string{"x": "."}, "", "", "name cannot be used"},
		{"slashes", []fsystest.File{{Path: "x", Data: text}}, map[string]string{"x": "../../up"}, "", "", "name cannot be used"},
		{"absolute", []fsystest.File{{Path: "x", Data: text}}, map[string]string{"x": "/tmp/x"}, "", "", ""},
		{"zero byte", []fsystest.File{{Path: "x", Data: text}}, map[string]string{"x": "a\x00b"}, "", "", "name cannot be used"},
		{"directory", []fsystest.File{{Path: "d/x", Data: text}}, map[string]string{"d": ".."}, "", "", "name cannot be used"},
		{
			"a link and a directory of one name",
			[]fsystest.File{{Path: "d/x", Data: text}, {Path: "l", Mode: fsys.TypeLink, Target: ".."}},
			map[string]string{"l": "d"},
			"", "d/ d/x", "another file gets the same name",
		},
		{
			"a link before a directory of one name",
			[]fsystest.File{{Path: "l", Mode: fsys.TypeLink, Target: ".."}, {Path: "d/x", Data: text}},
			map[string]string{"l": "d"},
			"", "d", "another file gets the same name",
		},
		{"a link that was there", []fsystest.File{{Path: "way/x", Data: text}}, nil, "..", "way", "is not followed"},
		{"a link within that was there", []fsystest.File{{Path: "way/x", Data: text}}, nil, ".", "way", "is not followed"},
		{"a link in place of the file", []fsystest.File{{Path: "way", Data: text}}, nil, "../up", "way", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, j, err := extractTree(t.Context(), t, newLiar(t, tt.files, tt.names), func(dir string) {
				if tt.link != "" {
					if err := os.Symlink(tt.link, filepath.Join(dir, "way")); err != nil {
						t.Fatal(err)
					}
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			if got := listTree(t, dir); tt.name != "absolute" && got != tt.want {
				t.Errorf("in the target: got %q, want %q", got, tt.want)
			}
			if got := listTree(t, filepath.Dir(dir)); strings.Contains(" "+got, " up") || strings.Contains(" "+got, " x") {
				t.Errorf("outside: %s", got)
			}
			if got := noteList(j); !strings.Contains(got, tt.note) {
				t.Errorf("got notes %q, want %q", got, tt.note)
			}
		})
	}
}

// A file that cannot be read, or whose extraction is interrupted, is not there
// at all; neither is anything else of it.
func TestExtractLeavesNothingHalf(t *testing.T) {
	files := []fsystest.File{
		{Path: "a", Mode: fsys.TypeDir | 0o500},
		{Path: "a/good", Data: bytes.Repeat([]byte("g"), 5000), Mode: fsys.TypeFile | 0o640},
		{Path: "a/torn", Data: bytes.Repeat([]byte("t"), 3*copyPiece), Mode: fsys.TypeFile | 0o600},
		{Path: "a/zgood", Data: []byte("z")},
	}
	m := newLiar(t, files, nil)
	torn, _, err := fsys.Resolve(m, "a/torn", false)
	if err != nil {
		t.Fatal(err)
	}
	m.read = func(n fsys.Node, p []byte, off int64) (int, error) {
		if n == torn && off+int64(len(p)) > 2*copyPiece {
			return 100, unix.EIO
		}
		return 0, nil
	}
	dir, j, err := extractTree(t.Context(), t, m, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := listTree(t, dir), "a/ a/good a/zgood"; got != want {
		t.Errorf("damaged: got %q, want %q", got, want)
	}
	if got := noteList(j); !strings.HasPrefix(got, "/a/torn: ") || j.Files != 2 {
		t.Errorf("damaged: %d files, notes %q", j.Files, got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	m.read = func(n fsys.Node, _ []byte, off int64) (int, error) {
		if n == torn && off > 0 {
			cancel()
		}
		return 0, nil
	}
	dir, _, err = extractTree(ctx, t, m, nil)
	if exitCode(err) != exitInterrupted {
		t.Errorf("interrupted: got error %v", err)
	}
	if got, want := listTree(t, dir), "a/ a/good"; got != want {
		t.Errorf("interrupted: got %q, want %q", got, want)
	}
	if info, err := os.Stat(dir + "/a"); err != nil || info.Mode().Perm() != 0o500 {
		t.Errorf("interrupted: mode of a directory: %v, %v", info.Mode(), err)
	}
}

func TestExtractKeepsHoles(t *testing.T) {
	const size = 8 << 20
	data := make([]byte, size)
	copy(data[4<<20:], "in the middle")
	m := newLiar(t, []fsystest.File{{Path: "sparse", Data: data}}, nil)
	dir, j, err := extractTree(t.Context(), t, m, nil)
	if err != nil || len(j.Notes) > 0 {
		t.Fatal(err, j.Notes)
	}
	got, err := os.ReadFile(dir + "/sparse")
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("content is not what it was; error %v", err)
	}
	var st unix.Stat_t
	if err := unix.Stat(dir+"/sparse", &st); err != nil || st.Blocks*512 > 1<<20 {
		t.Errorf("%d bytes are stored, error %v", st.Blocks*512, err)
	}
}

// Files are read in the order in which they lie on the disc.
func TestPlanIsInDiscOrder(t *testing.T) {
	m := newLiar(t, []fsystest.File{
		{Path: "z/first", Data: []byte("1")},
		{Path: "a/second", Data: []byte("2")},
		{Path: "m", Data: []byte("3")},
		{Path: "link", Mode: fsys.TypeLink, Target: "m"},
		{Path: "fifo", Mode: fsys.TypeFifo | 0o600},
	}, nil)
	places, err := pick(t.Context(), m, []string{"m", "/", "a/second"})
	if err != nil {
		t.Fatal(err)
	}
	p := planner{fs: m, bad: func(path string, err error) { t.Error(path, err) }, exclude: []string{"nothing"}}
	todo, err := p.make(t.Context(), places)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range todo.dirs {
		got = append(got, d.path+"/")
	}
	for _, f := range todo.files {
		got = append(got, f.path)
	}
	for _, o := range todo.others {
		got = append(got, o.path)
	}
	want := []string{"/", "a/", "z/", "z/first", "a/second", "m", "fifo", "link"}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("(-got +want):\n%s", diff)
	}
}

func TestACLText(t *testing.T) {
	acl := []byte("\x02\x00\x00\x00" +
		"\x01\x00\x06\x00\xff\xff\xff\xff" + "\x02\x00\x04\x00\xe8\x03\x00\x00" + "\x04\x00\x05\x00\xff\xff\xff\xff" +
		"\x10\x00\x07\x00\xff\xff\xff\xff" + "\x20\x00\x00\x00\xff\xff\xff\xff")
	got, err := aclText(acl)
	if want := "user::rw-,user:1000:r--,group::r-x,mask::rwx,other::---"; got != want || err != nil {
		t.Errorf("got %q, error %v, want %q", got, err, want)
	}
	for _, bad := range []string{"", "\x01\x00\x00\x00", string(acl[:10]), "\x02\x00\x00\x00\x03\x00\x06\x00\xff\xff\xff\xff", "\x02\x00\x00\x00\x01\x00\x09\x00\xff\xff\xff\xff"} {
		if got, err := aclText([]byte(bad)); err == nil {
			t.Errorf("%q: got %q and no error", bad, got)
		}
	}
}

func TestModeText(t *testing.T) {
	for mode, want := range map[uint32]string{
		fsys.TypeFile | 0o644:   "-rw-r--r--",
		fsys.TypeDir | 0o1777:   "drwxrwxrwt",
		fsys.TypeFile | 0o6755:  "-rwsr-sr-x",
		fsys.TypeFile | 0o7000:  "---S--S--T",
		fsys.TypeLink | 0o777:   "lrwxrwxrwx",
		fsys.TypeChar | 0o600:   "crw-------",
		fsys.TypeBlock:          "b---------",
		fsys.TypeFifo:           "p---------",
		fsys.TypeSocket | 0o007: "s------rwx",
		0o170000:                "?---------",
	} {
		if got := modeText(mode); got != want {
			t.Errorf("%o: got %s, want %s", mode, got, want)
		}
	}
}
