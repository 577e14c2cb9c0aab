package udf

import (
	"cmp"
	"encoding/binary"
	"errors"
	"strings"

	"github.com/isomount/isomount/pkg/binfmt"
)

const (
	idVAT      = "*UDF Virtual Alloc Tbl"
	vatTrailer = 36       // UDF 1.50 2.2.10: entity identifier and previous VAT
	vatMinHead = 152      // UDF 2.00 2.2.10
	maxVAT     = 16 << 20 // bytes of a virtual allocation table
	maxVATs    = 16       // tables looked at
)

// loadVAT finds the virtual allocation table of partition i: a file whose
// entry is the last block that was written (UDF 2.2.11). Images have
// padding, run-out blocks or whatever a drive returned behind it, so the end
// of the image is searched.
func (f *FS) loadVAT(maps []partMap, i int) error {
	if err := f.findBase(maps, i); err != nil {
		return err
	}
	p := &f.parts[i]
	base := &f.parts[p.base]
	tries, first := 0, error(nil)
	found := f.eachTail(f.sector, func(off int64, b []byte) bool {
		if b[1] != 1 || (b[0] != tagFile&0xff && b[0] != tagExtFile&0xff) || off < base.start || tries >= maxVATs {
			return false
		}
		vat, err := f.readVAT(addr{uint32((off - base.start) / f.block), uint16(p.base)})
		if errors.Is(err, errNoVAT) {
			return false
		}
		if tries++; err != nil {
			first = cmp.Or(first, err)
			return false
		}
		p.vat = vat
		if n := f.lastSector() - off/f.sector; n != 0 {
			f.notef("virtual allocation table found %d blocks before the end", n)
		}
		return true
	})
	if !found {
		return cmp.Or(first, binfmt.Corrupt(f.size, "no virtual allocation table at the end of the disc"))
	}
	p.length = int64(len(p.vat)) * f.block
	return nil
}

var errNoVAT = errors.New("no virtual allocation table")

// readVAT reads the table whose file entry is at a.
func (f *FS) readVAT(a addr) ([]uint32, error) {
	w := f.window()
	defer f.release(w)
	e, err := f.readICB(w, a)
	if err != nil || (e.fileType != fileVAT && e.fileType != fileUnknown) {
		return nil, errNoVAT
	}
	in, err := f.loadInode(w, a)
	if err != nil {
		return nil, err
	}
	b, err := f.content(in, min(maxVAT, f.size))
	if err != nil {
		return nil, err
	}
	return parseVAT(b, in.off, in.fileType)
}

// parseVAT decodes a table of UDF 2.00, which starts with a header, or of UDF
// 1.50, which ends in an identifier.
func parseVAT(b []byte, off int64, fileType uint8) ([]uint32, error) {
	if fileType == fileVAT {
		c := binfmt.At(b, off)
		head := int(c.U16LE()) // BP 0: length of header
		if head < vatMinHead || head > len(b) {
			return nil, binfmt.Corrupt(off, "virtual allocation table with a header of %d bytes", head)
		}
		return vatEntries(b[head:]), nil
	}
	if len(b) < vatTrailer {
		return nil, binfmt.Corrupt(off, "virtual allocation table of %d bytes", len(b))
	}
	b, trailer := b[:len(b)-vatTrailer], b[len(b)-vatTrailer:]
	c := binfmt.At(trailer, off)
	if id := parseRegID(&c); !strings.HasPrefix(id.ident, idVAT) {
		return nil, binfmt.Corrupt(off, "no virtual allocation table")
	}
	return vatEntries(b), nil
}

func vatEntries(b []byte) []uint32 {
	vat := make([]uint32, len(b)/4)
	for i := range vat {
		vat[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
	return vat
}
