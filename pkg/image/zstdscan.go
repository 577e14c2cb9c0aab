package image

import (
	"errors"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/isomount/isomount/pkg/binfmt"
)

const (
	// zstdMostUnsized is how many bytes are decompressed, when a file is opened,
	// of frames that do not say how many they hold.
	zstdMostUnsized = 4 << 30
	// zstdMostScanned is how many frames, and blocks of a frame, are looked for.
	zstdMostScanned = 1 << 20
)

// scanFrames finds the frames of a file without a seek table, as zstd -B,
// pzstd and several files one after the other make them. Blocks are passed over
// by their headers. A frame too large to be decompressed at once is
// ErrNotSeekable: so is a file that is one large frame, which zstd makes
// by default.
func scanFrames(src Source, dec *zstd.Decoder) ([]zstdFrame, error) {
	frames := []zstdFrame{{}}
	unsized := int64(0)
	for end := int64(0); end < src.Size(); {
		last := frames[len(frames)-1]
		packed, size, err := scanFrame(src, end)
		if err != nil {
			return nil, err
		}
		if size < 0 {
			if size, err = sizeByDecoding(src, end, packed, dec); err != nil {
				return nil, err
			}
			unsized += size
		}
		if size > zstdMaxFrame || unsized > zstdMostUnsized || len(frames) > zstdMostScanned {
			return nil, ErrNotSeekable
		}
		end += packed
		frames = append(frames, zstdFrame{end, last.pos + size})
	}
	return frames, nil
}

// scanFrame returns the bytes that a frame takes and those that it holds, -1 if
// it does not say (RFC 8878 3.1.1).
func scanFrame(src Source, off int64) (packed, size int64, err error) {
	b := make([]byte, min(zstd.HeaderMaxSize, src.Size()-off))
	if err := binfmt.ReadFull(src, b, off); err != nil {
		return 0, 0, err
	}
	var h zstd.Header
	if err := h.Decode(b); err != nil {
		return 0, 0, binfmt.Corrupt(off, "zstd: no frame: %v", err)
	}
	end := off + int64(h.HeaderSize)
	switch {
	case h.Skippable:
		end += int64(h.SkippableSize)
	case h.HasFCS && h.FrameContentSize > zstdMaxFrame:
		return 0, 0, ErrNotSeekable
	default:
		if end, err = skipBlocks(src, end); errors.Is(err, io.ErrUnexpectedEOF) {
			err = binfmt.Corrupt(off, "zstd: frame is cut short")
		}
		if err != nil {
			return 0, 0, err
		}
		if h.HasCheckSum {
			end += 4
		}
		size = -1
		if h.HasFCS {
			size = int64(h.FrameContentSize)
		}
	}
	if end > src.Size() {
		return 0, 0, binfmt.Corrupt(off, "zstd: frame ends at %d of a file of %d", end, src.Size())
	}
	return end - off, size, nil
}

// skipBlocks returns where the blocks of a frame end (RFC 8878 3.1.1.2).
func skipBlocks(src Source, off int64) (int64, error) {
	const rle = 1 // a type: one byte that stands for many
	header := make([]byte, 3)
	for range zstdMostScanned {
		if err := binfmt.ReadFull(src, header, off); err != nil {
			return 0, err
		}
		n := int64(header[0]) | int64(header[1])<<8 | int64(header[2])<<16
		off += 3
		if n>>1&3 == rle {
			off++
		} else {
			off += n >> 3
		}
		if n&1 != 0 {
			return off, nil
		}
	}
	return 0, ErrNotSeekable
}

func sizeByDecoding(src Source, off, packed int64, dec *zstd.Decoder) (int64, error) {
	if packed > 2*zstdMaxFrame {
		return 0, ErrNotSeekable
	}
	b := make([]byte, packed) // which the file has
	if err := binfmt.ReadFull(src, b, off); err != nil {
		return 0, err
	}
	data, err := dec.DecodeAll(b, nil)
	if errors.Is(err, zstd.ErrDecoderSizeExceeded) || errors.Is(err, zstd.ErrWindowSizeExceeded) {
		return 0, ErrNotSeekable
	}
	if err != nil {
		return 0, binfmt.Corrupt(off, "zstd: %v", err)
	}
	return int64(len(data)), nil
}
