package boot

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"strings"
	"unicode/utf16"

	"github.com/isomount/isomount/pkg/binfmt"
)

// Limits of a GPT (UEFI 2.10, 5.3). The array of entries is read whole.
const (
	gptHeader     = 92 // bytes of a header that have a meaning
	gptEntry      = 128
	maxGPTEntry   = 4096
	maxGPTEntries = 1024
)

var gptSignature = []byte("EFI PART")

// A gptTable is a GPT header.
type gptTable struct {
	sector     int64 // bytes, as the disk has that it was made for
	own        uint64
	entriesLBA uint64
	count      int64
	entrySize  int64
	crc        uint32 // of the entries
	notes      []string
}

// gpt reads the GPTs of the image. Hybrid discs have one that counts in sectors
// of 512 bytes; one for optical drives counts in sectors of 2048.
func (d *disk) gpt() ([]Partition, error) {
	var found []Partition
	for _, sector := range []int64{512, 2048, 4096} {
		t, ok, err := d.gptAt(sector, sector)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		parts, err := d.gptPartitions(t)
		if err != nil {
			return nil, err
		}
		found = append(found, parts...)
	}
	if len(found) > 0 {
		return found, nil
	}
	return d.backupGPT()
}

// backupGPT reads the copy at the end of the image, if an MBR says that there
// should be a GPT.
func (d *disk) backupGPT() ([]Partition, error) {
	table, ok, err := d.mbrTableAt(0)
	if !ok || table[0].kind != 0xEE {
		return nil, err
	}
	for _, sector := range []int64{512, 2048, 4096} {
		t, ok, err := d.gptAt(d.size/sector*sector-sector, sector)
		if err != nil {
			return nil, err
		}
		if ok {
			t.notes = append(t.notes, "from the copy of the table at the end of the image")
			return d.gptPartitions(t)
		}
	}
	return nil, nil
}

// gptAt reads the header at off, on a disk with sectors of some size. ok is
// false if there is none.
func (d *disk) gptAt(off, sector int64) (t gptTable, ok bool, err error) {
	b, ok, err := d.read(off, gptHeader)
	if !ok || !bytes.HasPrefix(b, gptSignature) {
		return t, false, err
	}
	c := binfmt.At(b, off)
	c.Skip(8) // signature
	c.Skip(4) // revision
	length := int64(c.U32LE())
	crc := c.U32LE()
	c.Skip(4) // reserved
	t = gptTable{sector: sector, own: c.U64LE()}
	c.Skip(8 + 16) // the other header, first and last usable sector
	c.Skip(16)     // GUID of the disk
	t.entriesLBA = c.U64LE()
	t.count, t.entrySize, t.crc = int64(c.U32LE()), int64(c.U32LE()), c.U32LE()
	if t.entrySize < gptEntry || t.entrySize > maxGPTEntry || t.entriesLBA > uint64(d.size/sector) {
		return t, false, nil
	}
	if t.own != uint64(off/sector) {
		return t, false, nil // belongs to a disk with other sectors
	}
	if err := d.checkGPT(&t, off, length, crc); err != nil {
		return t, false, err
	}
	return t, true, nil
}

// checkGPT notes what is wrong with a header.
func (d *disk) checkGPT(t *gptTable, off, length int64, crc uint32) error {
	if t.count > maxGPTEntries {
		t.notes = append(t.notes, fmt.Sprintf("table has %d entries, of which %d are read", t.count, maxGPTEntries))
		t.count = maxGPTEntries
	}
	b, ok, err := d.read(off, min(length, t.sector))
	if err != nil {
		return err
	}
	if ok && length >= gptHeader && length <= t.sector {
		clear(b[16:20])
		ok = crc32.ChecksumIEEE(b) == crc
	} else {
		ok = false
	}
	if !ok {
		t.notes = append(t.notes, "checksum of the header is wrong")
	}
	return nil
}

// gptPartitions reads the entries of a table.
func (d *disk) gptPartitions(t gptTable) ([]Partition, error) {
	off := int64(t.entriesLBA) * t.sector
	room := (d.size - off) / t.entrySize
	if room < t.count {
		t.notes = append(t.notes, "table is cut short")
		t.count = max(room, 0)
	}
	b, ok, err := d.read(off, t.count*t.entrySize)
	if !ok {
		return nil, err
	}
	if crc32.ChecksumIEEE(b) != t.crc {
		t.notes = append(t.notes, "checksum of the entries is wrong")
	}
	var found []Partition
	for i := range t.count {
		if p, ok := d.gptPartition(b[i*t.entrySize:][:gptEntry], t.sector); ok {
			p.Number = int(i) + 1
			p.Notes = append(p.Notes, t.notes...)
			found = append(found, p)
		}
	}
	return found, nil
}

// Attributes of GPT partitions (UEFI 2.10, table 5.8, and those that Microsoft
// defines for its own types).
var gptFlags = []struct {
	bit  int
	name string
}{
	{0, "required"},
	{1, "no block io"},
	{2, "bootable"}, // by a legacy BIOS
	{60, "read-only"},
	{62, "hidden"},
	{63, "no automount"},
}

// gptPartition decodes an entry. ok is false if it is not used.
func (d *disk) gptPartition(b []byte, sector int64) (p Partition, ok bool) {
	c := binfmt.At(b, 0)
	kind, id := guid(c.Bytes(16)), guid(c.Bytes(16))
	first, last, attributes := c.U64LE(), c.U64LE(), c.U64LE()
	if kind == "00000000-0000-0000-0000-000000000000" {
		return p, false
	}
	p = Partition{Scheme: GPT, Type: kind, TypeName: nameOf(gptTypes, kind), ID: id, Label: gptName(c.Bytes(72))}
	for _, f := range gptFlags {
		if attributes>>f.bit&1 != 0 {
			p.Flags = append(p.Flags, f.name)
		}
	}
	end := uint64(1<<62) / uint64(sector)
	if first > last || last >= end {
		p.Notes = append(p.Notes, fmt.Sprintf("goes from sector %d to %d", first, last))
		p.Off = int64(min(first, end)) * sector
	} else {
		p.Off, p.Size = int64(first)*sector, int64(last-first+1)*sector
	}
	d.clip(&p)
	return p, true
}

// gptName decodes a name, UTF-16 up to the first NUL.
func gptName(b []byte) string {
	var units []uint16
	for i := 0; i+1 < len(b); i += 2 {
		u := uint16(b[i]) | uint16(b[i+1])<<8
		if u == 0 {
			break
		}
		units = append(units, u)
	}
	return string(utf16.Decode(units))
}

// guid writes a GUID, whose first three fields are little-endian on the disk,
// in lower case.
func guid(b []byte) string {
	c := binfmt.At(b, 0)
	var s strings.Builder
	fmt.Fprintf(&s, "%08x-%04x-%04x-", c.U32LE(), c.U16LE(), c.U16LE())
	rest := c.Bytes(8)
	fmt.Fprintf(&s, "%x-%x", rest[:2], rest[2:])
	return s.String()
}
