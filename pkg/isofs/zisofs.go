package isofs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/isomount/isomount/pkg/binfmt"
)

// zisofs keeps a file as blocks that are compressed one by one: a header, an
// array of pointers to the blocks, and the blocks (libisofs, doc/zisofs_format.txt
// and doc/zisofs2_format.txt; Linux, fs/isofs/compress.c). An entry of the
// record's system use area says so.
var (
	tagZF = newTag("ZF")
	tagZ2 = newTag("Z2") // ZF of version 2 under a name that Linux does not complain about
)

var (
	zisofsMagic  = []byte{0x37, 0xe4, 0x53, 0x96, 0xc9, 0xdb, 0xd6, 0x07}
	zisofs2Magic = []byte{0xef, 0x22, 0x55, 0xa1, 0xbc, 0x1b, 0x95, 0xa0}
)

// Limits of block sizes, as powers of two. The documents allow 15 to 17, Linux
// anything up to 17, libisofs writes up to 20.
const (
	minBlockShift = 10
	maxBlockShift = 20
)

// A zisofsEntry is a ZF or Z2 entry.
type zisofsEntry struct {
	algorithm [2]byte
	header    int64 // bytes
	shift     uint8 // log2 of the block size
	size      int64 // bytes, decompressed
}

// addZisofs reads a ZF or Z2 entry. Version 1 has the size in both byte orders,
// version 2 as a number of 64 bits; they differ in the algorithm.
func (x *rock) addZisofs(data []byte) {
	if len(data) < 12 {
		return
	}
	z := zisofsEntry{algorithm: [2]byte{data[0], data[1]}, header: int64(data[2]) * 4, shift: data[3]}
	z.size = int64(binary.LittleEndian.Uint32(data[4:]))
	if !z.isFirst() {
		z.size = int64(binary.LittleEndian.Uint64(data[4:]) & (1<<63 - 1))
	}
	if z.codec() != nil && z.shift >= minBlockShift && z.shift <= maxBlockShift {
		x.zisofs = z
		x.has |= hasZisofs
	}
}

// isFirst tells whether this is version 1 of the format.
func (z *zisofsEntry) isFirst() bool { return z.algorithm == [2]byte{'p', 'z'} }

func (z *zisofsEntry) codec() codec { return codecOf(string(z.algorithm[:])) }

func (z *zisofsEntry) magic() []byte {
	if z.isFirst() {
		return zisofsMagic
	}
	return zisofs2Magic
}

func (z *zisofsEntry) pointerSize() int64 {
	if z.isFirst() {
		return 4
	}
	return 8
}

// fits tells whether a file of stored bytes has room for the pointers to all
// its blocks. An entry that promises more is no better than none.
func (z *zisofsEntry) fits(stored int64) bool {
	blocks := z.size>>z.shift + 1
	return z.header >= int64(len(zisofsMagic)) && blocks <= stored/z.pointerSize() &&
		z.header+(blocks+1)*z.pointerSize() <= stored+z.pointerSize()
}

// Blocks keeps blocks that were decompressed, so that each is decompressed
// once. A cache that several volumes use must tell their keys apart.
type Blocks interface {
	// Get calls use with the block that a key names. If it is not kept, it is
	// first made by fill, which is given size bytes. An error of either is
	// returned, and nothing is kept then.
	Get(key [2]uint64, size int, fill func(dst []byte) error, use func(block []byte) error) error
}

// A zisofs reads a compressed file.
type zisofs struct {
	zisofsEntry

	stored *layout
	r      io.ReaderAt
	blocks Blocks
	key    uint64 // names the file in blocks: where its content begins
}

func newZisofs(v *Volume, z zisofsEntry, stored *layout) *zisofs {
	return &zisofs{zisofsEntry: z, stored: stored, r: v.r, blocks: v.blocks, key: uint64(stored.sections[0].pos)}
}

// Size returns the size of the content.
func (z *zisofs) Size() int64 { return z.size }

// ReadAt reads the content, like an io.ReaderAt.
func (z *zisofs) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= z.size {
		return 0, io.EOF
	}
	if err := z.checkHeader(); err != nil {
		return 0, err
	}
	done := 0
	for done < len(p) && off < z.size {
		n, err := z.readBlock(p[done:], off)
		if err != nil {
			return done, err
		}
		done += n
		off += int64(n)
	}
	if done < len(p) {
		return done, io.EOF
	}
	return done, nil
}

// checkHeader makes sure that the content begins with the magic number.
func (z *zisofs) checkHeader() error {
	var head [8]byte
	if n, err := z.stored.readAt(z.r, head[:], 0); n < len(head) {
		return unexpected(err)
	}
	if !bytes.Equal(head[:], z.magic()) {
		return binfmt.Corrupt(z.stored.sections[0].pos, "no zisofs header where the record says one is")
	}
	return nil
}

// readBlock reads from one block, as much as there is from off on.
func (z *zisofs) readBlock(p []byte, off int64) (int, error) {
	block := off >> z.shift
	start := block << z.shift
	size := int(min(int64(1)<<z.shift, z.size-start))
	n := 0
	err := z.blocks.Get([2]uint64{z.key, uint64(block)<<8 | uint64(z.shift)}, size,
		func(dst []byte) error { return z.decompress(dst, block) },
		func(b []byte) error {
			// Another record that claims another size for the same content
			// may have made the block.
			if len(b) != size {
				return errBlockSize
			}
			n = copy(p, b[off-start:])
			return nil
		})
	if errors.Is(err, errBlockSize) {
		b := make([]byte, size)
		err = z.decompress(b, block)
		n = copy(p, b[off-start:])
	}
	if err != nil {
		return 0, fmt.Errorf("zisofs block %d: %w", block, err)
	}
	return n, nil
}

var errBlockSize = errors.New("block of another size")

// decompress makes a block. A block without bytes is one of zeros.
func (z *zisofs) decompress(dst []byte, block int64) error {
	from, to, err := z.pointers(block)
	if err != nil {
		return err
	}
	if from == to {
		clear(dst)
		return nil
	}
	packed := packs.Get().(*bytes.Buffer) //nolint:errcheck,forcetypeassert // the pool holds nothing else
	defer packs.Put(packed)
	packed.Reset()
	packed.Grow(int(to - from))
	b := packed.AvailableBuffer()[:to-from]
	if n, err := z.stored.readAt(z.r, b, from); n < len(b) {
		return unexpected(err)
	}
	if err := z.codec()(dst, b); err != nil {
		return fmt.Errorf("%w (%w)", binfmt.Corrupt(z.stored.sections[0].pos, "compressed block at byte %d of the file", from), err)
	}
	return nil
}

var packs = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// pointers returns where in the stored file a block begins and ends.
func (z *zisofs) pointers(block int64) (from, to int64, err error) {
	size := z.pointerSize()
	var buf [16]byte
	b := buf[:2*size]
	at := z.header + block*size
	if n, err := z.stored.readAt(z.r, b, at); n < len(b) {
		return 0, 0, unexpected(err)
	}
	c := binfmt.At(b, at)
	if z.isFirst() {
		from, to = int64(c.U32LE()), int64(c.U32LE())
	} else {
		from, to = int64(c.U64LE()), int64(c.U64LE())
	}
	// No codec makes a block twice as large as it was.
	if from < 0 || from > to || to > z.stored.size || to-from > 2<<z.shift {
		return 0, 0, binfmt.Corrupt(z.stored.sections[0].pos, "block pointers %d and %d in a file of %d bytes", from, to, z.stored.size)
	}
	return from, to, nil
}

// isZisofs tells whether the file in s, of stored bytes, is to be decompressed.
func (f *FS) isZisofs(s *scratch) bool {
	return s.rock.has&hasZisofs != 0 && !f.o.NoZisofs && s.rock.zisofs.fits(s.size)
}

// fileSize returns the size of the regular file in s as it is read.
func (f *FS) fileSize(s *scratch) int64 {
	switch {
	case f.isZisofs(s):
		return s.rock.zisofs.size
	case f.isSparse(s):
		return s.rock.sparse.size
	}
	return s.size
}

// encode finds out whether the content of the file in s has to be decoded.
func (f *FS) encode(l *layout, s *scratch) {
	switch {
	case f.isZisofs(s) && len(l.sections) > 0:
		l.encoded = newZisofs(f.v, s.rock.zisofs, l)
	case f.isSparse(s):
		l.encoded = &sparse{sparseEntry: s.rock.sparse, stored: l, r: f.v.r}
	}
}
