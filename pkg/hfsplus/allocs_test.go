package hfsplus

import (
	"testing"

	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/fsys/fsystest"
)

// TestAllocs checks what reading costs in memory: nothing per record of a
// folder, and something per call.
func TestAllocs(t *testing.T) {
	b := newBuilder(t, sigPlus)
	dir := b.folder(cnidRoot, "dir", node{})
	for i := range 1000 {
		b.file(dir, "file "+string(rune('a'+i%26))+string(rune('a'+i/26)), node{data: []byte("data")})
	}
	v := open(t, b.image(), Options{})
	n, _, err := v.Lookup(v.Root(), []byte("dir"))
	if err != nil {
		t.Fatal(err)
	}
	name := []byte("file bb")
	file, _, err := v.Lookup(n, name)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	fsystest.Allocs(t, "listing of 1000", 16, func() { _ = v.ReadDir(n, 0, func(*fsys.Entry) bool { return true }) })
	fsystest.Allocs(t, "lookup", 0, func() { _, _, _ = v.Lookup(n, name) })
	fsystest.Allocs(t, "attributes", 0, func() { _, _ = v.Attr(file) })
	fsystest.Allocs(t, "read", 0, func() { _, _ = v.ReadAt(file, buf, 0) })
}
