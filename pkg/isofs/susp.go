package isofs

import (
	"encoding/binary"
	"slices"
)

// Limits of a chain of continuation areas. Linux follows 32 of at most a block.
const (
	maxAreas   = 64       // areas of one record
	maxAreaSum = 16 << 10 // bytes of all areas of one record
)

// A susp walks the entries of a system use area and of its continuations
// (System Use Sharing Protocol, IEEE P1281). The zero value is ready for start.
type susp struct {
	v    *Volume
	area []byte // what is left of the area
	more area   // the continuation that was announced
	want bool   // there is one

	seen  [maxAreas]area
	hops  int
	limit int64 // bytes of continuations that may still be read
	err   error // why one could not be read

	buf    []byte // holds a continuation area
	bufOff int64  // byte offset in the image of buf; 0 if it holds nothing
}

// An area is a continuation area (SUSP 5.1).
type area struct {
	off  int64 // byte offset in the image
	size int64
}

// A tag is the signature word of an entry.
type tag uint16

func newTag(s string) tag { return tag(s[0])<<8 | tag(s[1]) }

// An entry is a system use entry (SUSP 4.2) without its header.
type entry struct {
	tag  tag
	data []byte // valid until the next entry is read
}

const entryHead = 4 // signature, length, version

// start sets the walk to a system use area.
func (s *susp) start(v *Volume, use []byte) {
	s.v, s.area, s.want, s.hops, s.limit, s.err = v, use, false, 0, maxAreaSum, nil
}

// next returns the next entry. Areas that cannot be read or that lead in a
// circle end the walk, as damaged entries end their area. ST, which should end
// it too (SUSP 5.4), does not in Linux, and nor here.
func (s *susp) next() (entry, bool) {
	for {
		e, ok := s.step()
		switch {
		case !ok && !s.follow():
			return entry{}, false
		case !ok:
		case e.tag == tagCE:
			s.announce(e.data)
		default:
			return e, true
		}
	}
}

var tagCE = newTag("CE")

// step returns the next entry of the area.
func (s *susp) step() (entry, bool) {
	if len(s.area) < entryHead {
		return entry{}, false
	}
	n := int(s.area[2])
	if n < entryHead || n > len(s.area) {
		s.area = nil
		return entry{}, false
	}
	e := entry{tag(binary.BigEndian.Uint16(s.area)), s.area[entryHead:n:n]}
	s.area = s.area[n:]
	return e, true
}

// announce remembers a CE entry (SUSP 5.1). It holds for the whole area; the
// last one counts.
func (s *susp) announce(data []byte) {
	if len(data) < 24 {
		return
	}
	lba, off, size := binary.LittleEndian.Uint32(data), binary.LittleEndian.Uint32(data[8:]), binary.LittleEndian.Uint32(data[16:])
	s.more, s.want = area{s.v.block(lba) + int64(off), int64(size)}, true
}

// follow goes on with the continuation that was announced. Of one that is too
// long the beginning is read: attributes, which are what takes space, are last.
func (s *susp) follow() bool {
	if !s.want || s.hops == maxAreas || slices.Contains(s.seen[:s.hops], s.more) {
		return false
	}
	s.seen[s.hops], s.want = s.more, false
	s.hops++
	s.more.size = min(s.more.size, s.limit)
	s.limit -= s.more.size
	s.area = s.read(s.more)
	return len(s.area) > 0
}

// read returns a continuation area, or nil. Writers put the areas of a
// directory side by side, so a whole sector is read and kept.
func (s *susp) read(a area) []byte {
	if rel := a.off - s.bufOff; s.bufOff > 0 && rel >= 0 && rel+a.size <= int64(len(s.buf)) {
		return s.buf[rel : rel+a.size]
	}
	from := a.off - a.off%sectorSize
	end := a.off + a.size
	end += (sectorSize - end%sectorSize) % sectorSize
	end = min(end, s.v.size)
	if a.off < 0 || a.off+a.size > end {
		return nil
	}
	s.bufOff = 0
	if n := int(end - from); cap(s.buf) < n {
		s.buf = make([]byte, n)
	} else {
		s.buf = s.buf[:n]
	}
	if s.err = s.v.readMeta(s.buf, from); s.err != nil {
		return nil
	}
	s.bufOff = from
	return s.buf[a.off-from : a.off-from+a.size]
}
