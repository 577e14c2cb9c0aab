package udf

import (
	"errors"
	"io"

	"github.com/isomount/isomount/pkg/binfmt"
	"github.com/isomount/isomount/pkg/fsys"
)

// Limits of a symbolic link: what is read of its content, its allocation
// descriptors, and what Linux takes as a target.
const (
	maxLinkContent = 64 << 10
	maxLinkDescs   = 16 << 10
	maxTarget      = 4095
)

// Readlink implements [fsys.FS].
func (f *FS) Readlink(n fsys.Node) ([]byte, error) {
	in, err := f.inode(n)
	if err != nil {
		return nil, err
	}
	if in.fileType != fileSymlink {
		return nil, fsys.ErrNotLink
	}
	content := make([]byte, min(in.size, maxLinkContent))
	if _, err := in.readAt(f.meta, content, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return f.target(content, in.off)
}

// linkSize is the length of the target of the link e.
func (f *FS) linkSize(w *window, e icb) (int64, error) {
	content, off := e.alloc, e.off
	if e.allocKind != allocEmbedded {
		e.size = min(e.size, maxLinkContent)
		in := inode{icb: e, extents: f.extentsWithin(w, &e, maxLinkDescs)}
		content = make([]byte, in.size)
		if _, err := in.readAt(f.meta, content, 0); err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
	}
	target, err := f.target(content, off)
	return int64(len(target)), err
}

// Types of a path component (ECMA-167 4/14.16.1).
const (
	compAgreed = 1 // the root of what both sides agreed upon: "/" when it has no name
	compRoot   = 2
	compParent = 3
	compSelf   = 4
	compName   = 5
)

// target puts a path together from its components (ECMA-167 4/14.16). Unlike
// Linux it takes more than one block of them.
func (f *FS) target(content []byte, off int64) ([]byte, error) {
	var out []byte
	c := binfmt.At(content, off)
	for c.Len() > 0 {
		kind, n := c.U8(), int(c.U8()) // RBP 0, 1
		c.Skip(2)                      // RBP 2: file version number
		id := c.Bytes(n)               // RBP 4
		if err := c.Err(); err != nil {
			return nil, err
		}
		switch kind {
		case compAgreed:
			if n == 0 {
				out = append(out[:0], '/')
			}
		case compRoot:
			out = append(out[:0], '/')
		case compParent:
			out = append(out, "../"...)
		case compSelf:
			out = append(out, "./"...)
		case compName:
			out = append(f.names.append(out, id), '/')
		}
		if len(out) > maxTarget+1 {
			return nil, binfmt.Corrupt(off, "link target of more than %d bytes", maxTarget)
		}
	}
	if len(out) > 1 {
		out = out[:len(out)-1] // the last separator
	}
	if len(out) == 0 {
		return nil, binfmt.Corrupt(off, "link without a target")
	}
	return out, nil
}
