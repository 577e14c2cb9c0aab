package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"
)

// A ripper reads a device that may have bad sectors: first everything that goes
// in large pieces, then sector by sector what failed, then what still failed
// again and again. What can be read is saved before what is broken is tried, for
// that may be the end of a drive.
type ripper struct {
	src     io.ReaderAt
	dst     io.WriterAt
	m       *ripMap
	meter   *meter
	retries int

	save  func() error // keeps the map; called now and then
	saved time.Time
	buf   []byte // aligned as the device wants it
}

const (
	ripPiece  = 64 * blockBytes // read at once; small enough not to lose much to a bad sector
	saveEvery = 30 * time.Second
)

// errGone reports a device that is not there any more.
var errGone = errors.New("the device does not answer any more")

// run reads everything that has not been read. Bad sectors are no error.
func (r *ripper) run(ctx context.Context) error {
	r.saved = time.Now()
	type phase struct {
		name  string
		of    []ripStatus
		piece int64
		fail  ripStatus
	}
	phases := []phase{
		{"read", []ripStatus{ripNew}, ripPiece, ripFailed},
		{"scrape", []ripStatus{ripFailed, ripScraped}, blockBytes, ripBad},
	}
	for n := range r.retries {
		phases = append(phases, phase{fmt.Sprintf("retry %d", n+1), []ripStatus{ripBad}, blockBytes, ripBad})
	}
	for _, p := range phases {
		todo := r.m.of(p.of...)
		if len(todo) == 0 {
			continue
		}
		r.m.phase = p.of[0]
		r.meter.start(p.name, r.m.bytes(p.of...))
		for _, region := range todo {
			if err := r.region(ctx, region, p.piece, p.fail); err != nil {
				return err
			}
		}
	}
	r.m.phase = ripDone
	return nil
}

// region reads a region in pieces, and notes how that went.
func (r *ripper) region(ctx context.Context, g ripRegion, piece int64, fail ripStatus) error {
	for off := g.off; off < g.end(); {
		if err := ctx.Err(); err != nil {
			return err
		}
		// Pieces end where a piece of the device does.
		n := min(piece-off%piece, g.end()-off)
		err := r.piece(off, n)
		switch {
		case err == nil:
			r.m.set(off, n, ripDone)
		case isGone(err):
			return fmt.Errorf("%w: %w%w", errGone, err, quiet{unix.EIO})
		case isOutput(err):
			return err
		default:
			r.m.set(off, n, fail)
		}
		off += n
		r.m.pos = off
		r.meter.add(n)
		if err := r.maybeSave(); err != nil {
			return err
		}
	}
	return nil
}

// piece copies one piece, whole or not at all.
func (r *ripper) piece(off, n int64) error {
	// A device is read in whole sectors, also where the region ends within one.
	start := off - off%blockBytes
	want := off - start + n
	k, err := r.src.ReadAt(r.buf[:(want+blockBytes-1)/blockBytes*blockBytes], start)
	if int64(k) < want {
		if err == nil || errors.Is(err, io.EOF) {
			err = fmt.Errorf("device ends at %d: %w", start+int64(k), io.ErrUnexpectedEOF)
		}
		return err
	}
	if _, err := r.dst.WriteAt(r.buf[off-start:want], off); err != nil {
		return &outputError{err}
	}
	return nil
}

// isGone tells a device that has vanished from one with a bad sector.
func isGone(err error) bool {
	for _, gone := range []error{unix.ENXIO, unix.ENODEV, unix.ENOMEDIUM, unix.ESHUTDOWN, unix.EBADF} {
		if errors.Is(err, gone) {
			return true
		}
	}
	return false
}

func (r *ripper) maybeSave() error {
	if r.save == nil || time.Since(r.saved) < saveEvery {
		return nil
	}
	r.saved = time.Now()
	return r.save()
}
