package isofs

import (
	"encoding/binary"
	"fmt"
)

// Limits of the search for sessions.
const (
	maxSessions = 99    // as many as a disc can have tracks
	maxGap      = 12000 // sectors: the lead-out and lead-in between the first two sessions of a CD take 11,400
)

// A Session is a part of a disc that was written at one time and has its own
// volume descriptors.
type Session struct {
	Number int    `json:"number"` // from 1 on
	Start  int64  `json:"start"`  // first sector; descriptors begin 16 later
	Blocks int64  `json:"blocks"` // volume space size
	Label  string `json:"label"`
}

// Sessions lists the sessions of the image, the oldest first. An image does not
// say where they begin: each is looked for behind the one before it. Where an
// image was grown in place (xorriso, growisofs), sector 16 has a copy of the
// last session's descriptors and the first session begins at sector 32.
func (v *Volume) Sessions() []Session {
	first, ok := v.sessionAt(0)
	if !ok {
		return nil
	}
	const grown = 32
	if s, ok := v.sessionAt(grown); ok && v.isBehind(grown) {
		first = s
	}
	list := []Session{first}
	for len(list) < maxSessions {
		last := list[len(list)-1]
		next, ok := v.nextSession(last)
		if !ok {
			break
		}
		next.Number = last.Number + 1
		list = append(list, next)
	}
	return list
}

// isBehind tells whether the root directory of the session at a sector lies
// behind that sector, as it does unless its descriptors are a copy of those at
// sector 16, such as hybrid discs have for their partition.
func (v *Volume) isBehind(start int64) bool {
	var buf [4]byte
	err := v.readMeta(buf[:], (start+firstDescriptor)*sectorSize+158)
	return err == nil && int64(binary.LittleEndian.Uint32(buf[:])) >= start+firstDescriptor
}

// nextSession looks for the session behind another one.
func (v *Volume) nextSession(last Session) (Session, bool) {
	from := last.Start + max(last.Blocks, 1)
	for n := from; n < from+maxGap; n++ {
		if s, ok := v.sessionAt(n); ok && v.isBehind(n) {
			return s, true
		}
		if (n+firstDescriptor)*sectorSize >= v.size {
			break
		}
	}
	return Session{}, false
}

// sessionAt returns the session that begins at a sector, if one does.
func (v *Volume) sessionAt(start int64) (Session, bool) {
	sector := make([]byte, sectorSize)
	off := (start + firstDescriptor) * sectorSize
	if v.readMeta(sector[:8], off) != nil {
		return Session{}, false
	}
	d, ok := parseDescriptor(sector, off)
	if !ok || d.typ != typePrimary && d.typ != typeBoot || v.readMeta(sector, off) != nil {
		return Session{}, false
	}
	if d, ok = parseDescriptor(sector, off); !ok || d.typ != typePrimary {
		return Session{}, false
	}
	blocks := int64(d.blocks) * int64(d.blockSize) / sectorSize
	return Session{Number: 1, Start: start, Blocks: blocks, Label: d.text[textLabel]}, true
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
