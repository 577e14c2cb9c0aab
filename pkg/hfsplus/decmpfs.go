package hfsplus

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/isomount/isomount/pkg/binfmt"
	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/hfsplus/lzfse"
	"github.com/isomount/isomount/pkg/inflate"
)

// A compression is a way to keep a file.
type compression struct {
	decode func(stored []byte, size int64) ([]byte, error)
	chunks chunkTable // of what lies in the resource fork; nil if the attribute has it all
}

// A chunkTable tells where chunk i of a file lies in its resource fork.
type chunkTable func(v *FS, f *fork, i int64) (at, n int64, err error)

// compressionOf has a line for each kind of compression that is decoded (XNU
// bsd/sys/decmpfs.h; the layouts are those of what Mac OS X writes, as 7-Zip,
// hfsfuse and afsctool have them).
func compressionOf(kind uint32) (compression, bool) {
	switch kind {
	case 1:
		return compression{decode: exactly}, true
	case 3:
		return compression{decode: decodeZlib}, true
	case 4:
		return compression{decode: decodeZlib, chunks: resourceChunk}, true
	case 7:
		return compression{decode: decodeLZVN}, true
	case 8:
		return compression{decode: decodeLZVN, chunks: offsetChunk}, true
	case 9:
		return compression{decode: unmarked}, true
	case 11:
		return compression{decode: decodeLZFSE}, true
	case 12:
		return compression{decode: decodeLZFSE, chunks: offsetChunk}, true
	}
	return compression{}, false
}

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
	how, ok := compressionOf(f.kind)
	switch {
	case !ok:
		return nil, 0, fmt.Errorf("compression of kind %d: %w", f.kind, fsys.ErrNotSupported)
	case how.chunks != nil:
		start = off / cmpChunk * cmpChunk
		stored, err := v.storedChunk(f, how.chunks, off/cmpChunk)
		if err != nil {
			return nil, 0, err
		}
		b, err = how.decode(stored, min(cmpChunk, f.size-start))
		return b, start, err
	case f.size > maxCmpInline:
		return nil, 0, binfmt.Corrupt(0, "compressed attribute of %d bytes", f.size)
	}
	b, err = how.decode(f.inline, f.size)
	return b, 0, err
}

// storedChunk reads a chunk as it is stored.
func (v *FS) storedChunk(f *compressedFile, table chunkTable, i int64) ([]byte, error) {
	at, n, err := table(v, &f.rsrc, i)
	if err != nil {
		return nil, err
	}
	if n < 0 || n > maxCmpStored {
		return nil, binfmt.Corrupt(0, "compressed chunk of %d bytes", n)
	}
	stored := make([]byte, n)
	return stored, v.readFull(&f.rsrc, stored, at)
}

// resourceChunk finds a chunk in the first resource of a resource fork, which
// is a table of chunks and the chunks.
func resourceChunk(v *FS, f *fork, i int64) (at, n int64, err error) {
	var b [8]byte
	if err := v.readFull(f, b[:4], 0); err != nil {
		return 0, 0, err
	}
	// The resource begins, after its length, where the header of the fork says
	// (Inside Macintosh: More Macintosh Toolbox 1-122). Only it is big-endian.
	table := int64(binary.BigEndian.Uint32(b[:])) + 4
	if err := v.readFull(f, b[:4], table); err != nil {
		return 0, 0, err
	}
	if count := int64(binary.LittleEndian.Uint32(b[:])); i >= count {
		return 0, 0, binfmt.Corrupt(0, "compressed file has %d chunks, but no chunk %d", count, i)
	}
	if err := v.readFull(f, b[:], table+4+8*i); err != nil {
		return 0, 0, err
	}
	return table + int64(binary.LittleEndian.Uint32(b[:])), int64(binary.LittleEndian.Uint32(b[4:])), nil
}

// offsetChunk finds a chunk in a fork that begins with the offsets of all its
// chunks and of their end.
func offsetChunk(v *FS, f *fork, i int64) (at, n int64, err error) {
	var b [8]byte
	if err := v.readFull(f, b[:4], 0); err != nil {
		return 0, 0, err
	}
	if count := int64(binary.LittleEndian.Uint32(b[:]))/4 - 1; i >= count {
		return 0, 0, binfmt.Corrupt(0, "compressed file has %d chunks, but no chunk %d", count, i)
	}
	if err := v.readFull(f, b[:], 4*i); err != nil {
		return 0, 0, err
	}
	at = int64(binary.LittleEndian.Uint32(b[:]))
	return at, int64(binary.LittleEndian.Uint32(b[4:])) - at, nil
}

// decodeZlib decodes a zlib stream. What would not become smaller is stored behind
// a byte whose low half is 15, which no zlib stream begins with.
func decodeZlib(b []byte, size int64) ([]byte, error) {
	if len(b) > 0 && b[0]&0x0F == 0x0F {
		return exactly(b[1:], size)
	}
	out := make([]byte, size)
	if _, err := inflate.Zlib(out, b); err != nil {
		return nil, binfmt.Corrupt(0, "compressed file: %v", err)
	}
	return out, nil
}

func decodeLZVN(b []byte, size int64) ([]byte, error)  { return decodeLZ(lzfse.DecodeLZVN, b, size) }
func decodeLZFSE(b []byte, size int64) ([]byte, error) { return decodeLZ(lzfse.Decode, b, size) }

// decodeLZ decodes LZVN or LZFSE. What would not become smaller is stored
// behind a byte: that of the end of LZVN, or 255. No stream begins with either.
func decodeLZ(decode func(dst, src []byte) (int, error), b []byte, size int64) ([]byte, error) {
	if len(b) > 0 && (b[0] == 0x06 || b[0] == 0xFF) {
		return exactly(b[1:], size)
	}
	out := make([]byte, size)
	n, err := decode(out, b)
	if err != nil {
		return nil, binfmt.Corrupt(0, "compressed file: %v", err)
	}
	return exactly(out[:n], size)
}

// unmarked takes off the byte that comes before what is stored as it is.
func unmarked(b []byte, size int64) ([]byte, error) { return exactly(b[min(1, len(b)):], size) }

func exactly(b []byte, size int64) ([]byte, error) {
	if int64(len(b)) < size {
		return nil, binfmt.Corrupt(0, "compressed file has %d bytes of %d", len(b), size)
	}
	return b[:size], nil
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
