package master

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/fsys/fsystest"
	"github.com/isomount/isomount/pkg/isofs"
)

// source makes files below a new directory: "dir/" a directory, "a -> b" a
// link, "a = b" a hard link, everything else a file that holds its own name.
func source(t *testing.T, names ...string) string {
	t.Helper()
	root := t.TempDir()
	for _, name := range names {
		link, target, isLink := strings.Cut(name, " -> ")
		file, old, isHard := strings.Cut(name, " = ")
		path := filepath.Join(root, file)
		if isLink {
			path = filepath.Join(root, link)
		}
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		switch {
		case isLink:
			must(t, os.Symlink(target, path))
		case isHard:
			must(t, os.Link(filepath.Join(root, old), path))
		case strings.HasSuffix(name, "/"):
			must(t, os.MkdirAll(path, 0o755))
		default:
			must(t, os.WriteFile(path, []byte(name), 0o644))
		}
	}
	return root
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// listOf returns the paths of a tree, with marks as source takes them.
func listOf(t *testing.T, tree *Tree) []string {
	t.Helper()
	var list []string
	must(t, walk(tree.Root(), func(n *Node) error {
		switch {
		case n == tree.Root():
		case n.IsDir():
			list = append(list, n.Path()[1:]+"/")
		case n.inode.extra != nil && n.inode.extra.target != "":
			list = append(list, n.Path()[1:]+" -> "+n.inode.extra.target)
		default:
			list = append(list, n.Path()[1:])
		}
		return nil
	}))
	return list
}

func TestScan(t *testing.T) {
	root := source(t, "a", "b/c", "b/d.o", "b/deep/e.o", "l -> a", "dl -> b", "bad -> nowhere", "b/loop -> ..", "h = a")
	other := source(t, "b/f", "g")
	join := filepath.Join
	tests := []struct {
		name    string
		sources []Source
		opt     ScanOptions
		want    []string
	}{
		{
			"all",
			[]Source{{Path: root}},
			ScanOptions{},
			[]string{"a", "b/", "b/c", "b/d.o", "b/deep/", "b/deep/e.o", "b/loop -> ..", "bad -> nowhere", "dl -> b", "h", "l -> a"},
		},
		{
			"merged",
			[]Source{{Path: join(root, "b")}, {Path: other}},
			ScanOptions{},
			[]string{"b/", "b/f", "c", "d.o", "deep/", "deep/e.o", "g", "loop -> .."},
		},
		{
			"exclude names",
			[]Source{{Path: root}},
			ScanOptions{Exclude: []string{"*.o", "dl", "l*"}},
			[]string{"a", "b/", "b/c", "b/deep/", "bad -> nowhere", "h"},
		},
		{
			"exclude paths",
			[]Source{{Path: root}},
			ScanOptions{Exclude: []string{"b/*.o", "**/loop", "dl"}},
			[]string{"a", "b/", "b/c", "b/deep/", "b/deep/e.o", "bad -> nowhere", "h", "l -> a"},
		},
		{
			"follow",
			[]Source{{Path: root}},
			ScanOptions{Follow: true, Exclude: []string{"*.o"}},
			[]string{"a", "b/", "b/c", "b/deep/", "b/loop -> ..", "bad -> nowhere", "dl/", "dl/c", "dl/deep/", "dl/loop -> ..", "h", "l"},
		},
		{
			"grafts",
			[]Source{{Path: join(root, "a"), Target: "x/y/z"}, {Path: join(root, "b"), Target: "x/b"}, {Path: join(root, "l")}},
			ScanOptions{},
			[]string{"l -> a", "x/", "x/b/", "x/b/c", "x/b/d.o", "x/b/deep/", "x/b/deep/e.o", "x/b/loop -> ..", "x/y/", "x/y/z"},
		},
		{
			"a link to a directory is one",
			[]Source{{Path: join(root, "dl")}},
			ScanOptions{Exclude: []string{"deep", "loop"}},
			[]string{"c", "d.o"},
		},
		{
			"same file twice",
			[]Source{{Path: root, Shallow: true}, {Path: join(root, "a")}, {Path: join(root, "a")}},
			ScanOptions{},
			[]string{"a"},
		},
		{
			"shallow",
			[]Source{{Path: join(root, "b"), Target: "b", Shallow: true}, {Path: join(root, "b/c"), Target: "b/c"}},
			ScanOptions{},
			[]string{"b/", "b/c"},
		},
		{
			"leave",
			[]Source{{Path: root}},
			ScanOptions{Leave: []os.FileInfo{stat(t, join(root, "b")), stat(t, join(root, "a"))}},
			[]string{"bad -> nowhere", "dl -> b", "l -> a"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tree, _, err := Scan(t.Context(), tt.sources, tt.opt)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, listOf(t, tree)); diff != "" {
				t.Errorf("tree (-want +got):\n%s", diff)
			}
		})
	}
}

func stat(t *testing.T, path string) os.FileInfo {
	t.Helper()
	info, err := os.Stat(path)
	must(t, err)
	return info
}

func TestScanNotesLoops(t *testing.T) {
	root := source(t, "d/e/up -> ../..", "d/self -> .")
	_, notes, err := Scan(t.Context(), []Source{{Path: root}}, ScanOptions{Follow: true})
	must(t, err)
	var got []string
	for _, n := range notes {
		if !errors.Is(n.Err, ErrLoop) {
			t.Errorf("%s: %v", n.Path, n.Err)
		}
		got = append(got, strings.TrimPrefix(n.Path, root))
	}
	if diff := cmp.Diff([]string{"/d/e/up", "/d/self"}, got); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
}

func TestScanRefuses(t *testing.T) {
	root := source(t, "a", "d/x")
	other := source(t, "a", "d")
	tests := []struct {
		name    string
		sources []Source
		opt     ScanOptions
		want    error
	}{
		{"missing", []Source{{Path: filepath.Join(root, "missing")}}, ScanOptions{}, fs.ErrNotExist},
		{"two files for one place", []Source{{Path: root}, {Path: filepath.Join(other, "a")}}, ScanOptions{}, fs.ErrExist},
		{"a file where a directory is", []Source{{Path: root}, {Path: filepath.Join(other, "d")}}, ScanOptions{}, fs.ErrExist},
		{"a directory where a file is", []Source{{Path: other}, {Path: root, Target: "d"}}, ScanOptions{}, fs.ErrExist},
		{"below a file", []Source{{Path: root}, {Path: other, Target: "a/b"}}, ScanOptions{}, fsys.ErrNotDir},
		{"malformed pattern", []Source{{Path: root}}, ScanOptions{Exclude: []string{"a[", "*"}}, path.ErrBadPattern},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, _, err := Scan(t.Context(), tt.sources, tt.opt); !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := Scan(ctx, []Source{{Path: root}}, ScanOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
}

// TestScanUnreadable needs a user who may not read everything.
func TestScanUnreadable(t *testing.T) {
	root := source(t, "good", "secret", "closed/x")
	must(t, os.Chmod(filepath.Join(root, "secret"), 0))
	must(t, os.Chmod(filepath.Join(root, "closed"), 0))
	t.Cleanup(func() { os.Chmod(filepath.Join(root, "closed"), 0o755) })
	asNobody(t, root, func() {
		_, _, err := Scan(t.Context(), []Source{{Path: root}}, ScanOptions{})
		if !errors.Is(err, fs.ErrPermission) || !strings.Contains(fmt.Sprint(err), "closed") {
			t.Errorf("error %v, want that closed cannot be read", err)
		}
		tree, notes, err := Scan(t.Context(), []Source{{Path: root}}, ScanOptions{SkipUnreadable: true})
		must(t, err)
		if diff := cmp.Diff([]string{"closed/", "good"}, listOf(t, tree)); diff != "" {
			t.Errorf("tree (-want +got):\n%s", diff)
		}
		if len(notes) != 2 || !errors.Is(notes[0].Err, fs.ErrPermission) || !errors.Is(notes[1].Err, fs.ErrPermission) {
			t.Errorf("notes %v, want two", notes)
		}
	})
}

// asNobody runs f without root's power to read everything.
func asNobody(t *testing.T, root string, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		f()
		return
	}
	for dir := root; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		must(t, os.Chmod(dir, 0o755))
	}
	done := make(chan struct{})
	go func() { // its thread ends with it, because it stays locked
		defer close(done)
		runtime.LockOSThread()
		const nobody = 65534
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, nobody, nobody, nobody); errno != 0 {
			t.Error(errno)
			return
		}
		f()
	}()
	<-done
}

func TestScanAttributes(t *testing.T) {
	root := source(t, "file", "dir/", "link -> file", "hard = file")
	file := filepath.Join(root, "file")
	old := time.Unix(1_000_000_000, 123)
	must(t, os.Chmod(file, 0o640))
	must(t, os.Chtimes(file, old, old))
	must(t, unix.Mkfifo(filepath.Join(root, "fifo"), 0o600))
	if err := unix.Setxattr(file, "user.note", []byte("value"), 0); err != nil {
		t.Skip("no extended attributes here:", err)
	}
	must(t, unix.Setxattr(root, "user.root", bytes.Repeat([]byte("r"), 3000), 0))
	tree, _, err := Scan(t.Context(), []Source{{Path: root}}, ScanOptions{
		Adjust: func(path string, a *fsys.Attr) { a.UID, a.GID = 12, 34 },
	})
	must(t, err)
	fsystest.Test(t, readISO(t, imageOf(t, tree, Options{}), isofs.RockRidge), []fsystest.File{
		{Path: ".", Mode: fsys.TypeDir | 0o755, UID: 12, GID: 34, Xattrs: map[string]string{"user.root": strings.Repeat("r", 3000)}},
		{Path: "file", Mode: fsys.TypeFile | 0o640, UID: 12, GID: 34, Data: []byte("file"), Nlink: 2, ModTime: at1(old.Unix()), Xattrs: map[string]string{"user.note": "value"}},
		{Path: "hard", Link: "file"},
		{Path: "dir", Mode: fsys.TypeDir | 0o755},
		{Path: "link", Mode: fsys.TypeLink | 0o777, Target: "file"},
		{Path: "fifo", Mode: fsys.TypeFifo | 0o600},
	})
}

// TestSourceChanges has files that change between Scan and Write.
func TestSourceChanges(t *testing.T) {
	tests := []struct {
		name   string
		change func(path string) error
		note   error
		err    error
		want   string // content in the image
	}{
		{"nothing", func(string) error { return nil }, nil, nil, "file"},
		{"grown", func(p string) error { return os.WriteFile(p, []byte("fileandmore"), 0o644) }, ErrGrew, nil, "file"},
		{"shorter", func(p string) error { return os.Truncate(p, 2) }, nil, ErrShort, ""},
		{"empty", func(p string) error { return os.Truncate(p, 0) }, nil, ErrShort, ""},
		{"rewritten", func(p string) error { return os.WriteFile(p, []byte("elif"), 0o644) }, ErrChanged, nil, "elif"},
		{"gone", os.Remove, nil, ErrGone, ""},
		{"a link now", func(p string) error { return errors.Join(os.Remove(p), os.Symlink("/etc/passwd", p)) }, nil, unix.ELOOP, ""},
		{"a directory now", func(p string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o755)) }, nil, unix.EISDIR, ""},
		{"a pipe now", func(p string) error { return errors.Join(os.Remove(p), unix.Mkfifo(p, 0o644)) }, nil, ErrShort, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := source(t, "file")
			path := filepath.Join(root, "file")
			old := time.Now().Add(-time.Hour)
			must(t, os.Chtimes(path, old, old))
			tree, _, err := Scan(t.Context(), []Source{{Path: root}}, ScanOptions{})
			must(t, err)
			must(t, tt.change(path))
			var b bytes.Buffer
			r, err := Write(t.Context(), &b, tree, Options{}, nil)
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if err != nil {
				if !strings.Contains(err.Error(), "/file") {
					t.Errorf("error %q does not name the file", err)
				}
				return
			}
			if tt.note == nil && len(r.Notes) != 0 || tt.note != nil && (len(r.Notes) != 1 || !errors.Is(r.Notes[0].Err, tt.note) || r.Notes[0].Path != "/file") {
				t.Errorf("notes %v, want %v", r.Notes, tt.note)
			}
			fsystest.Test(t, readISO(t, b.Bytes(), isofs.RockRidge), []fsystest.File{{Path: "file", Data: []byte(tt.want)}})
		})
	}
}

func TestScanOneFileSystem(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounts a file system")
	}
	root := source(t, "here", "mnt/")
	mnt := filepath.Join(root, "mnt")
	if err := unix.Mount("none", mnt, "tmpfs", 0, "size=1m"); err != nil {
		t.Skip("cannot mount:", err)
	}
	t.Cleanup(func() { unix.Unmount(mnt, 0) })
	must(t, os.WriteFile(filepath.Join(mnt, "there"), nil, 0o644))
	for one, want := range map[bool][]string{false: {"here", "mnt/", "mnt/there"}, true: {"here", "mnt/"}} {
		tree, _, err := Scan(t.Context(), []Source{{Path: root}}, ScanOptions{OneFileSystem: one})
		must(t, err)
		if diff := cmp.Diff(want, listOf(t, tree)); diff != "" {
			t.Errorf("one file system %v (-want +got):\n%s", one, diff)
		}
	}
}

func TestSourceUntouched(t *testing.T) {
	root := source(t, "a", "b/c", "l -> a")
	long := time.Now().Add(-100 * time.Hour) // old enough for Linux to note an access
	for _, name := range []string{"a", "b/c", "b", "."} {
		must(t, os.Chtimes(filepath.Join(root, name), long, long))
	}
	statDirs := func() []unix.Stat_t {
		dirs := make([]unix.Stat_t, 2)
		must(t, unix.Stat(root, &dirs[0]))
		must(t, unix.Stat(filepath.Join(root, "b"), &dirs[1]))
		return dirs
	}
	before := statDirs()
	tree, _, err := Scan(t.Context(), []Source{{Path: root}}, ScanOptions{})
	must(t, err)
	_, err = Write(t.Context(), io.Discard, tree, Options{UDF: UDF102, MD5: true}, nil)
	must(t, err)
	if diff := cmp.Diff(before, statDirs()); diff != "" {
		t.Errorf("directories have changed:\n%s", diff)
	}
	for _, name := range []string{"a", "b/c"} {
		var st unix.Stat_t
		must(t, unix.Stat(filepath.Join(root, name), &st))
		if st.Atim.Sec != long.Unix() || st.Mtim.Sec != long.Unix() {
			t.Errorf("%s: times %v, %v, want %d", name, st.Atim, st.Mtim, long.Unix())
		}
	}
}
