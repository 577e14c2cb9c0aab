package isofs

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// Limits of the search for sessions.
const (
	maxSessions = 99    // as many as a disc can have tracks
	maxGap      = 12000 // sectors: the lead-out and lead-in between the first two sessions of a CD take 11,400
	maxSearched = 50000 // sectors that are looked at altogether
)

// A Session is a part of a disc that was written at one time and has its own
// volume descriptors.
type Session struct {
	Number int    `json:"number"` // from 1 on
	Start  int64  `json:"start"`  // first sector; descriptors begin 16 later
	Blocks int64  `json:"blocks"` // volume space size
	Label  string `json:"label"`

	root uint32 // block of the root directory
}

// Sessions lists the sessions of the image, the oldest first. An image does not
// say where they begin: each is looked for behind the one before it. Where an
// image was grown in place (xorriso, growisofs), sector 16 has a copy of the
// last session's descriptors and the first session begins at sector 32. A set
// of descriptors there alone says nothing: hybrid discs have one for their
// partition.
func (v *Volume) Sessions() []Session {
	const grown = 32
	first, ok := v.sessionAt(0)
	if !ok {
		return nil
	}
	if s, ok := v.sessionAt(grown); ok {
		list := v.sessionsFrom(s)
		if slices.ContainsFunc(list, func(s Session) bool { return s.root == first.root }) {
			return list
		}
	}
	return v.sessionsFrom(first)
}

// sessionsFrom lists a session and those behind it.
func (v *Volume) sessionsFrom(first Session) []Session {
	list := []Session{first}
	left := int64(maxSearched)
	for len(list) < maxSessions && left > 0 {
		last := list[len(list)-1]
		from := last.Start + max(last.Blocks, 1)
		next, ok := v.nextSession(from, min(left, maxGap))
		if !ok {
			break
		}
		left -= next.Start - from + 1
		next.Number = last.Number + 1
		list = append(list, next)
	}
	return list
}

// nextSession looks for a session that begins at a sector or at most gap behind.
func (v *Volume) nextSession(from, gap int64) (Session, bool) {
	for n := from; n < from+gap && (n+firstDescriptor)*sectorSize < v.size; n++ {
		if s, ok := v.sessionAt(n); ok {
			return s, true
		}
	}
	return Session{}, false
}

// sessionAt returns the session that begins at a sector, if one does. Other
// descriptors may come before the primary one.
func (v *Volume) sessionAt(start int64) (Session, bool) {
	sector := make([]byte, sectorSize)
	for n := start + firstDescriptor; n < start+endDescriptors; n++ {
		off := n * sectorSize
		if v.readMeta(sector, off) != nil {
			break
		}
		d, ok := parseDescriptor(sector, off)
		if !ok {
			break
		}
		if d.typ == typePrimary {
			blocks := int64(d.blocks) * int64(d.blockSize) / sectorSize
			return Session{Number: 1, Start: start, Blocks: blocks, Label: d.text[textLabel], root: binary.LittleEndian.Uint32(d.root[2:])}, true
		}
	}
	return Session{}, false
}

// seekSession sets the volume to a session by its number.
func (v *Volume) seekSession(n int) error {
	list := v.Sessions()
	if n > len(list) {
		return fmt.Errorf("session %d: the image has %d: %w", n, len(list), ErrNoTree)
	}
	v.start = list[n-1].Start
	return nil
}
