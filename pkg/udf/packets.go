package udf

import (
	"io"

	"github.com/isomount/isomount/pkg/fsys"
)

// A CD that is written in packets of fixed size has blocks between them that
// link them and hold no data (run-in and run-out). Drives leave them out when
// they count blocks, and so does UDF; images that were made block by block may
// have them. Linux calls it VARCONV (fs/udf/udfdecl.h).
const (
	packetData  = 32 * 2048       // bytes of a packet that hold data
	packetWhole = (32 + 7) * 2048 // bytes of a packet in such an image
	packetLinks = packetWhole - packetData
)

// A packets reads an image without the blocks between its packets.
type packets struct{ r io.ReaderAt }

// packedSize is how many bytes of an image of size bytes are left.
func packedSize(size int64) int64 {
	return size/packetWhole*packetData + min(size%packetWhole, packetData)
}

// unpacked returns where a byte is in the image.
func unpacked(pos int64) int64 { return pos + pos/packetData*packetLinks }

// ReadAt implements [io.ReaderAt].
func (x packets) ReadAt(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		at := off + int64(done)
		piece := p[done:min(len(p), done+int(packetData-at%packetData))]
		n, err := x.r.ReadAt(piece, unpacked(at))
		done += n
		if n < len(piece) {
			return done, err
		}
	}
	return done, nil
}

// unpackedExtents passes extents on to yield with their places in the image.
func unpackedExtents(yield func(fsys.Extent) bool) func(fsys.Extent) bool {
	return func(e fsys.Extent) bool {
		for e.Pos >= 0 && e.Len > packetData-e.Pos%packetData {
			part := fsys.Extent{Off: e.Off, Len: packetData - e.Pos%packetData, Pos: unpacked(e.Pos)}
			if !yield(part) {
				return false
			}
			e = fsys.Extent{Off: e.Off + part.Len, Len: e.Len - part.Len, Pos: e.Pos + part.Len}
		}
		if e.Pos >= 0 {
			e.Pos = unpacked(e.Pos)
		}
		return yield(e)
	}
}
