package fsystest

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/isomount/isomount/pkg/fsys"
)

// Limits bound what [Exercise] does. The zero value is right for a fuzz target.
type Limits struct {
	Entries int   // directory entries looked at; 0 is 500
	Bytes   int64 // bytes of content read; 0 is 1 MiB
}

func (l Limits) withDefaults() Limits {
	if l.Entries == 0 {
		l.Entries = 500
	}
	if l.Bytes == 0 {
		l.Bytes = 1 << 20
	}
	return l
}

// Exercise does everything to a tree that a user could: lists, looks up, stats,
// reads and follows all of it, within the limits. Errors of the tree are fine,
// since its disc may be damaged; Exercise returns an error for what no damage
// excuses, such as a name with a slash or a listing that contradicts itself.
func Exercise(f fsys.FS, l Limits) error {
	x := newExerciser(f, l)
	x.fs.Statfs()
	queue := []fsys.Node{f.Root()}
	x.node(f.Root())
	for len(queue) > 0 && x.fault == nil {
		dir := queue[0]
		queue = queue[1:]
		if x.seen[dir] {
			continue
		}
		x.seen[dir] = true
		queue = append(queue, x.dir(dir)...)
	}
	if x.fault == nil {
		x.nonsense()
	}
	return x.fault
}

// An exerciser remembers what may still be done and what went wrong first.
type exerciser struct {
	fs    fsys.FS
	left  Limits
	seen  map[fsys.Node]bool // directories
	buf   []byte             // what files are read into
	fault error
}

func newExerciser(f fsys.FS, l Limits) *exerciser {
	return &exerciser{fs: f, left: l.withDefaults(), seen: map[fsys.Node]bool{}, buf: newBuffer(5000)}
}

func (x *exerciser) faultf(format string, args ...any) {
	if x.fault == nil {
		x.fault = fmt.Errorf(format, args...)
	}
}

// dir exercises a directory and returns the directories in it.
func (x *exerciser) dir(dir fsys.Node) []fsys.Node {
	all := x.readDir(dir, 0)
	if len(all) > 1 {
		x.resume(dir, all, len(all)/2)
	}
	var dirs []fsys.Node
	for _, e := range all {
		x.entry(dir, e)
		if e.node == 0 {
			continue
		}
		x.node(e.node)
		if e.attr.IsDir() {
			dirs = append(dirs, e.node)
		}
	}
	if _, _, err := x.fs.Lookup(dir, []byte("no such file")); err == nil {
		x.faultf("lookup in %#x: found a name that is not there", dir)
	}
	return dirs
}

func (x *exerciser) readDir(dir fsys.Node, from uint64) []entry {
	all, err := list(x.fs, dir, from, x.left.Entries)
	x.left.Entries -= len(all)
	if fault := listFaults(all); fault != nil {
		x.faultf("readdir of %#x: %w", dir, fault)
	}
	if errors.Is(err, errStop) {
		x.faultf("readdir of %#x: %w", dir, err)
	}
	return all
}

// resume lists from the middle on, which must give what it gave before.
func (x *exerciser) resume(dir fsys.Node, all []entry, i int) {
	rest, err := list(x.fs, dir, all[i-1].next, min(2, len(all)-i))
	if err != nil && len(rest) == 0 {
		return
	}
	for k, e := range rest {
		if e != all[i+k] {
			x.faultf("readdir of %#x after %q: got %q, and %q before", dir, all[i-1].name, e.name, all[i+k].name)
			return
		}
	}
}

// entry looks up what was listed.
func (x *exerciser) entry(dir fsys.Node, e entry) {
	n, a, err := x.fs.Lookup(dir, []byte(e.name))
	switch {
	case e.node == 0:
		if fault := brokenFault(e.attr, err); fault != "" {
			x.faultf("entry %q in %#x: %s", e.name, dir, fault)
		}
	case errors.Is(err, fs.ErrNotExist):
		x.faultf("lookup of %q in %#x: listed, but %w", e.name, dir, err)
	case err == nil && (n != e.node || a != e.attr):
		x.faultf("lookup of %q in %#x: got node %#x %+v, listed as %#x %+v", e.name, dir, n, a, e.node, e.attr)
	}
}

// node does to one node everything but listing it.
func (x *exerciser) node(n fsys.Node) {
	a, err := x.fs.Attr(n)
	if err == nil {
		if fault := attrFaults(&a); fault != "" {
			x.faultf("node %#x: %s: %+v", n, fault, a)
		}
	}
	x.read(n, a.Size)
	x.extents(n, a.Size)
	_, _ = x.fs.Readlink(n)
	_, _, _ = x.fs.Lookup(n, []byte("x"))
	if p, ok := x.fs.(fsys.ParentFS); ok {
		_, _ = p.Parent(n)
	}
	if f, ok := x.fs.(fsys.XattrFS); ok {
		names, _ := f.Xattrs(n)
		for _, name := range names[:min(len(names), 100)] {
			_, _ = f.Xattr(n, name)
		}
		_, _ = f.Xattr(n, "user.none")
	}
}

// read reads both ends and the middle of a file.
func (x *exerciser) read(n fsys.Node, size int64) {
	for _, off := range []int64{0, size / 2, size - 1, size, -1} {
		length := int(min(x.left.Bytes, int64(cap(x.buf)-len(guard))))
		got, err := readAt(x.fs, n, size, x.buf[:length], off)
		x.left.Bytes -= int64(len(got))
		if fault := (*readFaultError)(nil); errors.As(err, &fault) {
			x.faultf("read of %d bytes of %#x at offset %d of %d: %w", length, n, off, size, fault)
		}
	}
}

func (x *exerciser) extents(n fsys.Node, size int64) {
	f, ok := x.fs.(fsys.ExtentFS)
	if !ok {
		return
	}
	at, steps := int64(0), 0
	_ = f.Extents(n, 0, func(e fsys.Extent) bool {
		if fault := extentFault(e, at, size); fault != nil {
			x.faultf("extents of %#x: %w", n, fault)
		}
		at += e.Len
		steps++
		return steps < 1000 && x.fault == nil
	})
}

// nonsense asks for places and names that the tree never handed out.
func (x *exerciser) nonsense() {
	root := x.fs.Root()
	for _, from := range []uint64{1, 33, 2048, 1<<62 - 1, 1 << 62, 1<<64 - 1} {
		_, _ = list(x.fs, root, from, 3)
	}
	for _, name := range missing {
		_, _, _ = x.fs.Lookup(root, []byte(name))
	}
	for _, n := range []fsys.Node{0, 1, root + 1, root - 1, root ^ 1<<40, 1<<64 - 1} {
		x.left = Limits{Entries: 10, Bytes: 1 << 14}
		x.node(n)
		x.readDir(n, 0)
	}
}
