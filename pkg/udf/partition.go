package udf

import (
	"slices"
	"sort"

	"github.com/isomount/isomount/pkg/binfmt"
)

// A kind of partition, as a partition map says it (ECMA-167 3/10.7, UDF 2.2.8
// to 2.2.10).
type kind string

const (
	kindPhysical kind = "physical"
	kindVirtual  kind = "virtual"
	kindSparable kind = "sparable"
	kindMetadata kind = "metadata"
	kindUnknown  kind = "unknown"
)

// A partition maps the logical blocks of one partition map to the image.
type partition struct {
	kind   kind
	number uint16 // of the partition descriptor
	start  int64  // byte offset in the image; physical and sparable
	length int64  // bytes

	base   int        // index of the partition that a virtual or metadata one lies in
	vat    []uint32   // virtual: block in the base partition
	packet int64      // sparable: bytes a packet
	spared []sparing  // sparable: by orig
	meta   extentList // metadata: where the metadata file lies
	mirror extentList // metadata: where its mirror lies, if it is a copy
}

// noLimit is a length that no image reaches.
const noLimit = int64(1) << 62

// locate finds byte off of an extent that starts at block a: its place in the
// image and how many bytes lie there in one piece.
func (f *FS) locate(a addr, off int64) (pos, n int64, err error) {
	if int(a.ref) >= len(f.parts) {
		return 0, 0, binfmt.Corrupt(0, "partition reference %d of %d", a.ref, len(f.parts))
	}
	p := &f.parts[a.ref]
	byteOff := int64(a.block)*f.block + off
	switch p.kind {
	case kindPhysical:
		return p.start + byteOff, noLimit, nil
	case kindSparable:
		pos, n = p.sparablePos(byteOff)
		return pos, n, nil
	case kindMetadata:
		return p.meta.locate(byteOff)
	case kindVirtual:
		return f.locateVirtual(p, a, off)
	case kindUnknown:
	}
	return 0, 0, binfmt.Corrupt(p.start, "block %d of an unknown kind of partition", a.block)
}

// locateVirtual translates the first block of an extent; those after it
// follow it in the base partition (UDF 2.2.11 allows no longer extents; Linux
// reads them like this).
func (f *FS) locateVirtual(p *partition, a addr, off int64) (pos, n int64, err error) {
	if int64(a.block) >= int64(len(p.vat)) {
		return 0, 0, binfmt.Corrupt(f.parts[p.base].start, "virtual block %d of %d", a.block, len(p.vat))
	}
	block := p.vat[a.block]
	if block == 0xffffffff {
		return 0, 0, binfmt.Corrupt(f.parts[p.base].start, "virtual block %d is not in use", a.block)
	}
	return f.locate(addr{block: block, ref: uint16(p.base)}, off)
}

// A sparing is a packet that was moved (UDF 2.2.12).
type sparing struct {
	orig int64 // byte offset in the partition
	pos  int64 // byte offset in the image
}

func (p *partition) sparablePos(off int64) (pos, n int64) {
	i := sort.Search(len(p.spared), func(i int) bool { return p.spared[i].orig+p.packet > off })
	if i == len(p.spared) {
		return p.start + off, noLimit
	}
	s := p.spared[i]
	if off < s.orig {
		return p.start + off, s.orig - off
	}
	return s.pos + off - s.orig, s.orig + p.packet - off
}

// An extentList says where consecutive bytes lie in the image.
type extentList struct {
	runs []run
	end  int64 // bytes in all
}

// A run goes from its offset to that of the next.
type run struct {
	off int64
	pos int64 // byte offset in the image, or hole or lost
}

// Values of run.pos for bytes that are not in the image.
const (
	hole = -1 // reads as zeros
	lost = -3 // cannot be read
)

// add appends n bytes that lie at pos.
func (l *extentList) add(pos, n int64) {
	if n <= 0 {
		return
	}
	if i := len(l.runs) - 1; i < 0 || !l.runs[i].reaches(l.end, pos) {
		l.runs = append(l.runs, run{off: l.end, pos: pos})
	}
	l.end += n
}

// reaches tells whether pos goes on where r, which ends at end, stops.
func (r run) reaches(end, pos int64) bool {
	if pos < 0 {
		return r.pos == pos
	}
	return r.pos >= 0 && r.pos+end-r.off == pos
}

// at returns where the byte at off lies and how many follow it there. Past
// the end of the list there is one endless hole.
func (l *extentList) at(off int64) (pos, n int64) {
	if off >= l.end || off < 0 {
		return hole, noLimit
	}
	i, found := slices.BinarySearchFunc(l.runs, off, func(r run, off int64) int {
		switch {
		case r.off < off:
			return -1
		case r.off > off:
			return 1
		}
		return 0
	})
	if !found {
		i--
	}
	end := l.end
	if i+1 < len(l.runs) {
		end = l.runs[i+1].off
	}
	r := l.runs[i]
	if r.pos < 0 {
		return r.pos, end - off
	}
	return r.pos + off - r.off, end - off
}

// locate is at for bytes that must be in the image.
func (l *extentList) locate(off int64) (pos, n int64, err error) {
	pos, n = l.at(off)
	if pos < 0 {
		return 0, 0, binfmt.Corrupt(0, "byte %d of the metadata file is not recorded", off)
	}
	return pos, n, nil
}
