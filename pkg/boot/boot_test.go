package boot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/diskfs/go-diskfs/backend"
	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/diskfs/go-diskfs/partition/mbr"
	"github.com/google/go-cmp/cmp"

	"github.com/isomount/isomount/pkg/boot/fat"
	"github.com/isomount/isomount/pkg/fsys/fsystest"
)

var le = binary.LittleEndian

func partitions(t *testing.T, img []byte) []Partition {
	t.Helper()
	p, err := Partitions(bytes.NewReader(img), int64(len(img)))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// putMBR writes a partition table into a sector.
func putMBR(sector []byte, entries ...mbrEntry) {
	for i, e := range entries {
		b := sector[mbrTable+16*i:]
		b[0], b[4] = e.flag, e.kind
		le.PutUint32(b[8:], e.start)
		le.PutUint32(b[12:], e.count)
	}
	copy(sector[510:], "\x55\xAA")
}

func TestMBR(t *testing.T) {
	const size = 1 << 20
	for _, c := range []struct {
		name string
		edit func(img []byte)
		want []Partition
	}{
		{"none", func([]byte) {}, nil},
		{"no entries", func(img []byte) { putMBR(img) }, nil},
		{"signature is missing", func(img []byte) {
			putMBR(img, mbrEntry{0, 0xEF, 1, 1})
			img[511] = 0
		}, nil},
		{"code where the table should be, as in FAT", func(img []byte) { putMBR(img, mbrEntry{0, 0xEF, 1, 1}, mbrEntry{0x12, 7, 1, 1}) }, nil},
		{"isohybrid", func(img []byte) { putMBR(img, mbrEntry{0x80, 0x17, 0, 2048}, mbrEntry{0, 0xEF, 100, 20}) }, []Partition{
			{Scheme: MBR, Number: 1, Type: "0x17", TypeName: "NTFS, exFAT or HPFS, hidden", Size: size, Flags: []string{"bootable"}},
			{Scheme: MBR, Number: 2, Type: "0xef", TypeName: "EFI system", Off: 51200, Size: 10240},
		}},
		{"type 0 with sectors, entry 3 only", func(img []byte) { putMBR(img, mbrEntry{}, mbrEntry{}, mbrEntry{0x80, 0, 64, 10}) }, []Partition{
			{Scheme: MBR, Number: 3, Type: "0x00", TypeName: "unused", Off: 32768, Size: 5120, Flags: []string{"bootable"}},
		}},
		{"outside the image", func(img []byte) {
			putMBR(img, mbrEntry{0, 0x83, 2000, 100}, mbrEntry{0, 0x77, 1<<32 - 1, 1<<32 - 1})
		}, []Partition{
			{Scheme: MBR, Number: 1, Type: "0x83", TypeName: "Linux", Off: 1024000, Size: 24576, Notes: []string{"has 51200 bytes, of which the image has 24576"}},
			{Scheme: MBR, Number: 2, Type: "0x77", Off: size, Notes: []string{"begins at byte 2199023255040, the image ends at 1048576"}},
		}},
		{"logical partitions", func(img []byte) {
			putMBR(img, mbrEntry{0, 0x83, 10, 10}, mbrEntry{0, 0x05, 100, 1000})
			putMBR(img[100*512:], mbrEntry{0, 0x0B, 1, 50}, mbrEntry{0, 0x05, 200, 60})
			putMBR(img[300*512:], mbrEntry{0, 0x82, 2, 58})
		}, []Partition{
			{Scheme: MBR, Number: 1, Type: "0x83", TypeName: "Linux", Off: 5120, Size: 5120},
			{Scheme: MBR, Number: 2, Type: "0x05", TypeName: "extended", Off: 51200, Size: 512000},
			{Scheme: MBR, Number: 5, Type: "0x0b", TypeName: "FAT32", Off: 51712, Size: 25600},
			{Scheme: MBR, Number: 6, Type: "0x82", TypeName: "Linux swap", Off: 154624, Size: 29696},
		}},
		{"logical partitions go round", func(img []byte) {
			putMBR(img, mbrEntry{0, 0x0F, 100, 1000})
			putMBR(img[100*512:], mbrEntry{0, 0x83, 1, 50}, mbrEntry{0, 0x05, 200, 60})
			putMBR(img[300*512:], mbrEntry{0, 0x83, 2, 58}, mbrEntry{0, 0x05, 0, 60})
		}, []Partition{
			{Scheme: MBR, Number: 1, Type: "0x0f", TypeName: "extended, LBA", Off: 51200, Size: 512000},
			{Scheme: MBR, Number: 5, Type: "0x83", TypeName: "Linux", Off: 51712, Size: 25600},
			{Scheme: MBR, Number: 6, Type: "0x83", TypeName: "Linux", Off: 154624, Size: 29696},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			img := make([]byte, size)
			c.edit(img)
			if d := cmp.Diff(c.want, partitions(t, img)); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

// A logical partition in each of a thousand tables ends at a limit.
func TestManyLogical(t *testing.T) {
	img := make([]byte, 1<<20)
	putMBR(img, mbrEntry{0, 0x05, 1, 2000})
	for i := uint32(1); i < 1000; i++ {
		putMBR(img[i*512:], mbrEntry{0, 0x83, 1, 1}, mbrEntry{0, 0x05, i, 1})
	}
	if got := len(partitions(t, img)); got != 1+maxLogical {
		t.Errorf("got %d partitions, want %d", got, 1+maxLogical)
	}
}

// A disk in memory for go-diskfs.
type memDisk struct {
	b   []byte
	pos int64
}

func (d *memDisk) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(d.b).ReadAt(p, off)
}
func (d *memDisk) WriteAt(p []byte, off int64) (int, error) { return copy(d.b[off:], p), nil }
func (d *memDisk) Read(p []byte) (int, error)               { return d.ReadAt(p, d.pos) }
func (d *memDisk) Seek(off int64, whence int) (int64, error) {
	d.pos = []int64{0, d.pos, int64(len(d.b))}[whence] + off
	return d.pos, nil
}
func (d *memDisk) Close() error               { return nil }
func (d *memDisk) Stat() (fs.FileInfo, error) { return nil, errors.ErrUnsupported }

var _ backend.WritableFile = (*memDisk)(nil)

// gptImage lets go-diskfs write a GPT.
func gptImage(t *testing.T, sector int) []byte {
	t.Helper()
	d := &memDisk{b: make([]byte, 4<<20)}
	table := &gpt.Table{
		LogicalSectorSize: sector, PhysicalSectorSize: sector, ProtectiveMBR: true,
		GUID: "11111111-2222-3333-4444-555555555555",
		Partitions: []*gpt.Partition{
			{Index: 1, Start: 100, End: 199, Type: gpt.EFISystemPartition, Name: "ESP grüße", GUID: "C0FFEE00-0102-0304-0506-0708090A0B0C", Attributes: 1 | 4},
			{Index: 7, Start: 200, End: 200, Type: gpt.MicrosoftBasicData, Name: "data", GUID: "C0FFEE00-0102-0304-0506-0708090A0B0D", Attributes: 1 << 60},
		},
	}
	if err := table.Write(d, int64(len(d.b))); err != nil {
		t.Fatal(err)
	}
	return d.b
}

func gptWant(sector int64) []Partition {
	return []Partition{
		{Scheme: GPT, Number: 1, Type: "c12a7328-f81f-11d2-ba4b-00a0c93ec93b", TypeName: "EFI system", Label: "ESP grüße", ID: "c0ffee00-0102-0304-0506-0708090a0b0c", Off: 100 * sector, Size: 100 * sector, Flags: []string{"required", "bootable"}},
		{Scheme: GPT, Number: 7, Type: "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7", TypeName: "Microsoft basic data", Label: "data", ID: "c0ffee00-0102-0304-0506-0708090a0b0d", Off: 200 * sector, Size: sector, Flags: []string{"read-only"}},
	}
}

// ofScheme picks the partitions of one scheme.
func ofScheme(all []Partition, scheme string) []Partition {
	var some []Partition
	for _, p := range all {
		if p.Scheme == scheme {
			some = append(some, p)
		}
	}
	return some
}

func TestGPT(t *testing.T) {
	for _, sector := range []int64{512, 2048, 4096} {
		img := gptImage(t, int(sector))
		all := partitions(t, img)
		if d := cmp.Diff(gptWant(sector), ofScheme(all, GPT)); d != "" {
			t.Errorf("sectors of %d: -want +got:\n%s", sector, d)
		}
		if m := ofScheme(all, MBR); len(m) != 1 || m[0].TypeName != "GPT protective" {
			t.Errorf("sectors of %d: got MBR %+v", sector, m)
		}
	}
}

// seal makes the checksum of the header right.
func seal(img []byte) {
	clear(img[512+16 : 512+20])
	le.PutUint32(img[512+16:], crc32.ChecksumIEEE(img[512:512+92]))
}

func TestDamagedGPT(t *testing.T) {
	for _, c := range []struct {
		name  string
		edit  func(img []byte) []byte
		count int
		notes string
	}{
		{"header checksum", func(img []byte) []byte { img[512+16]++; return img }, 2, "checksum of the header is wrong"},
		{"header of 4 GiB", func(img []byte) []byte { le.PutUint32(img[512+12:], 1<<32-1); return img }, 2, "checksum of the header is wrong"},
		{"entries checksum", func(img []byte) []byte { img[1024+56]++; return img }, 2, "checksum of the entries is wrong"},
		{"4 billion entries", func(img []byte) []byte {
			le.PutUint32(img[512+80:], 1<<32-1)
			seal(img)
			return img
		}, 2, "of which 1024 are read"},
		{"entries of 4 GiB", func(img []byte) []byte {
			le.PutUint32(img[512+84:], 1<<32-1)
			seal(img)
			return img
		}, 2, "copy of the table at the end"},
		{"entries of 64 bytes", func(img []byte) []byte {
			le.PutUint32(img[512+84:], 64)
			seal(img)
			return img
		}, 2, "copy of the table at the end"},
		{"entries past the end", func(img []byte) []byte {
			le.PutUint64(img[512+72:], 1<<63)
			seal(img)
			return img
		}, 2, "copy of the table at the end"},
		{"header is lost", func(img []byte) []byte { clear(img[512:1024]); return img }, 2, "copy of the table at the end"},
		{"both are lost", func(img []byte) []byte { clear(img[512:1024]); clear(img[len(img)-512:]); return img }, 0, ""},
		{"header is lost, and no MBR", func(img []byte) []byte { clear(img[:1024]); return img }, 0, ""},
		{"header of a disk with other sectors", func(img []byte) []byte {
			copy(img[2048:], img[512:1024])
			le.PutUint64(img[2048+24:], 4)
			return img
		}, 3, "checksum of the entries is wrong"}, // it lies among the entries, and looks like one
		{"image ends in the table", func(img []byte) []byte { return img[:1024+128+10] }, 1, "table is cut short"},
		{"image ends before the table", func(img []byte) []byte { return img[:1024] }, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ofScheme(partitions(t, c.edit(gptImage(t, 512))), GPT)
			if len(got) != c.count {
				t.Fatalf("got %+v, want %d", got, c.count)
			}
			for _, p := range got {
				if !strings.Contains(strings.Join(p.Notes, "\n"), c.notes) {
					t.Errorf("got notes %q, want %q", p.Notes, c.notes)
				}
			}
		})
	}
}

func TestGPTRanges(t *testing.T) {
	const size = 4 << 20
	for _, c := range []struct {
		name        string
		first, last uint64
		off, size   int64
		notes       string
	}{
		{"whole", 0, size/512 - 1, 0, size, ""},
		{"ends past the image", 8000, 9000, 8000 * 512, 192 * 512, "of which the image has"},
		{"begins past the image", 9000, 9000, size, 0, "the image ends at"},
		{"ends before it begins", 20, 10, 10240, 0, "goes from sector 20 to 10"},
		{"ends at 2^64", 20, 1<<64 - 1, 10240, 0, "goes from sector"},
		{"begins at 2^64", 1<<64 - 1, 1<<64 - 1, size, 0, "goes from sector"},
		{"ends where bytes do not fit", 20, 1<<55 + 20, 10240, 0, "goes from sector"},
	} {
		t.Run(c.name, func(t *testing.T) {
			img := gptImage(t, 512)
			le.PutUint64(img[1024+32:], c.first)
			le.PutUint64(img[1024+40:], c.last)
			p := ofScheme(partitions(t, img), GPT)[0]
			if p.Off != c.off || p.Size != c.size || !strings.Contains(strings.Join(p.Notes, "\n"), c.notes) {
				t.Errorf("got %+v, want %d bytes at %d and note %q", p, c.size, c.off, c.notes)
			}
		})
	}
}

func TestAppleMap(t *testing.T) {
	img := make([]byte, 1<<20)
	entry := func(i int, name, kind string, start, count, status uint32) {
		b := img[512*i:]
		copy(b, "PM\x00\x00\x00\x00\x00\x02")
		binary.BigEndian.PutUint32(b[8:], start)
		binary.BigEndian.PutUint32(b[12:], count)
		copy(b[16:], name)
		copy(b[48:], kind)
		binary.BigEndian.PutUint32(b[88:], status)
	}
	entry(1, "Apple", "Apple_partition_map", 1, 2, 0x13)
	entry(2, "Disc", "Apple_HFS", 100, 1<<31, 0x3F)
	want := []Partition{
		{Scheme: Apple, Number: 1, Type: "Apple_partition_map", TypeName: "partition map", Label: "Apple", Off: 512, Size: 1024, Flags: []string{"read-only"}},
		{Scheme: Apple, Number: 2, Type: "Apple_HFS", TypeName: "HFS or HFS+", Label: "Disc", Off: 51200, Size: 1<<20 - 51200, Flags: []string{"bootable"}, Notes: []string{"has 1099511627776 bytes, of which the image has 997376"}},
	}
	if d := cmp.Diff(want, partitions(t, img)); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

type failing struct{}

var errDevice = errors.New("device is gone")

func (failing) ReadAt([]byte, int64) (int, error) { return 0, errDevice }

func TestErrors(t *testing.T) {
	if _, err := Partitions(failing{}, 1<<20); !errors.Is(err, errDevice) {
		t.Errorf("got error %v, want %v", err, errDevice)
	}
	for _, size := range []int{0, 1, 511, 512, 600, 1024} {
		if got := partitions(t, make([]byte, size)); got != nil {
			t.Errorf("%d bytes: got %+v", size, got)
		}
	}
}

// A hybrid disc of xorriso, with an EFI system partition that holds FAT: we see
// what go-diskfs sees, and can enter it.
func TestHybrid(t *testing.T) {
	for _, c := range []struct {
		name   string
		scheme string
		args   []string
	}{
		{"MBR", MBR, nil},
		{"GPT", GPT, []string{"-appended_part_as_gpt"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			esp, tree, disc := filepath.Join(dir, "esp.img"), filepath.Join(dir, "tree"), filepath.Join(dir, "disc.iso")
			if err := os.MkdirAll(tree, 0o700); err != nil {
				t.Fatal(err)
			}
			content := bytes.Repeat([]byte("boot me "), 10_000)
			if err := os.WriteFile(filepath.Join(dir, "BOOTX64.EFI"), content, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(tree, "file"), content, 0o600); err != nil {
				t.Fatal(err)
			}
			fsystest.Run(t, "mkfs.vfat", "-C", "-F", "12", "-n", "ESP", esp, "1440")
			fsystest.Run(t, "mcopy", "-i", esp, filepath.Join(dir, "BOOTX64.EFI"), "::")
			args := append([]string{"-as", "mkisofs", "-quiet", "-R", "-append_partition", "2", "0xef", esp}, c.args...)
			fsystest.Run(t, "xorriso", append(args, "-o", disc, tree)...)
			img, err := os.ReadFile(disc)
			if err != nil {
				t.Fatal(err)
			}
			all := partitions(t, img)
			compareTables(t, img, all)
			var p *Partition
			for i := range all {
				if all[i].Scheme == c.scheme && all[i].TypeName == "EFI system" {
					p = &all[i]
				}
			}
			if p == nil || p.Size < 1440<<10 || p.Notes != nil {
				t.Fatalf("no EFI system partition in %+v", all)
			}
			v, err := fat.Open(bytes.NewReader(img[p.Off:][:p.Size]), p.Size, fat.Options{})
			if err != nil {
				t.Fatal(err)
			}
			n, a, err := v.Lookup(v.Root(), []byte("BOOTX64.EFI"))
			got := make([]byte, a.Size)
			if _, rerr := v.ReadAt(n, got, 0); err != nil || rerr != nil || !bytes.Equal(got, content) {
				t.Errorf("content of the file in the partition differs, errors %v, %v", err, rerr)
			}
		})
	}
}

// compareTables compares with what go-diskfs reads.
func compareTables(t *testing.T, img []byte, all []Partition) {
	t.Helper()
	type place struct {
		scheme    string
		number    int
		off, size int64
	}
	var got, want []place
	for _, p := range all {
		got = append(got, place{p.Scheme, p.Number, p.Off, p.Size})
	}
	m, err := mbr.Read(&memDisk{b: img}, 512, 512)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range m.Partitions {
		if p.Size > 0 {
			want = append(want, place{MBR, p.Index, int64(p.Start) * 512, int64(p.Size) * 512})
		}
	}
	if g, err := gpt.Read(&memDisk{b: img}, 512, 512); err == nil {
		for _, p := range g.Partitions {
			want = append(want, place{GPT, p.Index, int64(p.Start) * 512, int64(p.Size)})
		}
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(place{})); d != "" {
		t.Errorf("go-diskfs reads other tables: -want +got:\n%s", d)
	}
}

// FuzzPartitions lets no table lead outside the image.
func FuzzPartitions(f *testing.F) {
	small := make([]byte, 8192)
	putMBR(small, mbrEntry{0x80, 0x17, 0, 10}, mbrEntry{0, 5, 2, 10})
	putMBR(small[1024:], mbrEntry{0, 0x83, 1, 1}, mbrEntry{0, 5, 2, 1})
	f.Add(small)
	g := make([]byte, 4096)
	putMBR(g, mbrEntry{0, 0xEE, 1, 7})
	copy(g[512:], "EFI PART\x00\x00\x01\x00\x5C\x00\x00\x00")
	le.PutUint64(g[512+24:], 1)
	le.PutUint64(g[512+72:], 2)
	le.PutUint32(g[512+80:], 4)
	le.PutUint32(g[512+84:], 128)
	g[1024], g[1024+32], g[1024+40] = 1, 3, 4
	f.Add(g)
	f.Fuzz(func(t *testing.T, img []byte) {
		all, err := Partitions(bytes.NewReader(img), int64(len(img)))
		if err != nil {
			t.Fatal(err) // reading never fails here
		}
		if len(all) > 4+maxLogical+4*maxGPTEntries+1000 {
			t.Errorf("%d partitions", len(all))
		}
		for _, p := range all {
			if p.Off < 0 || p.Size < 0 || p.Off > int64(len(img)) || p.Size > int64(len(img))-p.Off || p.Number < 1 {
				t.Errorf("%+v of an image of %d bytes", p, len(img))
			}
		}
	})
}
