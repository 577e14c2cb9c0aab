package isofs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isomount/isomount/pkg/binfmt"
	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/fsys/fsystest"
)

// A sparseBuilder makes what is stored of a sparse file.
type sparseBuilder struct {
	size   int64
	pieces []sparsePiece
	stored []byte
}

type sparsePiece struct {
	off  int64 // a multiple of 256
	data []byte
}

func sparseFile(depth int, size int64, pieces ...sparsePiece) []byte {
	b := sparseBuilder{size: size, pieces: pieces, stored: make([]byte, 2*sparseTable)}
	b.table(1, depth, 0)
	return b.stored
}

func (b *sparseBuilder) table(block, depth int, base int64) {
	span := int64(1) << (8 * depth)
	for i := range int64(256) {
		b.set(block, int(i), b.region(depth, base+i*span, span))
	}
}

func (b *sparseBuilder) set(block, i int, entry uint32) {
	copy(b.stored[block*sparseTable+8*i:], both(entry))
}

// region places what is in a region and returns its entry.
func (b *sparseBuilder) region(depth int, start, span int64) uint32 {
	end := min(start+span, b.size)
	for _, p := range b.pieces {
		switch pieceEnd := p.off + int64(len(p.data)); {
		case p.off >= end || pieceEnd <= start:
			continue
		case p.off <= start && (pieceEnd >= end || depth == 1):
			at := len(b.stored)
			b.stored = append(b.stored, p.data[start-p.off:min(end, pieceEnd)-p.off]...)
			b.stored = append(b.stored, make([]byte, -len(b.stored)&(sparseUnit-1))...)
			return uint32(at / sparseUnit)
		}
		b.stored = append(b.stored, make([]byte, -len(b.stored)&(sparseTable-1))...)
		block := len(b.stored) / sparseTable
		b.stored = append(b.stored, make([]byte, sparseTable)...)
		b.table(block, depth-1, start)
		return 1<<30 | uint32(block)
	}
	return 1 << 31
}

func (b *sparseBuilder) content() []byte {
	all := make([]byte, b.size)
	for _, p := range b.pieces {
		copy(all[p.off:], p.data)
	}
	return all
}

func sf(size uint64, depth byte) []byte {
	return su("SF", both(uint32(size>>32), uint32(size)), []byte{depth})
}

func noise(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*i>>7) | 1
	}
	return b
}

func TestSparseFile(t *testing.T) {
	for _, tt := range []struct {
		name   string
		depth  int
		size   int64
		entry  []byte
		pieces []sparsePiece
	}{
		{"nothing but a hole", 1, 60_000, sf(60_000, 1), nil},
		{"one piece", 1, 1000, sf(1000, 1), []sparsePiece{{0, noise(1000)}}},
		{"holes between", 1, 65536, sf(65536, 1), []sparsePiece{{0, noise(256)}, {512, noise(300)}, {65280, noise(256)}}},
		{"a region in one piece", 2, 300_000, sf(300_000, 2), []sparsePiece{{1 << 16, noise(1 << 16)}, {1<<17 + 256, noise(1000)}}},
		{"RRIP 1.10", 3, 200_000, su("SF", both(200_000)), []sparsePiece{{100_096, noise(90_000)}}},
		{"deeper than it must be", 7, 70_000, sf(70_000, 7), []sparsePiece{{65536, noise(4464)}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := sparseBuilder{size: tt.size, pieces: tt.pieces}
			m := packed(sparseFile(tt.depth, tt.size, tt.pieces...), tt.entry)
			fsystest.TestOptions(t, m.fs(t, RockRidge, TreeOptions{}), fsystest.Options{
				Want: []fsystest.File{{Path: "z", Data: b.content()}}, Image: bytes.NewReader(m.data),
			})
		})
	}
}

// The file is larger than its disc.
func TestSparseFileFar(t *testing.T) {
	const size, far = 1 << 62, 1<<61 + 1<<20
	stored := sparseFile(7, size, sparsePiece{0, noise(256)}, sparsePiece{far, noise(600)})
	m := packed(stored, sf(size, 7))
	f := m.fs(t, RockRidge, TreeOptions{})
	n, a := lookup(t, f, "z")
	if a.Size != size || a.Blocks != int64(len(stored)+511)/512 {
		t.Errorf("got %d bytes in %d blocks, want %d in %d", a.Size, a.Blocks, int64(size), (len(stored)+511)/512)
	}
	got := make([]byte, 1000)
	if _, err := f.ReadAt(n, got, far-100); err != nil || !bytes.Equal(got, append(append(make([]byte, 100), noise(600)...), make([]byte, 300)...)) {
		t.Errorf("got % x, %v", got, err)
	}
	var holes []fsys.Extent
	if err := f.Extents(n, 100, func(e fsys.Extent) bool {
		if e.Pos == fsys.Hole {
			holes = append(holes, e)
		}
		return true
	}); err != nil {
		t.Error(err)
	}
	want := []fsys.Extent{{Off: 256, Len: far - 256, Pos: fsys.Hole}, {Off: far + 768, Len: size - far - 768, Pos: fsys.Hole}}
	if d := cmp.Diff(want, holes); d != "" {
		t.Errorf("holes: -want +got:\n%s", d)
	}
}

func TestSparseFileDamaged(t *testing.T) {
	change := func(i int, entry uint32) []byte {
		stored := sparseFile(2, 1<<20, sparsePiece{0, noise(256)})
		copy(stored[sparseTable+8*i:], both(entry))
		return stored
	}
	for _, tt := range []struct {
		name   string
		stored []byte
		entry  []byte
		good   int64 // an offset that can still be read, or -1
	}{
		{"depth 0", change(0, 0), sf(1<<20, 0), -1},
		{"depth 8", change(0, 0), sf(1<<20, 8), -1},
		{"no tables", []byte("tables"), sf(1<<20, 2), -1},
		{"nothing stored", nil, sf(1<<20, 2), -1},
		{"data past the end", change(3, 1<<20), sf(1<<20, 2), 1 << 16},
		{"table past the end", change(3, 1<<30|1<<20), sf(1<<20, 2), 1 << 16},
		{"table below the last level", change(3, 1<<30|1), sf(1<<20, 2), 1 << 16},
		{"larger than its tables", change(3, 1<<31), sf(1<<40, 2), 1 << 16},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := packed(tt.stored, tt.entry).fs(t, RockRidge, TreeOptions{})
			exerciseTree(t, f)
			n, a := lookup(t, f, "z")
			var corrupt *binfmt.CorruptError
			buf := make([]byte, a.Size&(1<<21-1))
			if a.Size > 1<<21 {
				buf = make([]byte, 1<<24+1)
			}
			if _, err := f.ReadAt(n, buf, 0); !errors.As(err, &corrupt) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("got error %v, want damage", err)
			}
			if err := f.Extents(n, 0, func(fsys.Extent) bool { return true }); err == nil {
				t.Error("extents: got no error")
			}
			if tt.good < 0 {
				return
			}
			if _, err := f.ReadAt(n, make([]byte, 10), tt.good); err != nil {
				t.Errorf("read at %d: %v", tt.good, err)
			}
		})
	}
}

// Tables that lead to themselves would list the extents of a file of 8 EiB in
// pieces of 256 bytes.
func TestSparseFileLoop(t *testing.T) {
	stored := make([]byte, 2*sparseTable)
	for i := range 256 {
		binary.LittleEndian.PutUint32(stored[sparseTable+8*i:], 1<<30|1)
	}
	f := packed(stored, sf(1<<63-1, 7)).fs(t, RockRidge, TreeOptions{})
	n, _ := lookup(t, f, "z")
	var corrupt *binfmt.CorruptError
	if err := f.Extents(n, 0, func(fsys.Extent) bool { return true }); !errors.As(err, &corrupt) {
		t.Errorf("got error %v, want damage", err)
	}
	exerciseTree(t, f)
}
