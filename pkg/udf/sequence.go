package udf

import (
	"github.com/isomount/isomount/pkg/binfmt"
)

const (
	maxSequence  = 1024 // descriptors of a sequence
	maxPointers  = 64   // volume descriptor pointers followed, as in Linux
	maxDescSize  = 64 << 10
	maxPartDescs = 256
)

// A sequence is what a volume descriptor sequence says (ECMA-167 3/8.4.2): of
// each kind the descriptor that prevails, the one with the highest number.
type sequence struct {
	primary *primary
	logical *logical
	parts   map[uint16]*partDesc
}

// complete tells whether nothing is missing that reading needs.
func (s *sequence) complete() bool {
	return s.primary != nil && s.logical != nil && len(s.parts) > 0
}

// merge takes over from o what s does not have.
func (s *sequence) merge(o *sequence) {
	if s.primary == nil {
		s.primary = o.primary
	}
	if s.logical == nil {
		s.logical = o.logical
	}
	for n, p := range o.parts {
		if s.parts[n] == nil {
			s.parts[n] = p
		}
	}
}

// A primary is a primary volume descriptor (ECMA-167 3/10.1).
type primary struct {
	number   uint32
	id       string
	setID    string
	app      regID
	recorded timestamp
	impl     regID
}

func parsePrimary(c *binfmt.Cursor) *primary {
	p := &primary{number: c.U32LE()} // RBP 16
	c.Skip(4)                        // RBP 20: descriptor number
	p.id = dstring(c.Bytes(32))      // RBP 24
	c.Skip(16)                       // RBP 56: sequence numbers, interchange levels, character sets
	p.setID = dstring(c.Bytes(128))  // RBP 72
	c.Skip(64 + 64 + 8 + 8)          // RBP 200: character sets, abstract, copyright
	p.app = parseRegID(c)            // RBP 344
	p.recorded = parseTimestamp(c)   // RBP 376
	p.impl = parseRegID(c)           // RBP 388
	return p
}

// A partDesc is a partition descriptor (ECMA-167 3/10.5).
type partDesc struct {
	number uint32
	id     uint16
	access uint32
	start  uint32 // sector
	length uint32 // sectors
}

func parsePartDesc(c *binfmt.Cursor) *partDesc {
	p := &partDesc{number: c.U32LE()} // RBP 16
	c.Skip(2)                         // RBP 20: flags
	p.id = c.U16LE()                  // RBP 22
	c.Skip(32 + 128)                  // RBP 24: contents, contents use
	p.access = c.U32LE()              // RBP 184
	p.start = c.U32LE()               // RBP 188
	p.length = c.U32LE()              // RBP 192
	return p
}

// A logical is a logical volume descriptor (ECMA-167 3/10.6).
type logical struct {
	number    uint32
	label     string
	block     uint32 // bytes
	domain    regID
	fileSet   longAD // 4/3.1: the contents use is the extent of the file set descriptors
	impl      regID
	integrity extentAD
	nMaps     uint32
	maps      []byte
}

func parseLogical(c *binfmt.Cursor) *logical {
	l := &logical{number: c.U32LE()}                     // RBP 16
	c.Skip(64)                                           // RBP 20: character set
	l.label = dstring(c.Bytes(128))                      // RBP 84
	l.block = c.U32LE()                                  // RBP 212
	l.domain = parseRegID(c)                             // RBP 216
	l.fileSet = parseLongAD(c)                           // RBP 248
	n := c.U32LE()                                       // RBP 264: map table length
	l.nMaps = c.U32LE()                                  // RBP 268
	l.impl = parseRegID(c)                               // RBP 272
	c.Skip(128)                                          // RBP 304: implementation use
	l.integrity = parseExtentAD(c)                       // RBP 432
	l.maps = c.Bytes(int(min(int64(n), int64(c.Len())))) // RBP 440
	return l
}

// readSequence reads the sequence in an extent and where it is continued.
// Descriptors that are damaged are passed over.
func (f *FS) readSequence(at extentAD) *sequence {
	s := &sequence{parts: map[uint16]*partDesc{}}
	left := maxSequence
	for range maxPointers {
		next := f.readSequenceExtent(s, at, &left)
		if next.length == 0 {
			break
		}
		at = next
	}
	return s
}

// readSequenceExtent reads one extent of a sequence until a terminating
// descriptor and returns the extent that a volume descriptor pointer names.
func (f *FS) readSequenceExtent(s *sequence, at extentAD, left *int) (next extentAD) {
	w := f.window()
	defer f.release(w)
	for i := range int64(at.length) / f.sector {
		if *left--; *left < 0 {
			break
		}
		sector := int64(at.sector) + i
		b, err := w.read(sector*f.sector, int(f.sector))
		if err != nil {
			continue
		}
		t, err := checkTag(b, sector*f.sector, uint32(sector))
		if err != nil {
			continue
		}
		if t.ident == tagTerminating {
			break
		}
		c := binfmt.At(b, sector*f.sector)
		c.Skip(tagSize)
		if t.ident == tagPointer {
			c.Skip(4) // RBP 16: number
			next = parseExtentAD(&c)
			continue
		}
		f.take(s, t.ident, w, b, sector*f.sector)
	}
	return next
}

// take adds a descriptor to the sequence if it prevails over what is there.
func (f *FS) take(s *sequence, ident uint16, w *window, b []byte, off int64) {
	c := binfmt.At(b, off)
	c.Skip(tagSize)
	switch ident {
	case tagPrimary:
		if p := parsePrimary(&c); c.Err() == nil && (s.primary == nil || p.number >= s.primary.number) {
			s.primary = p
		}
	case tagPartition:
		p := parsePartDesc(&c)
		if old := s.parts[p.id]; c.Err() == nil && len(s.parts) < maxPartDescs && (old == nil || p.number >= old.number) {
			s.parts[p.id] = p
		}
	case tagLogical:
		if l, err := f.readLogical(w, c, b, off); err == nil && (s.logical == nil || l.number >= s.logical.number) {
			s.logical = l
		}
	}
}

// readLogical decodes a logical volume descriptor, the only one that may be
// longer than a sector.
func (f *FS) readLogical(w *window, c binfmt.Cursor, b []byte, off int64) (*logical, error) {
	t, err := parseTag(b, off)
	if n := tagSize + int(t.crcLen); err == nil && n > len(b) && n <= maxDescSize {
		if longer, err := w.read(off, n); err == nil && t.checkCRC(longer, off) == nil {
			c = binfmt.At(longer, off)
			c.Skip(tagSize)
		}
	}
	l := parseLogical(&c)
	l.maps = append([]byte(nil), l.maps...)
	return l, c.Err()
}
