package master

import (
	"errors"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/isomount/isomount/pkg/fsys"
)

// A fileID tells files of this machine apart.
type fileID struct{ dev, ino uint64 }

func idOf(st *unix.Stat_t) fileID { return fileID{st.Dev, st.Ino} }

// A found is something met while scanning.
type found struct {
	path string // on this machine
	name string // in the directory of the image
	st   unix.Stat_t
	up   *found // the directory that it is in
	via  bool   // reached through a symbolic link
}

func (f *found) isDir() bool { return f.st.Mode&unix.S_IFMT == unix.S_IFDIR }

// statSource looks at what the user named. A link to a directory is followed:
// it is the directory that is meant.
func (s *scanner) statSource(f *found) error {
	if err := unix.Lstat(f.path, &f.st); err != nil {
		return err
	}
	st, ok := f.behind()
	if ok && (s.opt.Follow || st.Mode&unix.S_IFMT == unix.S_IFDIR) {
		f.st, f.via = st, true
	}
	return nil
}

// stat looks at an entry of a directory, behind it if it is a link to follow.
func (s *scanner) stat(f *found) error {
	if err := unix.Lstat(f.path, &f.st); err != nil {
		return err
	}
	if !s.opt.Follow {
		return nil
	}
	st, ok := f.behind()
	switch {
	case !ok:
	case f.isBelow(&st):
		s.notes = append(s.notes, Note{f.path, ErrLoop})
	default:
		f.st, f.via = st, true
	}
	return nil
}

// behind looks at what a symbolic link leads to. It tells whether f is one and
// does not lead to nowhere.
func (f *found) behind() (st unix.Stat_t, ok bool) {
	if f.st.Mode&unix.S_IFMT != unix.S_IFLNK {
		return st, false
	}
	err := unix.Stat(f.path, &st)
	return st, err == nil
}

// isBelow tells whether f is in a directory, however deep.
func (f *found) isBelow(dir *unix.Stat_t) bool {
	for up := f.up; up != nil; up = up.up {
		if idOf(&up.st) == idOf(dir) {
			return true
		}
	}
	return false
}

// readNames lists a directory in the order of the names.
func (s *scanner) readNames(path string) ([]string, error) {
	fd, err := s.how.open(path, unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	d := os.NewFile(uintptr(fd), path)
	names, err := d.Readdirnames(-1)
	slices.Sort(names)
	return names, errors.Join(err, d.Close())
}

// attr returns the attributes of something that was found.
func (s *scanner) attr(f *found) fsys.Attr {
	st := &f.st
	a := fsys.Attr{
		Mode: st.Mode, UID: st.Uid, GID: st.Gid, Size: st.Size,
		ModTime: timeOf(st.Mtim), AccTime: timeOf(st.Atim), ChgTime: timeOf(st.Ctim),
	}
	if kind := st.Mode & unix.S_IFMT; kind == unix.S_IFCHR || kind == unix.S_IFBLK {
		a.Major, a.Minor = unix.Major(st.Rdev), unix.Minor(st.Rdev)
	}
	if s.opt.Adjust != nil {
		kind := a.Mode & fsys.TypeMask
		s.opt.Adjust(f.path, &a)
		a.Mode = a.Mode&fsys.PermMask | kind
	}
	return a
}

func timeOf(t unix.Timespec) fsys.Time { return fsys.Time{Sec: t.Sec, Nsec: uint32(t.Nsec)} }
