package hfsplus

import (
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/isomount/isomount/pkg/binfmt"
)

// A Range is where a volume lies in an image.
type Range struct {
	Off    int64  `json:"off"`    // byte offset of its first byte
	Size   int64  `json:"size"`   // bytes up to the end of its partition
	Format string `json:"format"` // "HFS", "HFS+" or "HFSX"
	Name   string `json:"name,omitempty"`
}

// Find tells where the volumes of an image lie, those without a partition
// first: at the image's start, as on discs of genisoimage, and in the
// partitions of Apple partition maps, as on discs of xorriso and Apple. An HFS
// wrapper is passed through. Finding none is no error.
func Find(r io.ReaderAt, size int64) ([]Range, error) {
	f := finder{r: r, size: size}
	f.try(Range{Size: size})
	entries, err := PartitionMap(r, size)
	if err != nil && !errors.Is(err, binfmt.ErrMagic) {
		return nil, err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Type, "Apple_HFS") {
			f.tryEntry(e)
		}
	}
	return f.found, f.err
}

// A finder collects volumes.
type finder struct {
	r     io.ReaderAt
	size  int64
	found []Range
	err   error // the first that reading gave
}

// tryEntry looks for a volume in a partition. Some maps whose entries are 512
// bytes apart count in the blocks that block 0 tells instead.
func (f *finder) tryEntry(e MapEntry) {
	if f.try(Range{Off: e.Off, Size: e.Size, Name: e.Name}) {
		return
	}
	b := f.read(0)
	if b == nil || binary.BigEndian.Uint16(b) != sigDriverMap {
		return
	}
	if unit := int64(binary.BigEndian.Uint16(b[2:])); unit > e.Unit { // sbBlkSize
		f.try(Range{Off: e.Off / e.Unit * unit, Size: e.Size / e.Unit * unit, Name: e.Name})
	}
}

// try adds the volume that lies in a range, if there is one.
func (f *finder) try(g Range) bool {
	g = f.clip(g)
	b := f.read(g.Off + headerOff)
	if b == nil {
		return false
	}
	g.Format = format(b)
	if start, size, ok := embedded(b); ok && g.Format == "HFS" {
		g = f.clip(Range{Off: g.Off + start, Size: min(size, g.Size-start), Name: g.Name})
		if b = f.read(g.Off + headerOff); b != nil {
			g.Format = format(b)
		}
		if g.Format == "HFS" {
			return false
		}
	}
	if g.Format == "" || g.Size < headerOff+headerSize {
		return false
	}
	if !slices.ContainsFunc(f.found, func(k Range) bool { return k.Off == g.Off }) {
		f.found = append(f.found, g)
	}
	return true
}

// clip shortens a range to what the image has.
func (f *finder) clip(g Range) Range {
	g.Size = min(g.Size, f.size-g.Off)
	return g
}

// read returns the block of 512 bytes at off, or nil.
func (f *finder) read(off int64) []byte {
	b := make([]byte, headerSize)
	if off < 0 || off > f.size-headerSize {
		return nil
	}
	if err := binfmt.ReadFull(f.r, b, off); err != nil {
		if f.err == nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			f.err = err
		}
		return nil
	}
	return b
}

// format tells what a header belongs to, or "". Two bytes of signature are
// little, so the size of allocation blocks must make sense too.
func format(b []byte) string {
	name := map[uint16]string{sigHFS: "HFS", sigPlus: "HFS+", sigX: "HFSX"}[binary.BigEndian.Uint16(b)]
	block := binary.BigEndian.Uint32(b[40:])
	if name == "HFS" {
		block = binary.BigEndian.Uint32(b[20:])
	}
	if block == 0 || block%512 != 0 {
		return ""
	}
	return name
}
