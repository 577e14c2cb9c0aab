package hfsplus

import (
	"errors"
	"io"
	"io/fs"
	"strconv"

	"github.com/isomount/isomount/pkg/fsys"
)

// private are the folders in the top folder that hold what hard links lead to
// (TN1150 "Hard Links"). They are not shown.
type private struct {
	files, folders uint32 // catalog node ids, or 0
	created        uint32 // of the folder with the files
}

// Names of the private folders, as shown.
const (
	privateFiles   = "␀␀␀␀HFS+ Private Data"
	privateFolders = ".HFS+ Private Directory Data\r"
)

// findPrivate finds the private folders.
func (v *FS) findPrivate() error {
	if v.vol.isHFS() {
		return nil
	}
	it := v.newItem()
	defer it.close()
	var p private
	switch err := it.find(cnidRoot, []byte(privateFiles), sameName); {
	case err == nil && it.rec.folder:
		p.files, p.created = it.rec.cnid, it.rec.created
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	switch err := it.find(cnidRoot, []byte(privateFolders), sameName); {
	case err == nil && it.rec.folder:
		p.folders = it.rec.cnid
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	v.private = p
	return nil
}

// isHidden tells whether a record in folder parent is not shown: the private
// folders, and what claims to be the top folder elsewhere than at the top.
func (v *FS) isHidden(parent uint32, r *record) bool {
	if !r.folder {
		return false
	}
	if parent == cnidRoot && (r.cnid == v.private.files || r.cnid == v.private.folders) {
		return true
	}
	return r.cnid == cnidRoot && parent != cnidRootParent
}

// mayLink tells whether a record is a hard link: an empty file with a type and
// creator of its own, made when the private folder or the top folder was.
func (v *FS) mayLink(r *record) bool {
	if r.folder || v.vol.isHFS() {
		return false
	}
	switch string(r.finder[:8]) {
	case "hlnkhfs+":
		return v.private.files != 0 && (r.created == v.private.created || r.created == v.root.created)
	case "fdrpMACS":
		return v.private.folders != 0 && r.flags&flagHasLinkChain != 0
	}
	return false
}

// resolve follows a hard link. Where it leads nowhere the record itself stays,
// marked as a link.
func (v *FS) resolve(r record) (record, error) {
	if !v.mayLink(&r) {
		return r, nil
	}
	dir, name := v.private.files, "iNode"
	if r.finder[0] == 'f' {
		dir, name = v.private.folders, "dir_"
	}
	it := v.newItem()
	defer it.close()
	err := it.find(dir, strconv.AppendUint([]byte(name), uint64(r.special), 10), sameName)
	if errors.Is(err, fs.ErrNotExist) || (err == nil && it.rec.folder != (r.finder[0] == 'f')) {
		r.isLink = true
		return r, nil
	}
	return it.rec, err
}

// firstLinkParent returns the folder that holds the first of the links to a
// folder, or 0 if the disc does not tell. Its id is written, in decimal, in an
// attribute of the folder.
func (v *FS) firstLinkParent(r *record) uint32 {
	value, err := v.attribute(r.cnid, "com.apple.system.hfs.firstlink")
	if err != nil {
		return 0
	}
	id, err := strconv.ParseUint(string(value), 10, 32)
	if err != nil {
		return 0
	}
	parent, _, err := v.thread(uint32(id))
	if err != nil {
		return 0
	}
	return parent
}

// maxTarget is PATH_MAX of Linux.
const maxTarget = 4096

// Readlink implements [fsys.FS].
func (v *FS) Readlink(n fsys.Node) ([]byte, error) {
	rec, err := v.at(n)
	if err != nil {
		return nil, err
	}
	if rec.typ() != fsys.TypeLink || isDot(n) {
		return nil, fsys.ErrNotLink
	}
	target := make([]byte, min(rec.data.size, maxTarget))
	if k, err := v.readFork(v.r, &rec.data, target, 0); k < len(target) {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return target, nil
}

// linkCount returns the link count of a file. It is kept only for files that
// hard links lead to.
func (v *FS) linkCount(r *record) uint32 {
	inode := r.parent == v.private.files && r.parent != 0
	if !inode || r.typ() != fsys.TypeFile || r.special == 0 {
		return 1
	}
	return r.special
}

// Writers of volumes that have left their own form of device numbers, as the
// last to mount a volume (lastMountedVersion).
const (
	writerLinux    = 0x482B4C78 // "H+Lx"
	writerLibisofs = 0x6C69736F // "liso"
)

// device returns the numbers of a device. Mac OS has 8 bits of major and 24 of
// minor number; Linux writes the 12 and 20 of its own dev_t, and libisofs the
// low half of glibc's.
func (v *FS) device(r *record) (major, minor uint32) {
	d := r.special
	switch v.vol.writer {
	case writerLinux:
		return d >> 20, d & 0xFFFFF
	case writerLibisofs:
		return d >> 8 & 0xFFF, d&0xFF | d>>12&0xFFF00
	}
	return d >> 24, d & 0xFFFFFF
}
