package hfsplus

import "github.com/isomount/isomount/pkg/fsys"

// dotIno tells the inode numbers of AppleDouble files from those of their files.
const dotIno = 1 << 32

// Attr implements [fsys.FS].
func (v *FS) Attr(n fsys.Node) (fsys.Attr, error) {
	rec, err := v.at(n)
	if err != nil {
		return fsys.Attr{}, err
	}
	return v.attr(&rec, isDot(n))
}

// attr describes a record, or its AppleDouble file.
func (v *FS) attr(r *record, dot bool) (fsys.Attr, error) {
	a := fsys.Attr{
		Ino:  uint64(r.cnid),
		Mode: r.typ() | uint32(r.mode)&fsys.PermMask,
		UID:  r.uid, GID: r.gid,
		Nlink:   1,
		ModTime: v.date(r.modified, r.created),
	}
	a.ChgTime, a.AccTime = a.ModTime, a.ModTime
	if r.changed != 0 {
		a.ChgTime = v.date(r.changed, 0)
	}
	if r.accessed != 0 {
		a.AccTime = v.date(r.accessed, 0)
	}
	if err := v.sizeAttr(r, dot, &a); err != nil {
		return fsys.Attr{}, err
	}
	a.Blocks = a.Size/512 + (a.Size%512+511)/512
	hasMode := r.mode != 0
	v.owner.Apply(&a, hasMode || r.uid != 0 || r.gid != 0, hasMode)
	return a, nil
}

// sizeAttr sets what depends on the type.
func (v *FS) sizeAttr(r *record, dot bool, a *fsys.Attr) error {
	switch {
	case dot:
		a.Ino |= dotIno
		a.Mode = fsys.TypeFile | a.Mode&0o666
		a.Size = appleDoubleSize(r)
	case r.folder:
		a.Size = 2 + int64(r.valence)
		if r.flags&flagHasFolderCount != 0 {
			a.Nlink = 2 + min(r.folders, 1<<31)
		}
	case a.Mode&fsys.TypeMask == fsys.TypeBlock || a.Mode&fsys.TypeMask == fsys.TypeChar:
		a.Major, a.Minor = v.device(r)
	case a.Mode&fsys.TypeMask == fsys.TypeLink:
		a.Size = min(r.data.size, maxTarget)
	case a.Mode&fsys.TypeMask == fsys.TypeFile:
		a.Size, a.Nlink = r.data.size, v.linkCount(r)
		c, err := v.compressed(r)
		if c != nil {
			a.Size = c.size
		}
		return err
	}
	return nil
}
