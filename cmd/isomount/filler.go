package main

import (
	"context"
	"os"

	"github.com/isomount/isomount/pkg/fsys"
)

// A filler copies the content of files.
type filler struct {
	fs  fsys.FS
	buf []byte
	m   *meter
}

// fill writes a file's content, and leaves holes where the disc has them.
func (c *filler) fill(ctx context.Context, w *os.File, p *place) error {
	holes := holesOf(ctx, c.fs, p)
	off, size := int64(0), p.attr.Size
	for _, h := range holes {
		if err := c.copy(ctx, w, p, off, h.Off); err != nil {
			return err
		}
		c.m.add(h.Len)
		off = h.Off + h.Len
	}
	if err := c.copy(ctx, w, p, off, size); err != nil {
		return err
	}
	if len(holes) == 0 {
		return nil
	}
	return w.Truncate(size)
}

// copy copies the bytes from off to end.
func (c *filler) copy(ctx context.Context, w *os.File, p *place, off, end int64) error {
	if c.buf == nil {
		c.buf = make([]byte, copyPiece)
	}
	for off < end {
		if err := ctx.Err(); err != nil {
			return err
		}
		b := c.buf[:min(copyPiece, end-off)]
		n, err := readNode(c.fs, p.node, b, off)
		if err != nil {
			return err
		}
		if _, err := w.WriteAt(b[:n], off); err != nil {
			return &outputError{err}
		}
		off += int64(n)
		c.m.add(int64(n))
	}
	return nil
}

// holesOf lists the holes of a file, as far as the tree can be believed.
func holesOf(ctx context.Context, f fsys.FS, p *place) []fsys.Extent {
	x, ok := f.(fsys.ExtentFS)
	if !ok {
		return nil
	}
	var holes []fsys.Extent
	end := int64(0)
	err := x.Extents(p.node, 0, func(e fsys.Extent) bool {
		if e.Pos == fsys.Hole && e.Off >= end && e.Len > 0 && e.Len <= p.attr.Size-e.Off {
			holes = append(holes, e)
			end = e.Off + e.Len
		}
		return ctx.Err() == nil
	})
	if err != nil {
		return nil // reading will tell
	}
	return holes
}
