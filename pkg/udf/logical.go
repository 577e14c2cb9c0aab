package udf

import (
	"strings"

	"github.com/isomount/isomount/pkg/binfmt"
)

// maxMaps is how many partition maps are taken; UDF allows two.
const maxMaps = 64

// Identifiers of partition maps (UDF 2.2.8 to 2.2.10).
const (
	idVirtual  = "*UDF Virtual Partition"
	idSparable = "*UDF Sparable Partition"
	idMetadata = "*UDF Metadata Partition"
)

// A partMap is a partition map of type 1 or 2 (ECMA-167 3/10.7).
type partMap struct {
	kind     kind
	number   uint16
	volume   uint16 // volume sequence number
	ident    string
	sparable sparableMap
	metadata metadataMap
}

// A sparableMap is what a sparable partition map adds (UDF 2.2.9).
type sparableMap struct {
	packet uint16   // RBP 40: blocks a packet
	size   uint32   // RBP 44: bytes of a sparing table
	tables []uint32 // RBP 48: sectors of the tables
}

// A metadataMap is what a metadata partition map adds (UDF 2.2.10).
type metadataMap struct {
	main       uint32 // RBP 40: block of the metadata file's entry
	mirror     uint32 // RBP 44
	duplicated bool   // RBP 58: the mirror is a copy, not another name for the same blocks
}

// parseMaps decodes the partition maps of a logical volume descriptor.
func parseMaps(b []byte, n uint32, off int64) ([]partMap, error) {
	var maps []partMap
	c := binfmt.At(b, off)
	for range min(n, maxMaps) {
		if c.Len() < 2 {
			break
		}
		kind, size := c.U8(), int(c.U8())
		if size < 2 {
			return maps, binfmt.Corrupt(c.Off(), "partition map of %d bytes", size)
		}
		body := binfmt.At(c.Bytes(size-2), c.Off())
		if err := c.Err(); err != nil {
			return maps, err
		}
		maps = append(maps, parseMap(kind, &body))
	}
	if len(maps) == 0 {
		return nil, binfmt.Corrupt(off, "no partition maps")
	}
	return maps, nil
}

func parseMap(kind uint8, c *binfmt.Cursor) partMap {
	m := partMap{kind: kindUnknown}
	switch kind {
	case 1:
		m.kind = kindPhysical
		m.volume = c.U16LE() // RBP 2
		m.number = c.U16LE() // RBP 4
	case 2:
		c.Skip(2)           // RBP 2: reserved
		id := parseRegID(c) // RBP 4
		m.ident = id.ident
		m.volume = c.U16LE() // RBP 36
		m.number = c.U16LE() // RBP 38
		m.parseType2(c)
	}
	if c.Err() != nil {
		m.kind = kindUnknown
	}
	return m
}

func (m *partMap) parseType2(c *binfmt.Cursor) {
	switch {
	case strings.HasPrefix(m.ident, idVirtual):
		m.kind = kindVirtual
	case strings.HasPrefix(m.ident, idSparable):
		m.kind = kindSparable
		m.sparable.packet = c.U16LE() // RBP 40
		n := c.U8()                   // RBP 42
		c.Skip(1)                     // RBP 43: reserved
		m.sparable.size = c.U32LE()   // RBP 44
		for range min(n, 4) {
			m.sparable.tables = append(m.sparable.tables, c.U32LE())
		}
	case strings.HasPrefix(m.ident, idMetadata):
		m.kind = kindMetadata
		m.metadata.main = c.U32LE()   // RBP 40
		m.metadata.mirror = c.U32LE() // RBP 44
		c.Skip(4 + 4 + 2)             // RBP 48: bitmap, allocation and alignment unit
		m.metadata.duplicated = c.U8()&1 != 0
	}
}

// loadPartitions makes the partitions that the maps describe: first those
// that lie on the disc, then those that lie in them.
func (f *FS) loadPartitions(s *sequence, maps []partMap) error {
	f.parts = make([]partition, len(maps))
	for i := range maps {
		f.loadPlace(s, &maps[i], &f.parts[i])
		if maps[i].kind == kindSparable {
			f.loadSparing(maps[i].sparable, &f.parts[i])
		}
	}
	for i := range maps {
		var err error
		switch maps[i].kind {
		case kindVirtual:
			err = f.loadVAT(maps, i)
		case kindMetadata:
			err = f.loadMetadata(maps, i)
		case kindPhysical, kindSparable, kindUnknown:
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// loadPlace finds where a partition lies.
func (f *FS) loadPlace(s *sequence, m *partMap, p *partition) {
	p.kind, p.number = m.kind, m.number
	d := s.parts[m.number]
	if d == nil && len(s.parts) == 1 {
		for _, d = range s.parts {
			f.notef("partition %d has no descriptor, that of %d used", m.number, d.id)
		}
	}
	switch {
	case m.kind == kindUnknown:
		f.notef("partition map %q is not known", m.ident)
	case d == nil:
		f.notef("partition %d has no descriptor", m.number)
		p.kind = kindUnknown
	default:
		p.start, p.length = int64(d.start)*f.sector, int64(d.length)*f.sector
	}
}

// findBase finds the physical or sparable partition that the virtual or
// metadata partition i lies in.
func (f *FS) findBase(maps []partMap, i int) error {
	p := &f.parts[i]
	p.start, p.length = 0, 0
	for j := range maps {
		k := f.parts[j].kind
		if (k == kindPhysical || k == kindSparable) && maps[j].number == maps[i].number {
			p.base = j
			return nil
		}
	}
	return binfmt.Corrupt(0, "%s partition without the partition that it lies in", p.kind)
}
