package fusefs

import (
	"bytes"
	"encoding/binary"
	"math"
	"syscall"
	"time"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/isomount/isomount/pkg/fsys"
)

// Opcodes of include/uapi/linux/fuse.h that the loop answers itself or has to
// know; go-fuse keeps its own list private.
const (
	opLookup      = 1
	opForget      = 2
	opGetattr     = 3
	opReadlink    = 5
	opOpen        = 14
	opRead        = 15
	opRelease     = 18
	opFlush       = 25
	opInit        = 26
	opOpendir     = 27
	opReaddir     = 28
	opReleasedir  = 29
	opAccess      = 34
	opInterrupt   = 36
	opBatchForget = 42
	opReaddirplus = 44
)

const (
	inHeaderBytes  = int(unsafe.Sizeof(fuse.InHeader{}))
	outHeaderBytes = int(unsafe.Sizeof(fuse.OutHeader{}))
	entryBytes     = int(unsafe.Sizeof(fuse.EntryOut{}))
	attrBytes      = int(unsafe.Sizeof(fuse.AttrOut{}))
	direntBytes    = 24
)

// forever is how long the kernel may keep what it was told: an image does not
// change. The kernel counts in jiffies, so it stays well below 32 bits of them.
const forever = uint64(30 * 24 * time.Hour / time.Second)

// struct views: the kernel's structures are in native byte order and the
// buffers they lie in are aligned to 8 bytes, so go-fuse's types fit over them.

func inHeader(b []byte) *fuse.InHeader { return (*fuse.InHeader)(unsafe.Pointer(&b[0])) }

func view[T any](b []byte) *T {
	_ = b[unsafe.Sizeof(*new(T))-1]
	return (*T)(unsafe.Pointer(&b[0]))
}

// fits tells whether a request is long enough for its opcode's structure.
func fits[T any](req []byte) bool { return len(req) >= int(unsafe.Sizeof(*new(T))) }

// putHeader writes the header of a reply of n payload bytes into out.
func putHeader(out []byte, unique uint64, n int, e syscall.Errno) []byte {
	if e != 0 {
		n = 0
	}
	*view[fuse.OutHeader](out) = fuse.OutHeader{
		Length: uint32(outHeaderBytes + n),
		Status: -int32(e),
		Unique: unique,
	}
	return out[:outHeaderBytes+n]
}

// cName returns the bytes before the first NUL.
func cName(b []byte) []byte {
	name, _, _ := bytes.Cut(b, []byte{0})
	return name
}

// putAttr writes a in the kernel's form.
func putAttr(out *fuse.Attr, a *fsys.Attr) {
	*out = fuse.Attr{
		Ino:       a.Ino,
		Size:      uint64(max(a.Size, 0)),
		Blocks:    uint64(max(a.Blocks, 0)),
		Atime:     uint64(a.AccTime.Sec),
		Mtime:     uint64(a.ModTime.Sec),
		Ctime:     uint64(a.ChgTime.Sec),
		Atimensec: a.AccTime.Nsec,
		Mtimensec: a.ModTime.Nsec,
		Ctimensec: a.ChgTime.Nsec,
		Mode:      a.Mode,
		Nlink:     a.Nlink,
		Owner:     fuse.Owner{Uid: a.UID, Gid: a.GID},
		Rdev:      rdev(a.Major, a.Minor),
		Blksize:   4096,
	}
}

// rdev packs a device number as new_encode_dev of include/linux/kdev_t.h does.
func rdev(major, minor uint32) uint32 {
	return minor&0xff | major<<8 | (minor&^0xff)<<12
}

// direntType is the d_type of a mode.
func direntType(mode uint32) uint32 { return mode & fsys.TypeMask >> 12 }

// A direntList fills a reply to READDIR or READDIRPLUS.
type direntList struct {
	buf  []byte // what is free of the reply
	used int
	plus bool
	full bool
}

// recordBytes is the space of an entry whose name has n bytes.
func (l *direntList) recordBytes(n int) int {
	size := (direntBytes + n + 7) &^ 7
	if l.plus {
		size += entryBytes
	}
	return size
}

// add appends an entry and tells whether there was room.
func (l *direntList) add(name []byte, node uint64, a *fsys.Attr, next uint64) bool {
	size := l.recordBytes(len(name))
	if size > len(l.buf) {
		l.full = true
		return false
	}
	rec := l.buf[:size]
	l.buf = l.buf[size:]
	l.used += size
	if l.plus {
		putEntry(view[fuse.EntryOut](rec), node, a)
		rec = rec[entryBytes:]
	}
	binary.NativeEndian.PutUint64(rec, a.Ino)
	binary.NativeEndian.PutUint64(rec[8:], next)
	binary.NativeEndian.PutUint32(rec[16:], uint32(len(name)))
	binary.NativeEndian.PutUint32(rec[20:], direntType(a.Mode))
	n := copy(rec[direntBytes:], name)
	clear(rec[direntBytes+n:])
	return true
}

// putEntry writes the answer to a lookup. Node 0 tells the kernel to make no
// inode, which is right for "." and "..".
func putEntry(out *fuse.EntryOut, node uint64, a *fsys.Attr) {
	*out = fuse.EntryOut{NodeId: node}
	if node == 0 {
		return
	}
	out.EntryValid, out.AttrValid = forever, forever
	putAttr(&out.Attr, a)
}

// clampSize bounds the size that a request asks for.
func clampSize(n uint32, limit int) int { return int(min(n, uint32(min(limit, math.MaxInt32)))) }
