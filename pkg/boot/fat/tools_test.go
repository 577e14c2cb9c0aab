package fat

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/diskfs/go-diskfs/backend"
	"github.com/diskfs/go-diskfs/filesystem"
	"github.com/diskfs/go-diskfs/filesystem/fat12"
	"github.com/diskfs/go-diskfs/filesystem/fat16"
	"github.com/diskfs/go-diskfs/filesystem/fat32"

	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/fsys/fsystest"
)

// mtools write what mkfs.vfat made.
func TestMtools(t *testing.T) {
	for _, c := range []struct {
		bits    int
		kib     int
		cluster int // sectors
	}{
		{12, 1440, 1}, {12, 4096, 8}, {16, 16384, 4}, {32, 40000, 1},
	} {
		t.Run(fmt.Sprintf("FAT%d %d KiB", c.bits, c.kib), func(t *testing.T) {
			dir := t.TempDir()
			disc, root := filepath.Join(dir, "disc.img"), filepath.Join(dir, "tree")
			want := writeTree(t, root)
			fsystest.Run(t, "mkfs.vfat", "-C", "-F", fmt.Sprint(c.bits), "-s", fmt.Sprint(c.cluster), "-n", "ESP", "-i", "12345678", disc, fmt.Sprint(c.kib))
			fsystest.Run(t, "mcopy", "-s", "-m", "-Q", "-i", disc, filepath.Join(root, "EFI"), filepath.Join(root, "A long name.txt"), filepath.Join(root, "empty"), "::")
			img, err := os.ReadFile(disc)
			if err != nil {
				t.Fatal(err)
			}
			v := open(t, img)
			fsystest.TestOptions(t, v, fsystest.Options{Want: want, Image: bytes.NewReader(img)})
			if got := v.Info(); got.Format != fmt.Sprintf("FAT%d", c.bits) || got.Label != "ESP" || got.Serial != "1234-5678" || got.OEM != "mkfs.fat" || got.Notes != nil {
				t.Errorf("info: got %+v", got)
			}
		})
	}
}

func writeTree(t *testing.T, root string) []fsystest.File {
	t.Helper()
	when := time.Unix(1234567890, 0)
	var want []fsystest.File
	files := map[string][]byte{
		"EFI/BOOT/BOOTX64.EFI":  fsystest.Noise(300_000),
		"EFI/BOOT/grub.cfg":     []byte("set timeout=5\n"),
		"EFI/größe/Ünïcödé.txt": []byte("names"),
		"A long name.txt":       fsystest.Noise(1025),
		"empty":                 nil,
	}
	for i := range 200 {
		files[fmt.Sprintf("EFI/many/module number %d.mod", i)] = []byte{byte(i)}
	}
	for name, data := range files {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(p, when, when); err != nil {
			t.Fatal(err)
		}
		want = append(want, fsystest.File{Path: name, Data: data, ModTime: fsys.Time{Sec: when.Unix()}})
	}
	return want
}

// A disk in memory for go-diskfs.
type disk struct {
	b   []byte
	pos int64
}

func (d *disk) ReadAt(p []byte, off int64) (int, error)  { return bytes.NewReader(d.b).ReadAt(p, off) }
func (d *disk) WriteAt(p []byte, off int64) (int, error) { return copy(d.b[off:], p), nil }
func (d *disk) Read(p []byte) (int, error) {
	n, err := d.ReadAt(p, d.pos)
	d.pos += int64(n)
	return n, err
}

func (d *disk) Seek(off int64, whence int) (int64, error) {
	d.pos = []int64{0, d.pos, int64(len(d.b))}[whence] + off
	return d.pos, nil
}
func (d *disk) Close() error                            { return nil }
func (d *disk) Stat() (fs.FileInfo, error)              { return nil, errors.ErrUnsupported }
func (d *disk) Sys() (*os.File, error)                  { return nil, errors.ErrUnsupported }
func (d *disk) Path() string                            { return "" }
func (d *disk) Writable() (backend.WritableFile, error) { return d, nil }

// go-diskfs writes and we read, and the other way round.
func TestGoDiskfs(t *testing.T) {
	for _, c := range []struct {
		name   string
		size   int64
		create func(d *disk, size int64) (filesystem.FileSystem, error)
		read   func(d *disk) (filesystem.FileSystem, error)
	}{
		{"FAT12", 2 << 20, func(d *disk, size int64) (filesystem.FileSystem, error) {
			return fat12.Create(d, size, 0, 512, "LABEL", true)
		}, func(d *disk) (filesystem.FileSystem, error) { return fat12.Read(d, int64(len(d.b)), 0, 512) }},
		{"FAT16", 20 << 20, func(d *disk, size int64) (filesystem.FileSystem, error) {
			return fat16.Create(d, size, 0, 512, "LABEL", true)
		}, func(d *disk) (filesystem.FileSystem, error) { return fat16.Read(d, int64(len(d.b)), 0, 512) }},
		{"FAT32", 40 << 20, func(d *disk, size int64) (filesystem.FileSystem, error) {
			return fat32.Create(d, size, 0, 512, "LABEL", true)
		}, func(d *disk) (filesystem.FileSystem, error) { return fat32.Read(d, int64(len(d.b)), 0, 512) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := &disk{b: make([]byte, c.size)}
			theirs, err := c.create(d, c.size)
			if err != nil {
				t.Fatal(err)
			}
			want := writeTheirs(t, theirs)
			v := open(t, d.b)
			fsystest.TestOptions(t, v, fsystest.Options{Want: want, Image: bytes.NewReader(d.b)})
			if got := v.Info(); got.Format != c.name || got.Label != "LABEL" {
				t.Errorf("info: got %+v", got)
			}
			theirs, err = c.read(d)
			if err != nil {
				t.Fatal(err)
			}
			compareTheirs(t, theirs, v, ".", v.Root())
		})
	}
}

func writeTheirs(t *testing.T, theirs filesystem.FileSystem) []fsystest.File {
	t.Helper()
	var want []fsystest.File
	if err := theirs.Mkdir("/EFI/BOOT"); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"README.TXT": []byte("readme"), "EFI/BOOT/BOOTX64.EFI": fsystest.Noise(100_000), "EFI/A long file name.txt": fsystest.Noise(3000)} {
		f, err := theirs.OpenFile("/"+name, os.O_CREATE|os.O_RDWR)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(data); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		want = append(want, fsystest.File{Path: name, Data: data})
	}
	return want
}

// compareTheirs compares a directory as go-diskfs sees it with ours.
func compareTheirs(t *testing.T, theirs filesystem.FileSystem, v *FS, dir string, n fsys.Node) {
	t.Helper()
	entries, err := theirs.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var theirNames []string
	for _, e := range entries {
		if name := e.Name(); name != "." && name != ".." {
			theirNames = append(theirNames, name)
		}
	}
	ours := names(t, v, n)
	slices.Sort(theirNames)
	slices.Sort(ours)
	if !slices.Equal(theirNames, ours) {
		t.Errorf("%s: got %q, want %q", dir, ours, theirNames)
	}
	for _, name := range ours {
		node, a, err := v.Lookup(n, []byte(name))
		if err != nil {
			t.Fatal(err)
		}
		if a.IsDir() {
			compareTheirs(t, theirs, v, path.Join(dir, name), node)
			continue
		}
		want, err := theirs.ReadFile(path.Join(dir, name))
		if err != nil || int64(len(want)) < a.Size {
			t.Fatalf("%s/%s: go-diskfs read %d bytes of %d, error %v", dir, name, len(want), a.Size, err)
		}
		if readAll(t, v, node, a) != string(want[:a.Size]) { // it returns what is left of the cluster, too
			t.Errorf("%s/%s: contents differ", dir, name)
		}
	}
}
