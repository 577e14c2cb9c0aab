package master

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/fsys/fsystest"
	"github.com/isomount/isomount/pkg/isofs"
)

func bootFiles() []fsystest.File {
	return []fsystest.File{
		{Path: "boot/bios.img", Data: noise(1, 3001)},
		{Path: "boot/efi.img", Data: noise(2, 70_000)},
		{Path: "boot/floppy.img", Data: noise(3, 1_474_560)},
		{Path: "readme", Data: []byte("r")},
	}
}

// entry is a catalog entry as El Torito 2.2 has it.
type entry struct {
	Indicator, Media byte
	Segment          uint16
	Sectors          uint16
	Content          string // start of what the address points to
}

func parseEntry(image, b []byte) entry {
	le := binary.LittleEndian
	lba := int(le.Uint32(b[8:]))
	return entry{b[0], b[1], le.Uint16(b[2:]), le.Uint16(b[6:]), string(image[lba*blockSize:][:16])}
}

func TestBootCatalog(t *testing.T) {
	files := bootFiles()
	opt := Options{Boot: []Boot{
		{Path: "boot/bios.img"},
		{Path: "/boot/efi.img", Platform: EFI},
		{Path: "boot/floppy.img", Emulation: Floppy144, NotBootable: true, LoadSegment: 0x1234},
	}, BootCatalog: "boot/boot.cat"}
	image := imageOf(t, treeOf(t, files), opt)
	record := image[17*blockSize:]
	if got := string(record[:30]); got != "\x00CD001\x01EL TORITO SPECIFICATION" {
		t.Fatalf("boot record %q", got)
	}
	catalog := image[int(le32(record[71:]))*blockSize:][:blockSize]
	sum := uint16(0)
	for i := 0; i < 32; i += 2 {
		sum += binary.LittleEndian.Uint16(catalog[i:])
	}
	if catalog[0] != 1 || catalog[1] != byte(BIOS) || sum != 0 || catalog[30] != 0x55 || catalog[31] != 0xAA {
		t.Errorf("validation entry % x, sum %d", catalog[:32], sum)
	}
	start := func(i int) string { return string(files[i].Data[:16]) }
	got := []entry{parseEntry(image, catalog[32:]), parseEntry(image, catalog[96:]), parseEntry(image, catalog[160:])}
	want := []entry{{0x88, 0, 0, 4, start(0)}, {0x88, 0, 0, 137, start(1)}, {0, 2, 0x1234, 1, start(2)}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	if got, want := catalog[64:68], []byte{0x90, 0xEF, 1, 0}; !bytes.Equal(got, want) {
		t.Errorf("section header % x, want % x", got, want)
	}
	if got, want := catalog[128:132], []byte{0x91, 0, 1, 0}; !bytes.Equal(got, want) {
		t.Errorf("last section header % x, want % x", got, want)
	}
	files = append(files, fsystest.File{Path: "boot/boot.cat", Data: catalog})
	fsystest.Test(t, readISO(t, image, isofs.RockRidge), files)
	fsystest.Test(t, readISO(t, image, isofs.Joliet), files)
}

func TestBootCatalogInUDF(t *testing.T) {
	files := bootFiles()
	tree := treeOf(t, files)
	image := imageOf(t, tree, Options{Boot: []Boot{{Path: "boot/bios.img"}}, BootCatalog: "boot.cat", UDF: UDF102})
	f := readUDF(t, image)
	n, a, err := f.Lookup(f.Root(), []byte("boot.cat"))
	if err != nil || a.Size != blockSize {
		t.Fatalf("size %d, %v", a.Size, err)
	}
	b := make([]byte, 2)
	if _, err := f.ReadAt(n, b, 30); err != nil || b[0] != 0x55 || b[1] != 0xAA {
		t.Errorf("catalog's mark is % x, %v", b, err)
	}
	if tree.Lookup("boot.cat") != nil {
		t.Error("the catalog is left in the tree")
	}
}

func TestHiddenCatalog(t *testing.T) {
	files := bootFiles()
	image := imageOf(t, treeOf(t, files), Options{Boot: []Boot{{Path: "boot/bios.img"}}})
	fsystest.Test(t, readISO(t, image, isofs.RockRidge), files)
}

func TestBootInfoTable(t *testing.T) {
	files := bootFiles()
	want := bytes.Clone(files[0].Data)
	tree := treeOf(t, files)
	opt := Options{Boot: []Boot{{Path: "boot/bios.img", InfoTable: true, GRUB2: true}}, MD5: true}
	image := imageOf(t, tree, opt)
	if again := imageOf(t, tree, opt); !bytes.Equal(again, image) {
		t.Error("a second image differs")
	}
	catalog := image[int(le32(image[17*blockSize+71:]))*blockSize:]
	lba := le32(catalog[40:])

	binary.LittleEndian.PutUint64(want[grubOff:], uint64(lba)*4+5)
	sum := uint32(0)
	padded := append(bytes.Clone(want), 0, 0, 0)
	for i := 64; i+4 <= len(padded); i += 4 {
		sum += le32(padded[i:])
	}
	table := []uint32{16, lba, uint32(len(want)), sum}
	for i := range 14 {
		v := uint32(0)
		if i < len(table) {
			v = table[i]
		}
		binary.LittleEndian.PutUint32(want[8+4*i:], v)
	}
	if got := image[int(lba)*blockSize:][:len(want)]; !bytes.Equal(got, want) {
		t.Errorf("table % x, want % x", got[8:64], want[8:64])
	}
	if again := imageOf(t, tree, Options{Boot: []Boot{{Path: "boot/bios.img"}}}); bytes.Contains(again, want[8:64]) {
		t.Error("the table stays when it is not asked for any more")
	}
}

func TestPatchesAcrossReads(t *testing.T) {
	i := &inode{}
	i.more().patch = &patch{off: 5, data: []byte("PATCH"), next: &patch{off: 0, data: []byte("X")}}
	for step := 1; step <= 16; step++ {
		b := []byte("0123456789abcdef")
		for off := 0; off < len(b); off += step {
			i.applyPatches(b[off:min(off+step, len(b))], int64(off))
		}
		if got, want := string(b), "X1234PATCHabcdef"; got != want {
			t.Errorf("steps of %d: got %q, want %q", step, got, want)
		}
	}
}

func TestBootRefuses(t *testing.T) {
	tests := []struct {
		name string
		opt  Options
	}{
		{"no such file", Options{Boot: []Boot{{Path: "missing"}}}},
		{"a directory", Options{Boot: []Boot{{Path: "boot"}}}},
		{"an empty file", Options{Boot: []Boot{{Path: "empty"}}}},
		{"too small for the table", Options{Boot: []Boot{{Path: "readme", InfoTable: true}}}},
		{"too small for GRUB", Options{Boot: []Boot{{Path: "readme", GRUB2: true}}}},
		{"unknown emulation", Options{Boot: []Boot{{Path: "readme", Emulation: 9}}}},
		{"too many", Options{Boot: make([]Boot, 100)}},
		{"catalog in the place of a file", Options{Boot: []Boot{{Path: "readme"}}, BootCatalog: "readme"}},
		{"catalog in no directory", Options{Boot: []Boot{{Path: "readme"}}, BootCatalog: "missing/boot.cat"}},
	}
	tree := treeOf(t, append(bootFiles(), fsystest.File{Path: "empty"}))
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Write(t.Context(), io.Discard, tree, tt.opt, nil); err == nil {
				t.Error("no error")
			}
		})
	}
}

func TestBootImageUnreadable(t *testing.T) {
	tree := NewTree(fsys.Attr{})
	a := fsys.Attr{Mode: fsys.TypeFile, Size: 4096}
	if _, err := tree.Add(tree.Root(), "b", &a, fixed{func() io.Reader { return strings.NewReader("short") }}, 0); err != nil {
		t.Fatal(err)
	}
	_, err := Write(t.Context(), io.Discard, tree, Options{Boot: []Boot{{Path: "b", InfoTable: true}}}, nil)
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error %v, want that the file is short", err)
	}
}
