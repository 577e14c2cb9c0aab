package fsystest

import (
	"bytes"
	"errors"
	"slices"
	"strings"

	"github.com/isomount/isomount/pkg/fsys"
)

// attrFaults names what no node may have, however damaged its disc is.
func attrFaults(a *fsys.Attr) string {
	switch {
	case !knownType(a.Mode):
		return "mode has no known type"
	case a.Mode&^(fsys.TypeMask|fsys.PermMask) != 0:
		return "mode has bits beyond type and permissions"
	case a.Nlink == 0:
		return "link count is 0"
	case a.Size < 0:
		return "size is negative"
	case a.Blocks < 0:
		return "blocks are negative"
	case a.ModTime.Nsec > 999_999_999 || a.AccTime.Nsec > 999_999_999 || a.ChgTime.Nsec > 999_999_999:
		return "a time has a billion nanoseconds"
	case a.Ino == 0:
		return "inode number is 0"
	}
	return ""
}

func knownType(mode uint32) bool {
	switch mode & fsys.TypeMask {
	case fsys.TypeSocket, fsys.TypeLink, fsys.TypeFile, fsys.TypeBlock, fsys.TypeDir, fsys.TypeChar, fsys.TypeFifo:
		return true
	}
	return false
}

// checkAttr tells whether the attributes are good enough to go on with.
func (c *checker) checkAttr(path string, f found) bool {
	if fault := attrFaults(&f.attr); fault != "" {
		c.errorf(path, "%s: %+v", fault, f.attr)
		return false
	}
	if f.node>>fsys.NodeBits != 0 && !c.Joined {
		c.errorf(path, "node %#x takes more than %d bits", f.node, fsys.NodeBits)
	}
	if got, err := c.fs.Attr(f.node); err != nil || got != f.attr {
		c.errorf(path, "attr of its node: got %+v, error %v, but its directory said %+v", got, err, f.attr)
	}
	first, known := c.inodes[f.attr.Ino]
	if !known {
		c.inodes[f.attr.Ino] = f
	} else if first.attr.Mode&fsys.TypeMask != f.attr.Mode&fsys.TypeMask || first.attr.Size != f.attr.Size {
		c.errorf(path, "inode %d is seen as %+v and as %+v", f.attr.Ino, f.attr, first.attr)
	}
	return true
}

func (c *checker) checkLink(path string, f found) {
	target, err := c.fs.Readlink(f.node)
	if f.attr.Mode&fsys.TypeMask != fsys.TypeLink {
		if !errors.Is(err, fsys.ErrNotLink) {
			c.errorf(path, "readlink of what is no link: got error %v, want ErrNotLink", err)
		}
		return
	}
	switch {
	case err != nil:
		c.errorf(path, "readlink: %w", err)
	case len(target) == 0 || bytes.IndexByte(target, 0) >= 0:
		c.errorf(path, "link target %q is empty or has a NUL", target)
	case int64(len(target)) != f.attr.Size:
		c.errorf(path, "link has size %d and a target of %d bytes", f.attr.Size, len(target))
	}
}

func (c *checker) checkParent(path string, dir, want fsys.Node) {
	p, ok := c.fs.(fsys.ParentFS)
	if !ok {
		return
	}
	if got, err := p.Parent(dir); err != nil || got != want {
		c.errorf(path, "parent: got node %#x, error %v, want %#x", got, err, want)
	}
}

func (c *checker) checkXattrs(path string, n fsys.Node) {
	x, ok := c.fs.(fsys.XattrFS)
	if !ok {
		return
	}
	names, err := x.Xattrs(n)
	if err != nil {
		c.errorf(path, "xattrs: %w", err)
	}
	for i, name := range names {
		if !strings.Contains(name, ".") || strings.Contains(name, "\x00") || slices.Contains(names[:i], name) {
			c.errorf(path, "xattr name %q has no namespace, a NUL, or is there twice", name)
		}
		if _, err := x.Xattr(n, name); err != nil {
			c.errorf(path, "xattr %q: %w", name, err)
		}
	}
	if _, err := x.Xattr(n, "user.no such attribute"); !errors.Is(err, fsys.ErrNoXattr) {
		c.errorf(path, "xattr that is not there: got error %v, want ErrNoXattr", err)
	}
}
