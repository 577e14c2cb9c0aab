package master

import (
	"errors"
)

// ceLen is the length of a CE entry, which points to a continuation area (SUSP 5.1).
const ceLen = 28

// maxHops is how many continuation areas may follow each other: Linux gives
// up on a file after 32 (fs/isofs/rock.c RR_MAX_CE_ENTRIES).
const maxHops = 31

var errAttributes = errors.New("attributes do not fit: Linux reads at most 62 KiB of them")

// A contArea is the space behind a directory's records for System Use entries
// that do not fit into them.
type contArea struct {
	pos   int64 // after the last area
	write func(pos int64, area []byte) error
	buf   []byte
}

// An area is a piece of System Use entries and where it goes.
type area struct {
	entries []byte
	pos     int64
}

// place appends to su those entries that fit into room bytes, and puts the
// others into areas, each announced by a CE at the end of the piece before it.
// lba is where the space starts on the disc.
func (c *contArea) place(su, entries []byte, room int, lba uint32) ([]byte, error) {
	if len(entries) <= room {
		return append(su, entries...), nil
	}
	head := wholeEntries(entries, room-ceLen)
	areas := c.divide(entries[head:])
	if len(areas) > maxHops {
		return nil, errAttributes
	}
	su = append(su, entries[:head]...)
	su = appendCE(su, areas, lba)
	for len(areas) > 0 {
		a := areas[0]
		areas = areas[1:]
		if c.write == nil {
			continue
		}
		c.buf = append(c.buf[:0], a.entries...)
		c.buf = appendCE(c.buf, areas, lba)
		if err := c.write(a.pos, c.buf); err != nil {
			return nil, err
		}
	}
	return su, nil
}

// divide cuts entries into areas. An area lies within one block (so Linux
// wants it), and is not begun in a block that cannot take it all when the
// next one can.
func (c *contArea) divide(entries []byte) []area {
	var areas []area
	for len(entries) > 0 {
		left := int(blockSize - c.pos%blockSize)
		n := len(entries)
		if n > left {
			n = wholeEntries(entries, left-ceLen)
			if n == 0 || len(entries) <= blockSize {
				c.pos += int64(left)
				continue
			}
		}
		areas = append(areas, area{entries[:n], c.pos})
		c.pos += int64(n)
		if n < len(entries) {
			c.pos += ceLen
		}
		entries = entries[n:]
	}
	return areas
}

// wholeEntries returns the length of the entries that fit into n bytes.
func wholeEntries(entries []byte, n int) int {
	end := 0
	for end < len(entries) && end+int(entries[end+2]) <= n {
		end += int(entries[end+2])
	}
	return end
}

// appendCE appends the entry that leads to the first of the areas, if there is one.
func appendCE(b []byte, areas []area, lba uint32) []byte {
	if len(areas) == 0 {
		return b
	}
	n := len(areas[0].entries)
	if len(areas) > 1 {
		n += ceLen
	}
	pos := areas[0].pos
	b = append(b, 'C', 'E', ceLen, 1)
	b = appendBoth32(b, lba+uint32(pos/blockSize))
	b = appendBoth32(b, uint32(pos%blockSize))
	return appendBoth32(b, uint32(n))
}
