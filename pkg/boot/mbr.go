package boot

import (
	"fmt"

	"github.com/isomount/isomount/pkg/binfmt"
)

// An MBR counts in sectors of 512 bytes, on optical discs too: it is there for
// the case that the image is copied to a USB stick.
const (
	mbrSector   = 512
	mbrTable    = 446
	mbrEntries  = 4
	mbrBootable = 0x80
)

// maxLogical is how many logical partitions are read at most.
const maxLogical = 128

// An mbrEntry is an entry of a partition table in an MBR or an extended
// partition.
type mbrEntry struct {
	flag, kind   uint8
	start, count uint32 // sectors
}

// extended tells whether an entry is a partition that holds others.
func (e *mbrEntry) extended() bool { return e.kind == 0x05 || e.kind == 0x0F || e.kind == 0x85 }

// mbrTableAt decodes the table in the sector at off. ok is false if there is
// none: no signature, or entries that are the code of a boot sector without a
// table, as in FAT.
func (d *disk) mbrTableAt(off int64) (table [mbrEntries]mbrEntry, ok bool, err error) {
	b, ok, err := d.read(off, mbrSector)
	if !ok {
		return table, false, err
	}
	c := binfmt.At(b, off)
	c.Skip(mbrTable)
	used := false
	for i := range table {
		e := &table[i]
		e.flag = c.U8()
		c.Skip(3) // first sector as cylinder, head, sector
		e.kind = c.U8()
		c.Skip(3) // last sector, likewise
		e.start, e.count = c.U32LE(), c.U32LE()
		if e.flag&^mbrBootable != 0 {
			return table, false, nil
		}
		used = used || e.count > 0
	}
	return table, used && c.U8() == 0x55 && c.U8() == 0xAA, nil
}

// mbr reads the MBR and the logical partitions of its extended ones.
func (d *disk) mbr() ([]Partition, error) {
	table, ok, err := d.mbrTableAt(0)
	if !ok {
		return nil, err
	}
	var found []Partition
	for i, e := range table {
		if e.count > 0 { // type 0 is used by some hybrid discs
			found = append(found, d.mbrPartition(i+1, e, 0))
		}
	}
	for _, e := range table {
		if e.count == 0 || !e.extended() {
			continue
		}
		logical, err := d.logical(int64(e.start), mbrEntries+1)
		if err != nil {
			return nil, err
		}
		return append(found, logical...), nil // there is one at most
	}
	return found, nil
}

// mbrPartition makes a partition of an entry whose start counts from a sector.
func (d *disk) mbrPartition(number int, e mbrEntry, from int64) Partition {
	p := Partition{
		Scheme: MBR, Number: number,
		Type: fmt.Sprintf("0x%02x", e.kind), TypeName: mbrTypes[e.kind],
		Off: (from + int64(e.start)) * mbrSector, Size: int64(e.count) * mbrSector,
	}
	if e.flag&mbrBootable != 0 {
		p.Flags = []string{"bootable"}
	}
	d.clip(&p)
	return p
}

// logical follows the chain of tables in an extended partition that begins at
// sector first. Each has a logical partition and the place of the next table.
func (d *disk) logical(first int64, number int) ([]Partition, error) {
	var found []Partition
	seen := map[int64]bool{}
	for at := first; !seen[at] && len(seen) < maxLogical; {
		seen[at] = true
		table, ok, err := d.mbrTableAt(at * mbrSector)
		if !ok {
			return found, err
		}
		next := at
		for _, e := range table {
			switch {
			case e.count == 0:
			case e.extended():
				next = first + int64(e.start)
			default:
				found = append(found, d.mbrPartition(number, e, at))
				number++
			}
		}
		at = next
	}
	return found, nil
}
