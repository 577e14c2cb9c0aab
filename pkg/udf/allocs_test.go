package udf

import (
	"testing"

	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/fsys/fsystest"
)

// TestAllocs checks what reading costs in memory: nothing per descriptor or
// per read, and something per call that searches or lists a directory.
func TestAllocs(t *testing.T) {
	img := wideDisc(t, kindPhysical, 1000)
	f := open(t, img, Options{})
	lookup := []byte("entry-500-with-a-name-of-some-length")
	node, _, err := f.Lookup(f.Root(), lookup)
	if err != nil {
		t.Fatal(err)
	}
	fid := name{name: "entry-0000-with-a-name-of-some-length"}.fid(2048)
	e := entry{fileType: fileRegular, size: 1, allocKind: allocEmbedded, alloc: []byte("x")}
	icb := pad(e.encode(2048, 5), 2048)
	buf := make([]byte, 100)
	var names namer
	fsystest.Allocs(t, "file identifier", 0, func() {
		d, _ := parseFID(fid)
		buf = names.append(buf[:0], d.ident)
	})
	fsystest.Allocs(t, "file entry", 0, func() { _, _ = parseICB(icb, 0, addr{5, 0}) })
	fsystest.Allocs(t, "listing of 1000", 1, func() { _ = f.ReadDir(f.Root(), 0, func(*fsys.Entry) bool { return true }) })
	fsystest.Allocs(t, "lookup", 0, func() { _, _, _ = f.Lookup(f.Root(), lookup) })
	fsystest.Allocs(t, "attributes", 0, func() { _, _ = f.Attr(node) })
	fsystest.Allocs(t, "read", 0, func() { _, _ = f.ReadAt(node, buf, 0) })
}
