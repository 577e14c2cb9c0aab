package fsys

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"
	"unicode/utf8"
)

// maxLinks is how many symbolic links a path may pass, as on Linux.
const maxLinks = 40

var errLoop = errors.New("too many symbolic links")

// IOFS shows a tree as an [fs.FS], for [fs.WalkDir], os.CopyFS and the like.
// It implements [fs.ReadLinkFS]; its files implement [io.ReaderAt], [io.Seeker]
// and [fs.ReadDirFile], and Sys of their [fs.FileInfo] is a *[Attr].
//
// Names that are not UTF-8 are left out, since io/fs has no words for them.
// Symbolic links are followed within the tree, "/" being its root; one that
// leads out of it is [fs.ErrNotExist].
func IOFS(f FS) fs.FS { return ioFS{f} }

type ioFS struct{ fs FS }

var _ fs.ReadLinkFS = ioFS{}

// Open implements [fs.FS].
func (f ioFS) Open(name string) (fs.File, error) {
	n, a, err := f.find("open", name, true)
	if err != nil {
		return nil, err
	}
	info := ioInfo{path.Base(name), a}
	if a.IsDir() {
		return &ioDir{fs: f.fs, node: n, info: info}, nil
	}
	return ioFile{io.NewSectionReader(nodeReader{f.fs, n}, 0, a.Size), info}, nil
}

// Stat implements [fs.StatFS].
func (f ioFS) Stat(name string) (fs.FileInfo, error) { return f.stat("stat", name, true) }

// Lstat implements [fs.ReadLinkFS].
func (f ioFS) Lstat(name string) (fs.FileInfo, error) { return f.stat("lstat", name, false) }

func (f ioFS) stat(op, name string, follow bool) (fs.FileInfo, error) {
	_, a, err := f.find(op, name, follow)
	if err != nil {
		return nil, err
	}
	return ioInfo{path.Base(name), a}, nil
}

// ReadLink implements [fs.ReadLinkFS].
func (f ioFS) ReadLink(name string) (string, error) {
	n, _, err := f.find("readlink", name, false)
	if err != nil {
		return "", err
	}
	target, err := f.fs.Readlink(n)
	if err != nil {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: err}
	}
	return string(target), nil
}

// find resolves a path; a link at its end only if follow is set.
func (f ioFS) find(op, name string, follow bool) (Node, Attr, error) {
	if !fs.ValidPath(name) {
		return 0, Attr{}, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	n, a, err := Resolve(f.fs, name, follow)
	if err != nil {
		return 0, Attr{}, &fs.PathError{Op: op, Path: name, Err: err}
	}
	return n, a, nil
}

// Resolve finds a path from the root of a tree, names being any bytes. Links are
// followed within the tree, as [IOFS] tells; one at the end only if follow is
// set.
func Resolve(f FS, path string, follow bool) (Node, Attr, error) {
	w := ioWalk{fs: f, rest: path, follow: follow}
	p, err := w.run()
	if err != nil {
		return 0, Attr{}, err
	}
	return p.node, p.attr, nil
}

// An ioWalk goes along a path. Where it has come to is a stack, so that ".." in
// a link needs no knowledge of parents.
type ioWalk struct {
	fs     FS
	stack  []ioPlace
	rest   string // of the path
	follow bool   // a link at the end as well
	links  int    // that were followed
}

type ioPlace struct {
	node Node
	attr Attr
}

func (w *ioWalk) run() (ioPlace, error) {
	root := w.fs.Root()
	a, err := w.fs.Attr(root)
	if err != nil {
		return ioPlace{}, err
	}
	w.stack = []ioPlace{{root, a}}
	for w.rest != "" {
		if err := w.step(); err != nil {
			return ioPlace{}, err
		}
	}
	return w.top(), nil
}

func (w *ioWalk) top() ioPlace { return w.stack[len(w.stack)-1] }

func (w *ioWalk) step() error {
	name, rest, _ := strings.Cut(w.rest, "/")
	w.rest = rest
	switch name {
	case "", ".":
		return nil
	case "..":
		if len(w.stack) == 1 {
			return fs.ErrNotExist
		}
		w.stack = w.stack[:len(w.stack)-1]
		return nil
	}
	n, a, err := w.fs.Lookup(w.top().node, []byte(name))
	if err != nil {
		return err
	}
	if a.Mode&TypeMask == TypeLink && (w.rest != "" || w.follow) {
		return w.enter(n)
	}
	w.stack = append(w.stack, ioPlace{n, a})
	return nil
}

// enter puts the target of a link before the rest of the path.
func (w *ioWalk) enter(link Node) error {
	if w.links++; w.links > maxLinks {
		return errLoop
	}
	target, err := w.fs.Readlink(link)
	if err != nil {
		return err
	}
	if bytes.HasPrefix(target, []byte("/")) {
		w.stack = w.stack[:1]
	}
	w.rest = string(target) + "/" + w.rest
	return nil
}

// An ioFile is an open file that is no directory.
type ioFile struct {
	*io.SectionReader

	info ioInfo
}

var _ interface {
	fs.File
	io.ReaderAt
	io.Seeker
} = ioFile{}

// Stat implements [fs.File].
func (f ioFile) Stat() (fs.FileInfo, error) { return f.info, nil }

// Close implements [fs.File]. There is nothing to close.
func (ioFile) Close() error { return nil }

type nodeReader struct {
	fs   FS
	node Node
}

func (r nodeReader) ReadAt(p []byte, off int64) (int, error) { return r.fs.ReadAt(r.node, p, off) }

// An ioDir is an open directory.
type ioDir struct {
	fs   FS
	node Node
	info ioInfo
	next uint64 // where the next ReadDir goes on
}

var _ fs.ReadDirFile = (*ioDir)(nil)

// Stat implements [fs.File].
func (d *ioDir) Stat() (fs.FileInfo, error) { return d.info, nil }

// Close implements [fs.File]. There is nothing to close.
func (*ioDir) Close() error { return nil }

// Read implements [fs.File].
func (d *ioDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.info.name, Err: ErrIsDir}
}

// ReadDir implements [fs.ReadDirFile].
func (d *ioDir) ReadDir(n int) ([]fs.DirEntry, error) {
	var list []fs.DirEntry
	err := d.fs.ReadDir(d.node, d.next, func(e *Entry) bool {
		d.next = e.Next
		if utf8.Valid(e.Name) {
			list = append(list, fs.FileInfoToDirEntry(ioInfo{string(e.Name), e.Attr}))
		}
		return n <= 0 || len(list) < n
	})
	if err != nil {
		return list, &fs.PathError{Op: "readdir", Path: d.info.name, Err: err}
	}
	if n > 0 && len(list) == 0 {
		return nil, io.EOF
	}
	return list, nil
}

// An ioInfo is an Attr as an [fs.FileInfo].
type ioInfo struct {
	name string
	attr Attr
}

func (i ioInfo) Name() string       { return i.name }
func (i ioInfo) Size() int64        { return i.attr.Size }
func (i ioInfo) IsDir() bool        { return i.attr.IsDir() }
func (i ioInfo) Sys() any           { return &i.attr }
func (i ioInfo) Mode() fs.FileMode  { return fileMode(i.attr.Mode) }
func (i ioInfo) ModTime() time.Time { return time.Unix(i.attr.ModTime.Sec, int64(i.attr.ModTime.Nsec)) }

// fileMode turns a POSIX st_mode into Go's.
func fileMode(mode uint32) fs.FileMode {
	m := fs.FileMode(mode & 0o777)
	for _, bit := range []struct {
		posix uint32
		mode  fs.FileMode
	}{{0o4000, fs.ModeSetuid}, {0o2000, fs.ModeSetgid}, {0o1000, fs.ModeSticky}} {
		if mode&bit.posix != 0 {
			m |= bit.mode
		}
	}
	switch mode & TypeMask {
	case TypeFile:
		return m
	case TypeDir:
		return m | fs.ModeDir
	case TypeLink:
		return m | fs.ModeSymlink
	case TypeBlock:
		return m | fs.ModeDevice
	case TypeChar:
		return m | fs.ModeDevice | fs.ModeCharDevice
	case TypeFifo:
		return m | fs.ModeNamedPipe
	case TypeSocket:
		return m | fs.ModeSocket
	}
	return m | fs.ModeIrregular
}
