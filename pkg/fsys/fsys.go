// Package fsys describes a read-only file tree of numbered nodes, the form in
// which every reader (isofs, udf, hfsplus) hands out what it finds on a disc
// and which every front end (FUSE, extraction, listing) takes.
//
// Nodes are stateless: a [Node] is computed from where its structure lies on
// the disc, so nothing has to be opened, remembered or closed, and the same
// image gives the same numbers in every process and after every remount.
//
// The package holds types, a few helpers that all readers need and, in
// fsystest, the suite that every reader must pass. It does no I/O of its own.
package fsys

import (
	"errors"
	"io/fs"
)

// A Node names a file, directory, link or device of one tree. Readers use the
// low 56 bits; the top 8 are left to whoever joins several trees into one.
// 0 and 1 name nothing but perhaps the root, since FUSE keeps them for itself.
// A reader must answer any value at all without harm, be it only with
// [ErrStale].
type Node uint64

// NodeBits is how many low bits of a [Node] belong to the reader.
const NodeBits = 56

// Errors that readers return beside those of [io/fs] (fs.ErrNotExist for a
// name that is not there) and of binfmt (damage).
var (
	ErrNotDir  = errors.New("not a directory")
	ErrIsDir   = errors.New("is a directory")
	ErrNotLink = errors.New("not a symbolic link")
	ErrNoXattr = errors.New("no such attribute")
	ErrStale   = errors.New("no such node on this disc")
	// ErrNotSupported reports a feature of the disc that is understood to be
	// there but cannot be decoded, such as an unknown compression.
	ErrNotSupported = errors.New("not supported")
	ErrNotExist     = fs.ErrNotExist
)

// File types and mode bits of [Attr.Mode], as in POSIX sys/stat.h on Linux.
const (
	TypeMask   uint32 = 0o170000
	TypeSocket uint32 = 0o140000
	TypeLink   uint32 = 0o120000
	TypeFile   uint32 = 0o100000
	TypeBlock  uint32 = 0o060000
	TypeDir    uint32 = 0o040000
	TypeChar   uint32 = 0o020000
	TypeFifo   uint32 = 0o010000
	PermMask   uint32 = 0o007777
)

// A Time is a point in time. The zero Time is 1970-01-01 00:00 UTC.
type Time struct {
	Sec  int64  // seconds since 1970, may be negative
	Nsec uint32 // 0 to 999,999,999
}

// An Attr is what stat(2) tells of a node.
type Attr struct {
	Ino     uint64 // inode number as users see it; hard links share it
	Mode    uint32 // POSIX st_mode: type and permission bits
	Nlink   uint32 // never 0; 1 for a directory whose subdirectories were not counted
	UID     uint32
	GID     uint32
	Major   uint32 // of a device
	Minor   uint32 // of a device
	Size    int64  // bytes
	Blocks  int64  // units of 512 bytes that hold data
	ModTime Time
	AccTime Time // ModTime where the disc does not say
	ChgTime Time // ModTime where the disc does not say
}

// IsDir tells whether the node is a directory.
func (a *Attr) IsDir() bool { return a.Mode&TypeMask == TypeDir }

// IsRegular tells whether the node is a file with content.
func (a *Attr) IsRegular() bool { return a.Mode&TypeMask == TypeFile }

// An Entry is one line of a directory. Name and everything else are valid
// only until the function it was given to returns.
type Entry struct {
	Name []byte // never empty, ".", "..", nor with '/' or NUL in it
	Node Node   // 0 for a node that cannot be read: only Attr.Ino is set, and Lookup tells why
	Attr Attr
	Next uint64 // where to go on after this entry; below 1<<62, never 0
}

// Statfs is what statfs(2) tells of the whole tree.
type Statfs struct {
	BlockSize uint32 // bytes
	Blocks    uint64 // of BlockSize
	Files     uint64 // 0 if unknown
	NameLen   uint32 // bytes
}

// FS is a file tree. Its methods may be called from many goroutines at once.
type FS interface {
	// Root returns the top directory.
	Root() Node

	// Attr describes a node.
	Attr(n Node) (Attr, error)

	// Lookup finds a name in a directory: fs.ErrNotExist if it is not there,
	// ErrNotDir if dir is none. name is not kept.
	Lookup(dir Node, name []byte) (Node, Attr, error)

	// ReadDir calls yield for the entries of a directory, without "." and "..",
	// from the place from (0, or the Next of an earlier entry) until yield
	// returns false. What is damaged is passed over; an error means that the
	// rest of the listing could not be read at all, and comes after the
	// entries that could.
	ReadDir(dir Node, from uint64, yield func(*Entry) bool) error

	// ReadAt reads a regular file like an io.ReaderAt of its Size.
	ReadAt(n Node, p []byte, off int64) (int, error)

	// Readlink returns the target of a symbolic link.
	Readlink(n Node) ([]byte, error)

	// Statfs describes the tree as a whole.
	Statfs() Statfs
}

// An XattrFS has extended attributes, names with their namespace ("user.x").
type XattrFS interface {
	Xattrs(n Node) ([]string, error)
	Xattr(n Node, name string) ([]byte, error) // ErrNoXattr
}

// An ExtentFS tells where the bytes of a regular file lie.
type ExtentFS interface {
	// Extents calls yield for the pieces of the file from byte offset off on,
	// in file order and without gaps, until yield returns false.
	Extents(n Node, off int64, yield func(Extent) bool) error
}

// An Extent is a run of a file's bytes.
type Extent struct {
	Off int64 // byte offset in the file
	Len int64 // bytes, more than 0
	Pos int64 // byte offset in the image, or Hole, or Encoded
}

// Values of [Extent.Pos] for bytes that do not lie in the image as they are.
const (
	Hole    int64 = -1 // zeros that are not stored
	Encoded int64 = -2 // compressed, interleaved below a block, or embedded
)

// A ParentFS knows the directory above a directory.
type ParentFS interface {
	Parent(dir Node) (Node, error) // of the root: the root
}
