package fat

import (
	"bytes"
	"testing"

	"github.com/isomount/isomount/pkg/fsys/fsystest"
)

func seeds(f *testing.F) [][]byte {
	f.Helper()
	var all [][]byte
	for _, bits := range []int{12, 16, 32} {
		b := newBuilder(f, bits, 512)
		b.gap = 1
		all = append(all, b.image(
			file{name: "A long name.txt", short: "ALONGN~1TXT", data: fsystest.Noise(1500)},
			file{name: "dir", short: "DIR        ", isDir: true, dir: []file{{short: "FILE       ", data: []byte("x")}, {name: "deeper", short: "DEEPER     ", isDir: true}}},
		))
	}
	return all
}

// FuzzOpen does to a damaged file system everything that a user could.
func FuzzOpen(f *testing.F) {
	for _, s := range seeds(f) {
		f.Add(s)
	}
	f.Fuzz(exercise)
}

func exercise(t *testing.T, img []byte) {
	t.Helper()
	v, err := Open(bytes.NewReader(img), int64(len(img)), Options{})
	if err != nil {
		return
	}
	v.Info()
	if err := fsystest.Exercise(v, fsystest.Limits{}); err != nil {
		t.Error(err)
	}
}

// FuzzPatch changes a few bytes of a sound file system.
func FuzzPatch(f *testing.F) { fsystest.FuzzPatches(f, seeds(f), nil, exercise) }
