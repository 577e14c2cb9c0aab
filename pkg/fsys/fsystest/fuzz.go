package fsystest

import (
	"bytes"
	"hash/maphash"
	"iter"
	"os"
	"path/filepath"
	"testing"
)

// CorpusVar names the environment variable with the folder of disc images that
// [Corpus] reads.
const CorpusVar = "ISOMOUNT_CORPUS"

// maxCorpusImage is the size in bytes up to which an image is worth fuzzing.
const maxCorpusImage = 4 << 20

// Corpus returns the small images of the folder that [CorpusVar] names; none if
// the variable is not set.
func Corpus(tb testing.TB) iter.Seq[[]byte] {
	tb.Helper()
	dir := os.Getenv(CorpusVar)
	if dir == "" {
		return func(func([]byte) bool) {}
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		tb.Fatal(err)
	}
	return func(yield func([]byte) bool) {
		for _, file := range files {
			info, err := file.Info()
			if err != nil || !info.Mode().IsRegular() || info.Size() > maxCorpusImage {
				continue
			}
			img, err := os.ReadFile(filepath.Join(dir, file.Name()))
			if err != nil {
				tb.Fatal(err)
			}
			if !yield(img) {
				return
			}
		}
	}
}

// Seeds of [FuzzPatches]: a patch for each part of an image that holds data.
const (
	seedStep = 512 // bytes from one patch to the next
	seedSize = 64  // bytes of a patch
	maxSeeds = 32  // of one image
)

// FuzzPatches changes two places of an image and calls try with what becomes
// of it, which reaches deeper than images made by the fuzzer alone. mend, which
// may be nil, makes checksums right again in the n bytes that were changed at
// byte offset at.
func FuzzPatches(f *testing.F, images [][]byte, mend func(img []byte, at, n int), try func(t *testing.T, img []byte)) {
	f.Helper()
	addSeeds(f, images)
	damage := func(img []byte, at uint32, patch []byte) {
		if pos := int(int64(at) % int64(len(img))); len(patch) > 0 {
			n := copy(img[pos:], patch)
			if mend != nil {
				mend(img, pos, n)
			}
		}
	}
	f.Fuzz(func(t *testing.T, which uint16, at uint32, patch []byte, at2 uint32, patch2 []byte) {
		img := bytes.Clone(images[int(which)%len(images)])
		damage(img, at, patch)
		damage(img, at2, patch2)
		try(t, img)
	})
}

// addSeeds adds the patches that change nothing. What one image shares with
// another is taken once.
func addSeeds(f *testing.F, images [][]byte) {
	f.Helper()
	seed, seen := maphash.MakeSeed(), map[uint64]bool{}
	for i, img := range images {
		f.Add(uint16(i), uint32(0), []byte(nil), uint32(0), []byte(nil))
		for at, n := 0, 0; at < len(img) && n < maxSeeds; at += seedStep {
			part := img[at:min(at+seedSize, len(img))]
			if sum := maphash.Bytes(seed, part); !seen[sum] && len(bytes.Trim(part, "\x00")) > 0 {
				seen[sum] = true
				f.Add(uint16(i), uint32(at), bytes.Clone(part), uint32(at+seedStep), []byte(nil))
				n++
			}
		}
	}
}
