package image

import "github.com/isomount/isomount/pkg/binfmt"

// openRaw takes an image for the sectors of a disc as they are. A last sector
// that is cut short is kept: what is missing of it is a read error later.
func openRaw(src Source, _ string) (*Disc, error) {
	if src.Size() < SectorSize {
		return nil, binfmt.ErrMagic
	}
	d := newDataDisc(src, src.Size())
	if f, ok := src.(interface{ Fd() int }); ok {
		d.fd = f.Fd
	}
	return d, nil
}
