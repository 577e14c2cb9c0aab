package isofs

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/isomount/isomount/pkg/fsys"
)

// maxIndexed is how many entries of a directory are indexed. Larger directories
// are scanned for each name.
const maxIndexed = 1 << 20

var errTooLarge = errors.New("directory too large for the index")

// list calls visit for each entry of a directory from a position on until it
// returns false. The entry is in s, its name in s.name.
func (f *FS) list(d dirRef, from int64, s *scratch, nameOnly bool, visit func() bool) error {
	s.scan.open(f.v, d.start, d.size, from)
	for s.scan.next(&s.rec) {
		if f.entry(d, s, nameOnly) && !visit() {
			return nil
		}
	}
	err := s.scan.err
	if s.err != nil {
		err = s.err
	}
	if err != nil {
		return fmt.Errorf("directory at %d: %w", d.start, err)
	}
	return nil
}

// entry completes the entry whose record was just read, and tells whether it is
// to be shown. One of which a part cannot be read is not; s.err says so.
func (f *FS) entry(d dirRef, s *scratch, nameOnly bool) bool {
	r := &s.rec
	s.at, s.size = s.scan.at, int64(r.size)
	if r.isDot() || r.isDotDot() {
		return false
	}
	if r.flags&flagMore != 0 && !r.isDir() {
		r.copyTo(&s.head)
		bad := s.scan.bad
		if s.size = s.scan.join(r, nil); s.scan.bad > bad {
			return false
		}
	}
	return f.complete(d, s, nameOnly)
}

// complete finds the name of the record in s.
func (f *FS) complete(d dirRef, s *scratch, nameOnly bool) bool {
	if f.hides(s.rec.flags) {
		return false
	}
	if !f.parseUse(s, nameOnly) || s.rock.has&hasRelocated != 0 || !nameOnly && f.isMoved(d, s) {
		return false
	}
	var ok bool
	s.name, ok = f.appendName(s.name[:0], s)
	return ok
}

func (f *FS) hides(flags uint8) bool {
	return f.o.Hide && flags&flagHidden != 0 || flags&flagAssociated != 0 && !f.o.ShowAssoc && !f.o.Unhide
}

// entryAt reads the entry of a directory at a position, and tells whether there
// is one. If it cannot be read s.err says so.
func (f *FS) entryAt(d dirRef, s *scratch, at int64) bool {
	if at >= d.size || !f.recordAt(s, d.start+at) {
		return false
	}
	s.at, s.size = at, int64(s.rec.size)
	if s.rec.flags&flagMore != 0 && !s.rec.isDir() {
		s.size = f.sumSections(s)
	}
	return f.complete(d, s, false)
}

// appendName appends the name of the record in s. A name that cannot be shown
// at all gives way to the file identifier as it is.
func (f *FS) appendName(dst []byte, s *scratch) ([]byte, bool) {
	if f.rock && len(s.rock.name) > 0 {
		if name, ok := clean(f.chars.decode(dst, s.rock.name)); ok {
			return name, true
		}
	}
	if name, ok := clean(f.appendIdentifier(dst, &s.rec)); ok {
		return name, true
	}
	if name, ok := clean(f.chars.decode(dst, s.rec.name)); ok && f.kind != Joliet {
		return name, true
	}
	return append(dst, '_'), len(s.rec.name) > 0
}

// appendIdentifier appends the file identifier in the way of the tree.
func (f *FS) appendIdentifier(dst []byte, r *record) []byte {
	switch {
	case f.kind == Joliet:
		return appendJoliet(dst, r.name, f.chars)
	case f.kind == Enhanced:
		return f.chars.decodeFrom(appendEnhanced(dst, r.name), len(dst))
	case f.o.Map == MapOff:
		return f.chars.decode(dst, r.name)
	case f.o.Map == MapAcorn:
		return f.chars.decodeFrom(appendAcorn(dst, r), len(dst))
	}
	return f.chars.decodeFrom(appendPlain(dst, r.name), len(dst))
}

// isMoved tells whether the record in s is that of a directory of the root that
// holds nothing but directories that were relocated to there (RRIP 4.1.5), such
// as rr_moved. Their contents are where CL entries say.
func (f *FS) isMoved(d dirRef, s *scratch) bool {
	if !f.rock || f.o.ShowMoved || d.start != f.rootStart || !s.rec.isDir() {
		return false
	}
	sub := getScratch()
	defer putScratch(sub)
	sub.scan.open(f.v, f.v.extentOf(&s.rec), int64(s.rec.size), 0)
	moved := false
	for sub.scan.next(&sub.rec) {
		if sub.rec.isDot() || sub.rec.isDotDot() {
			continue
		}
		if !f.parseUse(sub, false) || sub.rock.has&hasRelocated == 0 {
			return false
		}
		moved = true
	}
	return moved
}

// smallDirectory is the size up to which a directory is scanned for each name:
// that takes no longer than to keep it in the index, and no memory.
const smallDirectory = 2 * sectorSize

// find returns the position of the entry of a directory that has a name, or -1.
func (f *FS) find(d dirRef, s *scratch, name []byte) (int64, error) {
	if len(name) > maxName {
		return -1, nil
	}
	twins := f.twinsOf(d)
	if d.size <= smallDirectory {
		return f.findInScan(d, s, name, twins)
	}
	at, err := f.findShown(d, s, name, name, twins, 0)
	if err != nil {
		return f.findWithoutIndex(d, s, name, err)
	}
	if at < 0 && len(twins) > 0 {
		if base, n := splitTwin(name); n > 0 {
			return f.findShown(d, s, base, name, twins, n)
		}
	}
	return at, nil
}

// findShown finds the entry whose name on the disc is base, whose number among
// the entries of that name is n, and which is shown as name.
func (f *FS) findShown(d dirRef, s *scratch, base, name []byte, twins twins, n uint32) (int64, error) {
	s.key = f.appendKey(s.key[:0], base)
	found, err := f.index.Find(f.names|d.node, s.key, f.scanInto(d))
	if err != nil {
		return -1, err
	}
	m := f.matcher(name)
	for _, place := range found {
		at := int64(place.Pos)
		if twins.number(at) == n && f.entryAt(d, s, at) && m.match(twins.rename(s), at) {
			return at, nil
		}
	}
	return m.best(), s.err
}

// findInScan finds a name by listing the directory.
func (f *FS) findInScan(d dirRef, s *scratch, name []byte, twins twins) (int64, error) {
	m := f.matcher(name)
	err := f.list(d, 0, s, false, func() bool { return !m.match(twins.rename(s), s.at) })
	if m.best() >= 0 || isTruncated(err) {
		err = nil
	}
	return m.best(), err
}

// findWithoutIndex finds a name where the index failed. What is found is true
// in spite of the error; what is not may be where it happened.
func (f *FS) findWithoutIndex(d dirRef, s *scratch, name []byte, why error) (int64, error) {
	at, err := f.findInScan(d, s, name, nil)
	if at < 0 && err == nil && !errors.Is(why, errTooLarge) {
		err = why
	}
	return at, err
}

// A matcher looks for a name among those that are shown: the name itself, or
// the first that is the same in a lookup.
type matcher struct {
	f           *FS
	name, key   []byte
	buf         []byte
	exact, near int64
}

func (f *FS) matcher(name []byte) matcher {
	m := matcher{f: f, name: name, exact: -1, near: -1}
	if m.hasNear() {
		m.key = f.appendKey(nil, name)
	}
	return m
}

// hasNear tells whether different names may be the same in a lookup.
func (m *matcher) hasNear() bool { return m.f.fold || m.f.kind == Joliet }

// match looks at a name and tells whether it is the one itself.
func (m *matcher) match(shown []byte, at int64) bool {
	if bytes.Equal(shown, m.name) {
		m.exact = at
		return true
	}
	if m.near < 0 && m.hasNear() {
		if m.buf = m.f.appendKey(m.buf[:0], shown); bytes.Equal(m.buf, m.key) {
			m.near = at
		}
	}
	return false
}

// best returns the position of the name, or -1.
func (m *matcher) best() int64 {
	if m.exact >= 0 {
		return m.exact
	}
	return m.near
}

// appendKey appends what the index knows a name by: in Joliet trees dots at the end make no
// difference, as in Linux.
func (f *FS) appendKey(dst, name []byte) []byte {
	if f.kind == Joliet {
		name = bytes.TrimRight(name, ".")
	}
	if f.fold {
		return foldName(dst, name)
	}
	return append(dst, name...)
}

// scanInto returns the function that lists a directory for the index.
func (f *FS) scanInto(d dirRef) fsys.Scan {
	return func(add func(name []byte, pos uint64)) error {
		s := getScratch()
		defer putScratch(s)
		n := 0
		var key []byte
		twins := newTwinFinder(s)
		err := f.list(d, 0, s, true, func() bool {
			key = f.appendKey(key[:0], s.name)
			add(key, uint64(s.at))
			twins.add(s.name)
			n++
			return n <= maxIndexed
		})
		switch {
		case n > maxIndexed:
			return errTooLarge
		case err != nil && !isTruncated(err):
			return err
		case n >= manyNames && !twins.any():
			f.twins.put(d.node, nil)
		}
		return nil
	}
}
