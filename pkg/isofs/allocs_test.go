package isofs

import (
	"testing"

	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/fsys/fsystest"
)

// TestAllocs checks what reading costs in memory: nothing per record or per
// read, and something per call that searches or lists a directory.
func TestAllocs(t *testing.T) {
	m := manyFiles(1000)
	f := m.fs(t, RockRidge, TreeOptions{})
	name := []byte("file number 000500 with a name.txt")
	n, _ := lookup(t, f, string(name))
	buf := make([]byte, 100)
	v := m.open(t, Options{})
	r := rec("FILE0001.TXT;1", 100, 2048, withUse(px(0o100644, 1, 1000, 1000), nm("a usual name.txt")))
	fsystest.Allocs(t, "record", 0, func() {
		s := getScratch()
		if s.rec.decode(r, 0, false) {
			s.susp.start(v, s.rec.use)
			s.rock.parse(&s.susp, false)
		}
		putScratch(s)
	})
	fsystest.Allocs(t, "listing of 1000", 1, func() { _ = f.ReadDir(f.Root(), 0, func(*fsys.Entry) bool { return true }) })
	fsystest.Allocs(t, "lookup", 0, func() { _, _, _ = f.Lookup(f.Root(), name) })
	fsystest.Allocs(t, "attributes", 0, func() { _, _ = f.Attr(n) })
	fsystest.Allocs(t, "read", 0, func() { _, _ = f.ReadAt(n, buf, 0) })
}
