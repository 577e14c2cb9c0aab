package udf

import (
	"cmp"
	"slices"
	"strings"

	"github.com/isomount/isomount/pkg/binfmt"
)

const (
	idSparing      = "*UDF Sparing Table"
	maxSparing     = 1 << 20 // bytes of a sparing table
	notSpared      = 0xfffffff0
	sparingHeader  = 56
	sparingMapSize = 8
)

// loadSparing reads the sparing table of a sparable partition: of its copies
// the valid one with the highest number.
func (f *FS) loadSparing(m sparableMap, p *partition) {
	p.packet = int64(m.packet) * f.block
	if p.packet == 0 {
		p.packet = 32 * f.block
		f.notef("sparable partition with packets of 0 blocks, 32 taken")
	}
	var best *sparingTable
	for _, sector := range m.tables {
		t, err := f.readSparing(int64(sector), m.size)
		if err != nil {
			f.notef("sparing table at %d: %v", sector, err)
			continue
		}
		if best == nil || t.number > best.number {
			best = t
		}
	}
	if best == nil {
		f.notef("no sparing table can be read, nothing is remapped")
		return
	}
	for _, e := range best.entries {
		p.spared = append(p.spared, sparing{orig: int64(e[0]) * f.block, pos: int64(e[1]) * f.sector})
	}
	slices.SortStableFunc(p.spared, func(a, b sparing) int { return cmp.Compare(a.orig, b.orig) })
	p.spared = slices.CompactFunc(p.spared, func(a, b sparing) bool { return a.orig == b.orig })
}

// A sparingTable is a sparing table (UDF 2.2.12).
type sparingTable struct {
	number  uint32      // RBP 52
	entries [][2]uint32 // RBP 56: block in the partition, sector of the disc
}

func (f *FS) readSparing(sector int64, size uint32) (*sparingTable, error) {
	off := sector * f.sector
	n := max(min(int64(size), maxSparing, f.size-off), f.sector)
	b := make([]byte, n)
	if err := readFull(f.meta, b, off); err != nil {
		return nil, err
	}
	return parseSparing(b, off, uint32(sector))
}

func parseSparing(b []byte, off int64, sector uint32) (*sparingTable, error) {
	t, err := checkTag(b, off, sector)
	if err != nil {
		return nil, err
	}
	c := binfmt.At(b, off)
	c.Skip(tagSize)
	id := parseRegID(&c) // RBP 16
	if t.ident != tagSparing || !strings.HasPrefix(id.ident, idSparing) {
		return nil, binfmt.Corrupt(off, "no sparing table")
	}
	n := c.U16LE() // RBP 48
	c.Skip(2)      // RBP 50: reserved
	table := &sparingTable{number: c.U32LE()}
	if err := c.Err(); err != nil {
		return nil, err
	}
	for range min(int(n), c.Len()/sparingMapSize) {
		if e := [2]uint32{c.U32LE(), c.U32LE()}; e[0] < notSpared {
			table.entries = append(table.entries, e)
		}
	}
	return table, nil
}
