package image

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/isomount/isomount/pkg/binfmt"
)

// The seekable format of zstd (facebook/zstd
// contrib/seekable_format/zstd_seekable_compression_format.md): frames that can
// be decompressed each by itself, and behind them their sizes in a frame that
// decompressors skip.
const (
	zstdMagic     = 0xFD2FB528 // RFC 8878 3.1.1: of a frame
	zstdSkipMagic = 0x184D2A50 // RFC 8878 3.1.2: of one to skip; the low four bits are free
	zstdSkipMask  = 0xFFFFFFF0
	zstdTableType = 0x184D2A5E // of the frame that holds the seek table
	zstdSeekMagic = 0x8F92EAB1 // its last four bytes

	zstdSkipHeader = 8 // magic, length
	zstdFooter     = 9 // number of frames, descriptor, magic
	zstdMaxFrames  = 16 << 20
	zstdMaxFrame   = 32 << 20 // bytes of a frame when decompressed
	zstdKept       = 4 << 20  // bytes of the frames used last that are kept, but one at least
)

// ErrNotSeekable reports a file compressed as a whole: any byte of it can be
// had only by decompressing all before it.
var ErrNotSeekable = errors.New(`compressed in one piece and cannot be read at random; decompress it first, e.g. with "zstd -d"`)

// openZstd opens a file in the seekable format, or one of frames that are small
// enough to be decompressed each at once.
func openZstd(src Source) (Source, error) {
	head := make([]byte, 4)
	if src.Size() < zstdSkipHeader+zstdFooter {
		return nil, binfmt.ErrMagic
	}
	if err := binfmt.ReadFull(src, head, 0); err != nil {
		return nil, err
	}
	magic := binary.LittleEndian.Uint32(head)
	if magic != zstdMagic && magic&zstdSkipMask != zstdSkipMagic {
		return nil, binfmt.ErrMagic
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(zstdMaxFrame), zstd.WithDecoderMaxWindow(zstdMaxFrame))
	if err != nil {
		return nil, err
	}
	frames, err := readSeekTable(src)
	if errors.Is(err, binfmt.ErrMagic) && magic == zstdMagic {
		frames, err = scanFrames(src, dec)
	}
	if err != nil {
		return nil, err
	}
	return &zstdSource{src: src, frames: frames, dec: dec}, nil
}

// A zstdFrame says where a frame ends, and where the one before did: in the
// file, and in what is decompressed.
type zstdFrame struct{ end, pos int64 }

// readSeekTable returns the frames, with one in front that ends at 0.
func readSeekTable(src Source) ([]zstdFrame, error) {
	footer := make([]byte, zstdFooter)
	footerOff := src.Size() - zstdFooter
	if err := binfmt.ReadFull(src, footer, footerOff); err != nil {
		return nil, err
	}
	c := binfmt.At(footer, footerOff)
	n, flags, magic := int64(c.U32LE()), c.U8(), c.U32LE()
	if magic != zstdSeekMagic {
		return nil, binfmt.ErrMagic
	}
	entry := int64(8)
	if flags&0x80 != 0 { // each has a checksum; so do the frames themselves
		entry = 12
	}
	start := footerOff - n*entry - zstdSkipHeader
	switch {
	case flags&0x7C != 0:
		return nil, binfmt.Corrupt(footerOff+4, "seek table with unknown flags %#02x", flags)
	case start < 0 || n > zstdMaxFrames:
		return nil, binfmt.Corrupt(footerOff, "seek table of %d frames", n)
	}
	return parseSeekTable(src, start, n, entry)
}

func parseSeekTable(src Source, start, n, entry int64) ([]zstdFrame, error) {
	header := make([]byte, zstdSkipHeader)
	if err := binfmt.ReadFull(src, header, start); err != nil {
		return nil, err
	}
	c := binfmt.At(header, start)
	if magic, size := c.U32LE(), int64(c.U32LE()); magic != zstdTableType || size != n*entry+zstdFooter {
		return nil, binfmt.Corrupt(start, "no seek table of %d bytes begins here", n*entry+zstdFooter)
	}
	table := make([]byte, n*entry) // no more than the file has
	if err := binfmt.ReadFull(src, table, start+zstdSkipHeader); err != nil {
		return nil, err
	}
	c = binfmt.At(table, start+zstdSkipHeader)
	frames := make([]zstdFrame, 1, n+1)
	for range n {
		last, at := frames[len(frames)-1], c.Off()
		packed, size := int64(c.U32LE()), int64(c.U32LE())
		c.Skip(int(entry - 8))
		if size > zstdMaxFrame {
			return nil, binfmt.Corrupt(at, "frame of %d bytes; at most %d can be read at random", size, zstdMaxFrame)
		}
		frames = append(frames, zstdFrame{last.end + packed, last.pos + size})
	}
	if end := frames[n].end; end != start {
		return nil, binfmt.Corrupt(start, "frames of %d bytes in the seek table, and %d before it", end, start)
	}
	return frames, c.Err()
}

// A zstdSource gives what is in a seekable file. It keeps the frames used last:
// who reads on from there needs them again.
type zstdSource struct {
	src    Source
	frames []zstdFrame // as readSeekTable gives them
	dec    *zstd.Decoder

	mu     sync.Mutex // guards the field below
	recent []*zstdData
}

// A zstdData is a decompressed frame.
type zstdData struct {
	frame int
	once  sync.Once
	bytes []byte
	err   error
}

// Size implements Source.
func (z *zstdSource) Size() int64 { return z.frames[len(z.frames)-1].pos }

// ReadAt implements io.ReaderAt.
func (z *zstdSource) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read at %d of a zstd image: %w", off, io.ErrUnexpectedEOF)
	}
	n := 0
	// The first frame that ends behind off; empty ones do not.
	for i := sort.Search(len(z.frames), func(i int) bool { return z.frames[i].pos > off }); n < len(p); i++ {
		if i == len(z.frames) {
			return n, io.EOF
		}
		start := z.frames[i-1].pos
		if z.frames[i].pos == start {
			continue
		}
		data, err := z.frame(i)
		if err != nil {
			return n, err
		}
		n += copy(p[n:], data[off+int64(n)-start:])
	}
	return n, nil
}

// frame returns a decompressed frame. Who else wants it waits.
func (z *zstdSource) frame(i int) ([]byte, error) {
	z.mu.Lock()
	at := slices.IndexFunc(z.recent, func(d *zstdData) bool { return d.frame == i })
	d := &zstdData{frame: i}
	if at >= 0 {
		d = z.recent[at]
		z.recent = slices.Delete(z.recent, at, at+1)
	}
	z.recent = slices.Insert(z.recent, 0, d)
	z.forget()
	z.mu.Unlock()

	d.once.Do(func() { d.bytes, d.err = z.decode(i) })
	return d.bytes, d.err
}

// forget drops the frames used longest ago. z.mu is held.
func (z *zstdSource) forget() {
	size := int64(0)
	for k, d := range z.recent {
		size += z.frames[d.frame].pos - z.frames[d.frame-1].pos
		if k > 0 && size > zstdKept {
			clear(z.recent[k:])
			z.recent = z.recent[:k]
			return
		}
	}
}

func (z *zstdSource) decode(i int) ([]byte, error) {
	start, end := z.frames[i-1].end, z.frames[i].end
	want := z.frames[i].pos - z.frames[i-1].pos
	packed := make([]byte, end-start) // which the file has
	if err := binfmt.ReadFull(z.src, packed, start); err != nil {
		return nil, err
	}
	data, err := z.dec.DecodeAll(packed, make([]byte, 0, want))
	if err != nil {
		return nil, binfmt.Corrupt(start, "zstd: %v", err)
	}
	if int64(len(data)) != want {
		return nil, binfmt.Corrupt(start, "frame of %d bytes, %d in the seek table", len(data), want)
	}
	return data, nil
}
