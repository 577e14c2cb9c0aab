package isofs

import (
	"encoding/binary"
	"fmt"

	"github.com/isomount/isomount/pkg/binfmt"
)

// A Platform is what a boot entry is for.
type Platform uint8

// Platforms of El Torito 2.1 and, for EFI, of the UEFI specification, 13.3.2.1.
const (
	PlatformBIOS    Platform = 0
	PlatformPowerPC Platform = 1
	PlatformMac     Platform = 2
	PlatformEFI     Platform = 0xef
)

func (p Platform) String() string {
	switch p {
	case PlatformBIOS:
		return "bios"
	case PlatformPowerPC:
		return "powerpc"
	case PlatformMac:
		return "mac"
	case PlatformEFI:
		return "efi"
	}
	return fmt.Sprintf("platform-%#02x", uint8(p))
}

// MarshalText makes JSON show the name.
func (p Platform) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (p *Platform) UnmarshalText(b []byte) error {
	for n := range 256 {
		if q := Platform(n); q.String() == string(b) {
			*p = q
			return nil
		}
	}
	return fmt.Errorf("no platform of a boot entry: %q", b)
}

// A Media is what a boot image is taken for.
type Media uint8

// Media of El Torito 2.2.
const (
	MediaNone      Media = iota // no emulation: the image is loaded and started
	MediaFloppy12               // 1.2 MB
	MediaFloppy144              // 1.44 MB
	MediaFloppy288              // 2.88 MB
	MediaHardDisk
)

func (m Media) String() string {
	switch m {
	case MediaNone:
		return "none"
	case MediaFloppy12:
		return "floppy-1.2"
	case MediaFloppy144:
		return "floppy-1.44"
	case MediaFloppy288:
		return "floppy-2.88"
	case MediaHardDisk:
		return "harddisk"
	}
	return fmt.Sprintf("media-%d", uint8(m))
}

// MarshalText makes JSON show the name.
func (m Media) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (m *Media) UnmarshalText(b []byte) error {
	for n := range 256 {
		if q := Media(n); q.String() == string(b) {
			*m = q
			return nil
		}
	}
	return fmt.Errorf("no media of a boot entry: %q", b)
}

// A BootEntry is an entry of the boot catalog (El Torito Bootable CD-ROM Format
// Specification 1.0).
type BootEntry struct {
	Platform    Platform `json:"platform"`
	ID          string   `json:"id,omitempty"` // of the validation entry or the section
	Bootable    bool     `json:"bootable"`
	Media       Media    `json:"media"`
	LoadSegment uint16   `json:"loadSegment"` // 0 is 0x7c0
	SystemType  uint8    `json:"systemType"`  // of the partition, for a hard disk
	Sectors     uint16   `json:"sectors"`     // of 512 bytes, to load at first
	Offset      int64    `json:"offset"`      // bytes: where the boot image begins
	Size        int64    `json:"size"`        // bytes of the boot image, as far as they can be told
}

const (
	bootRecordID   = "EL TORITO SPECIFICATION"
	bootEntrySize  = 32
	maxBootCatalog = 64 << 10 // bytes
	maxBootEntries = 256
	virtualSector  = 512
)

// Header indicators of catalog entries.
const (
	bootValidation = 0x01
	bootExtension  = 0x44
	bootable       = 0x88
	bootSection    = 0x90
	bootLast       = 0x91 // section
)

// Boot reads the boot catalog. A disc that cannot be booted has none, which is
// no error. Entries that come with an error are those before the damage.
func (v *Volume) Boot() ([]BootEntry, error) {
	for i := range v.descriptors {
		d := &v.descriptors[i]
		if d.kind == DescriptorBoot && d.text[textSystem] == bootRecordID {
			return v.bootCatalog(d.catalog)
		}
	}
	return nil, nil
}

// bootCatalog reads the catalog at a sector. El Torito counts in sectors of
// 2,048 bytes whatever the logical block size is.
func (v *Volume) bootCatalog(sector uint32) ([]BootEntry, error) {
	off := int64(sector) * sectorSize
	b, err := v.readSome(make([]byte, maxBootCatalog), off)
	if err != nil {
		return nil, fmt.Errorf("boot catalog: %w", err)
	}
	c := catalog{v: v, cursor: binfmt.At(b, off)}
	c.read()
	return c.entries, c.err
}

// A catalog is a boot catalog that is being read.
type catalog struct {
	v       *Volume
	cursor  binfmt.Cursor
	entries []BootEntry
	err     error
}

func (c *catalog) read() {
	off := c.cursor.Off()
	head := c.cursor.Bytes(bootEntrySize)
	if len(head) == 0 || head[0] != bootValidation || head[30] != 0x55 || head[31] != 0xaa {
		c.err = binfmt.Corrupt(off, "boot catalog without a validation entry")
		return
	}
	if sum := checksum(head); sum != 0 {
		c.err = binfmt.Corrupt(off, "boot catalog with checksum %#x instead of 0", sum)
	}
	platform, id := Platform(head[1]), trimText(head[4:28])
	c.entry(platform, id) // the default entry
	for len(c.entries) < maxBootEntries && c.section() {
	}
}

// checksum adds up the words of a validation entry, which makes 0.
func checksum(b []byte) (sum uint16) {
	for i := 0; i < len(b); i += 2 {
		sum += binary.LittleEndian.Uint16(b[i:])
	}
	return sum
}

// section reads a section header and its entries, and tells whether another
// section may follow.
func (c *catalog) section() bool {
	head := c.cursor.Bytes(bootEntrySize)
	if len(head) == 0 || head[0] != bootSection && head[0] != bootLast {
		return false
	}
	platform, n, id := Platform(head[1]), binary.LittleEndian.Uint16(head[2:]), trimText(head[4:32])
	for range n {
		if len(c.entries) == maxBootEntries || !c.entry(platform, id) {
			return false
		}
	}
	return head[0] == bootSection
}

// entry reads an entry and its extensions.
func (c *catalog) entry(platform Platform, id string) bool {
	const extended = 1 << 5 // of the media type: extension records follow
	b := c.cursor.Bytes(bootEntrySize)
	if len(b) == 0 {
		return false
	}
	media := b[1]
	e := BootEntry{
		Platform: platform, ID: id, Bootable: b[0] == bootable, Media: Media(media & 0xf),
		LoadSegment: binary.LittleEndian.Uint16(b[2:]), SystemType: b[4], Sectors: binary.LittleEndian.Uint16(b[6:]),
		Offset: int64(binary.LittleEndian.Uint32(b[8:])) * sectorSize,
	}
	if e.Offset == 0 && e.Sectors == 0 {
		return true // not used
	}
	e.Size = c.v.bootSize(&e)
	c.entries = append(c.entries, e)
	for more := media&extended != 0; more; {
		b = c.cursor.Bytes(bootEntrySize)
		more = len(b) > 0 && b[0] == bootExtension && b[1]&extended != 0
	}
	return true
}

// bootSize finds out how large a boot image is. The catalog only tells how much
// of it to load at first, which for EFI often is nothing or one sector.
func (v *Volume) bootSize(e *BootEntry) int64 {
	size := int64(e.Sectors) * virtualSector
	switch e.Media {
	case MediaFloppy12:
		size = 1200 << 10
	case MediaFloppy144:
		size = 1440 << 10
	case MediaFloppy288:
		size = 2880 << 10
	case MediaHardDisk:
		size = max(size, v.diskSize(e.Offset))
	case MediaNone:
		size = max(size, v.fatSize(e.Offset))
	}
	return max(0, min(size, v.size-e.Offset))
}

// diskSize returns the size of a hard disk image: the end of the last partition
// in its partition table.
func (v *Volume) diskSize(off int64) int64 {
	var mbr [virtualSector]byte
	if v.readMeta(mbr[:], off) != nil || mbr[510] != 0x55 || mbr[511] != 0xaa {
		return 0
	}
	var end int64
	for at := 446; at < 510; at += 16 {
		p := mbr[at : at+16]
		if p[4] != 0 {
			end = max(end, int64(binary.LittleEndian.Uint32(p[8:]))+int64(binary.LittleEndian.Uint32(p[12:])))
		}
	}
	return end * virtualSector
}

// fatSize returns the size of the FAT file system at a byte offset, or 0 if
// there is none (Microsoft FAT specification, 3.1).
func (v *Volume) fatSize(off int64) int64 {
	var b [virtualSector]byte
	if v.readMeta(b[:], off) != nil || b[510] != 0x55 || b[511] != 0xaa || b[0] != 0xeb && b[0] != 0xe9 {
		return 0
	}
	sector := int64(binary.LittleEndian.Uint16(b[11:]))
	perCluster, fats := b[13], b[16]
	if sector < 512 || sector > 4096 || sector&(sector-1) != 0 || perCluster == 0 || perCluster&(perCluster-1) != 0 || fats == 0 || fats > 2 {
		return 0
	}
	n := int64(binary.LittleEndian.Uint16(b[19:]))
	if n == 0 {
		n = int64(binary.LittleEndian.Uint32(b[32:]))
	}
	return n * sector
}
