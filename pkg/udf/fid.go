package udf

import (
	"io"

	"github.com/isomount/isomount/pkg/binfmt"
)

// File characteristics (ECMA-167 4/14.4.3).
const (
	fidHidden  = 1
	fidDir     = 2
	fidDeleted = 4
	fidParent  = 8
)

// nonAllocatable names the file that holds the defective blocks of a disc of
// UDF 1.50, a hidden entry of the root (UDF 1.50 3.3.7.2).
const nonAllocatable = "\x08Non-Allocatable Space"

const fidSize = 38 // bytes before implementation use and name

// A fid is a file identifier descriptor (ECMA-167 4/14.4).
type fid struct {
	pos   int64  // byte offset in the directory
	next  int64  // byte offset of what follows
	flags uint8  // RBP 18
	icb   longAD // RBP 20
	ident []byte // after the implementation use; in the scanner's buffer
}

// parseFID decodes the descriptor at the start of b. size is its length, 0 if
// there is none; if b is shorter than that, only size, flags and icb are set.
// It makes no error values, because a damaged directory is searched for
// descriptors byte by byte.
func parseFID(b []byte) (d fid, size int) {
	if len(b) < fidSize {
		return fid{}, 0
	}
	c := binfmt.At(b, 0)
	ident, version := c.U16LE(), c.U16LE() // RBP 0, 2: tag
	if ident != tagFileIdent {
		return fid{}, 0
	}
	checksum := c.U8()                                // RBP 4
	c.Skip(3)                                         // RBP 5: reserved, serial number
	crc, crcSize := c.U16LE(), tagSize+int(c.U16LE()) // RBP 8, 10
	c.Skip(4 + 2)                                     // RBP 12: tag location, file version number
	d.flags = c.U8()                                  // RBP 18
	nIdent := int(c.U8())                             // RBP 19
	d.icb = parseLongAD(&c)                           // RBP 20
	nUse := int(c.U16LE())                            // RBP 36
	size = (fidSize + nUse + nIdent + 3) &^ 3
	tagOK := (version == 2 || version == 3) && checksum == tagChecksum(b)
	if !tagOK && (crcSize != size || size > len(b) || crc != binfmt.CRC16(b[tagSize:size])) {
		return fid{}, 0 // neither the tag nor the rest is right
	}
	if size <= len(b) {
		c.Skip(nUse)
		d.ident = c.Bytes(nIdent)
	}
	return d, size
}

const (
	fidChunkMin = 4 << 10
	fidChunkMax = 64 << 10
	fidLongest  = (fidSize + 0xffff + 0xff + 3) &^ 3
	// maxDirSize is how much of a directory is read: about a million names.
	maxDirSize = 64 << 20
	// maxBadBlocks is how many blocks that cannot be read a listing passes
	// over: a medium that fails is slow.
	maxBadBlocks = 64
)

// A scanner goes through the file identifier descriptors of a directory. It
// passes over what is damaged: descriptors start at multiples of four bytes,
// so the next good one is found again.
type scanner struct {
	fid // the current one

	f     *FS
	in    *inode
	at    int64 // byte offset in the directory of the next descriptor
	end   int64 // of the directory
	buf   []byte
	start int64 // byte offset in the directory of buf[0]
	n     int   // bytes of buf that are filled
	chunk int   // bytes to read next time
	bad   int   // blocks that could not be read
	err   error // the last reason

	icbs window // for the file entries
	name []byte // for the name
}

// scan starts at byte offset from of a directory.
func (f *FS) scan(in *inode, from int64) *scanner {
	s, _ := f.scanners.Get().(*scanner)
	if s == nil {
		s = &scanner{}
	}
	*s = scanner{f: f, in: in, at: (from + 3) &^ 3, buf: s.buf, icbs: s.icbs, name: s.name[:0], chunk: fidChunkMin}
	s.icbs.reset(f.meta)
	s.end = in.dirEnd
	return s
}

// dirEnd is the byte offset in a directory after which nothing is listed:
// that of its last recorded byte, or where more was read than there can be.
func (f *FS) dirEnd(in *inode) int64 {
	if in.allocKind == allocEmbedded {
		return int64(len(in.data))
	}
	left := min(maxDirSize, f.size)
	off, end := int64(0), min(in.size, in.extents.end)
	for off < end {
		pos, n := in.at(off)
		if pos >= 0 {
			if n >= left {
				return off + left
			}
			left -= n
		}
		off += n
	}
	return end
}

// stop gives the scanner back.
func (s *scanner) stop() { s.f.scanners.Put(s) }

// next goes to the next descriptor and tells whether there is one.
func (s *scanner) next() bool {
	for s.at >= 0 && s.at+fidSize <= s.end && s.bad <= maxBadBlocks {
		b := s.bytes(fidSize)
		if b == nil {
			s.skip()
			continue
		}
		if s.take(b) {
			return true
		}
		s.resync()
	}
	if s.err == nil && s.in.dirEnd < min(s.in.size, s.in.extents.end) {
		s.err = binfmt.Corrupt(s.in.off, "directory of %d bytes, listed up to %d", s.in.size, s.in.dirEnd)
	}
	return false
}

// take decodes the descriptor at s.at if it is one.
func (s *scanner) take(b []byte) bool {
	d, size := parseFID(b)
	if size == 0 || s.at+int64(size) > s.end {
		return false
	}
	if size > len(b) {
		if b = s.bytes(size); b == nil {
			return false
		}
		if d, size = parseFID(b); size == 0 {
			return false
		}
	}
	d.pos, d.next = s.at, s.at+int64(size)
	s.fid, s.at = d, d.next
	return true
}

// resync moves to the next place where a descriptor may start: a multiple of
// four with a good tag.
func (s *scanner) resync() {
	for s.at += 4; s.at+fidSize <= s.end; s.at += 4 {
		i := s.at - s.start
		if i < 0 || i+tagSize > int64(s.n) {
			return // not in the buffer
		}
		b := s.buf[i:][:tagSize]
		if b[0] == tagFileIdent&0xff && b[1] == tagFileIdent>>8 && tagChecksum(b) == b[4] {
			return
		}
	}
}

// bytes returns all that the buffer holds from s.at on, at least n bytes, or
// nil if they cannot be had.
func (s *scanner) bytes(n int) []byte {
	if i := s.at - s.start; i >= 0 && i+int64(n) <= int64(s.n) {
		return s.buf[i:s.n]
	}
	if s.in.allocKind == allocEmbedded {
		s.buf = append(s.buf[:0], s.in.data...)
		s.start, s.n = 0, len(s.buf)
		return s.buf[s.at:]
	}
	if s.fill(n); s.n < n {
		return nil
	}
	return s.buf[:s.n]
}

// fill reads from s.at on, at least n bytes if it can.
func (s *scanner) fill(n int) {
	want := int(min(int64(max(s.chunk, n)), s.end-s.at))
	s.chunk = min(2*s.chunk, fidChunkMax)
	if cap(s.buf) < want {
		s.buf = make([]byte, max(want, fidChunkMin))
	}
	s.buf = s.buf[:cap(s.buf)]
	s.start, s.n = s.at, 0
	single := false // read block by block, to find out which one is bad
	for s.n < want {
		off := s.at + int64(s.n)
		pos, n := s.in.at(off)
		if pos < 0 {
			return
		}
		if n = min(n, int64(want-s.n)); single {
			n = min(n, s.f.block-off%s.f.block)
		}
		got, err := s.f.meta.ReadAt(s.buf[s.n:s.n+int(n)], pos)
		switch {
		case int64(got) == n:
			s.n += got
		case !single:
			single = true
		default:
			s.n += got
			if err != io.EOF {
				s.err = err
			}
			return
		}
	}
}

// skip moves over what could not be read: to the end of a hole, else to the
// next block.
func (s *scanner) skip() {
	bad := s.at + int64(s.n) // the first byte that could not be had
	pos, there := s.in.at(bad)
	if pos < 0 {
		s.at = (bad + there + 3) &^ 3
	} else {
		s.bad++
		s.at = (bad/s.f.block + 1) * s.f.block
	}
	s.n, s.chunk = 0, fidChunkMin
}
