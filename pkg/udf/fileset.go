package udf

import (
	"slices"

	"github.com/isomount/isomount/pkg/binfmt"
)

const (
	maxFileSets   = 64   // file set descriptors looked at
	fileSetSearch = 1024 // blocks searched for a lost one
)

// A fileSet is a file set descriptor (ECMA-167 4/14.1).
type fileSet struct {
	recorded timestamp
	set      uint32 // RBP 40
	number   uint32 // RBP 44
	id       string
	root     longAD // RBP 400
	next     longAD // RBP 448
}

func parseFileSet(b []byte, off int64) (fileSet, error) {
	c := binfmt.At(b, off)
	c.Skip(tagSize)
	var s fileSet
	s.recorded = parseTimestamp(&c) // RBP 16
	c.Skip(12)                      // RBP 28: interchange levels, character sets
	s.set = c.U32LE()               // RBP 40
	s.number = c.U32LE()            // RBP 44
	c.Skip(64 + 128 + 64)           // RBP 48: character set, logical volume, character set
	s.id = dstring(c.Bytes(32))     // RBP 304
	c.Skip(32 + 32)                 // RBP 336: copyright, abstract
	s.root = parseLongAD(&c)        // RBP 400
	c.Skip(32)                      // RBP 416: domain
	s.next = parseLongAD(&c)        // RBP 448
	return s, c.Err()
}

// readFileSet reads the file set descriptor at a.
func (f *FS) readFileSet(w *window, a addr) (fileSet, error) {
	b, off, err := f.readBlock(w, a)
	if err != nil {
		return fileSet{}, err
	}
	t, err := checkTag(b, off, a.block)
	if err != nil {
		return fileSet{}, err
	}
	if t.ident != tagFileSet {
		return fileSet{}, binfmt.Corrupt(off, "descriptor %d where a file set should be", t.ident)
	}
	return parseFileSet(b, off)
}

// findFileSet reads the file set that is shown: the first one of the sequence
// (ECMA-167 4/8.3.1), in its newest version.
func (f *FS) findFileSet(at longAD) (fileSet, error) {
	w := f.window()
	defer f.release(w)
	best, err := f.readFileSet(w, at.addr)
	if err != nil {
		return f.searchFileSet(w, at.addr, err)
	}
	a, left, next := at.addr, int64(at.length), best.next
	for range maxFileSets {
		a.block++
		if left -= f.block; left < f.block {
			if next.length == 0 {
				break
			}
			a, left, next = next.addr, int64(next.length), longAD{}
		}
		s, err := f.readFileSet(w, a)
		if err != nil {
			break // ends in a terminating descriptor or an unrecorded block
		}
		if s.set == best.set && s.number > best.number {
			best = s
		}
		if s.next.length > 0 {
			next = s.next
		}
	}
	return best, nil
}

// searchFileSet looks for a file set descriptor at the start of each
// partition, where writers put it.
func (f *FS) searchFileSet(w *window, lost addr, cause error) (fileSet, error) {
	for ref := range slices.Backward(f.parts) {
		for block := range uint32(fileSetSearch) {
			a := addr{block, uint16(ref)}
			if a == lost {
				continue
			}
			s, err := f.readFileSet(w, a)
			if err == nil {
				f.notef("file set descriptor lost (%v), that of block %d in partition %d used", cause, block, ref)
				return s, nil
			}
		}
	}
	return fileSet{}, cause
}

// An integrity is a logical volume integrity descriptor (ECMA-167 3/10.10).
type integrity struct {
	recorded   timestamp
	open       bool
	next       extentAD
	files      uint32
	dirs       uint32
	minRead    revision
	minWrite   revision
	maxWrite   revision
	impl       regID
	hasContent bool
}

func parseIntegrity(b []byte, off int64) (integrity, error) {
	c := binfmt.At(b, off)
	c.Skip(tagSize)
	var d integrity
	d.recorded = parseTimestamp(&c) // RBP 16
	d.open = c.U32LE() == 0         // RBP 28
	d.next = parseExtentAD(&c)      // RBP 32
	c.Skip(32)                      // RBP 40: contents use
	parts := int64(c.U32LE())       // RBP 72
	use := c.U32LE()                // RBP 76
	if err := c.Err(); err != nil {
		return integrity{}, err
	}
	if use < 46 || 8*parts > int64(c.Len()) {
		return d, nil
	}
	c.Skip(int(8 * parts))  // RBP 80: free space and size tables
	d.impl = parseRegID(&c) // UDF 2.2.6.4
	d.files = c.U32LE()
	d.dirs = c.U32LE()
	d.minRead = revision(c.U16LE())
	d.minWrite = revision(c.U16LE())
	d.maxWrite = revision(c.U16LE())
	d.hasContent = c.Err() == nil
	return d, nil
}

const maxIntegrity = 1024 // integrity descriptors looked at, as in Linux

// readIntegrity returns the last descriptor of the integrity sequence
// (ECMA-167 3/8.8.2). Nothing depends on there being one.
func (f *FS) readIntegrity(at extentAD) (last integrity, ok bool) {
	w := f.window()
	defer f.release(w)
	sector, left := int64(at.sector), int64(at.length)
	for range maxIntegrity {
		if left < f.sector {
			break
		}
		b, err := w.read(sector*f.sector, int(f.sector))
		if err != nil {
			break
		}
		t, err := checkTag(b, sector*f.sector, uint32(sector))
		if err != nil || t.ident != tagIntegrity {
			break
		}
		d, err := parseIntegrity(b, sector*f.sector)
		if err != nil {
			break
		}
		last, ok = d, true
		sector, left = sector+1, left-f.sector
		if d.next.length > 0 {
			sector, left = int64(d.next.sector), int64(d.next.length)
		}
	}
	return last, ok
}
