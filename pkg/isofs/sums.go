package isofs

import (
	"github.com/isomount/isomount/pkg/binfmt"
	"github.com/isomount/isomount/pkg/fsys"
)

// Sums says where a disc has the MD5 checksums that libisofs records (libisofs
// doc/checksums.txt): an array of 16 bytes each.
type Sums struct {
	Start int64 // first block of the session that they are about
	Block int64 // first block of the array
	Count int64 // entries: 0 is for the session, the last for the array itself
}

// Sums returns where the checksums of a tree's session are. It is
// fsys.ErrNoXattr if there are none.
func (f *FS) Sums() (Sums, error) {
	b, err := f.isofsAttribute(f.root, "ca")
	if err != nil {
		return Sums{}, err
	}
	c := binfmt.At(b, 0)
	s := Sums{Start: sizedNumber(&c), Block: sizedNumber(&c), Count: sizedNumber(&c)}
	width := sizedNumber(&c)
	name := string(c.Bytes(c.Len()))
	switch {
	case c.Err() != nil:
		return Sums{}, binfmt.Corrupt(f.rootStart, "attribute isofs.ca is cut short")
	case width != sumSize || name != "MD5":
		return Sums{}, fsys.ErrNoXattr // of a kind that is not known
	case s.Count < 2 || s.Count > f.v.size/sumSize || s.Block > (f.v.size-s.Count*sumSize)/sectorSize:
		return Sums{}, binfmt.Corrupt(f.rootStart, "checksums of %d entries at block %d", s.Count, s.Block)
	}
	return s, nil
}

const sumSize = 16 // bytes of an MD5

// SumIndex returns the place of a file's checksum in the array, or
// fsys.ErrNoXattr.
func (f *FS) SumIndex(n fsys.Node) (int64, error) {
	b, err := f.isofsAttribute(n, "cx")
	if err != nil {
		return 0, err
	}
	c := binfmt.At(b, 0)
	i := int64(c.U32BE())
	if c.Err() != nil {
		return 0, binfmt.Corrupt(int64(n), "attribute isofs.cx of %d bytes", len(b))
	}
	return i, nil
}

// sizedNumber reads the number of bytes of a number, and the number. It is
// cut to 63 bits.
func sizedNumber(c *binfmt.Cursor) int64 {
	n := int64(0)
	for _, b := range c.Bytes(int(c.U8())) {
		n = (n&(1<<54-1))<<8 | int64(b)
	}
	return n
}

// isofsAttribute returns an attribute of libisofs' own namespace (libisofs
// doc/susp_aaip_isofs_names.txt), without its prefix in name.
func (f *FS) isofsAttribute(n fsys.Node, name string) ([]byte, error) {
	const space = "\x04" // AAIP 2.0, "Name prefix": isofs.
	s := getScratch()
	defer putScratch(s)
	if err := f.load(s, n); err != nil {
		return nil, err
	}
	if s.rock.has&hasAttributes == 0 {
		return nil, fsys.ErrNoXattr
	}
	for parts := (components{f.attributes(s)}); ; {
		key, value, ok := parts.pair()
		if !ok {
			return nil, fsys.ErrNoXattr
		}
		if string(key) == space+name || string(key) == "isofs."+name {
			return append([]byte(nil), value...), nil
		}
	}
}
