// Package isofs reads ISO 9660 discs and what has been built upon them: Rock
// Ridge, Joliet, ISO 9660:1999, zisofs, AAIP, El Torito, several sessions, and
// their ancestor High Sierra.
//
// Call [Open] first. It reads the volume descriptors and answers
// binfmt.ErrMagic when there are none. [Volume.Info] tells everything that is
// written on the disc, [Volume.Choose] which of its trees Linux would show, and
// [Volume.FS] gives that tree as an fsys.FS.
//
// Node ids are byte offsets of directory records, so they need no table and
// are the same after every mount. What a disc says is shown as Linux shows it,
// except where Linux loses or mixes up files.
//
// The package does not write, does not read UDF or HFS, and knows nothing of
// tracks: it is given the sectors of 2,048 bytes that a file system sees.
package isofs

import (
	"fmt"
	"io"
	"sync/atomic"

	"github.com/isomount/isomount/pkg/binfmt"
	"github.com/isomount/isomount/pkg/fsys"
)

// sectorSize is the size of a logical sector (ECMA-119 6.1.2). Descriptors and
// directories are laid out in sectors even where logical blocks are smaller.
const sectorSize = 2048

// Options say how to look at an image. The zero value is ready.
type Options struct {
	// Session is the number of the session to read, from 1 on. 0 reads the
	// descriptors at sector 16, which on an image that was written to disc and
	// grown in place are those of the last session.
	Session int

	// SBSector is the sector at which the session to read begins, as in the
	// kernel's sbsector=. Values below 1 mean none.
	SBSector int64

	// Meta reads directories and other metadata, so that they can be cached
	// apart from the content of files. Nil reads them like everything else.
	Meta io.ReaderAt

	// Index finds names in directories. It must serve this volume alone. Nil
	// makes one.
	Index *fsys.Index

	// Blocks keeps decompressed blocks of zisofs files. Nil keeps the few that
	// were used last.
	Blocks Blocks
}

// A Volume is an ISO 9660 or High Sierra volume of one session.
type Volume struct {
	r     io.ReaderAt // content of files
	meta  io.ReaderAt // everything else
	size  int64       // bytes of the image
	index *fsys.Index

	blocks Blocks
	tags   atomic.Uint32 // tags of index that trees have taken

	start       int64 // sector at which the session begins
	descriptors []descriptor
	primary     *descriptor // nil on a disc that has Joliet only
	joliet      *descriptor // nil if there is none
	enhanced    *descriptor // nil if there is none, or if its root is the primary's
	highSierra  bool
	rock        rockRidge
	date        fsys.Time // stands in for dates that are missing or wrong
}

// Open reads the volume descriptors of an image of size bytes.
func Open(r io.ReaderAt, size int64, o Options) (*Volume, error) {
	v := &Volume{r: r, meta: o.Meta, size: size, index: o.Index, blocks: o.Blocks, start: max(o.SBSector, 0)}
	if v.meta == nil {
		v.meta = r
	}
	if v.index == nil {
		v.index = fsys.NewIndex(0)
	}
	if v.blocks == nil {
		v.blocks = new(recent)
	}
	if o.Session > 0 && v.start == 0 {
		if err := v.seekSession(o.Session); err != nil {
			return nil, err
		}
	}
	if err := v.readDescriptors(); err != nil {
		return nil, err
	}
	if err := v.settle(); err != nil {
		return nil, err
	}
	return v, nil
}

// settle decides what the descriptors amount to.
func (v *Volume) settle() error {
	main := v.main()
	if main == nil {
		return binfmt.ErrMagic
	}
	if bs := main.blockSize; bs != 512 && bs != 1024 && bs != 2048 {
		return binfmt.Corrupt(main.off+128, "logical blocks of %d bytes", bs)
	}
	v.date = v.volumeDate(main)
	if v.primary == nil || v.highSierra {
		return nil
	}
	var err error
	if v.rock, err = v.findRock(); err != nil {
		return fmt.Errorf("root directory: %w", err)
	}
	return nil
}

// main returns the descriptor that describes the volume as a whole.
func (v *Volume) main() *descriptor {
	switch {
	case v.primary != nil:
		return v.primary
	case v.joliet != nil:
		return v.joliet
	}
	return v.enhanced
}

// blockSize returns the bytes of a logical block.
func (v *Volume) blockSize() int64 { return int64(v.main().blockSize) }

// block returns the byte offset of a logical block.
func (v *Volume) block(lba uint32) int64 { return int64(lba) * v.blockSize() }

// readMeta fills p from byte offset off with metadata.
func (v *Volume) readMeta(p []byte, off int64) error {
	if off < 0 || off > v.size-int64(len(p)) {
		return fmt.Errorf("read %d bytes at %d of an image of %d: %w", len(p), off, v.size, io.ErrUnexpectedEOF)
	}
	return binfmt.ReadFull(v.meta, p, off)
}

// readSome is readMeta for structures whose end is not known: it reads up to
// len(p) bytes and returns those that the image has.
func (v *Volume) readSome(p []byte, off int64) ([]byte, error) {
	if off < 0 || off >= v.size {
		return nil, fmt.Errorf("read at %d of an image of %d: %w", off, v.size, io.ErrUnexpectedEOF)
	}
	p = p[:min(int64(len(p)), v.size-off)]
	return p, binfmt.ReadFull(v.meta, p, off)
}
