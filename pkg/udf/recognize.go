package udf

import (
	"iter"
	"slices"

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
	const step = 8 // structures that are read at once
	buf, n := make([]byte, step*vrsSize), 0
	start := f.sessionStart() + vrsStart
	for slot := range int64(vrsSlots) {
		// Structures lie 2048 bytes apart, or a block if that is larger.
		in, pos := int(slot%step*vrsSize), start+slot*vrsSize
		if in == 0 {
			n, _ = f.meta.ReadAt(buf, pos) // what is missing is tried again
		}
		b := buf[in:][:7]
		if in+len(b) > n {
			if err := readFull(f.meta, b, pos); err != nil {
				break
			}
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

// sessionSector is the first sector of that session.
func (f *FS) sessionSector() int64 { return f.sessionStart() / f.sector }

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

// sectorSizes are the sizes of a sector that are tried, the usual ones first.
var sectorSizes = []int64{2048, 512, 4096, 1024, 8192, 16384, 32768}

// validBlock tells whether size can be that of a sector or block.
func validBlock(size int64) bool { return slices.Contains(sectorSizes, size) }

// anchors finds the anchors one after the other, with f.sector set to the
// size of the sectors: those that are where they should be (ECMA-167 3/8.4.2.1,
// UDF 2.2.3), and if that is not enough and the disc is surely UDF, those that
// are near. An anchor names its own sector, so that the size is no guess.
func (f *FS) anchors(surely bool) iter.Seq[anchor] {
	places := []func() []int64{f.firstAnchors, f.lastAnchors}
	if surely {
		places = append(places, f.strayAnchors)
	}
	return func(yield func(anchor) bool) {
		for _, sectors := range places {
			for f.sector = range f.sizes() {
				for _, sector := range sectors() {
					if a, ok := f.readAnchor(sector); ok && !yield(a) {
						return
					}
				}
			}
		}
		if surely {
			if a, ok := f.tailAnchor(); ok {
				yield(a)
			}
		}
	}
}

// sizes goes through the sector sizes to try.
func (f *FS) sizes() iter.Seq[int64] {
	if f.opts.BlockSize != 0 {
		return slices.Values(slices.DeleteFunc([]int64{f.opts.BlockSize}, func(n int64) bool { return !validBlock(n) }))
	}
	return slices.Values(sectorSizes)
}

func (f *FS) firstAnchors() []int64 {
	at := []int64{f.sessionSector() + anchorLBA}
	if f.opts.Anchor > 0 {
		at = append([]int64{f.opts.Anchor}, at...)
	}
	return at
}

// lastAnchors are in the last sector, 256 before it, and in 512 of a disc that
// is still open.
func (f *FS) lastAnchors() []int64 {
	last := f.lastSector()
	return []int64{last, last - anchorLBA, f.sessionSector() + 2*anchorLBA, anchorLBA, 2 * anchorLBA}
}

// strayAnchors are where they are when drives and imaging tools do not agree
// which sector is the last: by one or two, or by the 150 of a lead-out.
func (f *FS) strayAnchors() []int64 {
	var at []int64
	last := f.lastSector()
	for _, back := range []int64{1, 2, 150, 152, -1} {
		at = append(at, last-back, last-back-anchorLBA)
	}
	return at
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

// eachTail calls try for the blocks of the given size at the end of the image,
// the last one first, with their content, until it returns true.
func (f *FS) eachTail(size int64, try func(off int64, b []byte) bool) bool {
	const step = 64 << 10
	buf := make([]byte, step)
	end := min((f.lastSector()+1)*f.sector, f.size) / size * size
	first := max(end-scanTail, 0)
	for hi := end; hi > first; hi -= step {
		lo := max(hi-step, first)
		b := buf[:hi-lo]
		if readFull(f.meta, b, lo) != nil {
			continue
		}
		for off := hi - size; off >= lo; off -= size {
			if try(off, b[off-lo:][:size]) {
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
	f.sector = 512
	ok := f.eachTail(512, func(off int64, b []byte) bool {
		t, err := parseTag(b, off)
		if b[0] != tagAnchor || err != nil || t.ident != tagAnchor || t.location == 0 {
			return false
		}
		f.sector = off / int64(t.location)
		if off%int64(t.location) != 0 || !slices.Contains(slices.Collect(f.sizes()), f.sector) {
			return false
		}
		a, ok := f.readAnchor(int64(t.location))
		found = a
		return ok
	})
	return found, ok
}
