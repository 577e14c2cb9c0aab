package isofs

import (
	"cmp"

	"github.com/isomount/isomount/pkg/binfmt"
	"github.com/isomount/isomount/pkg/fsys"
)

// The node of a file is the byte offset of its (first) directory record. The
// node of a directory is that of its own "." record, which is where the
// directory begins, because several records may lead there; where there is no
// "." record it is the record that led there, in the worst case the one in the
// volume descriptor.

// A dirRef is a directory that can be scanned.
type dirRef struct {
	node  fsys.Node
	start int64 // byte offset in the image
	size  int64 // bytes
}

// load reads the record of a node into s.
func (f *FS) load(s *scratch, n fsys.Node) error {
	off := int64(n & (1<<fsys.NodeBits - 1))
	if off < firstDescriptor*sectorSize || !f.recordAt(s, off) {
		return cmp.Or(s.err, fsys.ErrStale)
	}
	s.size = int64(s.rec.size)
	if s.rec.flags&flagMore != 0 && !s.rec.isDir() {
		s.size = f.sumSections(s)
	}
	f.parseUse(s, false)
	return s.err
}

// recordAt decodes the record at a byte offset, and tells whether there is one.
func (f *FS) recordAt(s *scratch, off int64) bool {
	b, err := f.v.readSome(s.head[:], off)
	s.fail(err)
	if err != nil || !s.rec.decode(b, off, f.v.highSierra) {
		return false
	}
	if s.rec.isDot() {
		s.rec.flags |= flagDirectory
	}
	return true
}

// dot loads the record that a directory at byte offset start has of itself, and
// tells whether there is one.
func (f *FS) dot(s *scratch, start int64) bool {
	if start < firstDescriptor*sectorSize || !f.recordAt(s, start) || !s.rec.isDot() {
		return false
	}
	s.size = int64(s.rec.size)
	return f.parseUse(s, false)
}

// parseUse reads the system use area of the record in s, and tells whether all
// of it could be read.
func (f *FS) parseUse(s *scratch, nameOnly bool) bool {
	if !f.rock {
		s.rock.reset()
		return true
	}
	s.susp.start(f.v, f.v.rock.area(s.rec.use, s.rec.off == f.rootStart))
	s.rock.parse(&s.susp, nameOnly)
	s.fail(s.susp.err)
	return s.susp.err == nil || isTruncated(s.susp.err)
}

// directory returns the directory of a node.
func (f *FS) directory(s *scratch, n fsys.Node) (dirRef, error) {
	if err := f.load(s, n); err != nil {
		return dirRef{}, err
	}
	if !s.rec.isDir() {
		return dirRef{}, fsys.ErrNotDir
	}
	d := dirRef{node: fsys.Node(s.rec.off), start: s.rec.off, size: s.size}
	if !s.rec.isDot() || s.rec.off == f.d.rootOff {
		d.start = f.v.extentOf(&s.rec)
	}
	return d, nil
}

// target returns where the directory lies that the record in s leads to, if it
// leads to one.
func (f *FS) target(s *scratch) (int64, bool) {
	if s.rock.has&hasChild != 0 {
		at := f.v.block(s.rock.child)
		return at, f.isDirectory(at)
	}
	return f.v.extentOf(&s.rec), s.rec.isDir()
}

// isDirectory tells whether a directory begins at a byte offset, by the
// standard's rules: a CL entry may lead anywhere.
func (f *FS) isDirectory(at int64) bool {
	var r record
	var buf [maxRecord]byte
	b, err := f.v.readSome(buf[:], at)
	return err == nil && r.decode(b, at, f.v.highSierra) && r.isDot() && r.isDir()
}

// resolve follows the record in s to the directory that it leads to, and fills
// in the attributes of that. Where the directory's record of itself cannot be
// read the record in s stands for it.
func (f *FS) resolve(a *fsys.Attr, s, target *scratch) fsys.Node {
	if at, ok := f.target(s); ok && f.dot(target, at) {
		f.attr(a, fsys.Node(at), target)
		return fsys.Node(at)
	}
	f.attr(a, fsys.Node(s.rec.off), s)
	return fsys.Node(s.rec.off)
}

// attr fills in what is known of the record in s.
func (f *FS) attr(a *fsys.Attr, n fsys.Node, s *scratch) {
	x := &s.rock
	a.Mode = f.typeOf(s) | x.mode&fsys.PermMask
	a.Ino, a.Nlink = uint64(n), 1
	a.Size = s.size
	posix := x.has&hasPX != 0
	if posix {
		a.UID, a.GID = overflowID(x.uid), overflowID(x.gid)
		a.Nlink = linkCount(x.nlink)
		if a.Nlink > 1 && !a.IsDir() {
			a.Ino = linkedIno(n, s)
		}
	}
	f.times(a, s)
	f.special(a, s)
	f.o.Owner.Apply(a, posix, posix)
}

// special corrects the size of what is no ordinary file.
func (f *FS) special(a *fsys.Attr, s *scratch) {
	switch a.Mode & fsys.TypeMask {
	case fsys.TypeLink:
		link, _ := s.rock.target()
		a.Size = int64(len(link))
		return
	case fsys.TypeChar, fsys.TypeBlock:
		a.Major, a.Minor = s.rock.major, s.rock.minor
		return
	case fsys.TypeFile:
		a.Size = f.fileSize(s)
	}
	a.Blocks = (s.size + 511) / 512
}

// typeOf returns the file type of the record in s. Whether it is a directory is
// the record's word, not that of Rock Ridge.
func (f *FS) typeOf(s *scratch) uint32 {
	if s.rec.isDir() {
		return fsys.TypeDir
	}
	switch t := s.rock.mode & fsys.TypeMask; t {
	case fsys.TypeLink, fsys.TypeChar, fsys.TypeBlock, fsys.TypeFifo, fsys.TypeSocket:
		return t
	}
	return fsys.TypeFile
}

// overflowID shows an id that is no id as Linux does.
func overflowID(id uint32) uint32 {
	const nobody = 65534
	if id == 1<<32-1 {
		return nobody
	}
	return id
}

// linkCount makes a link count of PX plausible: a file that is there has at
// least one link, and nobody makes two billion.
func linkCount(n uint32) uint32 {
	if n == 0 || n >= 1<<31 {
		return 1
	}
	return n
}

// Inode numbers of hard links. They are no byte offsets, which are below 1<<44.
const (
	inoSerial = 1 << 55 // and the file serial number of PX
	inoExtent = 1 << 54 // and the byte offset of the content
)

// linkedIno returns the inode number that a file shares with its other links.
// Writers without serial numbers, or with one that is always 0, record the
// content of all links once.
func linkedIno(n fsys.Node, s *scratch) uint64 {
	switch {
	case s.rock.has&hasSerial != 0 && s.rock.serial != 0:
		return inoSerial | uint64(s.rock.serial)
	case s.rec.size > 0:
		return inoExtent | uint64(s.rec.extent)
	}
	return uint64(n)
}

// times fills in the times: those of Rock Ridge, else that of the record, else
// that of the volume.
func (f *FS) times(a *fsys.Attr, s *scratch) {
	x := &s.rock
	t, ok := recordDate(s.rec.date)
	if !ok {
		t = f.v.date
	}
	if x.has&hasModTime != 0 {
		t = x.mod
	}
	a.ModTime, a.AccTime, a.ChgTime = t, t, t
	if x.has&hasAccTime != 0 {
		a.AccTime = x.acc
	}
	if x.has&hasChgTime != 0 {
		a.ChgTime = x.chg
	}
}

// notFile returns the error of reading what is in s as a file.
func (f *FS) notFile(s *scratch) error {
	if s.rec.isDir() {
		return fsys.ErrIsDir
	}
	return binfmt.Corrupt(s.rec.off, "not a regular file")
}
