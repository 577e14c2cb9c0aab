package master

import (
	"context"
	"crypto/md5" //nolint:gosec // the format wants it; it guards against accidents only
	"hash"
	"io"
)

// bufferSize is how much is written at a time.
const bufferSize = 1 << 20

// An output collects what is written into large pieces, and counts it.
type output struct {
	ctx      context.Context //nolint:containedctx // an output lives for one Write
	w        io.Writer
	buf      []byte
	pos      int64 // bytes taken so far
	total    int64
	progress Progress
	hash     hash.Hash // of everything, or nil
}

func newOutput(ctx context.Context, w io.Writer, total int64, progress Progress) *output {
	return &output{ctx: ctx, w: w, buf: make([]byte, 0, bufferSize), total: total, progress: progress}
}

// Write takes bytes in.
func (o *output) Write(p []byte) (int, error) {
	n := len(p)
	o.pos += int64(n)
	for len(p) > 0 {
		if len(o.buf) == cap(o.buf) {
			if err := o.flush(); err != nil {
				return 0, err
			}
		}
		k := copy(o.buf[len(o.buf):cap(o.buf)], p)
		o.buf = o.buf[:len(o.buf)+k]
		p = p[k:]
	}
	return n, nil
}

// space returns the free part of the buffer, which is never empty, for a
// reader to fill; took tells how much of it was.
func (o *output) space() ([]byte, error) {
	if len(o.buf) == cap(o.buf) {
		if err := o.flush(); err != nil {
			return nil, err
		}
	}
	return o.buf[len(o.buf):cap(o.buf)], nil
}

func (o *output) took(n int) []byte {
	start := len(o.buf)
	o.buf = o.buf[:start+n]
	o.pos += int64(n)
	return o.buf[start:]
}

// zeros writes n zero bytes.
func (o *output) zeros(n int64) error {
	for n > 0 {
		p, err := o.space()
		if err != nil {
			return err
		}
		p = p[:min(n, int64(len(p)))]
		clear(p)
		o.took(len(p))
		n -= int64(len(p))
	}
	return nil
}

// align fills the last block up with zeros.
func (o *output) align() error {
	return o.zeros(-o.pos & (blockSize - 1))
}

// flush hands on what is in the buffer.
func (o *output) flush() error {
	if err := o.ctx.Err(); err != nil {
		return err
	}
	if o.hash != nil {
		o.hash.Write(o.buf)
	}
	if _, err := o.w.Write(o.buf); err != nil {
		return err
	}
	o.buf = o.buf[:0]
	o.report()
	return nil
}

func (o *output) report() {
	if o.progress != nil {
		o.progress(o.pos, o.total)
	}
}

// sum returns the MD5 of everything taken so far.
func (o *output) sum() (sum [md5.Size]byte, err error) {
	if err := o.flush(); err != nil {
		return sum, err
	}
	o.hash.Sum(sum[:0])
	return sum, nil
}
