package isofs

import (
	"errors"
	"io"
	"sync"

	"github.com/isomount/isomount/pkg/binfmt"
)

// Limits of a directory. No disc comes near them; they bound what a broken one
// can cost.
const (
	maxDirectory  = 256 << 20 // bytes
	maxSections   = 1 << 16   // sections of a file
	maxBadSectors = 64        // unreadable sectors after which a listing ends
)

const windowSize = 64 << 10

// A scanner reads the records of a directory one after the other, passing over
// what is damaged.
type scanner struct {
	v     *Volume
	start int64 // byte offset of the directory in the image
	size  int64 // bytes of the directory
	align int64 // records begin anew at its multiples, from start
	pos   int64 // where the next record may be, from start
	at    int64 // where the record that was read last is, from start

	win    []byte // a part of the directory
	winPos int64  // where it begins, from start
	buf    [windowSize]byte
	bad    int   // sectors that could not be read
	err    error // the first reason why
}

// open sets the scanner to the directory of size bytes at start. What the image
// does not hold is an error that the scanner gives at the end.
func (s *scanner) open(v *Volume, start, size, pos int64) {
	s.v, s.start, s.size, s.align, s.pos, s.at = v, start, min(size, maxDirectory), sectorSize, pos, 0
	s.win, s.winPos, s.bad, s.err = nil, 0, 0, nil
	if size > maxDirectory {
		s.err = binfmt.Corrupt(start, "directory of %d bytes", size)
	}
	if held := v.size - start; s.size > held {
		s.size, s.err = max(held, 0), io.ErrUnexpectedEOF
	}
}

// next reads a record into r, which stays valid until the next call.
func (s *scanner) next(r *record) bool {
	for s.pos >= 0 && s.pos < s.size {
		b := s.bytes()
		switch {
		case len(b) == 0:
			if s.bad > maxBadSectors {
				return false
			}
			s.pos = s.nextSector()
		case b[0] == 0:
			s.pos = s.nextSector() // ECMA-119 6.8.1.1: the rest of the sector is unused
		case r.decode(b, s.start+s.pos, s.v.highSierra):
			s.at = s.pos
			s.pos += int64(r.length)
			return true
		default:
			s.pos += resync(b, s.nextSector()-s.pos)
		}
	}
	return false
}

func (s *scanner) nextSector() int64 { return s.pos - s.pos%s.align + s.align }

// resync tells how far it is from a record that makes no sense to the next one
// that does. limit is how far it is to the next sector, where a record begins
// anyhow. Records have even lengths (ECMA-119 9.1.12).
func resync(b []byte, limit int64) int64 {
	for i := int64(2); i < min(limit, int64(len(b))); i += 2 {
		if looksLikeRecord(b[i:]) {
			return i
		}
	}
	return limit
}

// bytes returns the directory from pos on: at least a record's maximum, if the
// directory goes on for that long, so that a record may lie across sectors. It
// returns nothing if the sector cannot be read.
func (s *scanner) bytes() []byte {
	have := s.winPos + int64(len(s.win))
	if s.pos >= s.winPos && (s.pos+maxRecord <= have || have == s.size && s.pos < have) {
		return s.win[s.pos-s.winPos:]
	}
	s.winPos = s.pos - s.pos%sectorSize
	s.win = s.buf[:min(windowSize, s.size-s.winPos)]
	if s.fill() {
		return s.win[s.pos-s.winPos:]
	}
	s.win = s.win[:min(sectorSize, len(s.win))]
	if s.fill() {
		return s.win[s.pos-s.winPos:]
	}
	s.win = nil
	s.bad++
	return nil
}

// fill reads the window.
func (s *scanner) fill() bool {
	err := s.v.readMeta(s.win, s.start+s.winPos)
	if err != nil && len(s.win) <= sectorSize && (s.err == nil || isTruncated(s.err)) {
		s.err = err
	}
	return err == nil
}

// A scratch is the memory that an operation works in.
type scratch struct {
	scan scanner
	rec  record
	head [maxRecord]byte // holds rec when it was read alone, or has to be kept
	susp susp
	rock rock
	name []byte // the entry's name, as it is shown
	key  []byte // of the name that is looked for

	hashes []uint64 // of the names of a directory

	size int64 // of the whole file
	at   int64 // where its first record is, from the start of the directory

	// err is the first read error that may pass. What was found out without
	// the missing bytes must not be given out as the truth, since the kernel
	// remembers it for hours.
	err error
}

// fail remembers a read error. That the image ends too early will not pass.
func (s *scratch) fail(err error) {
	if err != nil && s.err == nil && !isTruncated(err) {
		s.err = err
	}
}

// isTruncated tells whether an error is that the image ends too early.
func isTruncated(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }

// maxKeptHashes bounds the memory that a scratch keeps after a large directory.
const maxKeptHashes = 1 << 13

var scratches = sync.Pool{New: func() any { return new(scratch) }}

func getScratch() *scratch { return scratches.Get().(*scratch) } //nolint:errcheck,forcetypeassert // the pool holds nothing else

func putScratch(s *scratch) {
	if cap(s.hashes) > maxKeptHashes {
		s.hashes = nil
	}
	s.susp.bufOff = 0 // the next one may read another image
	s.scan.v, s.susp.v, s.err = nil, nil, nil
	scratches.Put(s)
}
