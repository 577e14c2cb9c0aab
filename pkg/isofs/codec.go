package isofs

import (
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz/lzma"

	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/inflate"
)

// A codec decompresses packed so that it fills dst.
type codec func(dst, packed []byte) error

// codecOf has a line for each algorithm of zisofs, by the name in its entry; nil
// if there is none. The document of version 2 gives the names after the first
// two in either case.
func codecOf(name string) codec {
	switch name {
	case "pz", "PZ": // version 1, and 2
		return unpackZlib
	case "xz", "XZ":
		return unpackXZ
	case "l4", "L4":
		return unpackLZ4
	case "zd", "ZD":
		return unpackZstd
	case "b2", "B2":
		return unpackBzip2
	}
	return nil
}

// maxWindow is how far back a block may refer: not beyond itself.
const maxWindow = 1 << maxBlockShift

// unpackZlib fills dst. What is wrong behind that is of no use to know.
func unpackZlib(dst, packed []byte) error {
	n, err := inflate.Zlib(dst, packed)
	if n == len(dst) {
		return nil
	}
	return err
}

func unpackLZ4(dst, packed []byte) error {
	return fill(dst, lz4.NewReader(bytes.NewReader(packed)))
}

func unpackBzip2(dst, packed []byte) error {
	return fill(dst, bzip2.NewReader(bytes.NewReader(packed)))
}

// zstdDecoder is one that all blocks share. It is made when the first comes.
var zstdDecoder struct {
	once    sync.Once
	decoder *zstd.Decoder
	err     error
}

func newZstd() (*zstd.Decoder, error) {
	z := &zstdDecoder
	z.once.Do(func() {
		z.decoder, z.err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxMemory(maxWindow), zstd.WithDecoderMaxWindow(8<<20))
	})
	return z.decoder, z.err
}

func unpackZstd(dst, packed []byte) error {
	d, err := newZstd()
	if err != nil {
		return err
	}
	out, err := d.DecodeAll(packed, dst[:0])
	if err != nil {
		return err
	}
	if len(out) < len(dst) {
		return io.ErrUnexpectedEOF
	}
	copy(dst, out)
	return nil
}

// unpackXZ reads the only block of an xz stream (The .xz File Format 1.1.0).
// The decoder of the container would allocate the dictionary that the block
// asks for, up to 4 GiB; no block needs more than its own size.
func unpackXZ(dst, packed []byte) error {
	data, err := xzData(packed)
	if err != nil {
		return err
	}
	r, err := lzma.Reader2Config{DictCap: maxWindow}.NewReader2(bytes.NewReader(data))
	if err != nil {
		return err
	}
	return fill(dst, r)
}

// xzData returns the LZMA2 data of the first block of an xz stream.
func xzData(b []byte) ([]byte, error) {
	const (
		streamHeader = 12   // 2.1.1
		lzma2        = 0x21 // 5.3.1
	)
	if len(b) < streamHeader+8 || !bytes.HasPrefix(b, []byte("\xfd7zXZ\x00")) {
		return nil, errors.New("no xz stream")
	}
	block := b[streamHeader:]
	size := (int(block[0]) + 1) * 4 // 3.1.1
	flags := block[1]               // 3.1.2
	if block[0] == 0 || size > len(block) {
		return nil, errors.New("no xz block")
	}
	head := block[2:size]
	for _, bit := range []byte{1 << 6, 1 << 7} { // sizes, which are not needed
		if flags&bit != 0 {
			head = skipVarint(head)
		}
	}
	if flags&3 != 0 || len(head) < 3 || head[0] != lzma2 {
		return nil, fmt.Errorf("xz filters: %w", fsys.ErrNotSupported)
	}
	return block[size:], nil
}

// skipVarint passes over a multibyte integer (1.2).
func skipVarint(b []byte) []byte {
	for i, c := range b {
		if c&0x80 == 0 {
			return b[i+1:]
		}
	}
	return nil
}

// fill reads all of dst. A block that ends before is damaged; what it has
// beyond is of no use.
func fill(dst []byte, r io.Reader) error {
	if _, err := io.ReadFull(r, dst); err != nil {
		return unexpected(err)
	}
	return nil
}
