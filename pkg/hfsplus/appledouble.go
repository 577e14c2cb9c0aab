package hfsplus

import (
	"encoding/binary"
	"io"

	"github.com/isomount/isomount/pkg/fsys"
)

// dotPrefix begins the names of AppleDouble files.
const dotPrefix = "._"

// appleDoubleHead is the length of what precedes the resource fork in an
// AppleDouble file (AppleSingle/AppleDouble Formats for Foreign Files, 1990):
// header, two entry descriptors and the Finder information.
const appleDoubleHead = 26 + 2*12 + 32

// hasDot tells whether a record has an AppleDouble file beside it. A hard link
// has none: its own record has no resource fork. The resource fork of a
// compressed file is its data.
func (v *FS) hasDot(r *record) bool {
	return v.forks == ForksDot && !r.folder && r.rsrc.size > 0 && r.typ() == fsys.TypeFile && r.ownerFlags&ownerCompressed == 0
}

func appleDoubleSize(r *record) int64 {
	return appleDoubleHead + min(r.rsrc.size, maxResource)
}

// maxResource is how long a resource fork can be for its length to fit.
const maxResource = 1<<32 - 1

// appleDouble makes the head of the AppleDouble file.
func (v *FS) appleDouble(r *record) []byte {
	b := binary.BigEndian.AppendUint32(nil, 0x00051607) // magic number
	b = binary.BigEndian.AppendUint32(b, 0x00020000)    // version 2
	b = append(b, make([]byte, 16)...)                  // filler
	b = binary.BigEndian.AppendUint16(b, 2)             // entries
	for _, e := range [][3]uint32{
		{9, 26 + 2*12, 32}, // Finder information
		{2, appleDoubleHead, uint32(min(r.rsrc.size, maxResource))}, // resource fork
	} {
		for _, field := range e {
			b = binary.BigEndian.AppendUint32(b, field)
		}
	}
	f := v.finderInfo(r)
	return append(b, f[:]...)
}

// readAppleDouble reads the AppleDouble file of a record.
func (v *FS) readAppleDouble(r *record, p []byte, off int64) (int, error) {
	size := appleDoubleSize(r)
	switch {
	case off < 0:
		return 0, errNegative
	case off >= size:
		return 0, io.EOF
	}
	want := p[:min(int64(len(p)), size-off)]
	done := 0
	if off < appleDoubleHead {
		done = copy(want, v.appleDouble(r)[off:])
	}
	for done < len(want) {
		n, err := v.readFork(v.r, &r.rsrc, want[done:], off+int64(done)-appleDoubleHead)
		done += n
		if err != nil && done < len(want) {
			return done, err
		}
	}
	if done < len(p) {
		return done, io.EOF
	}
	return done, nil
}

// appleDoubleExtents tells where the bytes of the AppleDouble file lie.
func (v *FS) appleDoubleExtents(r *record, off int64, yield func(fsys.Extent) bool) error {
	if off < appleDoubleHead {
		if !yield(fsys.Extent{Off: off, Len: appleDoubleHead - off, Pos: fsys.Encoded}) {
			return nil
		}
		off = appleDoubleHead
	}
	f := r.rsrc
	f.size = min(f.size, maxResource)
	return v.forkExtents(&f, off-appleDoubleHead, func(e fsys.Extent) bool {
		e.Off += appleDoubleHead
		return yield(e)
	})
}
