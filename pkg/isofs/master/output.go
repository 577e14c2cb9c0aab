package master

import (
	"context"
	"crypto/md5"
	"errors"
	"hash"
	"io"
	"os"
	"time"
)

const (
	// bufferSize is how much is written at a time. The kernel's copying
	// without a detour (copy_file_range) was tried instead: on ext4 and tmpfs
	// it took up to twice as long.
	bufferSize = 1 << 20
	// buffers is how many of them there are: one is filled while another is written.
	buffers = 3
)

// An output collects what is written into large pieces and counts it. A
// goroutine hands them to the writer; close ends it.
type output struct {
	ctx      context.Context //nolint:containedctx // an output lives for one Write
	buf      []byte
	pos      int64 // bytes taken so far
	total    int64
	progress Progress
	hash     hash.Hash // of everything, or nil; only the goroutine uses it

	full   chan piece
	empty  chan []byte
	result chan error // of the goroutine, when it has ended
	ended  bool       // result has been received
	stop   func() bool
}

// A piece is what the goroutine gets at a time.
type piece struct {
	p   []byte
	sum chan<- [md5.Size]byte // where to send the sum of all up to here, or nil
}

// newOutput returns an output to w, which computes checksums if hash is not nil.
func newOutput(ctx context.Context, w io.Writer, total int64, h hash.Hash, progress Progress) *output {
	o := &output{
		stop: func() bool { return true },
		ctx:  ctx, buf: make([]byte, 0, bufferSize), total: total, progress: progress, hash: h,
		full: make(chan piece, buffers), empty: make(chan []byte, buffers), result: make(chan error, 1),
	}
	for range buffers - 1 {
		o.empty <- make([]byte, 0, bufferSize)
	}
	go o.drain(w)
	if d, ok := w.(interface{ SetWriteDeadline(time.Time) error }); ok {
		// A pipe that nobody reads must not hold up who cancels. What cannot
		// have a deadline says so, and is not helped.
		o.stop = context.AfterFunc(ctx, func() { _ = d.SetWriteDeadline(time.Unix(1, 0)) })
	}
	return o
}

// drain writes full buffers until there will be no more, or one could not be
// written. Checksums are computed here, beside those of files.
func (o *output) drain(w io.Writer) {
	for x := range o.full {
		if o.hash != nil {
			o.hash.Write(x.p)
		}
		n, err := w.Write(x.p)
		if err == nil && n < len(x.p) {
			err = io.ErrShortWrite
		}
		if err != nil {
			o.result <- err
			return
		}
		if x.sum != nil {
			x.sum <- [md5.Size]byte(o.hash.Sum(nil))
		}
		o.empty <- x.p[:0]
	}
	o.result <- nil
}

// flush hands on what is in the buffer.
func (o *output) flush() error { return o.send(nil) }

func (o *output) send(sum chan<- [md5.Size]byte) error {
	if err := o.ctx.Err(); err != nil {
		return err
	}
	o.full <- piece{o.buf, sum}
	select {
	case o.buf = <-o.empty:
	case err := <-o.result:
		o.ended = true
		return o.cause(err)
	}
	if o.progress != nil {
		o.progress(o.pos, o.total)
	}
	return nil
}

// close writes the rest, unless something failed before, and waits for the
// goroutine to end.
func (o *output) close(failed error) error {
	defer o.stop()
	if failed == nil {
		failed = o.flush()
	}
	if o.ended {
		return failed
	}
	close(o.full)
	err := <-o.result
	if failed != nil {
		return failed
	}
	return o.cause(err)
}

// cause returns the error of the context if that is why the writer failed.
func (o *output) cause(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) && o.ctx.Err() != nil {
		return o.ctx.Err()
	}
	return err
}

// Write takes bytes in.
func (o *output) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		free, err := o.space()
		if err != nil {
			return n - len(p), err
		}
		k := copy(free, p)
		o.took(k)
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

// errNoSum reports a checksum that is wanted where none is computed.
var errNoSum = errors.New("no checksum of the image is being computed")

// sum returns the MD5 of everything taken so far.
func (o *output) sum() (sum [md5.Size]byte, err error) {
	if o.hash == nil {
		return sum, errNoSum
	}
	answer := make(chan [md5.Size]byte, 1)
	if err := o.send(answer); err != nil {
		return sum, err
	}
	select {
	case sum = <-answer:
		return sum, nil
	case err := <-o.result:
		o.ended = true
		return sum, o.cause(err)
	}
}
