package hfsplus

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/fsys/fsystest"
)

// sourceTree makes a folder for the tools to read and tells what is in it: if
// long, what fits HFS+ only.
func sourceTree(t *testing.T, long bool) (string, []fsystest.File) {
	t.Helper()
	root := t.TempDir()
	when := time.Unix(1234567890, 0)
	var want []fsystest.File
	add := func(name string, data []byte) {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o640); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, when, when); err != nil {
			t.Fatal(err)
		}
		want = append(want, fsystest.File{Path: name, Data: data, ModTime: fsys.Time{Sec: when.Unix()}})
	}
	for _, size := range []int{0, 1, 2047, 2048, 2049, 100_000} {
		add(fmt.Sprintf("size-%d", size), fsystest.Noise(size))
	}
	many := 80 // genisoimage reserves too little for the catalog of more
	if long {
		many = 300
	}
	for i := range many {
		add(fmt.Sprintf("many/file %03d", i), []byte{byte(i)})
	}
	add("a/b/c/d/deep", []byte("deep"))
	if long {
		add("a name that is longer than the 31 characters of HFS", []byte("long"))
		add("names/grüße", []byte("ü"))
		add("names/日本語 😀", []byte("日"))
		add("names/colon:", []byte(":"))
		if err := os.Symlink("../a/b", filepath.Join(root, "names/link")); err != nil {
			t.Fatal(err)
		}
		want = append(want, fsystest.File{Path: "names/link", Mode: 0o120777, Target: "../a/b"})
		for i := range want {
			if want[i].Target == "" {
				want[i].Mode = 0o100640
			}
		}
	}
	return root, want
}

// openDisc opens the only volume of a disc image.
func openDisc(t *testing.T, path string) (*FS, io.ReaderAt) {
	t.Helper()
	img, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	found, err := Find(bytes.NewReader(img), int64(len(img)))
	if err != nil || len(found) != 1 {
		t.Fatalf("find: got %+v, error %v, want one volume", found, err)
	}
	r := io.NewSectionReader(bytes.NewReader(img), found[0].Off, found[0].Size)
	v, err := Open(r, found[0].Size, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return v, r
}

func TestXorriso(t *testing.T) {
	root, want := sourceTree(t, true)
	disc := filepath.Join(t.TempDir(), "disc.iso")
	fsystest.Run(t, "xorriso", "-as", "mkisofs", "-quiet", "-R", "-hfsplus", "-hfsplus-serial-no", "0123456789abcdef", "-V", "DISC", "-o", disc, root)
	v, r := openDisc(t, disc)
	fsystest.TestOptions(t, v, fsystest.Options{Want: want, Image: r})
	if got := v.Info(); got.Format != "HFS+" || got.Label != "DISC" || got.ID != "0123456789abcdef" || got.BlockSize != 2048 || got.Notes != nil {
		t.Errorf("info: got %+v", got)
	}
}

func TestGenisoimage(t *testing.T) {
	root, want := sourceTree(t, false)
	disc := filepath.Join(t.TempDir(), "disc.iso")
	fsystest.Run(t, "genisoimage", "-quiet", "-R", "-hfs", "-hfs-volid", "DISC", "-hfs-type", "TEXT", "-hfs-creator", "ttxt", "-o", disc, root)
	want[0].Xattrs = map[string]string{"user.com.apple.FinderInfo": "TEXTttxt" + string(make([]byte, 24))}
	v, r := openDisc(t, disc)
	for _, name := range []string{"Desktop DB", "Desktop DF"} { // genisoimage adds what the Finder keeps there
		n, a, err := v.Lookup(v.Root(), []byte(name))
		if err != nil {
			t.Fatal(err)
		}
		data := make([]byte, a.Size)
		if _, err := v.ReadAt(n, data, 0); err != nil && a.Size > 0 {
			t.Fatal(err)
		}
		want = append(want, fsystest.File{Path: name, Data: data})
	}
	fsystest.TestOptions(t, v, fsystest.Options{Want: want, Image: r})
	if got := v.Info(); got.Format != "HFS" || got.Label != "DISC" || got.Notes != nil {
		t.Errorf("info: got %+v", got)
	}
}

// hformat and hcopy write what genisoimage does not: resource forks.
func TestHfsutils(t *testing.T) {
	dir := t.TempDir()
	disc, bin := filepath.Join(dir, "disc.hfs"), filepath.Join(dir, "file.bin")
	data, rsrc := fsystest.Noise(70_000), fsystest.Noise(30_000)
	if err := os.WriteFile(bin, macBinary("Résumé", "TEXTttxt", data, rsrc), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(disc, make([]byte, 2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HOME", dir) // hfsutils keep the mounted volume in ~/.hcwd
	fsystest.Run(t, "hformat", "-l", "Disc", disc)
	fsystest.Run(t, "hcopy", "-m", bin, ":")
	fsystest.Run(t, "humount")
	v, r := openDisc(t, disc)
	fsystest.TestOptions(t, v, fsystest.Options{Image: r, Want: []fsystest.File{
		{Path: "Résumé", Data: data, Xattrs: map[string]string{
			"user.com.apple.FinderInfo":   "TEXTttxt" + string(make([]byte, 24)),
			"user.com.apple.ResourceFork": string(rsrc),
		}},
	}})
}

// macBinary makes a MacBinary II file.
func macBinary(name, info string, data, rsrc []byte) []byte {
	h := make([]byte, 128)
	roman := newRoman(name)
	h[1] = byte(len(roman))
	copy(h[2:], roman)
	copy(h[65:], info)
	be.PutUint32(h[83:], uint32(len(data)))
	be.PutUint32(h[87:], uint32(len(rsrc)))
	be.PutUint32(h[91:], builderDate)
	be.PutUint32(h[95:], builderDate)
	h[122], h[123] = 129, 129
	be.PutUint16(h[124:], crc16(h[:124]))
	pad := func(b []byte) []byte { return make([]byte, -len(b)&127) }
	return slices.Concat(h, data, pad(data), rsrc, pad(rsrc))
}

func newRoman(s string) []byte {
	b := builder{sig: sigHFS}
	return b.name(s)[1:]
}

// crc16 is the CRC-16/XMODEM of MacBinary II.
func crc16(b []byte) uint16 {
	var crc uint16
	for _, x := range b {
		crc ^= uint16(x) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return crc
}

// 7-Zip, which knows LZVN but not LZFSE, decompresses the same.
func TestSevenZip(t *testing.T) {
	img, want := compressedVolume(t)
	dir := t.TempDir()
	disc := filepath.Join(dir, "disc.hfs")
	if err := os.WriteFile(disc, img, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"zlib", "LZVN", "LZVN stored", "LZVN chunks"} {
		fsystest.Run(t, "7z", "x", "-y", "-o"+dir, disc, "Volume/"+name)
		i := slices.IndexFunc(want, func(f fsystest.File) bool { return f.Path == name })
		if got, err := os.ReadFile(filepath.Join(dir, "Volume", name)); err != nil || !bytes.Equal(got, want[i].Data) {
			t.Errorf("%s: got %d bytes, %v, want %d", name, len(got), err, len(want[i].Data))
		}
	}
}
