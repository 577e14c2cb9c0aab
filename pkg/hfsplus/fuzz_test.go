package hfsplus

import (
	"bytes"
	"testing"

	"github.com/isomount/isomount/pkg/fsys/fsystest"
)

// seeds are small volumes of every kind.
func seeds(f *testing.F) [][]byte {
	f.Helper()
	small := func(sig uint16) []byte {
		b := newBuilder(f, sig)
		dir := b.folder(cnidRoot, "dir", node{finder: "x"})
		b.file(dir, "file", node{data: []byte("data"), rsrc: []byte("rsrc"), finder: "TEXTttxt"})
		b.file(cnidRoot, "pieces", node{data: pattern(12 * 512), frag: 1})
		for i := range 8 {
			b.file(dir, string(rune('a'+i)), node{})
		}
		if sig == sigHFS {
			return b.image()
		}
		files := b.folder(cnidRoot, hiddenDir, node{})
		b.file(files, "iNode7", node{data: []byte("linked"), special: 2})
		b.file(dir, "hard link", node{finder: "hlnkhfs+", special: 7})
		b.file(dir, "soft link", node{mode: 0o120777, data: []byte("file")})
		id := b.file(dir, "compressed", node{owner: ownerCompressed})
		b.attribute(id, xattrCompressed, decmpfs(3, 5, []byte("\xff12345")))
		b.longAttribute(id, "long", "value", 0)
		return b.image()
	}
	return [][]byte{small(sigPlus), small(sigX), small(sigHFS), wrap(small(sigPlus))}
}

// FuzzOpen does to a damaged volume everything that a user could.
func FuzzOpen(f *testing.F) {
	for _, s := range seeds(f) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, img []byte) {
		for _, forks := range []string{ForksXattr, ForksDot} {
			v, err := Open(bytes.NewReader(img), int64(len(img)), Options{Forks: forks})
			if err != nil {
				continue
			}
			v.Info()
			v.RootEntries()
			if err := fsystest.Exercise(v, fsystest.Limits{}); err != nil {
				t.Error(err)
			}
		}
	})
}

// FuzzPatch changes a few bytes of a sound volume, which reaches deeper than
// what FuzzOpen makes of whole images.
func FuzzPatch(f *testing.F) {
	volumes := seeds(f)
	f.Add(uint8(0), []byte{0, 0, 1}, []byte{0, 1, 2})
	f.Add(uint8(2), []byte{4, 0, 1}, []byte{9, 1, 2})
	f.Fuzz(func(t *testing.T, which uint8, first, second []byte) {
		img := bytes.Clone(volumes[int(which)%len(volumes)])
		for _, p := range [][]byte{first, second} {
			if len(p) > 2 {
				copy(img[(int(p[0])<<8|int(p[1]))*4%len(img):], p[2:min(len(p), 34)])
			}
		}
		v, err := Open(bytes.NewReader(img), int64(len(img)), Options{Forks: ForksDot})
		if err != nil {
			return
		}
		if err := fsystest.Exercise(v, fsystest.Limits{}); err != nil {
			t.Error(err)
		}
	})
}

func FuzzFind(f *testing.F) {
	img := make([]byte, 1<<13)
	putDriverMap(img, 2048)
	putMap(img, 512, part{typeMap, "Apple", 1, 2}, part{"Apple_HFS", "x", 4, 9})
	f.Add(img)
	f.Add(wrap(nil))
	f.Fuzz(func(t *testing.T, img []byte) {
		found, err := Find(bytes.NewReader(img), int64(len(img)))
		if err != nil {
			t.Fatal(err) // reading never fails here
		}
		for _, r := range found {
			if r.Off < 0 || r.Size <= 0 || r.Off+r.Size > int64(len(img)) {
				t.Errorf("range outside the image: %+v", r)
			}
		}
	})
}
