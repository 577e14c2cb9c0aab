package main

import (
	"context"
	"fmt"
	"io"
)

// A salvage writes a file whose length its archive has promised already. What
// cannot be read of it becomes zeros, so that the archive stays whole.
type salvage struct {
	job   *extractJob
	place *place
	w     io.Writer
	buf   []byte

	lost  int64 // bytes that became zeros
	first int64 // the first of them
	err   error // why
	dead  bool  // a whole piece could not be read: no more is tried
}

// salvage returns one for a file, whose content goes to w.
func (t *tarball) salvage(p *place, w io.Writer) *salvage {
	return &salvage{job: t.job, place: p, w: w, buf: make([]byte, min(p.attr.Size, copyPiece))}
}

// copy writes the bytes from off to end. Only what cannot be written is an error.
func (s *salvage) copy(ctx context.Context, off, end int64) error {
	for off < end {
		if err := ctx.Err(); err != nil {
			return err
		}
		b := s.buf[:min(int64(len(s.buf)), end-off)]
		s.read(b, off)
		if _, err := s.w.Write(b); err != nil {
			return &outputError{err}
		}
		off += int64(len(b))
	}
	return nil
}

// read fills b, sector by sector where it has to.
func (s *salvage) read(b []byte, off int64) {
	if !s.dead {
		if _, err := readNode(s.job.fs, s.place.node, b, off); err == nil {
			return
		}
	}
	got := false
	for at := 0; at < len(b); at += blockBytes {
		q := b[at:min(at+blockBytes, len(b))]
		if s.dead {
			s.lose(q, off+int64(at), nil)
		} else if _, err := readNode(s.job.fs, s.place.node, q, off+int64(at)); err != nil {
			s.lose(q, off+int64(at), err)
		} else {
			got = true
		}
	}
	s.dead = !got
}

func (s *salvage) lose(b []byte, off int64, err error) {
	if s.lost == 0 {
		s.first, s.err = off, err
	}
	s.lost += int64(len(b))
	clear(b)
}

// tell notes what was lost.
func (s *salvage) tell() {
	if s.lost == 0 {
		return
	}
	s.job.bad(s.place.path, fmt.Errorf("%d bytes cannot be read, the first at byte %d, and are zeros in the archive: %w", s.lost, s.first, s.err))
}
