package udf

import (
	"bytes"

	"github.com/isomount/isomount/pkg/binfmt"
	"github.com/isomount/isomount/pkg/fsys"
)

// ReadDir implements [fsys.FS]. A place in a directory is the byte offset of
// the descriptor that comes next.
func (f *FS) ReadDir(dir fsys.Node, from uint64, yield func(*fsys.Entry) bool) error {
	in, err := f.dir(dir)
	if err != nil {
		return err
	}
	if from >= uint64(in.size) {
		return nil
	}
	again := f.renames(in)
	s := f.scan(in, int64(from))
	defer s.stop()
	var entry fsys.Entry
	for s.next() {
		if !f.shown(&s.fid) {
			continue
		}
		if entry.Name = s.entryName(again); entry.Name == nil {
			continue
		}
		entry.Node, entry.Next = s.icb.node(), uint64(s.fid.next)
		if entry.Attr, err = f.attrOf(&s.icbs, s.icb.addr); err != nil {
			entry.Node, entry.Attr = 0, fsys.Attr{Ino: f.ino(s.icb.addr)}
		}
		if !yield(&entry) {
			return nil
		}
	}
	return s.err
}

// shown tells whether a descriptor is listed.
func (f *FS) shown(d *fid) bool {
	switch {
	case d.flags&fidParent != 0, d.icb.length == 0:
		return false
	case d.flags&fidDeleted != 0:
		return f.opts.Undelete
	case d.flags&fidHidden != 0:
		return !f.opts.Hide && string(d.ident) != nonAllocatable
	}
	return true
}

// entryName returns the name of the current descriptor, in the scanner's
// buffer, or nil if it is one too many of the same name.
func (s *scanner) entryName(again *renames) []byte {
	s.name = s.f.names.append(s.name[:0], s.ident)
	return again.apply(s.pos, s.name)
}

// attrOf reads the attributes of the file at address a.
func (f *FS) attrOf(w *window, a addr) (fsys.Attr, error) {
	e, err := f.readICB(w, a)
	if err != nil {
		return fsys.Attr{}, err
	}
	return f.attr(w, a, &e)
}

// Attr implements [fsys.FS].
func (f *FS) Attr(n fsys.Node) (fsys.Attr, error) {
	a, err := f.nodeAddr(n)
	if err != nil {
		return fsys.Attr{}, err
	}
	w := f.window()
	defer f.release(w)
	return f.attrOf(w, a)
}

// Lookup implements [fsys.FS].
func (f *FS) Lookup(dir fsys.Node, name []byte) (fsys.Node, fsys.Attr, error) {
	in, err := f.dir(dir)
	if err != nil {
		return 0, fsys.Attr{}, err
	}
	a, err := f.find(dir, in, name)
	if err != nil {
		return 0, fsys.Attr{}, err
	}
	w := f.window()
	defer f.release(w)
	attr, err := f.attrOf(w, a)
	return a.node(), attr, err
}

// find returns the address of the entry called name.
func (f *FS) find(dir fsys.Node, in *inode, name []byte) (addr, error) {
	again := f.renames(in)
	if pos, ok := again.byName(name); ok {
		if s, ok := f.entryAt(in, pos); ok {
			defer s.stop()
			return s.icb.addr, nil
		}
	}
	places, err := f.index.Find(dir, name, func(add func([]byte, uint64)) error {
		return f.eachName(in, add)
	})
	if err != nil {
		return f.search(in, again, name)
	}
	for _, p := range places {
		if a, ok := f.matches(in, int64(p.Pos), again, name); ok {
			return a, nil
		}
	}
	return addr{}, fsys.ErrNotExist
}

// search is find without an index, in a directory that cannot be read whole. A
// name that is not found may be in what was not read.
func (f *FS) search(in *inode, again *renames, name []byte) (addr, error) {
	s := f.scan(in, 0)
	defer s.stop()
	for s.next() {
		if f.shown(&s.fid) && bytes.Equal(s.entryName(again), name) {
			return s.icb.addr, nil
		}
	}
	if s.err != nil {
		return addr{}, s.err
	}
	return addr{}, fsys.ErrNotExist
}

// matches tells whether the descriptor at pos is called name.
func (f *FS) matches(in *inode, pos int64, again *renames, name []byte) (addr, bool) {
	s, ok := f.entryAt(in, pos)
	if !ok {
		return addr{}, false
	}
	defer s.stop()
	return s.icb.addr, bytes.Equal(s.entryName(again), name)
}

// entryAt returns a scanner whose current descriptor is that at pos, to be
// stopped by the caller.
func (f *FS) entryAt(in *inode, pos int64) (*scanner, bool) {
	s := f.scan(in, pos)
	s.chunk = 512
	if s.next() && s.pos == pos {
		return s, true
	}
	s.stop()
	return nil, false
}

// eachName calls add for every name of a directory.
func (f *FS) eachName(in *inode, add func(name []byte, pos uint64)) error {
	s := f.scan(in, 0)
	defer s.stop()
	for s.next() {
		if f.shown(&s.fid) {
			s.name = f.names.append(s.name[:0], s.ident)
			add(s.name, uint64(s.pos))
		}
	}
	return s.err
}

// Parent implements [fsys.ParentFS].
func (f *FS) Parent(dir fsys.Node) (fsys.Node, error) {
	in, err := f.dir(dir)
	if err != nil || dir == f.root {
		return dir, err
	}
	s := f.scan(in, 0)
	defer s.stop()
	for s.next() {
		if s.flags&fidParent != 0 {
			return s.icb.node(), nil
		}
	}
	if s.err != nil {
		return 0, s.err
	}
	return 0, binfmt.Corrupt(in.off, "directory without an entry for its parent")
}

// RootEntries counts what the root lists, up to a limit, so that a root that
// only says "this disc is for another system" can be told from a real one.
func (f *FS) RootEntries() int {
	const enough = 1000
	in, err := f.dir(f.root)
	if err != nil {
		return 0
	}
	s := f.scan(in, 0)
	defer s.stop()
	n := 0
	for n < enough && s.next() {
		if f.shown(&s.fid) {
			n++
		}
	}
	return n
}
