package udf

import (
	"math"

	"github.com/isomount/isomount/pkg/binfmt"
	"github.com/isomount/isomount/pkg/fsys"
)

// overflowID is the owner that Linux shows for a file without one.
const overflowID = 65534

// fileMode gives the POSIX type of a file type. Types that are not known are no
// files for users.
func fileMode(t uint8) (mode uint32, ok bool) {
	switch t {
	case fileUnknown, fileRegular, fileVAT, fileRealTime:
		return fsys.TypeFile, true
	case fileDir:
		return fsys.TypeDir, true
	case fileBlock:
		return fsys.TypeBlock, true
	case fileChar:
		return fsys.TypeChar, true
	case fileFifo:
		return fsys.TypeFifo, true
	case fileSocket:
		return fsys.TypeSocket, true
	case fileSymlink:
		return fsys.TypeLink, true
	}
	return 0, false
}

// attr describes the entry e, which a directory knows by address a. It may
// read through w, after which e's slices are no longer valid.
func (f *FS) attr(w *window, a addr, e *icb) (fsys.Attr, error) {
	mode, ok := fileMode(e.fileType)
	if !ok {
		return fsys.Attr{}, binfmt.Corrupt(e.off, "file of type %d", e.fileType)
	}
	at := fsys.Attr{
		Ino:     f.ino(a),
		Mode:    mode | e.permissions(),
		Nlink:   max(uint32(e.links), 1),
		UID:     e.uid,
		GID:     e.gid,
		Size:    e.size,
		Blocks:  f.blocks512(e.blocks),
		ModTime: f.time(e.modified),
		AccTime: f.time(e.accessed),
		ChgTime: f.time(e.changed),
	}
	f.own(&at)
	switch mode {
	case fsys.TypeDir:
		at.Nlink++ // the disc does not count "."
	case fsys.TypeLink:
		at.Mode = fsys.TypeLink | 0o777
		if n, err := f.linkSize(w, *e); err == nil {
			at.Size = n
		}
	case fsys.TypeBlock, fsys.TypeChar:
		at.Major, at.Minor = deviceNumbers(e.ea)
	}
	return at, nil
}

// ino is the number of the block in which the file entry lies, as in Linux.
func (f *FS) ino(a addr) uint64 {
	pos, _, err := f.locate(a, 0)
	if err != nil {
		return uint64(a.node())
	}
	return uint64(pos / f.block)
}

// permissions converts UDF permissions (ECMA-167 4/14.9.5) to POSIX ones: the
// same bits, five a class instead of three.
func (e *icb) permissions() uint32 {
	mode := e.perms&0o7 | e.perms>>2&0o70 | e.perms>>4&0o700
	if e.flags&flagSetUID != 0 {
		mode |= 0o4000
	}
	if e.flags&flagSetGID != 0 {
		mode |= 0o2000
	}
	if e.flags&flagSticky != 0 {
		mode |= 0o1000
	}
	return mode
}

// own applies the owner options. Unlike in ISO 9660, mode= and dmode= hold for
// every file, as in Linux.
func (f *FS) own(at *fsys.Attr) {
	noUID, noGID := at.UID == noID, at.GID == noID
	given := f.owner.SetFile
	if at.IsDir() {
		given = f.owner.SetDir
	}
	f.owner.Apply(at, true, !given || f.owner.Fallback)
	if noUID && !f.owner.ForceUID {
		at.UID = defaultID(f.owner.UID)
	}
	if noGID && !f.owner.ForceGID {
		at.GID = defaultID(f.owner.GID)
	}
}

// defaultID is the owner of a file that has none: whoever mounts, but nobody
// in place of root, as in Linux.
func defaultID(id uint32) uint32 {
	if id == 0 {
		return overflowID
	}
	return id
}

func (f *FS) blocks512(n uint64) int64 {
	per := uint64(f.block) / 512
	if n > math.MaxInt64/per {
		return 0
	}
	return int64(n * per)
}

// time gives a timestamp, or that of the volume where it is not valid.
func (f *FS) time(t timestamp) fsys.Time {
	if !t.ok {
		return f.recorded.Time
	}
	return t.Time
}
