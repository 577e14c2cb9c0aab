package hfsplus

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zlib"

	"github.com/isomount/isomount/pkg/binfmt"
	"github.com/isomount/isomount/pkg/fsys"
)

// Kinds of compression (XNU bsd/sys/decmpfs.h and what Mac OS X writes) that
// are decoded. LZVN and LZFSE, kinds 7, 8, 11 and 12, are not.
const (
	cmpPlain    = 1 // stored in the attribute
	cmpZlib     = 3 // one zlib stream in the attribute
	cmpZlibFork = 4 // chunks of zlib in the resource fork
)

const (
	cmpMagic     = 0x636D7066 // "cmpf", little-endian
	cmpHead      = 16
	cmpChunk     = 64 << 10
	maxCmpInline = 1 << 20 // of a file whose data lies in the attribute
	maxCmpStored = 2 * cmpChunk
)

// A compressedFile is what the attribute com.apple.decmpfs says.
type compressedFile struct {
	kind   uint32
	size   int64
	inline []byte
	rsrc   fork
}

// compressed returns how a file is compressed, or nil if it is not.
func (v *FS) compressed(r *record) (*compressedFile, error) {
	if r.ownerFlags&ownerCompressed == 0 || r.typ() != fsys.TypeFile {
		return nil, nil //nolint:nilnil // most files are not, and that is no error
	}
	b, err := v.attribute(r.cnid, xattrCompressed)
	if err != nil {
		if damaged(err) || errors.Is(err, fsys.ErrNoXattr) || errors.Is(err, fsys.ErrNotSupported) {
			return nil, nil //nolint:nilnil // shown as what the catalog says
		}
		return nil, err
	}
	c := binfmt.At(b, 0)
	magic := c.U32LE()
	f := &compressedFile{kind: c.U32LE(), size: int64(c.U64LE()), inline: c.Bytes(c.Len()), rsrc: r.rsrc}
	if magic != cmpMagic || f.size < 0 || len(b) < cmpHead {
		return nil, nil //nolint:nilnil // as above
	}
	return f, nil
}

// readCompressed reads a compressed file like an io.ReaderAt.
func (v *FS) readCompressed(f *compressedFile, p []byte, off int64) (int, error) {
	switch {
	case off < 0:
		return 0, errNegative
	case off >= f.size:
		return 0, io.EOF
	}
	want := p[:min(int64(len(p)), f.size-off)]
	done := 0
	for done < len(want) {
		at := off + int64(done)
		chunk, start, err := v.chunk(f, at)
		if err != nil {
			return done, err
		}
		done += copy(want[done:], chunk[at-start:])
	}
	if done < len(p) {
		return done, io.EOF
	}
	return done, nil
}

// chunk returns the decoded bytes around off and where they start in the file.
func (v *FS) chunk(f *compressedFile, off int64) (b []byte, start int64, err error) {
	switch f.kind {
	case cmpPlain, cmpZlib:
		b, err = f.decodeInline()
		return b, 0, err
	case cmpZlibFork:
		start = off / cmpChunk * cmpChunk
		b, err = v.decodeChunk(f, off/cmpChunk, min(cmpChunk, f.size-start))
		return b, start, err
	}
	return nil, 0, fmt.Errorf("compression of kind %d: %w", f.kind, fsys.ErrNotSupported)
}

// decodeInline decodes a file whose data lies in the attribute.
func (f *compressedFile) decodeInline() ([]byte, error) {
	if f.size > maxCmpInline {
		return nil, binfmt.Corrupt(0, "compressed attribute of %d bytes", f.size)
	}
	if f.kind == cmpPlain {
		return exactly(f.inline, f.size)
	}
	return inflate(f.inline, f.size)
}

// inflate decodes a zlib stream. What would not become smaller is stored behind
// a byte whose low half is 15, which no zlib stream begins with.
func inflate(b []byte, size int64) ([]byte, error) {
	if len(b) > 0 && b[0]&0x0F == 0x0F {
		return exactly(b[1:], size)
	}
	z, err := zlib.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, binfmt.Corrupt(0, "compressed file: %v", err)
	}
	out := make([]byte, size)
	if _, err := io.ReadFull(z, out); err != nil {
		return nil, binfmt.Corrupt(0, "compressed file: %v", err)
	}
	return out, z.Close()
}

func exactly(b []byte, size int64) ([]byte, error) {
	if int64(len(b)) < size {
		return nil, binfmt.Corrupt(0, "compressed file has %d bytes of %d", len(b), size)
	}
	return b[:size], nil
}

// decodeChunk decodes chunk i of a file whose data lies in the resource fork:
// the first resource in it, which is a table of chunks and the chunks.
func (v *FS) decodeChunk(f *compressedFile, i, size int64) ([]byte, error) {
	var b [8]byte
	if err := v.readFull(&f.rsrc, b[:4], 0); err != nil {
		return nil, err
	}
	// The resource begins, after its length, where the header of the fork says
	// (Inside Macintosh: More Macintosh Toolbox 1-122). Only it is big-endian.
	table := int64(binary.BigEndian.Uint32(b[:])) + 4
	if err := v.readFull(&f.rsrc, b[:4], table); err != nil {
		return nil, err
	}
	if count := int64(binary.LittleEndian.Uint32(b[:])); i >= count {
		return nil, binfmt.Corrupt(0, "compressed file has %d chunks, but no chunk %d", count, i)
	}
	if err := v.readFull(&f.rsrc, b[:], table+4+8*i); err != nil {
		return nil, err
	}
	at, n := int64(binary.LittleEndian.Uint32(b[:])), int64(binary.LittleEndian.Uint32(b[4:]))
	if n > maxCmpStored {
		return nil, binfmt.Corrupt(0, "compressed chunk of %d bytes", n)
	}
	stored := make([]byte, n)
	if err := v.readFull(&f.rsrc, stored, table+at); err != nil {
		return nil, err
	}
	return inflate(stored, size)
}

// readFull fills p from a fork.
func (v *FS) readFull(f *fork, p []byte, off int64) error {
	if n, err := v.readFork(v.r, f, p, off); n < len(p) {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	return nil
}
