package image

import (
	"cmp"
	"context"
	"encoding/binary"
	"io"
	"runtime"

	"github.com/klauspost/compress/zstd"
)

// zstdPiece is how much goes into a frame of its own. Larger pieces compress
// better, smaller ones are had faster when an image is read at random.
const zstdPiece = 512 << 10

// A ZstdWriter compresses an image so that it can be read at random: in the
// seekable format of zstd, which any decompressor reads too. It uses all
// processors. Close or Abort must be called.
type ZstdWriter struct {
	ctx   context.Context //nolint:containedctx // a writer lives for one image
	w     io.Writer
	enc   *zstd.Encoder
	buf   []byte
	queue chan *zstdPart // in order; closed by Close and Abort
	ended chan struct{}  // closed when nothing will be written any more
	err   error          // why, valid once ended is closed
	table []byte         // entries of the frames written; of drain until ended is closed
}

var _ io.WriteCloser = (*ZstdWriter)(nil)

// A zstdPart is a piece that is being compressed.
type zstdPart struct {
	data   []byte
	packed chan []byte // receives it, compressed
}

// NewZstdWriter returns a writer of an image to w. level is what zstd(1) takes,
// 0 for its default.
func NewZstdWriter(ctx context.Context, w io.Writer, level int) (*ZstdWriter, error) {
	if level == 0 {
		level = 3
	}
	workers := runtime.GOMAXPROCS(0)
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(level)),
		zstd.WithEncoderConcurrency(workers), zstd.WithEncoderCRC(true), zstd.WithWindowSize(zstdPiece))
	if err != nil {
		return nil, err
	}
	z := &ZstdWriter{
		ctx: ctx, w: w, enc: enc, buf: make([]byte, 0, zstdPiece),
		queue: make(chan *zstdPart, workers), ended: make(chan struct{}),
	}
	go z.drain()
	return z, nil
}

// Write implements io.Writer.
func (z *ZstdWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		k := copy(z.buf[len(z.buf):cap(z.buf)], p)
		z.buf, p = z.buf[:len(z.buf)+k], p[k:]
		if len(z.buf) < cap(z.buf) {
			break
		}
		if err := z.dispatch(); err != nil {
			return n - len(p), err
		}
	}
	return n, nil
}

// dispatch has what is in the buffer compressed.
func (z *ZstdWriter) dispatch() error {
	part := &zstdPart{data: z.buf, packed: make(chan []byte, 1)}
	z.buf = make([]byte, 0, zstdPiece)
	select {
	case z.queue <- part:
	case <-z.ended:
		return z.err
	case <-z.ctx.Done():
		return z.ctx.Err()
	}
	go func() { part.packed <- z.enc.EncodeAll(part.data, nil) }()
	return nil
}

// drain writes the pieces in their order. It ends when the queue is closed, or
// when a piece could not be written.
func (z *ZstdWriter) drain() {
	defer close(z.ended)
	for part := range z.queue {
		packed := <-part.packed
		n, err := z.w.Write(packed)
		if err == nil && n < len(packed) {
			err = io.ErrShortWrite
		}
		if err != nil {
			z.err = err
			return
		}
		z.table = binary.LittleEndian.AppendUint32(z.table, uint32(len(packed)))
		z.table = binary.LittleEndian.AppendUint32(z.table, uint32(len(part.data)))
	}
}

// Close writes what is left and the seek table. It does not close what the
// writer writes to.
func (z *ZstdWriter) Close() error {
	var err error
	if len(z.buf) > 0 {
		err = z.dispatch()
	}
	z.Abort()
	if err = cmp.Or(z.err, err); err != nil {
		return err
	}
	_, err = z.w.Write(appendSeekTable(nil, z.table))
	return err
}

// Abort ends the writer without the seek table.
func (z *ZstdWriter) Abort() {
	close(z.queue)
	<-z.ended
}

func appendSeekTable(b, entries []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, zstdTableType)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(entries)+zstdFooter))
	b = append(b, entries...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(entries)/8))
	b = append(b, 0) // no checksums: the frames have their own
	return binary.LittleEndian.AppendUint32(b, zstdSeekMagic)
}
