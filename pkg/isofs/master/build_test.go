package master

import (
	"bytes"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/fsys/fsystest"
	"github.com/isomount/isomount/pkg/isofs"
	"github.com/isomount/isomount/pkg/udf"
)

// when is the time of images made by tests.
var when = time.Date(2020, 2, 29, 12, 34, 56, 0, time.UTC)

// treeOf makes a tree from a list.
func treeOf(tb testing.TB, files []fsystest.File) *Tree {
	tb.Helper()
	mem, err := fsystest.NewMem(files)
	if err != nil {
		tb.Fatal(err)
	}
	tree, notes, err := FromFS(tb.Context(), mem, false)
	if err != nil || len(notes) > 0 {
		tb.Fatalf("tree: %v, notes %v", err, notes)
	}
	return tree
}

// imageOf writes an image of a tree into memory.
func imageOf(tb testing.TB, tree *Tree, opt Options) []byte {
	tb.Helper()
	if opt.Date.IsZero() {
		opt.Date = when
	}
	var b bytes.Buffer
	r, err := Write(tb.Context(), &b, tree, opt, nil)
	if err != nil {
		tb.Fatal(err)
	}
	if got, want := int64(b.Len()), r.Blocks*blockSize; got != want {
		tb.Fatalf("image of %d bytes, want %d", got, want)
	}
	if len(r.Notes) > 0 {
		tb.Errorf("notes %v", r.Notes)
	}
	checkNotes(tb, b.Bytes())
	return b.Bytes()
}

// checkNotes checks that the reader finds nothing odd in an image.
func checkNotes(tb testing.TB, image []byte) {
	tb.Helper()
	v, err := isofs.Open(bytes.NewReader(image), int64(len(image)), isofs.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	if notes := v.Info().Notes; len(notes) > 0 {
		tb.Errorf("the reader finds odd: %q", notes)
	}
}

// readISO opens one of the ISO trees of an image.
func readISO(tb testing.TB, image []byte, kind isofs.Kind) fsys.FS {
	tb.Helper()
	v, err := isofs.Open(bytes.NewReader(image), int64(len(image)), isofs.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	f, err := v.FS(kind, isofs.TreeOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	return f
}

// readUDF opens the UDF tree of an image.
func readUDF(tb testing.TB, image []byte) fsys.FS {
	tb.Helper()
	f, err := udf.Open(bytes.NewReader(image), int64(len(image)), udf.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	return f
}

// noise returns n bytes that are the same in every run.
func noise(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func at1(sec int64) fsys.Time { return fsys.Time{Sec: sec} }

// variety has one of everything that a Unix tree can hold.
func variety() []fsystest.File {
	const t0 = 1_000_000_000
	return []fsystest.File{
		{Path: ".", Mode: fsys.TypeDir | 0o751, UID: 7, GID: 8, ModTime: at1(t0)},
		{Path: "hello.txt", Mode: 0o644, Data: []byte("hello\n"), ModTime: at1(t0 + 1), Nlink: 2},
		{Path: "other name", Link: "hello.txt"},
		{Path: "empty", Mode: 0o400},
		{Path: "suid", Mode: 0o4755, UID: 1000, GID: 100, Data: noise(1, 2049), ModTime: at1(-86400 * 365)},
		{Path: "dir", Mode: fsys.TypeDir | 0o1777, ModTime: at1(t0 + 2), Nlink: 3},
		{Path: "dir/sub", Mode: fsys.TypeDir | 0o700, ModTime: at1(t0 + 3), Nlink: 2},
		{Path: "dir/sub/three blocks", Data: noise(2, 3*blockSize)},
		{Path: "emptydir", Mode: fsys.TypeDir | 0o555, Nlink: 2},
		{Path: "link", Mode: fsys.TypeLink | 0o777, Target: "dir/sub/../sub/./three blocks"},
		{Path: "abslink", Mode: fsys.TypeLink | 0o777, Target: "/usr/lib"},
		{Path: "longlink", Mode: fsys.TypeLink | 0o777, Target: strings.Repeat("a long part of a target/", 100) + "x"},
		{Path: "chr", Mode: fsys.TypeChar | 0o620, Major: 4, Minor: 64},
		{Path: "blk", Mode: fsys.TypeBlock | 0o660, Major: 259, Minor: 1048575},
		{Path: "fifo", Mode: fsys.TypeFifo | 0o600},
		{Path: "sock", Mode: fsys.TypeSocket | 0o755},
		{Path: "größe 日本 😀", Data: []byte("unicode")},
		{Path: strings.Repeat("n", 253), Data: []byte("long")},
		{Path: "UPPER", Data: []byte("U")},
		{Path: "upper", Data: []byte("l")},
		{Path: ".profile", Data: []byte("dot")},
	}
}

// onlyFiles leaves out what Joliet and plain ISO 9660 cannot express.
func onlyFiles(files []fsystest.File) []fsystest.File {
	var plain []fsystest.File
	for _, f := range files {
		kind := f.Mode & fsys.TypeMask
		if kind != 0 && kind != fsys.TypeDir {
			continue
		}
		plain = append(plain, fsystest.File{Path: f.Path, Mode: kind, Data: f.Data})
		if f.Link != "" {
			plain[len(plain)-1].Data = []byte("hello\n")
		}
	}
	return plain
}

// endless is a reader of zeros that counts what it gave.
type endless struct{ n int64 }

func (e *endless) Read(p []byte) (int, error) {
	clear(p)
	e.n += int64(len(p))
	return len(p), nil
}

// fixed is Content that is the same for all files.
type fixed struct{ open func() io.Reader }

func (f fixed) Open(*Node) (io.ReadCloser, error) { return io.NopCloser(f.open()), nil }
