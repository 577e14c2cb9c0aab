package isofs

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"

	"github.com/isomount/isomount/pkg/fsys"
)

// maxPathTable bounds how much of a path table is read: there are at most 65,535
// directories in it (ECMA-119 6.9.1).
const maxPathTable = 16 << 20

// Parent returns the directory above a directory: where it belongs if it was
// relocated, else the one that its second record names. Some writers (libisofs,
// for all trees but Rock Ridge) name the directory itself there; then the path
// table tells.
func (f *FS) Parent(dir fsys.Node) (fsys.Node, error) {
	s := getScratch()
	defer putScratch(s)
	d, err := f.directory(s, dir)
	if err != nil || d.start == f.rootStart {
		return f.root, err
	}
	at, ok := f.relocatedFrom(s)
	if !ok {
		at = f.above(d, s)
	}
	if at == d.start && s.err == nil {
		at, err = f.aboveInTable(d.start)
		s.fail(err)
	}
	if s.err == nil && at != f.rootStart && f.dot(s, at) {
		return fsys.Node(at), nil
	}
	return f.root, s.err
}

// relocatedFrom returns what the PL entry of the record in s names.
func (f *FS) relocatedFrom(s *scratch) (int64, bool) {
	return f.v.block(s.rock.parent), s.rock.has&hasParent != 0
}

// above returns where the directory begins that the ".." record of d names, or
// d itself. PL stands in that record; some writers put it into the ".".
func (f *FS) above(d dirRef, s *scratch) int64 {
	s.scan.open(f.v, d.start, min(d.size, sectorSize), 0)
	for range 2 {
		if !s.scan.next(&s.rec) {
			s.fail(s.scan.err)
			break
		}
		if !s.rec.isDotDot() {
			continue
		}
		f.parseUse(s, false)
		if at, ok := f.relocatedFrom(s); ok {
			return at
		}
		return f.v.extentOf(&s.rec)
	}
	return d.start
}

// aboveInTable returns where the directory begins that the path table has above
// the one at start, or the root. Parents come before their children in it
// (ECMA-119 6.9.1).
func (f *FS) aboveInTable(start int64) (int64, error) {
	parent := 0
	err := f.pathTable(func(_ int, at int64, above int) bool {
		parent = above
		if at == start {
			return false
		}
		parent = 0
		return true
	})
	found := f.rootStart
	if err != nil || parent == 0 {
		return found, err
	}
	err = f.pathTable(func(n int, at int64, _ int) bool {
		if n == parent {
			found = at
		}
		return n < parent
	})
	return found, err
}

// pathTable calls yield for the records of the path table of this tree
// (ECMA-119 9.4): their numbers from 1 on, where the directories begin, and the
// numbers of their parents.
func (f *FS) pathTable(yield func(n int, at int64, parent int) bool) error {
	size := min(int64(f.d.tableSize), maxPathTable)
	r := bufio.NewReader(io.NewSectionReader(f.v.meta, f.v.block(f.d.tables[0]), size))
	var head [8]byte
	for n := 1; ; n++ {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return tableError(err)
		}
		length, ear, extent := head[0], head[1], binary.LittleEndian.Uint32(head[2:])
		if f.v.highSierra {
			length, ear, extent = head[5], head[4], binary.LittleEndian.Uint32(head[0:])
		}
		at := f.v.block(extent) + int64(ear)*f.v.blockSize()
		if length == 0 || !yield(n, at, int(binary.LittleEndian.Uint16(head[6:]))) {
			return nil
		}
		if _, err := r.Discard(int(length) + int(length)%2); err != nil {
			return tableError(err)
		}
	}
}

// tableError tells a table that ends from one that cannot be read.
func tableError(err error) error {
	if errors.Is(err, io.EOF) || isTruncated(err) {
		return nil
	}
	return err
}
