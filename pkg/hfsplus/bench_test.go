package hfsplus

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/fsys/fsystest"
)

// wideVolume has one folder of n files.
func wideVolume(tb testing.TB, n int) []byte {
	tb.Helper()
	b := newBuilder(tb, sigPlus)
	b.blockSize, b.nodeSize = 4096, 8192
	dir := b.folder(cnidRoot, "wide", node{})
	for i := range n {
		b.file(dir, fmt.Sprintf("A file with a name of usual length %06d.txt", i), node{})
	}
	return b.image()
}

// BenchmarkReadDir lists a folder of 100,000 files of a volume just opened.
func BenchmarkReadDir(b *testing.B) {
	img := wideVolume(b, 100_000)
	b.ReportAllocs()
	for b.Loop() {
		v := open(b, img, Options{})
		n, _, err := v.Lookup(v.Root(), []byte("wide"))
		if err != nil {
			b.Fatal(err)
		}
		count := 0
		if err := v.ReadDir(n, 0, func(*fsys.Entry) bool { count++; return true }); err != nil || count != 100_000 {
			b.Fatal(count, err)
		}
	}
}

// BenchmarkEntry is the cost of one entry in a listing.
func BenchmarkEntry(b *testing.B) {
	v := open(b, wideVolume(b, 10_000), Options{})
	n, _, err := v.Lookup(v.Root(), []byte("wide"))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; {
		if err := v.ReadDir(n, 0, func(*fsys.Entry) bool { i++; return i < b.N }); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	v := open(b, wideVolume(b, 100_000), Options{})
	n, _, err := v.Lookup(v.Root(), []byte("wide"))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := v.Lookup(n, []byte("A file with a name of usual length 054321.txt")); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReadAt(b *testing.B) {
	bld := newBuilder(b, sigPlus)
	bld.blockSize, bld.nodeSize = 4096, 8192
	data := fsystest.Noise(1 << 20)
	bld.file(cnidRoot, "file", node{data: data, frag: 16})
	img := bld.image()
	v := open(b, img, Options{})
	n, _, err := v.Lookup(v.Root(), []byte("file"))
	if err != nil {
		b.Fatal(err)
	}
	p := make([]byte, 128<<10)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.ReadAt(n, p, 512<<10); err != nil {
			b.Fatal(err)
		}
	}
	if !bytes.Equal(p, data[512<<10:][:len(p)]) {
		b.Fatal("read something else")
	}
}
