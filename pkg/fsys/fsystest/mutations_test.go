package fsystest

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"github.com/isomount/isomount/pkg/fsys"
)

// mutants are what the suite must find, with words of what it says of them.
// Those with hostile are found by Exercise as well.
var mutants = []struct {
	name    string
	brk     func(*mutant)
	want    string
	hostile bool
}{
	{"root is a file", func(m *mutant) { m.root = func() fsys.Node { return memNodeOf(1) } }, "root is no directory", false},
	{"block size", func(m *mutant) { m.statfs = func() fsys.Statfs { return fsys.Statfs{BlockSize: 2049, NameLen: 1} } }, "power of two", false},
	{"name length", func(m *mutant) { m.statfs = func() fsys.Statfs { return fsys.Statfs{BlockSize: 2048} } }, "name length", false},
	{"slash in a name", eachEntry(func(e *fsys.Entry) { e.Name = []byte("a/b") }), "slash", true},
	{"NUL in a name", eachEntry(func(e *fsys.Entry) { e.Name = append(e.Name, 0) }), "NUL", true},
	{"empty name", eachEntry(func(e *fsys.Entry) { e.Name = nil }), "empty", true},
	{"itself listed", eachEntry(func(e *fsys.Entry) { e.Name = []byte(".") }), "name is . or ..", true},
	{"parent listed", eachEntry(func(e *fsys.Entry) { e.Name = []byte("..") }), "name is . or ..", true},
	{"names twice", eachEntry(func(e *fsys.Entry) { e.Name = []byte("same") }), "twice", true},
	{"next zero", eachEntry(func(e *fsys.Entry) { e.Next = 0 }), "next", true},
	{"next too large", eachEntry(func(e *fsys.Entry) { e.Next |= 1 << 62 }), "next", true},
	{"next repeats", eachEntry(func(e *fsys.Entry) { e.Next = 3 }), "next", true},
	{"listed under another name", eachEntry(func(e *fsys.Entry) { e.Name = append(e.Name, 'x') }), "lookup", true},
	{"listed with another node", eachEntry(func(e *fsys.Entry) { e.Node = memNodeOf(1) }), "lookup", true},
	{"listed with other attributes", eachEntry(func(e *fsys.Entry) { e.Attr.UID++ }), "lookup", true},
	{"file is broken", eachEntry(func(e *fsys.Entry) {
		if string(e.Name) == "text" {
			e.Node, e.Attr = 0, fsys.Attr{Ino: 1}
		}
	}), "is broken: true, want false", true},
	{"attributes of what is broken", eachEntry(func(e *fsys.Entry) {
		if e.Node == 0 {
			e.Attr.Mode = fsys.TypeFile
		}
	}), "attributes beyond an inode", true},
	{"what is broken is missing", func(m *mutant) {
		m.lookup = func(d fsys.Node, name []byte) (fsys.Node, fsys.Attr, error) {
			n, a, err := m.Mem.Lookup(d, name)
			if errors.Is(err, errBroken) {
				err = fsys.ErrNotExist
			}
			return n, a, err
		}
	}, "listed, but does not exist", true},
	{"what is broken is sound", func(m *mutant) {
		files := sample()
		for i := range files {
			files[i].Broken = false
		}
		m.Mem, _ = NewMem(files)
	}, "is broken: false, want true", false},
	{"resume starts over", func(m *mutant) {
		m.readDir = func(d fsys.Node, _ uint64, yield func(*fsys.Entry) bool) error { return m.Mem.ReadDir(d, 0, yield) }
	}, "readdir after", true},
	{"resume skips one", func(m *mutant) {
		m.readDir = func(d fsys.Node, from uint64, yield func(*fsys.Entry) bool) error {
			return m.Mem.ReadDir(d, from+min(from, 1), yield)
		}
	}, "readdir after", true},
	{"yield's stop ignored", func(m *mutant) {
		m.readDir = func(d fsys.Node, from uint64, yield func(*fsys.Entry) bool) error {
			return m.Mem.ReadDir(d, from, func(e *fsys.Entry) bool { yield(e); return true })
		}
	}, "after yield returned false", false},
	{"listing fails", func(m *mutant) {
		m.readDir = func(d fsys.Node, from uint64, yield func(*fsys.Entry) bool) error {
			return errors.Join(m.Mem.ReadDir(d, from, yield), io.ErrUnexpectedEOF)
		}
	}, "unexpected EOF", false},
	{"listing of a file", func(m *mutant) {
		m.readDir = func(d fsys.Node, from uint64, yield func(*fsys.Entry) bool) error {
			if err := m.Mem.ReadDir(d, from, yield); !errors.Is(err, fsys.ErrNotDir) {
				return err
			}
			return nil
		}
	}, "readdir of what is no directory", false},
	{"attributes of the node differ", func(m *mutant) {
		m.attr = func(n fsys.Node) (fsys.Attr, error) {
			a, err := m.Mem.Attr(n)
			a.ModTime.Sec++
			return a, err
		}
	}, "its directory said", false},
	{"no type", eachAttr(func(a *fsys.Attr) { a.Mode &= fsys.PermMask | fsys.TypeDir }), "no known type", true},
	{"mode bits", eachAttr(func(a *fsys.Attr) { a.Mode |= 1 << 16 }), "mode has bits", true},
	{"link count 0", eachAttr(func(a *fsys.Attr) { a.Nlink = 0 }), "link count is 0", true},
	{"negative size", eachAttr(func(a *fsys.Attr) { a.Size = -1 }), "size is negative", true},
	{"negative blocks", eachAttr(func(a *fsys.Attr) { a.Blocks = -1 }), "blocks are negative", true},
	{"nanoseconds", eachAttr(func(a *fsys.Attr) { a.AccTime.Nsec = 1e9 }), "nanoseconds", true},
	{"inode 0", eachAttr(func(a *fsys.Attr) { a.Ino = 0 }), "inode number is 0", true},
	{"inodes shared", eachAttr(func(a *fsys.Attr) { a.Ino = 9 }), "inode 9", false},
	{"node too wide", func(m *mutant) { m.root = func() fsys.Node { return 1 << 60 }; wide(m, 1<<60) }, "takes more than 56 bits", false},
	{"lookup finds anything", func(m *mutant) {
		m.lookup = func(d fsys.Node, name []byte) (fsys.Node, fsys.Attr, error) {
			n, a, err := m.Mem.Lookup(d, name)
			if errors.Is(err, fsys.ErrNotExist) {
				return memNodeOf(1), m.nodes[1].attr, nil
			}
			return n, a, err
		}
	}, "which is not there", true},
	{"lookup in a file", func(m *mutant) {
		m.lookup = func(d fsys.Node, name []byte) (fsys.Node, fsys.Attr, error) {
			n, a, err := m.Mem.Lookup(d, name)
			if errors.Is(err, fsys.ErrNotDir) {
				err = fsys.ErrNotExist
			}
			return n, a, err
		}
	}, "lookup in what is no directory", false},
	{"lookup keeps the name", func(m *mutant) {
		type answer struct {
			name []byte
			node fsys.Node
		}
		var mu sync.Mutex // guards last
		last := map[fsys.Node]answer{}
		m.lookup = func(d fsys.Node, name []byte) (fsys.Node, fsys.Attr, error) {
			mu.Lock()
			defer mu.Unlock()
			if l := last[d]; l.name != nil && bytes.Equal(l.name, name) {
				a, err := m.Mem.Attr(l.node)
				return l.node, a, err
			}
			n, a, err := m.Mem.Lookup(d, name)
			if err == nil {
				last[d] = answer{name, n}
			}
			return n, a, err
		}
	}, "lookup", false},
	{"read of a directory", func(m *mutant) {
		m.readAt = func(n fsys.Node, p []byte, off int64) (int, error) {
			k, err := m.Mem.ReadAt(n, p, off)
			if errors.Is(err, fsys.ErrIsDir) {
				err = io.EOF
			}
			return k, err
		}
	}, "read of a directory", true},
	{"short read without error", changeRead(func(p []byte, n int, _ int64, err error) (int, error) {
		if n == len(p) && n > 0 {
			return n - 1, nil
		}
		return n, err
	}), "without an error", true},
	{"no error at the end", changeRead(func(_ []byte, n int, _ int64, err error) (int, error) {
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return n, err
	}), "without an error", true},
	{"end of file too early", changeRead(func(p []byte, n int, off int64, err error) (int, error) {
		if off > 2048 && n == len(p) && n > 100 {
			return n / 2, io.EOF
		}
		return n, err
	}), "end of file after", true},
	{"end of file told in the middle", changeRead(func(p []byte, n int, _ int64, err error) (int, error) {
		if n == len(p) {
			err = io.EOF
		}
		return n, err
	}), "before the end of the file", true},
	{"rest of the last block", func(m *mutant) {
		m.readAt = func(n fsys.Node, p []byte, off int64) (int, error) {
			k, err := m.Mem.ReadAt(n, p, off)
			if errors.Is(err, io.EOF) && k < len(p) {
				k++
			}
			return k, err
		}
	}, "where the file has", true},
	{"negative offset read", func(m *mutant) {
		m.readAt = func(n fsys.Node, p []byte, off int64) (int, error) { return m.Mem.ReadAt(n, p, max(off, 0)) }
	}, "offset -1", true},
	{"write behind the buffer", changeRead(func(p []byte, n int, _ int64, err error) (int, error) {
		if n < len(p) && len(p) < cap(p) {
			p = p[:cap(p)]
			p[len(p)-1] = 1
		}
		return n, err
	}), "behind its buffer", true},
	{"wrong bytes at an odd offset", changeRead(func(p []byte, n int, off int64, err error) (int, error) {
		if off%2048 == 1 && n > 0 {
			p[0]++
		}
		return n, err
	}), "is not what reading from the start gave", false},
	{"wrong content", changeRead(func(p []byte, n int, off int64, err error) (int, error) {
		for i := range p[:n] {
			p[i] ^= byte((off + int64(i)) >> 11)
		}
		return n, err
	}), "content from offset", false},
	{"read error", changeRead(func(_ []byte, _ int, _ int64, _ error) (int, error) { return 0, io.ErrClosedPipe }), "closed pipe", false},
	{"readlink of a file", func(m *mutant) {
		m.readlink = func(n fsys.Node) ([]byte, error) {
			if l, err := m.Mem.Readlink(n); !errors.Is(err, fsys.ErrNotLink) {
				return l, err
			}
			return []byte("x"), nil
		}
	}, "readlink of what is no link", false},
	{"link with a NUL", func(m *mutant) {
		m.readlink = func(n fsys.Node) ([]byte, error) { l, err := m.Mem.Readlink(n); return append(l, 0), err }
	}, "NUL", false},
	{"link of another size", func(m *mutant) {
		m.readlink = func(n fsys.Node) ([]byte, error) { l, err := m.Mem.Readlink(n); return append(l, 'x'), err }
	}, "target of 8 bytes", false},
	{"link elsewhere", func(m *mutant) {
		m.readlink = func(n fsys.Node) ([]byte, error) { l, err := m.Mem.Readlink(n); return bytes.ToUpper(l), err }
	}, "want \"../text\"", false},
	{"link fails", func(m *mutant) {
		m.readlink = func(n fsys.Node) ([]byte, error) {
			_, err := m.Mem.Readlink(n)
			return nil, errors.Join(err, io.ErrNoProgress)
		}
	}, "readlink: multiple", false},
	{"parent of all is the root", func(m *mutant) {
		m.parent = func(n fsys.Node) (fsys.Node, error) { _, err := m.Mem.Parent(n); return m.Mem.Root(), err }
	}, "parent: got", false},
	{"parent of a file", func(m *mutant) { m.parent = func(fsys.Node) (fsys.Node, error) { return m.Mem.Root(), nil } }, "parent of what is no directory", false},
	{"unknown xattr", func(m *mutant) { m.xattr = func(fsys.Node, string) ([]byte, error) { return nil, nil } }, "want ErrNoXattr", false},
	{"xattr without namespace", func(m *mutant) {
		m.xattrs = func(fsys.Node) ([]string, error) { return []string{"a"}, nil }
	}, "has no namespace", false},
	{"xattrs fail", func(m *mutant) {
		m.xattrs = func(fsys.Node) ([]string, error) { return nil, io.ErrNoProgress }
	}, "xattrs: multiple Read", false},
	{"extents with a gap", changeExtents(func(e *fsys.Extent) { e.Off += 512 }), "where one should start", true},
	{"extents too long", changeExtents(func(e *fsys.Extent) { e.Len++ }), "where one should start", true},
	{"extents of length 0", changeExtents(func(e *fsys.Extent) { e.Len = 0 }), "where one should start", true},
	{"extents elsewhere", changeExtents(func(e *fsys.Extent) { e.Pos += 16 }), "does not hold the bytes", false},
	{"data called a hole", changeExtents(func(e *fsys.Extent) { e.Pos = fsys.Hole }), "does not hold the bytes", false},
	{"unknown extent", changeExtents(func(e *fsys.Extent) { e.Pos = -3 }), "where one should start", true},
	{"extents end early", func(m *mutant) {
		m.extents = func(n fsys.Node, off int64, yield func(fsys.Extent) bool) error {
			return m.Mem.Extents(n, off, func(e fsys.Extent) bool { yield(e); return false })
		}
	}, "but the file at", false},
	{"extents from the start always", func(m *mutant) {
		m.extents = func(n fsys.Node, _ int64, yield func(fsys.Extent) bool) error { return m.Mem.Extents(n, 0, yield) }
	}, "where one should start", false},
	{"extents ignore stop", func(m *mutant) {
		m.extents = func(n fsys.Node, off int64, yield func(fsys.Extent) bool) error {
			return m.Mem.Extents(n, off, func(e fsys.Extent) bool { yield(e); return true })
		}
	}, "after yield returned false", false},
	{"extents of a directory", func(m *mutant) {
		m.extents = func(n fsys.Node, off int64, yield func(fsys.Extent) bool) error {
			if err := m.Mem.Extents(n, off, yield); !errors.Is(err, fsys.ErrIsDir) {
				return err
			}
			return nil
		}
	}, "extents of a directory", false},
	{"panic on a strange node", func(m *mutant) {
		m.attr = func(n fsys.Node) (fsys.Attr, error) { return m.nodes[(n-memFirstNode)/memNodeStep].attr, nil }
	}, "panic", true},
	{"directory in itself", func(m *mutant) {
		m.Mem = newMemLoop()
	}, "holds itself", false},
	{"not the same later", func(m *mutant) {
		var calls atomic.Int32
		m.root = func() fsys.Node { calls.Add(1); return m.Mem.Root() }
		changeRead(func(p []byte, n int, _ int64, err error) (int, error) {
			if calls.Load() > 4 && n > 0 {
				p[0]++
			}
			return n, err
		})(m)
	}, "do not see the same tree", false},
	{"missing and unwanted files", eachEntry(func(e *fsys.Entry) { e.Name = append(e.Name, 'x') }), "is missing", true},
	{"unwanted files", eachEntry(func(e *fsys.Entry) { e.Name = append(e.Name, 'x') }), "is not wanted", true},
	{"wrong owner", eachAttr(func(a *fsys.Attr) { a.UID++ }), "uid: got", false},
	{"wrong time", eachAttr(func(a *fsys.Attr) { a.ModTime.Sec++ }), "modification time", false},
	{"wrong permissions", eachAttr(func(a *fsys.Attr) { a.Mode ^= 0o002 }), "permissions", false},
	{"wrong type", eachAttr(func(a *fsys.Attr) {
		if a.Mode&fsys.TypeMask == fsys.TypeFifo {
			a.Mode ^= fsys.TypeFifo ^ fsys.TypeSocket
		}
	}), "got mode 140444", false},
	{"hard link broken", func(m *mutant) {
		m.Mem, _ = NewMem([]File{{Path: "text"}, {Path: "sub/again"}})
	}, "want that of \"text\"", false},
	{"xattr value", func(m *mutant) {
		m.xattr = func(n fsys.Node, name string) ([]byte, error) {
			v, err := m.Mem.Xattr(n, name)
			return append(v, 'x'), err
		}
	}, "got \"bx\"", false},
	{"xattr too many", func(m *mutant) {
		m.xattrs = func(fsys.Node) ([]string, error) { return []string{"user.a", "user.b"}, nil }
	}, "\"user.b\" is not wanted", false},
	{"wrong size", eachAttr(func(a *fsys.Attr) { a.Size += a.Size & 1 }), "got size 2, want 1", true},
}
