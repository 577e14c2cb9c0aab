package udf

import (
	"github.com/isomount/isomount/pkg/binfmt"
)

const (
	vrsStart  = 32768
	vrsSize   = 2048
	vrsSlots  = 64
	anchorLBA = 256
)

// recognized looks for the volume recognition sequence (ECMA-167 2/8.3) and
// returns the identifier in it that says UDF: "NSR02", "NSR03" or "".
func (f *FS) recognized() string {
	w := f.window()
	defer f.release(w)
	start := f.sessionStart() + vrsStart
	for slot := range int64(vrsSlots) {
		// Structures lie 2048 bytes apart, or a block if that is larger.
		b, err := w.read(start+slot*vrsSize, 7)
		if err != nil {
			break
		}
		switch id := string(b[1:6]); id {
		case "NSR02", "NSR03":
			return id
		case "TEA01":
			return ""
		}
	}
	return ""
}

// sessionStart is the byte offset of the session that is shown.
func (f *FS) sessionStart() int64 { return f.opts.Session * vrsSize }

// An anchor is an anchor volume descriptor pointer (ECMA-167 3/10.2).
type anchor struct {
	sector  int64
	main    extentAD // RBP 16
	reserve extentAD // RBP 24
}

// readAnchor reads the anchor in a sector, if there is one.
func (f *FS) readAnchor(sector int64) (anchor, bool) {
	if sector < 0 || sector > 0xffffffff || (sector+1)*f.sector > f.size {
		return anchor{}, false
	}
	var b [512]byte
	off := sector * f.sector
	if err := readFull(f.meta, b[:], off); err != nil {
		return anchor{}, false
	}
	t, err := checkTag(b[:], off, uint32(sector))
	if err != nil || t.ident != tagAnchor {
		return anchor{}, false
	}
	c := binfmt.At(b[:], off)
	c.Skip(tagSize)
	return anchor{sector: sector, main: parseExtentAD(&c), reserve: parseExtentAD(&c)}, true
}

// anchorSectors lists where an anchor may be (ECMA-167 3/8.4.2.1, UDF
// 2.2.3): in 256, in the last sector and 256 before it, and in 512 of a disc
// that is still open. Drives and imaging tools disagree about which sector is
// the last by some, the lead-out included or not.
func (f *FS) anchorSectors() []int64 {
	var at []int64
	if f.opts.Anchor > 0 {
		at = append(at, f.opts.Anchor)
	}
	session := f.sessionStart() / f.sector
	at = append(at, session+anchorLBA)
	if session > 0 {
		at = append(at, anchorLBA)
	}
	last := f.lastSector()
	for _, back := range []int64{0, 1, 2, 150, 152, -1} {
		at = append(at, last-back, last-back-anchorLBA)
	}
	return append(at, session+2*anchorLBA)
}

// lastSector is the last sector of the disc, as far as is known.
func (f *FS) lastSector() int64 {
	if f.opts.LastBlock > 0 {
		return f.opts.LastBlock
	}
	return f.size/f.sector - 1
}

// scanTail is how much of the end of an image is searched for what should be
// in its last sector.
const scanTail = 8 << 20

// eachTail calls try for the sectors at the end of the image, the last one
// first, with the sector's content, until it returns true.
func (f *FS) eachTail(try func(sector int64, b []byte) bool) bool {
	const step = 64 << 10
	buf := make([]byte, step)
	last := min(f.lastSector(), f.size/f.sector-1)
	first := max(last-scanTail/f.sector, 0)
	per := step / f.sector
	for hi := last; hi >= first; hi -= per {
		lo := max(hi-per+1, first)
		b := buf[:(hi-lo+1)*f.sector]
		if readFull(f.meta, b, lo*f.sector) != nil {
			continue
		}
		for s := hi; s >= lo; s-- {
			if try(s, b[(s-lo)*f.sector:][:f.sector]) {
				return true
			}
		}
	}
	return false
}

// tailAnchor searches the end of the image for an anchor: padding may have
// been added behind the last sector.
func (f *FS) tailAnchor() (anchor, bool) {
	var found anchor
	ok := f.eachTail(func(sector int64, b []byte) bool {
		if b[0] != tagAnchor || b[1] != 0 {
			return false
		}
		a, ok := f.readAnchor(sector)
		found = a
		return ok
	})
	return found, ok
}
