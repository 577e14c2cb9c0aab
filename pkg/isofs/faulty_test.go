package isofs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/isomount/isomount/pkg/fsys"
)

var errFaulty = errors.New("medium error")

// faulty fails to read the sector at bad.
type faulty struct {
	r   io.ReaderAt
	bad int64
}

func (f *faulty) ReadAt(p []byte, off int64) (int, error) {
	if f.bad > 0 && off < f.bad+sectorSize && off+int64(len(p)) > f.bad {
		return 0, errFaulty
	}
	return f.r.ReadAt(p, off)
}

// everything makes a disc that has something of all that takes several reads.
func everything(tb testing.TB) *testImage {
	tb.Helper()
	m := newImage()
	content := []byte(strings.Repeat("isomount ", 10_000))
	stored := zisofsFile(tb, "pz", content)
	area := m.alloc(join(nm("continued"), px(0o100600, 1), al(255, "\x03a", "b")))
	small, smallSize := m.dir(px(fsys.TypeDir|0o700, 2), m.file("IN.;1", "inside", withUse(nm("in"), px(0o100644, 1))))
	var records [][]byte
	for i := range 150 {
		records = append(records, m.file(fmt.Sprintf("N%03d.;1", i), fmt.Sprint(i), withUse(nm(fmt.Sprintf("name %03d", i)), px(0o100644, 1))))
	}
	for i := range 60 {
		records = append(records, m.file("PARTS.;1", strings.Repeat(fmt.Sprint(i%10), 10), withFlags(flagMore)))
	}
	records = append(records, m.file("PARTS.;1", "end"), m.file("N000.;1", "twin", withUse(nm("name 000"), px(0o100644, 1))))
	large, largeSize := m.dir(px(fsys.TypeDir|0o711, 2), records...)
	root, size := m.dir(join(sp(0), px(fsys.TypeDir|0o755, 2), er(), al(255, "\x03r", "root")),
		rec("SMALL", small, smallSize, isDir, withUse(nm("small"), px(fsys.TypeDir|0o700, 2), al(255, "\x03d", "dir"))),
		rec("LARGE", large, largeSize, isDir, withUse(nm("large"), px(fsys.TypeDir|0o711, 2))),
		m.file("C.;1", "c", withUse(ce(area, 0, 100))),
		rec("Z.;1", m.alloc(stored), len(stored), withUse(nm("z"), px(0o100644, 1), zf("ZF", "pz", testShift, uint64(len(content))))))
	m.volume(16, 1, root, size)
	m.end(17)
	return m
}

// known is what is known of a path.
type known struct {
	attr    fsys.Attr
	content string
	xattrs  string
}

// walk finds out everything about a tree, calling fail for what gives an error.
func walk(f *FS, dir fsys.Node, path string, all map[string]known, fail func(error)) {
	type kid struct {
		name string
		node fsys.Node
		attr fsys.Attr
	}
	var kids []kid
	fail(f.ReadDir(dir, 0, func(e *fsys.Entry) bool {
		kids = append(kids, kid{string(e.Name), e.Node, e.Attr})
		return true
	}))
	for _, k := range kids {
		p := path + "/" + k.name
		know := known{attr: k.attr}
		names, err := f.Xattrs(k.node)
		fail(err)
		know.xattrs = strings.Join(names, ",")
		if _, a, err := f.Lookup(dir, []byte(k.name)); err != nil || a != k.attr {
			fail(err)
			know.attr = a
		}
		if k.attr.IsDir() {
			if up, err := f.Parent(k.node); err != nil || up != dir {
				fail(err)
				know.content = "wrong parent"
			}
			walk(f, k.node, p, all, fail)
		} else {
			b := make([]byte, k.attr.Size)
			_, err := f.ReadAt(k.node, b, 0)
			fail(err)
			know.content = string(b)
		}
		all[p] = know
	}
}

// While a sector cannot be read, every answer is an error or the truth; when it
// can be read again, so is everything.
func TestReadErrorsPass(t *testing.T) {
	m := everything(t)
	r := &faulty{r: bytes.NewReader(m.data)}
	truth := map[string]known{}
	walk(m.fs(t, RockRidge, TreeOptions{}), m.fs(t, RockRidge, TreeOptions{}).Root(), "", truth, func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	})
	if len(truth) != 157 {
		t.Fatalf("the disc has %d entries", len(truth))
	}
	for bad := int64(18 * sectorSize); bad < int64(len(m.data)); bad += sectorSize {
		r.bad = 0
		v, err := Open(r, int64(len(m.data)), Options{})
		if err != nil {
			t.Fatal(err)
		}
		f, err := v.FS(RockRidge, TreeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		r.bad = bad
		got, errs := map[string]known{}, 0
		walk(f, f.Root(), "", got, func(err error) {
			if err != nil {
				errs++
			}
		})
		checkFaulty(t, bad, got, truth, errs)

		r.bad = 0
		got = map[string]known{}
		walk(f, f.Root(), "", got, func(err error) {
			if err != nil {
				t.Errorf("sector %d can be read again, but: %v", bad/sectorSize, err)
			}
		})
		checkFaulty(t, bad, got, truth, 0)
	}
}

// checkFaulty compares answers with the truth. With errors some may be missing.
func checkFaulty(t *testing.T, bad int64, got, truth map[string]known, errs int) {
	t.Helper()
	for p, want := range truth {
		g, ok := got[p]
		switch {
		case !ok && errs == 0:
			t.Errorf("sector %d: %s is missing without an error", bad/sectorSize, p)
		case !ok || g == want:
		case want.attr.IsDir() && g.attr.Ino != want.attr.Ino && errs > 0:
			// Its record of itself cannot be read; the record that leads there
			// stands for it.
		case errs > 0 && (p == "/large/parts" || p == "/large/name 000"):
			// Nothing tells that records which cannot be read were of the same
			// file, or had the same name.
		case errs == 0 || g.attr != want.attr && g.attr != (fsys.Attr{}) || g.xattrs != want.xattrs && g.xattrs != "":
			t.Errorf("sector %d: %s: got %+v, want %+v, with %d errors", bad/sectorSize, p, g.attr, want.attr, errs)
		}
	}
	for p := range got {
		if _, ok := truth[p]; !ok {
			t.Errorf("sector %d: %s is not on the disc", bad/sectorSize, p)
		}
	}
}
