package udf

import (
	"io"

	"github.com/isomount/isomount/pkg/binfmt"
	"github.com/isomount/isomount/pkg/fsys"
)

// file returns the inode of a regular file.
func (f *FS) file(n fsys.Node) (*inode, error) {
	in, err := f.inode(n)
	if err != nil {
		return nil, err
	}
	switch mode, _ := fileMode(in.fileType); mode {
	case fsys.TypeFile:
		return in, nil
	case fsys.TypeDir:
		return nil, fsys.ErrIsDir
	}
	return nil, binfmt.Corrupt(in.off, "file of type %d has no content", in.fileType)
}

// ReadAt implements [fsys.FS].
func (f *FS) ReadAt(n fsys.Node, p []byte, off int64) (int, error) {
	in, err := f.file(n)
	if err != nil {
		return 0, err
	}
	return in.readAt(f.r, p, off)
}

// readAt reads the content of an inode like an [io.ReaderAt].
func (in *inode) readAt(r io.ReaderAt, p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, binfmt.Corrupt(in.off, "read at offset %d", off)
	}
	if off >= in.size {
		return 0, io.EOF
	}
	var end error
	if int64(len(p)) > in.size-off {
		p, end = p[:in.size-off], io.EOF
	}
	if in.allocKind == allocEmbedded {
		return copy(p, in.data[off:]), end
	}
	done := 0
	for done < len(p) {
		pos, there := in.at(off + int64(done))
		n, err := in.readRun(r, p[done:done+int(min(there, int64(len(p)-done)))], pos)
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, end
}

// readRun reads bytes that lie in one piece at pos.
func (in *inode) readRun(r io.ReaderAt, p []byte, pos int64) (int, error) {
	switch pos {
	case hole:
		clear(p)
		return len(p), nil
	case lost:
		return 0, binfmt.Corrupt(in.off, "file with an extent outside the volume")
	}
	n, err := r.ReadAt(p, pos)
	if n == len(p) {
		return n, nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// Extents implements [fsys.ExtentFS].
func (f *FS) Extents(n fsys.Node, off int64, yield func(fsys.Extent) bool) error {
	in, err := f.file(n)
	if err != nil || off < 0 {
		return err
	}
	if f.packed {
		yield = unpackedExtents(yield)
	}
	for off < in.size {
		pos, there := fsys.Encoded, in.size-off
		if in.allocKind != allocEmbedded {
			if pos, there = in.at(off); pos == lost {
				pos = fsys.Encoded
			}
		}
		if !yield(fsys.Extent{Off: off, Len: there, Pos: pos}) {
			break
		}
		off += there
	}
	return nil
}
