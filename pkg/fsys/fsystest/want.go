package fsystest

import (
	"bytes"
	"path"
	"slices"

	"github.com/isomount/isomount/pkg/fsys"
)

// compare compares what was found with what was wanted.
func (c *checker) compare() {
	if c.Want == nil {
		return
	}
	onTheWay := map[string]bool{".": true}
	for i := range c.Want {
		w := &c.Want[i]
		for p := w.Path; !onTheWay[p]; p = path.Dir(p) {
			onTheWay[p] = true
		}
		got, ok := c.found[w.Path]
		if !ok {
			c.errorf(w.Path, "is missing")
			continue
		}
		if w.Broken != (got.node == 0) {
			c.errorf(w.Path, "is broken: %v, want %v", !w.Broken, w.Broken)
			continue
		}
		if !w.Broken {
			c.compareFile(w, got)
		}
	}
	for _, p := range c.paths {
		if !onTheWay[p] {
			c.errorf(p, "is not wanted")
		}
	}
}

func (c *checker) compareFile(w *File, f found) {
	if w.Link != "" {
		if to, ok := c.found[w.Link]; !ok || to.attr.Ino != f.attr.Ino {
			c.errorf(w.Path, "got inode %d, want that of %q, %d", f.attr.Ino, w.Link, to.attr.Ino)
		}
		return
	}
	mode := w.Mode
	if mode&fsys.TypeMask == 0 {
		mode |= fsys.TypeFile
	}
	if f.attr.Mode&fsys.TypeMask != mode&fsys.TypeMask {
		c.errorf(w.Path, "got mode %o, want %o", f.attr.Mode, mode)
		return
	}
	c.compareAttr(w, &f.attr)
	c.compareXattrs(w, f.node)
	switch mode & fsys.TypeMask {
	case fsys.TypeFile:
		c.compareContent(w, f)
	case fsys.TypeLink:
		if got, err := c.fs.Readlink(f.node); err != nil || string(got) != w.Target {
			c.errorf(w.Path, "readlink: got %q, error %v, want %q", got, err, w.Target)
		}
	}
}

func (c *checker) compareAttr(w *File, a *fsys.Attr) {
	for _, x := range []struct {
		name      string
		got, want uint32
	}{
		{"permissions", a.Mode & fsys.PermMask, w.Mode & fsys.PermMask},
		{"uid", a.UID, w.UID},
		{"gid", a.GID, w.GID},
		{"major", a.Major, w.Major},
		{"minor", a.Minor, w.Minor},
		{"link count", a.Nlink, w.Nlink},
	} {
		if x.want != 0 && x.got != x.want {
			c.errorf(w.Path, "%s: got %d (%#o), want %d (%#o)", x.name, x.got, x.got, x.want, x.want)
		}
	}
	if w.ModTime != (fsys.Time{}) && a.ModTime != w.ModTime {
		c.errorf(w.Path, "modification time: got %v, want %v", a.ModTime, w.ModTime)
	}
}

func (c *checker) compareXattrs(w *File, n fsys.Node) {
	if w.Xattrs == nil {
		return
	}
	x, ok := c.fs.(fsys.XattrFS)
	if !ok {
		c.errorf(w.Path, "file system has no extended attributes")
		return
	}
	for name, want := range w.Xattrs {
		if got, err := x.Xattr(n, name); err != nil || string(got) != want {
			c.errorf(w.Path, "xattr %q: got %q, error %v, want %q", name, got, err, want)
		}
	}
	names, err := x.Xattrs(n)
	for _, name := range names {
		if _, wanted := w.Xattrs[name]; !wanted {
			c.errorf(w.Path, "xattr %q is not wanted, error %v", name, err)
		}
	}
}

// compareContent compares what MaxRead allows of a file, at both its ends.
func (c *checker) compareContent(w *File, f found) {
	size := w.size()
	if f.attr.Size != size {
		c.errorf(w.Path, "got size %d, want %d", f.attr.Size, size)
		return
	}
	n := min(size, c.MaxRead)
	for _, off := range slices.Compact([]int64{0, (size - n) / 2, size - n}) {
		want := make([]byte, n)
		if k, err := w.content().ReadAt(want, off); int64(k) < n {
			c.errorf(w.Path, "what is wanted cannot be read: %w", err)
			return
		}
		got, err := readAt(c.fs, f.node, size, newBuffer(int(n)), off)
		if err != nil || !bytes.Equal(got, want) {
			c.errorf(w.Path, "content from offset %d: got %s, error %v", off, firstDifference(got, want), err)
		}
	}
}
