package isofs

import (
	"io"

	"github.com/isomount/isomount/pkg/binfmt"
	"github.com/isomount/isomount/pkg/fsys"
)

// A sparse file is recorded as tables and the data that they lead to. The
// second block of 2048 bytes is the first table; its 256 entries divide the file
// into regions of 256^depth bytes, and those of a table below it one region into
// 256 smaller ones. (RRIP 4.1.7; no free text of it has the tables, they are
// as Aaru reads them, Aaru.Filesystems/ISO9660/Sparse.cs.)
const (
	sparseTable   = 2048 // bytes of a table, and what the place of one counts
	sparseUnit    = 256  // bytes that the place of data counts
	sparseEntries = 256  // of a table, each a number in both byte orders

	sparseDepth    = 3 // of RRIP 1.10, whose files have less than 4 GiB
	maxSparseDepth = 7
)

// Parts of a table's entry.
const (
	sparseEmpty = 1 << 31 // the region is zeros
	sparseLower = 1 << 30 // the region is divided by another table
	sparsePlace = 1<<24 - 1
)

// A sparseEntry is an SF entry.
type sparseEntry struct {
	size  int64 // bytes of the content
	depth uint8 // of the first table
}

// addSparse reads SF: the size of a sparse file, in RRIP 1.10 of 32 bits, since
// 1.12 of 64 with the depth of its tables.
func (x *rock) addSparse(data []byte) {
	c := binfmt.At(data, 0)
	switch {
	case len(data) >= 17:
		high, low := c.U32Both(), c.U32Both()
		x.sparse = sparseEntry{int64(high&(1<<31-1))<<32 | int64(low), c.U8()}
	case len(data) >= 8:
		x.sparse = sparseEntry{int64(c.U32Both()), sparseDepth}
	default:
		return
	}
	x.has |= hasSparse
}

// isSparse tells whether what is stored of the file in s is tables and pieces.
func (f *FS) isSparse(s *scratch) bool { return s.rock.has&hasSparse != 0 }

// A sparse reads a sparse file.
type sparse struct {
	sparseEntry

	stored *layout
	r      io.ReaderAt
}

// Size returns the size of the content.
func (s *sparse) Size() int64 { return s.size }

// ReadAt reads the content, like an io.ReaderAt.
func (s *sparse) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= s.size {
		return 0, io.EOF
	}
	want := p[:min(int64(len(p)), s.size-off)]
	done := 0
	var readErr error
	err := s.pieces(off, off+int64(len(want)), func(e fsys.Extent) bool {
		var n int
		n, readErr = s.readPiece(want[done:][:e.Len], e.Pos)
		done += n
		return readErr == nil
	})
	switch {
	case readErr != nil:
		return done, readErr
	case err != nil:
		return done, err
	case len(want) < len(p):
		return done, io.EOF
	}
	return done, nil
}

func (s *sparse) readPiece(p []byte, pos int64) (int, error) {
	if pos == fsys.Hole {
		clear(p)
		return len(p), nil
	}
	n, err := s.stored.readAt(s.r, p, pos)
	if n < len(p) {
		return n, unexpected(err)
	}
	return n, nil
}

// extents tells where the content is from byte off on.
func (s *sparse) extents(off int64, yield func(fsys.Extent) bool) error {
	var lost error
	err := s.pieces(off, s.size, func(e fsys.Extent) bool {
		if e.Pos == fsys.Hole {
			return yield(e)
		}
		end, more := e.Off+e.Len, true
		s.stored.extents(e.Pos, func(part fsys.Extent) bool {
			part.Off, part.Len = e.Off, min(part.Len, end-e.Off)
			e.Off += part.Len
			more = yield(part)
			return more && e.Off < end
		})
		if more && e.Off < end {
			lost = binfmt.Corrupt(s.at(0), "data of a sparse file at %d lies past the %d bytes that are stored", e.Pos, s.stored.size)
		}
		return more && lost == nil
	})
	if lost != nil {
		return lost
	}
	return err
}

// at returns where byte off of what is stored is in the image, for messages.
func (s *sparse) at(off int64) int64 {
	i := s.stored.section(off)
	if i == len(s.stored.sections) {
		return 0
	}
	sec := &s.stored.sections[i]
	pos, _ := sec.at(off - sec.off)
	return pos
}

// pieces calls yield for the pieces of the content from byte off to end, until
// it returns false. [fsys.Extent.Pos] is a byte offset in what is stored, or Hole.
func (s *sparse) pieces(off, end int64, yield func(fsys.Extent) bool) error {
	if s.depth < 1 || s.depth > maxSparseDepth {
		return binfmt.Corrupt(s.at(0), "sparse file of depth %d, want 1 to %d", s.depth, maxSparseDepth)
	}
	covered := end
	if s.depth < maxSparseDepth {
		covered = min(end, sparseEntries<<(8*int64(s.depth)))
	}
	if off < covered {
		w := sparseWalk{sparse: s, end: covered, next: fsys.Extent{Off: off}, yield: yield, tables: s.stored.size/sparseTable + sparseEntries}
		if err := w.table(1, s.depth, 0); err != nil {
			return err
		}
		if w.flush(); w.stopped {
			return nil
		}
	}
	if covered < end {
		return binfmt.Corrupt(s.at(0), "sparse file of %d bytes with tables for %d", s.size, covered)
	}
	return nil
}

// A sparseWalk goes through the tables of a file.
type sparseWalk struct {
	*sparse

	end     int64       // of the bytes that are wanted
	next    fsys.Extent // what was found and may go on in the next region
	tables  int64       // how many more may be read, lest a table leads to itself
	yield   func(fsys.Extent) bool
	stopped bool
}

// table goes through the table in a block of what is stored, whose first region
// begins at byte base of the content.
func (w *sparseWalk) table(block int64, depth uint8, base int64) error {
	if w.tables--; w.tables < 0 {
		return binfmt.Corrupt(w.at(block*sparseTable), "tables of a sparse file lead to each other")
	}
	shift := 8 * int64(depth)
	first, last := (w.next.Off+w.next.Len-base)>>shift, (w.end-1-base)>>shift
	last = min(last, sparseEntries-1)
	pos := block*sparseTable + 8*first
	entries := make([]byte, 8*(last-first+1))
	if n, err := w.stored.readAt(w.r, entries, pos); n < len(entries) {
		return unexpected(err)
	}
	c := binfmt.At(entries, pos)
	for i := first; i <= last && !w.stopped; i++ {
		if err := w.region(c.U32Both(), depth, base+i<<shift); err != nil {
			return err
		}
	}
	return nil
}

// region goes through the region of an entry, which begins at byte start.
func (w *sparseWalk) region(entry uint32, depth uint8, start int64) error {
	place := int64(entry & sparsePlace)
	switch {
	case entry&sparseEmpty != 0:
		w.piece(depth, start, fsys.Hole)
	case entry&sparseLower == 0:
		w.piece(depth, start, place*sparseUnit)
	case depth == 1:
		return binfmt.Corrupt(w.at(place*sparseTable), "sparse file with a table below the last level")
	default:
		return w.table(place, depth-1, start)
	}
	return nil
}

// piece takes up a region that lies in one piece at byte pos of what is stored.
func (w *sparseWalk) piece(depth uint8, start, pos int64) {
	off := w.next.Off + w.next.Len
	n := w.end - off
	if span := int64(1) << (8 * depth); n > span-(off-start) {
		n = span - (off - start)
	}
	if pos != fsys.Hole {
		pos += off - start
	}
	goesOn := w.next.Len > 0 && (pos == fsys.Hole && w.next.Pos == fsys.Hole || pos >= 0 && w.next.Pos >= 0 && pos == w.next.Pos+w.next.Len)
	if !goesOn {
		w.flush()
		w.next = fsys.Extent{Off: off, Pos: pos}
	}
	w.next.Len += n
}

// flush hands out what was found.
func (w *sparseWalk) flush() {
	if w.next.Len > 0 && !w.stopped {
		w.stopped = !w.yield(w.next)
	}
}
