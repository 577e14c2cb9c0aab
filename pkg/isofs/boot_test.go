package isofs

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isomount/isomount/pkg/binfmt"
)

// validation makes the validation entry of a boot catalog.
func validation(platform Platform, id string) []byte {
	b := make([]byte, bootEntrySize)
	b[0], b[1], b[30], b[31] = bootValidation, byte(platform), 0x55, 0xaa
	copy(b[4:28], id)
	binary.LittleEndian.PutUint16(b[28:], -checksum(b))
	return b
}

func bootSectionHeader(indicator byte, platform Platform, n uint16, id string) []byte {
	b := make([]byte, bootEntrySize)
	b[0], b[1] = indicator, byte(platform)
	binary.LittleEndian.PutUint16(b[2:], n)
	copy(b[4:], id)
	return b
}

func bootImage(indicator, media byte, sectors uint16, at uint32) []byte {
	b := make([]byte, bootEntrySize)
	b[0], b[1] = indicator, media
	binary.LittleEndian.PutUint16(b[2:], 0x7c0)
	b[4] = 6
	binary.LittleEndian.PutUint16(b[6:], sectors)
	binary.LittleEndian.PutUint32(b[8:], at)
	return b
}

// bootDisc makes a disc with a boot catalog, at sector 19.
func bootDisc(catalog ...[]byte) *testImage {
	m := newImage()
	lba, size := m.dir(nil)
	m.volume(16, 1, lba, size)
	boot := make([]byte, sectorSize)
	copy(boot, "\x00CD001\x01"+bootRecordID)
	binary.LittleEndian.PutUint32(boot[71:], 19)
	m.put(17*sectorSize, boot)
	m.end(18)
	m.put(19*sectorSize, join(catalog...))
	m.put(2000*sectorSize-1, []byte{0})
	return m
}

func TestBootCatalog(t *testing.T) {
	floppy := bootImage(bootable, 2, 1, 100)
	entry := func(change func(e *BootEntry)) BootEntry {
		e := BootEntry{Bootable: true, LoadSegment: 0x7c0, SystemType: 6, Sectors: 4, Offset: 100 * sectorSize, Size: 4 * virtualSector}
		change(&e)
		return e
	}
	for _, tt := range []struct {
		name    string
		catalog []byte
		want    []BootEntry
	}{
		{
			"BIOS", join(validation(PlatformBIOS, "maker"), bootImage(bootable, 0, 4, 100)),
			[]BootEntry{entry(func(e *BootEntry) { e.ID = "maker" })},
		},
		{
			"BIOS and EFI", join(validation(PlatformBIOS, ""), bootImage(bootable, 0, 4, 100),
				bootSectionHeader(bootLast, PlatformEFI, 1, "efi"), bootImage(bootable, 0, 100, 200)),
			[]BootEntry{entry(func(*BootEntry) {}), entry(func(e *BootEntry) {
				e.Platform, e.ID, e.Sectors, e.Offset, e.Size = PlatformEFI, "efi", 100, 200*sectorSize, 100*virtualSector
			})},
		},
		{
			"floppy", join(validation(PlatformBIOS, ""), floppy),
			[]BootEntry{entry(func(e *BootEntry) { e.Media, e.Sectors, e.Size = MediaFloppy144, 1, 1474560 })},
		},
		{
			"floppy past the end", join(validation(PlatformBIOS, ""), bootImage(bootable, 3, 1, 1999)),
			[]BootEntry{entry(func(e *BootEntry) {
				e.Media, e.Sectors, e.Offset, e.Size = MediaFloppy288, 1, 1999*sectorSize, sectorSize
			})},
		},
		{
			"not bootable", join(validation(PlatformBIOS, ""), bootImage(0, 1, 4, 100)),
			[]BootEntry{entry(func(e *BootEntry) { e.Bootable, e.Media, e.Size = false, MediaFloppy12, 1200<<10 })},
		},
		{
			"hard disk", join(validation(PlatformMac, ""), bootImage(bootable, 4, 1, 300)),
			[]BootEntry{entry(func(e *BootEntry) {
				e.Platform, e.Media, e.Sectors, e.Offset, e.Size = PlatformMac, MediaHardDisk, 1, 300*sectorSize, 100*virtualSector
			})},
		},
		{
			"EFI whose size is not in the catalog", join(validation(PlatformEFI, ""), bootImage(bootable, 0, 0, 400)),
			[]BootEntry{entry(func(e *BootEntry) {
				e.Platform, e.Sectors, e.Offset, e.Size = PlatformEFI, 0, 400*sectorSize, 2880*virtualSector
			})},
		},
		{
			"extension", join(validation(PlatformBIOS, ""), bootImage(bootable, 0, 4, 100),
				bootSectionHeader(bootLast, PlatformBIOS, 2, ""), bootImage(bootable, 0x20, 4, 100),
				bootSectionHeader(bootExtension, 0x20, 0, ""), bootSectionHeader(bootExtension, 0, 0, ""), floppy),
			[]BootEntry{
				entry(func(*BootEntry) {}), entry(func(*BootEntry) {}),
				entry(func(e *BootEntry) { e.Media, e.Sectors, e.Size = MediaFloppy144, 1, 1474560 }),
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := bootDisc(tt.catalog)
			mbr := make([]byte, virtualSector)
			mbr[446+4], mbr[510], mbr[511] = 6, 0x55, 0xaa
			binary.LittleEndian.PutUint32(mbr[446+8:], 20)
			binary.LittleEndian.PutUint32(mbr[446+12:], 80)
			m.put(300*sectorSize, mbr)
			fat := make([]byte, virtualSector)
			copy(fat, "\xeb\x3c\x90MSDOS5.0\x00\x02\x01\x01\x00\x02\xe0\x00\x40\x0b")
			fat[510], fat[511] = 0x55, 0xaa
			m.put(400*sectorSize, fat)
			got, err := m.open(t, Options{}).Boot()
			if err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(got, tt.want); diff != "" {
				t.Errorf("got - want +:\n%s", diff)
			}
		})
	}
}

func TestBootCatalogDamaged(t *testing.T) {
	good := join(validation(PlatformBIOS, ""), bootImage(bootable, 0, 4, 100))
	many := join(good, bootSectionHeader(bootSection, PlatformBIOS, 0xffff, ""))
	for range 2000 {
		many = append(many, bootImage(bootable, 0, 4, 100)...)
	}
	for _, tt := range []struct {
		name    string
		catalog []byte
		entries int
		damaged bool
	}{
		{"empty", nil, 0, true},
		{"no key", func() []byte { b := join(good); b[31] = 0; return b }(), 0, true},
		{"wrong checksum", func() []byte { b := join(good); b[5]++; return b }(), 1, true},
		{"as many entries as a number can say", many, maxBootEntries, false},
		{"section without entries", join(good, bootSectionHeader(bootSection, 0, 0, ""), bootSectionHeader(bootLast, 0, 0, "")), 1, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := bootDisc(tt.catalog).open(t, Options{}).Boot()
			var corrupt *binfmt.CorruptError
			if len(got) != tt.entries || errors.As(err, &corrupt) != tt.damaged {
				t.Errorf("got %d entries and error %v", len(got), err)
			}
		})
	}
}

func TestBootJSON(t *testing.T) {
	b, err := json.Marshal([]BootEntry{{Platform: PlatformEFI, Media: MediaFloppy288}, {Platform: 7, Media: 9}})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"efi"`, `"floppy-2.88"`, `"platform-0x07"`, `"media-9"`} {
		if !strings.Contains(string(b), want) {
			t.Errorf("%s is not in %s", want, b)
		}
	}
}

func TestNoBootCatalog(t *testing.T) {
	got, err := disc(func(*testImage) [][]byte { return nil }).open(t, Options{}).Boot()
	if len(got) != 0 || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
	m := bootDisc()
	binary.LittleEndian.PutUint32(m.data[17*sectorSize+71:], 1<<31)
	if _, err := m.open(t, Options{}).Boot(); err == nil {
		t.Error("a catalog past the end is no error")
	}
}

func TestBootEntryJSONComesBack(t *testing.T) {
	for n := range 256 {
		want := BootEntry{Platform: Platform(n), Media: Media(n)}
		b, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got BootEntry
		if err := json.Unmarshal(b, &got); err != nil || got != want {
			t.Errorf("%s: got %+v, %v, want %+v", b, got, err, want)
		}
	}
	var e BootEntry
	if err := json.Unmarshal([]byte(`{"platform": "abacus"}`), &e); err == nil {
		t.Error("an unknown platform was taken")
	}
}
