package hfsplus

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isomount/isomount/pkg/binfmt"
)

// A part is an entry of a partition map for a test, in blocks of its map.
type part struct {
	kind, name  string
	start, size uint32
}

// putMap writes a partition map with blocks of unit bytes.
func putMap(img []byte, unit int, parts ...part) {
	for i, p := range parts {
		e := be.AppendUint16(nil, sigMapEntry)
		e = append(e, 0, 0)
		for _, x := range []uint32{uint32(len(parts)), p.start, p.size} {
			e = be.AppendUint32(e, x)
		}
		for _, s := range []string{p.name, p.kind} {
			field := make([]byte, 32)
			copy(field, s)
			e = append(e, field...)
		}
		e = append(e, make([]byte, 8)...)
		copy(img[unit*(i+1):], be.AppendUint32(e, 0x40000013))
	}
}

// putDriverMap writes block 0.
func putDriverMap(img []byte, blockSize uint16) {
	copy(img, "ER")
	be.PutUint16(img[2:], blockSize)
}

func TestFind(t *testing.T) {
	b := newBuilder(t, sigPlus)
	b.file(cnidRoot, "file", node{})
	plus := b.image()
	h := newBuilder(t, sigHFS)
	h.file(cnidRoot, "file", node{})
	hfs := h.image()
	at := func(img []byte, off int) []byte { return append(make([]byte, off), img...) }
	for _, c := range []struct {
		name string
		img  func() []byte
		want []Range
	}{
		{"nothing", func() []byte { return make([]byte, 1<<16) }, nil},
		{"tiny", func() []byte { return make([]byte, 100) }, nil},
		{"bare HFS+", func() []byte { return plus }, []Range{{0, int64(len(plus)), "HFS+", ""}}},
		{"bare HFS", func() []byte { return hfs }, []Range{{0, int64(len(hfs)), "HFS", ""}}},
		{"wrapped", func() []byte { return wrap(plus) }, []Range{{9728, int64(len(plus)), "HFS+", ""}}},
		{"partitions", func() []byte {
			img := at(plus, 8192)
			img = append(img, hfs...)
			putDriverMap(img, 512)
			n := uint32(len(plus) / 512)
			putMap(img, 512, part{typeMap, "Apple", 1, 4}, part{"Apple_HFS", "first", 16, n}, part{"Apple_Free", "", 0, 9}, part{"Apple_HFSX", "second", 16 + n, uint32(len(hfs) / 512)})
			return img
		}, []Range{{8192, int64(len(plus)), "HFS+", "first"}, {8192 + int64(len(plus)), int64(len(hfs)), "HFS", "second"}}},
		{"partition of a larger size than the image", func() []byte {
			img := at(plus, 8192)
			putMap(img, 512, part{"Apple_HFS", "", 16, 1 << 31})
			return img
		}, []Range{{8192, int64(len(plus)), "HFS+", ""}}},
		{"map of 2048 bytes", func() []byte {
			img := at(plus, 8192)
			putDriverMap(img, 2048)
			putMap(img, 2048, part{typeMap, "Apple", 1, 2}, part{"Apple_HFS", "large", 4, uint32(len(plus)+2047) / 2048})
			return img
		}, []Range{{8192, int64(len(plus)), "HFS+", "large"}}},
		{"both maps", func() []byte {
			img := at(plus, 8192)
			putDriverMap(img, 2048)
			putMap(img, 512, part{typeMap, "Apple", 1, 2}, part{"Apple_HFS", "small", 16, uint32(len(plus) / 512)})
			putMap(img, 2048, part{typeMap, "Apple", 1, 2}, part{"Apple_HFS", "large", 4, uint32(len(plus) / 2048)})
			return img
		}, []Range{{8192, int64(len(plus)), "HFS+", "small"}}},
		{"entries of 512 bytes that count in blocks of 2048", func() []byte {
			img := at(plus, 8192)
			putDriverMap(img, 2048)
			putMap(img, 512, part{typeMap, "Apple", 1, 2}, part{"Apple_HFS", "mixed", 4, uint32(len(plus) / 2048)})
			return img
		}, []Range{{8192, int64(len(plus)) / 2048 * 2048, "HFS+", "mixed"}}},
		{"wrapper that wraps itself", func() []byte {
			img := wrap(wrap(plus))
			be.PutUint16(img[headerOff+0x1C:], 0) // starts at 0
			be.PutUint16(img[headerOff+0x7E:], 0)
			return img
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			img := c.img()
			got, err := Find(bytes.NewReader(img), int64(len(img)))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
			for _, r := range got {
				if _, err := Open(bytes.NewReader(img[r.Off:]), r.Size, Options{}); err != nil {
					t.Errorf("open %+v: %v", r, err)
				}
			}
		})
	}
}

func TestFindErrors(t *testing.T) {
	r := &failing{fail: true}
	if _, err := Find(r, 1<<20); !errors.Is(err, errDevice) {
		t.Errorf("got error %v, want %v", err, errDevice)
	}
}

func TestPartitionMap(t *testing.T) {
	img := make([]byte, 1<<16)
	if _, err := PartitionMap(bytes.NewReader(img), int64(len(img))); !errors.Is(err, binfmt.ErrMagic) {
		t.Errorf("no map: got error %v, want ErrMagic", err)
	}
	putMap(img, 512, part{typeMap, "Apple\x00rest", 1, 4}, part{"ISO9660_data", "Gap0", 4, 64}, part{"Apple_HFS", "Disc ƒ", 1 << 31, 1 << 31})
	copy(img[512*3+16:], "Disc \xC4\x00")
	got, err := PartitionMap(bytes.NewReader(img), int64(len(img)))
	want := []MapEntry{
		{1, "Apple", typeMap, 512, 2048, 0x40000013, 512},
		{2, "Gap0", "ISO9660_data", 2048, 32768, 0x40000013, 512},
		{3, "Disc ƒ", "Apple_HFS", 1 << 40, 1 << 40, 0x40000013, 512},
	}
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("error %v, -want +got:\n%s", err, d)
	}
	// The fourth entry lies where a map with blocks of 2048 bytes would begin.
	putMap(img, 512, part{typeMap, "Apple", 1, 4}, part{"A", "", 4, 1}, part{"B", "", 5, 1}, part{"C", "", 6, 1})
	if got, err := PartitionMap(bytes.NewReader(img), int64(len(img))); err != nil || len(got) != 4 {
		t.Errorf("four entries: got %+v, error %v", got, err)
	}
	clear(img[2048:2560])
	be.PutUint32(img[516:], 1<<32-1) // that many entries
	if got, err := PartitionMap(bytes.NewReader(img), int64(len(img))); err != nil || len(got) != 3 {
		t.Errorf("endless map: got %d entries, error %v, want 3", len(got), err)
	}
}
