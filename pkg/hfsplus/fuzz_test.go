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
		b.file(cnidRoot, "pieces", node{data: fsystest.Noise(12 * 512), frag: 1})
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
		exercise(t, img, ForksXattr)
		exercise(t, img, ForksDot)
	})
}

func exercise(t *testing.T, img []byte, forks string) {
	t.Helper()
	v, err := Open(bytes.NewReader(img), int64(len(img)), Options{Forks: forks})
	if err != nil {
		return
	}
	v.Info()
	v.RootEntries()
	if err := fsystest.Exercise(v, fsystest.Limits{}); err != nil {
		t.Error(err)
	}
}

// FuzzPatch changes a few bytes of a sound volume, which reaches deeper than
// what FuzzOpen makes of whole images.
func FuzzPatch(f *testing.F) {
	volumes := seeds(f)
	for img := range fsystest.Corpus(f) {
		found, err := Find(bytes.NewReader(img), int64(len(img)))
		if err != nil {
			f.Fatal(err) // reading never fails here
		}
		for _, r := range found {
			volumes = append(volumes, img[r.Off:r.Off+r.Size])
		}
	}
	fsystest.FuzzPatches(f, volumes, nil, func(t *testing.T, img []byte) {
		t.Helper()
		exercise(t, img, ForksDot)
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
