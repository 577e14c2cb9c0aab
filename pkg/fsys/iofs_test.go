package fsys_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/fsys/fsystest"
)

func newIOFS(t *testing.T, files []fsystest.File) fs.FS {
	t.Helper()
	m, err := fsystest.NewMem(files)
	if err != nil {
		t.Fatal(err)
	}
	return fsys.IOFS(m)
}

func link(path, target string) fsystest.File {
	return fsystest.File{Path: path, Mode: fsys.TypeLink, Target: target}
}

func ioFiles() []fsystest.File {
	return []fsystest.File{
		{Path: "empty"},
		{Path: "dir/text", Data: []byte("some text"), Mode: fsys.TypeFile | 0o4751, ModTime: fsys.Time{Sec: 86400, Nsec: 5}},
		{Path: "dir/sub/deep", Data: []byte("deeper")},
		{Path: "not\xffutf8"},
		link("to-file", "dir/text"),
		link("to-dir", "dir"),
		link("dir/sub/up", "../text"),
		link("absolute", "/dir/sub/deep"),
		link("chain", "to-dir/sub/../sub/up"),
		link("dangling", "nothing"),
		link("outside", "../x"),
		link("loop", "loop"),
	}
}

func TestIOFS(t *testing.T) {
	var good []fsystest.File
	for _, f := range ioFiles() {
		if f.Path != "outside" && f.Path != "loop" && f.Path != "dangling" {
			good = append(good, f)
		}
	}
	err := fstest.TestFS(newIOFS(t, good), "empty", "dir/text", "dir/sub/deep", "to-file", "dir/sub/up")
	if err != nil {
		t.Error(err)
	}
}

func TestIOFSLinks(t *testing.T) {
	f := newIOFS(t, ioFiles())
	for _, tt := range []struct {
		name, want string
		err        error
	}{
		{"dir/text", "some text", nil},
		{"to-file", "some text", nil},
		{"to-dir/text", "some text", nil},
		{"to-dir/sub/up", "some text", nil},
		{"absolute", "deeper", nil},
		{"chain", "some text", nil},
		{"dangling", "", fs.ErrNotExist},
		{"outside", "", fs.ErrNotExist},
		{"empty/x", "", fsys.ErrNotDir},
		{"to-dir", "", fsys.ErrIsDir},
		{"../x", "", fs.ErrInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := fs.ReadFile(f, tt.name)
			if string(got) != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("got %q, error %v, want %q, error %v", got, err, tt.want, tt.err)
			}
		})
	}
	if _, err := fs.ReadFile(f, "loop"); err == nil || !strings.Contains(err.Error(), "too many") {
		t.Errorf("loop: got error %v, want too many links", err)
	}
	if got, err := fs.ReadLink(f, "chain"); got != "to-dir/sub/../sub/up" || err != nil {
		t.Errorf("readlink: got %q, error %v", got, err)
	}
	if _, err := fs.ReadLink(f, "empty"); !errors.Is(err, fsys.ErrNotLink) {
		t.Errorf("readlink of a file: got error %v, want ErrNotLink", err)
	}
}

func TestResolve(t *testing.T) {
	m, err := fsystest.NewMem(ioFiles())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		path   string
		follow bool
		mode   uint32 // type that is found
		err    error
	}{
		{"", false, fsys.TypeDir, nil},
		{"/dir//text", false, fsys.TypeFile, nil},
		{"not\xffutf8", false, fsys.TypeFile, nil},
		{"to-file", false, fsys.TypeLink, nil},
		{"to-file", true, fsys.TypeFile, nil},
		{"to-dir/sub/deep", false, fsys.TypeFile, nil},
		{"outside", true, 0, fs.ErrNotExist},
		{"dir/..", true, fsys.TypeDir, nil},
		{"..", false, 0, fs.ErrNotExist},
	} {
		_, a, err := fsys.Resolve(m, tt.path, tt.follow)
		if a.Mode&fsys.TypeMask != tt.mode || !errors.Is(err, tt.err) {
			t.Errorf("%q: got mode %o, error %v, want %o, %v", tt.path, a.Mode, err, tt.mode, tt.err)
		}
	}
}

func TestIOFSInfo(t *testing.T) {
	f := newIOFS(t, ioFiles())
	info, err := fs.Stat(f, "dir/text")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := info.Mode(), fs.ModeSetuid|0o751; got != want {
		t.Errorf("mode: got %v, want %v", got, want)
	}
	if got, want := info.ModTime(), time.Unix(86400, 5); !got.Equal(want) {
		t.Errorf("time: got %v, want %v", got, want)
	}
	if a, ok := info.Sys().(*fsys.Attr); !ok || a.Size != 9 {
		t.Errorf("sys: got %#v, want the attributes", info.Sys())
	}
	if info, err := fs.Lstat(f, "to-file"); err != nil || info.Mode().Type() != fs.ModeSymlink {
		t.Errorf("lstat: got %v, error %v, want a link", info, err)
	}
}

func TestIOFSModes(t *testing.T) {
	for _, tt := range []struct {
		posix uint32
		want  fs.FileMode
	}{
		{fsys.TypeFile | 0o644, 0o644},
		{fsys.TypeDir | 0o1755, fs.ModeDir | fs.ModeSticky | 0o755},
		{fsys.TypeLink | 0o777, fs.ModeSymlink | 0o777},
		{fsys.TypeBlock | 0o600, fs.ModeDevice | 0o600},
		{fsys.TypeChar | 0o600, fs.ModeDevice | fs.ModeCharDevice | 0o600},
		{fsys.TypeFifo | 0o2600, fs.ModeNamedPipe | fs.ModeSetgid | 0o600},
		{fsys.TypeSocket | 0o600, fs.ModeSocket | 0o600},
		{0o170000 | 0o1, fs.ModeIrregular | 0o1},
	} {
		f := newIOFS(t, []fsystest.File{{Path: "x", Mode: tt.posix}})
		if info, err := fs.Lstat(f, "x"); err != nil || info.Mode() != tt.want {
			t.Errorf("mode %o: got %v, error %v, want %v", tt.posix, info.Mode(), err, tt.want)
		}
	}
}

// A reader that wants a part of a large file must not read the rest.
func TestIOFSReaderAt(t *testing.T) {
	f, err := newIOFS(t, ioFiles()).Open("dir/text")
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4)
	if n, err := f.(io.ReaderAt).ReadAt(buf, 5); err != nil || string(buf[:n]) != "text" {
		t.Errorf("got %q, error %v", buf[:n], err)
	}
}

func TestIOFSCopy(t *testing.T) {
	var files []fsystest.File
	for _, f := range ioFiles() {
		if f.Target == "" {
			files = append(files, f)
		}
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, newIOFS(t, files)); err != nil {
		t.Fatal(err)
	}
	var got []string
	err := filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		got = append(got, strings.TrimPrefix(p, dir))
		return err
	})
	want := []string{"", "/dir", "/dir/sub", "/dir/sub/deep", "/dir/text", "/empty"}
	if diff := cmp.Diff(got, want); diff != "" || err != nil {
		t.Errorf("copied (-got +want), error %v:\n%s", err, diff)
	}
}

// A directory whose end cannot be read still shows its beginning.
func TestIOFSListingError(t *testing.T) {
	m, err := fsystest.NewMem(ioFiles())
	if err != nil {
		t.Fatal(err)
	}
	list, err := fs.ReadDir(fsys.IOFS(tornFS{m}), ".")
	if len(list) != 9 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %d entries, error %v, want 9 and io.ErrUnexpectedEOF", len(list), err)
	}
}

type tornFS struct{ fsys.FS }

func (f tornFS) ReadDir(n fsys.Node, from uint64, yield func(*fsys.Entry) bool) error {
	return errors.Join(f.FS.ReadDir(n, from, yield), io.ErrUnexpectedEOF)
}
