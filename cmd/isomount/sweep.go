package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"sort"
)

// A sweep reads an image from the first byte to the last, computes checksums and
// finds what cannot be read.
type sweep struct {
	src   io.ReaderAt
	size  int64
	spans []*span
	bad   []badRange // in order
}

// A badRange is a run of bytes that cannot be read.
type badRange struct {
	from, to int64
	err      error // of the first of them
}

// run reads everything. What cannot be read is no error, but noted.
func (s *sweep) run(ctx context.Context, m *meter) error {
	p := make([]byte, copyPiece)
	for off := int64(0); off < s.size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		q := p[:min(copyPiece, s.size-off)]
		if n, err := s.src.ReadAt(q, off); n == len(q) {
			s.feed(q, off)
		} else if err := s.slowly(ctx, q, off, n, err); err != nil {
			return err
		}
		off += int64(len(q))
		m.set(off)
	}
	return nil
}

func (s *sweep) feed(p []byte, off int64) {
	for _, x := range s.spans {
		if x.void == "" {
			x.feed(p, off)
		}
	}
}

// slowly reads a piece sector by sector, after n bytes of it could be read.
func (s *sweep) slowly(ctx context.Context, p []byte, off int64, n int, err error) error {
	n -= n % blockBytes
	for n < len(p) {
		if err := ctx.Err(); err != nil {
			return err
		}
		q := p[n:min(n+blockBytes, len(p))]
		k, readErr := s.src.ReadAt(q, off+int64(n))
		if k < len(q) {
			if readErr == nil || errors.Is(readErr, io.EOF) {
				readErr = cmp.Or(err, io.ErrUnexpectedEOF)
			}
			s.mark(off+int64(n), off+int64(n+len(q)), readErr)
			clear(q)
		}
		n += len(q)
	}
	s.feed(p, off)
	return nil
}

// mark notes bytes that cannot be read, and that no checksum can be computed of
// them.
func (s *sweep) mark(from, to int64, err error) {
	for _, x := range s.spans {
		if from < x.to && to > x.from && x.void == "" {
			x.void = fmt.Sprintf("%s cannot be read", sectorsText(from, to))
		}
	}
	if last := len(s.bad) - 1; last >= 0 && s.bad[last].to == from {
		s.bad[last].to = to
		return
	}
	s.bad = append(s.bad, badRange{from, to, err})
}

// within returns the bad ranges that overlap with the bytes from and to.
func (s *sweep) within(from, to int64) []badRange {
	first := sort.Search(len(s.bad), func(i int) bool { return s.bad[i].to > from })
	last := sort.Search(len(s.bad), func(i int) bool { return s.bad[i].from >= to })
	return s.bad[first:max(first, last)]
}

// badSectors counts them.
func (s *sweep) badSectors() (n int64) {
	for _, b := range s.bad {
		n += (b.to - b.from + blockBytes - 1) / blockBytes
	}
	return n
}

// sectorsText names the sectors that bytes lie in.
func sectorsText(from, to int64) string {
	first, last := from/blockBytes, (to-1)/blockBytes
	if first == last {
		return fmt.Sprintf("sector %d", first)
	}
	return fmt.Sprintf("sectors %d-%d", first, last)
}
