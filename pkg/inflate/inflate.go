// Package inflate decodes deflate streams that are in memory as a whole, such as
// the blocks of zisofs and the chunks of compressed files in HFS+, into memory of
// the size that they are known to have. Call [Zlib]. For streams there is
// compress/zlib, whose import makes every program slower to start.
package inflate

import (
	"encoding/binary"
	"errors"
	"hash/adler32"
	"io"
	"sync"
)

// ErrCorrupt reports bytes that are no zlib stream, or one that was damaged.
var ErrCorrupt = errors.New("damaged zlib stream")

// ErrChecksum reports a stream of which the content is not what was compressed.
var ErrChecksum = errors.New("checksum of the zlib stream does not match")

// Parts of a zlib stream (RFC 1950 2.2).
const (
	zlibHead    = 2
	zlibDeflate = 8
	zlibWindow  = 7
	zlibDict    = 0x20
)

// Zlib decodes a zlib stream until dst is full or the stream ends, and returns
// how many bytes came out. Fewer than len(dst) come with an error, which is
// [io.ErrUnexpectedEOF] if the stream is cut short or too short. All of dst comes
// with [ErrChecksum] if the stream ends there and its checksum is not that of dst.
// What is behind the stream is not looked at.
func Zlib(dst, src []byte) (int, error) {
	if len(src) < zlibHead {
		return 0, io.ErrUnexpectedEOF
	}
	head := binary.BigEndian.Uint16(src)
	if head>>8&15 != zlibDeflate || head>>12 > zlibWindow || head%31 != 0 || head&zlibDict != 0 {
		return 0, ErrCorrupt
	}
	d := decoders.Get().(*decoder) //nolint:errcheck,forcetypeassert // the pool holds nothing else
	defer decoders.Put(d)
	d.dst, d.src, d.pos, d.n, d.buf, d.have = dst, src, zlibHead, 0, 0, 0
	err := d.blocks()
	if err == nil {
		err = d.checkEnd()
	}
	d.dst, d.src = nil, nil
	if errors.Is(err, errFull) {
		err = nil
	}
	return d.n, err
}

var decoders = sync.Pool{New: func() any { return new(decoder) }}

// errFull ends decoding when something comes for which there is no room.
var errFull = errors.New("no room")

// A decoder decodes one stream. Bits come from the low end of bytes.
type decoder struct {
	dst, src []byte
	n        int    // bytes of dst that are there
	pos      int    // bytes of src that are in buf, or were
	buf      uint64 // the next bits, the first lowest; there may be right ones above have
	have     uint   // bits that count

	literals  [literalTable]entry
	distances [distanceTable]entry
	lengths   [maxLiterals + maxDistances]uint8 // of the codes of a block
}

// fill gets at least 56 bits, or all that are left.
func (d *decoder) fill() {
	if d.pos+8 <= len(d.src) {
		d.buf |= binary.LittleEndian.Uint64(d.src[d.pos:]) << d.have
		d.pos += int(63-d.have) >> 3
		d.have |= 56
		return
	}
	for d.have <= 56 && d.pos < len(d.src) {
		d.buf |= uint64(d.src[d.pos]) << d.have
		d.pos++
		d.have += 8
	}
}

// take returns the next n bits, 16 at most.
func (d *decoder) take(n uint) (uint32, error) {
	if d.have < n {
		d.fill()
	}
	if d.have < n {
		return 0, io.ErrUnexpectedEOF
	}
	v := uint32(d.buf & (1<<n - 1))
	d.buf >>= n
	d.have -= n
	return v, nil
}

// align goes to the next byte and gives back those that were not used.
func (d *decoder) align() {
	d.pos -= int(d.have / 8)
	d.buf, d.have = 0, 0
}

// Kinds of blocks (RFC 1951 3.2.3).
const (
	blockStored = iota
	blockFixed
	blockDynamic
)

// blocks decodes all blocks.
func (d *decoder) blocks() error {
	for {
		head, err := d.take(3)
		if err != nil {
			return err
		}
		switch head >> 1 {
		case blockStored:
			err = d.stored()
		case blockFixed:
			if err = d.fixed(); err == nil {
				err = d.symbols()
			}
		case blockDynamic:
			if err = d.dynamic(); err == nil {
				err = d.symbols()
			}
		default:
			err = ErrCorrupt
		}
		if err != nil || head&1 != 0 {
			return err
		}
	}
}

// checkEnd compares the checksum behind the last block.
func (d *decoder) checkEnd() error {
	if d.n < len(d.dst) {
		return io.ErrUnexpectedEOF
	}
	d.align()
	if len(d.src)-d.pos < adler32.Size {
		return io.ErrUnexpectedEOF
	}
	if binary.BigEndian.Uint32(d.src[d.pos:]) != adler32.Checksum(d.dst) {
		return ErrChecksum
	}
	return nil
}

// stored copies a block that is not compressed (RFC 1951 3.2.4).
func (d *decoder) stored() error {
	d.align()
	if len(d.src)-d.pos < 4 {
		return io.ErrUnexpectedEOF
	}
	size := binary.LittleEndian.Uint16(d.src[d.pos:])
	if ^size != binary.LittleEndian.Uint16(d.src[d.pos+2:]) {
		return ErrCorrupt
	}
	d.pos += 4
	there := d.src[d.pos:min(d.pos+int(size), len(d.src))]
	n := copy(d.dst[d.n:], there)
	d.n += n
	d.pos += n
	switch {
	case n < len(there):
		return errFull
	case n < int(size):
		return io.ErrUnexpectedEOF
	}
	return nil
}
