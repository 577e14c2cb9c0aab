package main

import (
	"bytes"
	"hash"
)

// A span is a run of bytes of an image with the checksum that it should have.
type span struct {
	check    string // what it belongs to: a name of a checkResult
	what     string // which part of that
	from, to int64  // bytes of the disc
	want     []byte
	hash     hash.Hash
	blank    [2]int64 // bytes from and to that count as spaces
	parts    *isomd5Parts
	void     string // why it cannot be computed
}

// feed takes bytes in, which lie at off, in the order of the image.
func (s *span) feed(p []byte, off int64) {
	lo, hi := max(off, s.from), min(off+int64(len(p)), s.to)
	if lo >= hi {
		return
	}
	p = p[lo-off : hi-off]
	if b := s.blank; b[0] < hi && b[1] > lo {
		p = bytes.Clone(p)
		for at := max(b[0], lo); at < min(b[1], hi); at++ {
			p[at-lo] = ' '
		}
	}
	if s.parts == nil {
		s.hash.Write(p)
		return
	}
	s.parts.feed(s, p, lo)
}

// matches compares what was fed with what it should be.
func (s *span) matches() bool { return bytes.Equal(s.hash.Sum(nil), s.want) }
