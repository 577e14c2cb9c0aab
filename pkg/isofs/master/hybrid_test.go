package master

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isomount/isomount/pkg/boot"
	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/fsys/fsystest"
)

// hybridFiles are a boot file that claims to be an isolinux that can be loaded
// from a disk, and one for EFI.
func hybridFiles() []fsystest.File {
	loader := noise(1, 3000)
	copy(loader[hybridSigOff:], hybridSig)
	return []fsystest.File{{Path: "efi.img", Data: noise(2, 70_000)}, {Path: "isolinux.bin", Data: loader}, {Path: "x", Data: []byte("x")}}
}

func hybridOptions(more ...Boot) Options {
	return Options{
		HybridMBR: bytes.Repeat([]byte{0x90}, hybridCode),
		Boot:      append([]Boot{{Path: "isolinux.bin", InfoTable: true}}, more...),
	}
}

func TestHybridMBR(t *testing.T) {
	opt := hybridOptions(Boot{Path: "efi.img", Platform: EFI})
	for _, udf := range []Revision{0, UDF102} {
		opt.UDF = udf
		image := imageOf(t, treeOf(t, hybridFiles()), opt)
		if len(image)%(1<<20) != 0 {
			t.Errorf("%d bytes, want whole cylinders of 1 MiB", len(image))
		}
		if !bytes.Equal(image[:hybridCode], opt.HybridMBR) {
			t.Error("the code is not at the beginning")
		}
		at := binary.LittleEndian.Uint64(image[hybridCode:]) * bootSector
		if loader := image[at:][:blockSize]; !bytes.Equal(loader[hybridSigOff:][:4], hybridSig) {
			t.Errorf("the code loads what is at byte %d: % x", at, loader[:72])
		}
		got, err := boot.Partitions(bytes.NewReader(image), int64(len(image)))
		if err != nil || len(got) != 2 {
			t.Fatalf("partitions %+v, %v", got, err)
		}
		efi := image[got[1].Off:][:70_000]
		if !bytes.Equal(efi, hybridFiles()[0].Data) || got[1].Size != 70_144 {
			t.Errorf("partition %+v does not hold the EFI boot image", got[1])
		}
		whole := image[hybridTable:][:16]
		if want := []byte{0x80, 0, 1, 0, 0, 63, 32, byte(len(image)>>20 - 1), 0, 0, 0, 0}; !bytes.Equal(whole[:12], want) {
			t.Errorf("first partition % x, want % x", whole, want)
		}
	}
}

func TestHybridIsReproducible(t *testing.T) {
	opt := hybridOptions()
	opt.Date, opt.Reproducible = time.Unix(1e9, 0), true
	first := imageOf(t, treeOf(t, hybridFiles()), opt)
	if !bytes.Equal(first, imageOf(t, treeOf(t, hybridFiles()), opt)) {
		t.Error("two images of the same differ")
	}
	opt.VolumeID = "OTHER"
	other := imageOf(t, treeOf(t, hybridFiles()), opt)
	if bytes.Equal(first[hybridID:][:4], other[hybridID:][:4]) {
		t.Error("two discs have the same id")
	}
}

func TestGeometry(t *testing.T) {
	for _, tt := range []struct {
		blocks int64
		want   geometry
	}{
		{1, geometry{64, 32, 1}},
		{512, geometry{64, 32, 1}},
		{513, geometry{64, 32, 2}},
		{512 * 1024, geometry{64, 32, 1024}},
		{512*1024 + 1, geometry{255, 63, 131}},
		{math.MaxUint32, geometry{255, 63, 1069398}},
	} {
		got := geometryOf(tt.blocks)
		if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(geometry{})); diff != "" {
			t.Errorf("%d blocks (-want +got):\n%s", tt.blocks, diff)
		}
		if got.size() < tt.blocks*sectorsABlock {
			t.Errorf("%d blocks: %d sectors", tt.blocks, got.size())
		}
	}
	g := geometry{255, 63, 2000}
	for sector, want := range map[int64][3]byte{
		0: {0, 1, 0}, 62: {0, 63, 0}, 63: {1, 1, 0}, 16065: {0, 1, 1}, 16065 * 256: {0, 0x41, 0},
		16065*1024 - 1: {254, 0xFF, 0xFF}, 16065 * 1024: {254, 0xFF, 0xFF},
	} {
		if got := g.chs(sector); got != want {
			t.Errorf("sector %d: % x, want % x", sector, got, want)
		}
	}
}

// TestHybridOfManySizes plans images without writing them.
func TestHybridOfManySizes(t *testing.T) {
	for _, size := range []int64{1 << 20, 1<<30 - 400<<10, 1 << 30, 5 << 30, 9 << 30} {
		tree := treeOf(t, hybridFiles())
		a := fsys.Attr{Mode: fsys.TypeFile | 0o644, Size: size}
		if _, err := tree.Add(tree.Root(), "zz", &a, fixed{func() io.Reader { return bytes.NewReader(nil) }}, 0); err != nil {
			t.Fatal(err)
		}
		m, err := plan(tree, hybridOptions())
		if err != nil {
			t.Fatal(err)
		}
		g := &m.disk
		if short := m.next*sectorsABlock - g.size(); short < 0 || short >= sectorsABlock {
			t.Errorf("%d bytes: %d blocks for %d sectors", size, m.next, g.size())
		}
		sectors := binary.LittleEndian.Uint32(m.systemAreaBytes()[hybridTable+12:])
		if int64(sectors) != g.size() {
			t.Errorf("%d bytes: a partition of %d sectors, want %d", size, sectors, g.size())
		}
	}
}

func TestHybridRefuses(t *testing.T) {
	boots := []Boot{{Path: "isolinux.bin", InfoTable: true}}
	code := make([]byte, hybridCode)
	for _, tt := range []struct {
		name string
		opt  Options
		want error
	}{
		{"nothing to boot", Options{HybridMBR: code}, ErrBoot},
		{"short code", Options{HybridMBR: code[1:], Boot: boots}, ErrOption},
		{"long code", Options{HybridMBR: make([]byte, systemArea+1), Boot: boots}, ErrOption},
		{"a system area too", Options{HybridMBR: code, SystemArea: code, Boot: boots}, ErrOption},
		{"no table", Options{HybridMBR: code, Boot: []Boot{{Path: "isolinux.bin"}}}, ErrBoot},
		{"EFI only", Options{HybridMBR: code, Boot: []Boot{{Path: "efi.img", Platform: EFI}}}, ErrBoot},
		{"no isolinux", Options{HybridMBR: code, Boot: []Boot{{Path: "efi.img", InfoTable: true}}}, ErrBoot},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Write(t.Context(), io.Discard, treeOf(t, hybridFiles()), tt.opt, nil); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}
