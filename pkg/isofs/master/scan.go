package master

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isomount/isomount/pkg/fsys"
)

// A Source is something to put into an image.
type Source struct {
	// Path of a file or directory on this machine.
	Path string
	// Target is the path in the image: of the directory that takes what is in
	// the source directory, or of the file itself. Default: the root for a
	// directory, a place in the root under its own name for anything else.
	Target string
	// Shallow leaves out what a directory holds, for lists that name all of it.
	Shallow bool
}

// ScanOptions say how sources are read. The zero ScanOptions take everything as
// it is, and fail at the first thing that cannot be read.
type ScanOptions struct {
	// Exclude has patterns of what to leave out, as Match takes them.
	Exclude []string
	// Leave has files to leave out wherever they turn up, such as the output.
	Leave []os.FileInfo
	// Follow takes what symbolic links point to instead of the links. Links to
	// nowhere, or back to a directory that they are in, stay links.
	Follow bool
	// OneFileSystem does not look into directories on which another file
	// system than the source's is mounted.
	OneFileSystem bool
	// SkipUnreadable leaves out what cannot be read and notes it.
	SkipUnreadable bool
	// NoXattrs leaves out extended attributes and ACLs.
	NoXattrs bool
	// AllXattrs takes all of them instead of those in "user.",
	// "security.capability", and ACLs.
	AllXattrs bool
	// Adjust, if not nil, may change the attributes of all that is taken. The
	// path is "" for directories that only the image has.
	Adjust func(path string, a *fsys.Attr)
	// Date is the time of directories that only the image has; default now.
	Date time.Time
}

// ErrLoop reports a symbolic link that leads back to a directory it is in.
var ErrLoop = errors.New("symbolic link leads back to a directory that it is in, not followed")

// Scan makes a tree from sources, later ones merged into earlier ones. Two
// files for one place are an error that wraps fs.ErrExist, unless they are the
// same file.
func Scan(ctx context.Context, sources []Source, opt ScanOptions) (*Tree, []Note, error) {
	for _, p := range opt.Exclude {
		if err := checkPattern(p); err != nil {
			return nil, nil, err
		}
	}
	if opt.Date.IsZero() {
		opt.Date = time.Now()
	}
	s := &scanner{ctx: ctx, opt: opt, links: map[fileID]*Node{}, made: map[*Node]bool{}, how: &manner{follow: opt.Follow}}
	s.tree = NewTree(s.madeUp())
	s.made[s.tree.root] = true
	for _, src := range sources {
		if err := s.add(src); err != nil {
			return nil, s.notes, err
		}
	}
	return s.tree, s.notes, nil
}

// A scanner fills a tree from this machine's files.
type scanner struct {
	ctx   context.Context //nolint:containedctx // a scanner lives for one Scan
	opt   ScanOptions
	tree  *Tree
	links map[fileID]*Node // files that have several names
	notes []Note
	dev   uint64 // file system of the current source
	root  string // path of the current source
	buf   []byte // for extended attributes
	how   *manner

	made map[*Node]bool // directories that no source has given attributes yet
}

// madeUp returns the attributes of a directory that only the image has.
func (s *scanner) madeUp() fsys.Attr {
	t := fsys.Time{Sec: s.opt.Date.Unix(), Nsec: uint32(s.opt.Date.Nanosecond())}
	a := fsys.Attr{Mode: fsys.TypeDir | 0o755, ModTime: t, AccTime: t, ChgTime: t}
	if s.opt.Adjust != nil {
		s.opt.Adjust("", &a)
		a.Mode = a.Mode&fsys.PermMask | fsys.TypeDir
	}
	return a
}

// add puts one source into the tree.
func (s *scanner) add(src Source) error {
	f := &found{path: src.Path}
	if err := s.statSource(f); err != nil {
		return s.unreadable(f, err)
	}
	s.root, s.dev = src.Path, f.st.Dev
	target := strings.Trim(src.Target, "/")
	if f.isDir() {
		return s.addTop(f, target, src.Shallow)
	}
	if target == "" {
		target = filepath.Base(src.Path)
	}
	if s.excluded(target) || s.left(f) {
		return nil
	}
	dir, name := splitPath(target)
	parent, err := s.makeDirs(dir)
	if err != nil {
		return err
	}
	f.name = name
	return s.place(parent, f)
}

// addTop merges the content of a directory into a directory of the image, which
// takes its attributes too if it is new.
func (s *scanner) addTop(f *found, target string, shallow bool) error {
	n := s.tree.Lookup(target)
	switch {
	case s.made[n]:
		if err := s.adopt(n, f); err != nil {
			return err
		}
	case n == nil:
		dir, name := splitPath(target)
		parent, err := s.makeDirs(dir)
		if err != nil {
			return err
		}
		f.name = name
		if n, err = s.create(parent, f); err != nil {
			return err
		}
	case !n.IsDir():
		return &fs.PathError{Op: "add", Path: n.Path(), Err: fs.ErrExist}
	}
	if shallow {
		return nil
	}
	return s.fill(n, f)
}

// adopt gives a directory that was made up the attributes of a real one.
func (s *scanner) adopt(n *Node, f *found) error {
	delete(s.made, n)
	a := s.attr(f)
	n.inode.setAttr(&a)
	if err := s.xattrs(n, f); err != nil {
		return s.unreadable(f, err)
	}
	return nil
}

// makeDirs returns the directory of the image at a path, made up where needed.
func (s *scanner) makeDirs(path string) (*Node, error) {
	n := s.tree.root
	for name := range strings.SplitSeq(path, "/") {
		if name == "" || name == "." {
			continue
		}
		next := n.Child(name)
		if next == nil {
			a := s.madeUp()
			var err error
			if next, err = s.tree.Add(n, name, &a, nil, 0); err != nil {
				return nil, err
			}
			s.made[next] = true
		}
		n = next
	}
	return n, nil
}

// fill adds what is in a directory. It recurses as deep as paths can be.
func (s *scanner) fill(dir *Node, f *found) error {
	if err := s.ctx.Err(); err != nil {
		return err
	}
	names, err := s.readNames(f.path)
	if err != nil {
		return s.unreadable(f, err)
	}
	content := &osDir{f.path, s.how}
	for _, name := range names {
		c := &found{path: filepath.Join(f.path, name), name: name, up: f}
		if s.excluded(strings.TrimLeft(strings.TrimPrefix(c.path, s.root), "/")) {
			continue
		}
		if err := s.stat(c); err != nil {
			if err = s.unreadable(c, err); err != nil {
				return err
			}
			continue
		}
		if s.left(c) {
			continue
		}
		if err := s.placeIn(dir, c, content); err != nil {
			return err
		}
	}
	return nil
}

// place adds something that was found, and what is in it.
func (s *scanner) place(parent *Node, f *found) error {
	return s.placeIn(parent, f, &osFile{f.path, s.how})
}

func (s *scanner) placeIn(parent *Node, f *found, c Content) error {
	if f.isDir() {
		return s.placeDir(parent, f)
	}
	if err := s.checkReadable(f); err != nil {
		return s.unreadable(f, err)
	}
	if old := parent.Child(f.name); old != nil && s.links[idOf(&f.st)] != nil && s.links[idOf(&f.st)].inode == old.inode {
		return nil
	}
	_, err := s.createWith(parent, f, c)
	return err
}

// placeDir adds a directory, or goes on with one that an earlier source has made.
func (s *scanner) placeDir(parent *Node, f *found) error {
	n := parent.Child(f.name)
	var err error
	switch {
	case n == nil:
		n, err = s.create(parent, f)
	case !n.IsDir():
		err = &fs.PathError{Op: "add", Path: n.Path(), Err: fs.ErrExist}
	case s.made[n]:
		err = s.adopt(n, f)
	}
	if err != nil {
		return err
	}
	if s.opt.OneFileSystem && f.st.Dev != s.dev {
		return nil
	}
	return s.fill(n, f)
}

func (s *scanner) create(parent *Node, f *found) (*Node, error) {
	return s.createWith(parent, f, nil)
}

// createWith adds a node. Files with several names become one inode.
func (s *scanner) createWith(parent *Node, f *found, c Content) (*Node, error) {
	a := s.attr(f)
	linked := !f.isDir() && f.st.Nlink > 1
	if linked {
		if to := s.links[idOf(&f.st)]; to != nil {
			return s.tree.Link(parent, f.name, to)
		}
		c = &osFile{f.path, s.how}
	}
	n, err := s.createNode(parent, f, &a, c)
	if err != nil {
		return nil, err
	}
	if linked {
		s.links[idOf(&f.st)] = n
	}
	if err := s.xattrs(n, f); err != nil {
		return n, s.unreadable(f, err)
	}
	return n, nil
}

func (s *scanner) createNode(parent *Node, f *found, a *fsys.Attr, c Content) (*Node, error) {
	switch f.st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return s.tree.Add(parent, f.name, a, c, stamp(&f.st))
	case unix.S_IFLNK:
		target, err := os.Readlink(f.path)
		if err != nil {
			return nil, err
		}
		return s.tree.AddLink(parent, f.name, a, target)
	}
	return s.tree.Add(parent, f.name, a, nil, 0)
}

// unreadable decides what becomes of something that cannot be read.
func (s *scanner) unreadable(f *found, err error) error {
	if _, ok := errors.AsType[*fs.PathError](err); !ok {
		err = &fs.PathError{Op: "read", Path: f.path, Err: err}
	}
	if !s.opt.SkipUnreadable {
		return err
	}
	s.notes = append(s.notes, Note{f.path, err})
	return nil
}

func (s *scanner) checkReadable(f *found) error {
	if f.st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil
	}
	return unix.Faccessat(unix.AT_FDCWD, f.path, unix.R_OK, unix.AT_EACCESS)
}

// excluded tells whether a pattern matches a path below the source.
func (s *scanner) excluded(path string) bool {
	return slices.ContainsFunc(s.opt.Exclude, func(p string) bool { return Match(p, path) })
}

// left tells whether it is one of the files to leave out.
func (s *scanner) left(f *found) bool {
	return slices.ContainsFunc(s.opt.Leave, func(info os.FileInfo) bool {
		st, ok := info.Sys().(*syscallStat)
		return ok && fileID{st.Dev, st.Ino} == idOf(&f.st)
	})
}

// splitPath cuts a path at its last slash.
func splitPath(path string) (dir, name string) {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i], path[i+1:]
	}
	return "", path
}
