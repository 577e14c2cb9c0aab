// Command nodes shows what is on a disc image with isomount's readers and
// go-fuse's own file system API, package fs: an inode object for everything
// that the kernel knows, and a handle for each directory that is open. It is
// what isomount's serve loop (pkg/fusefs) is compared with, and nothing more.
//
//	nodes IMAGE DIR
//
// It closes its standard output when files can be read, and serves until DIR is
// unmounted.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/isomount/isomount/pkg/cache"
	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/image"
	"github.com/isomount/isomount/pkg/source"
	"github.com/isomount/isomount/pkg/volume"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: nodes IMAGE DIR")
		os.Exit(2) //nolint:forbidigo // this is a main
	}
	if err := serve(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "nodes:", err)
		os.Exit(1) //nolint:forbidigo // this is a main
	}
}

func serve(path, dir string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	tree, err := open(f)
	if err != nil {
		return err
	}
	root, err := tree.Attr(tree.Root())
	if err != nil {
		return err
	}
	long := time.Hour // nothing on a disc changes
	server, err := fs.Mount(dir, &node{tree: tree, id: tree.Root()}, &fs.Options{
		EntryTimeout: &long, AttrTimeout: &long, NegativeTimeout: &long,
		RootStableAttr:  &fs.StableAttr{Ino: root.Ino},
		NullPermissions: true,
		MountOptions: fuse.MountOptions{
			FsName: path, Name: "isomount-nodes", DirectMount: true,
			Options: []string{"default_permissions"},
		},
	})
	if err != nil {
		return err
	}
	_ = os.Stdout.Close()
	server.Wait()
	return nil
}

// open reads an image through the same cache as isomountd does.
func open(f *os.File) (fsys.FS, error) {
	const budget, metaShare = 64 << 20, 4 << 20
	file, err := source.FromFile(f)
	if err != nil {
		return nil, err
	}
	data, err := image.Open(file, f.Name())
	if err != nil {
		return nil, err
	}
	c, err := cache.New(budget)
	if err != nil {
		return nil, err
	}
	v, err := volume.Open(volume.Disc{
		Data: data, Meta: c.ReaderWithin(data, data.Size(), metaShare), Size: data.Size(), Blocks: c.Blocks(),
	}, volume.Options{})
	if err != nil {
		return nil, err
	}
	return v.FS, nil
}

// A node is a file, directory, link or device that the kernel knows.
type node struct {
	fs.Inode

	tree fsys.FS
	id   fsys.Node
}

var _ interface {
	fs.NodeLookuper
	fs.NodeGetattrer
	fs.NodeOpendirHandler
	fs.NodeOpener
	fs.NodeReader
	fs.NodeReadlinker
} = (*node)(nil)

// Lookup implements [fs.NodeLookuper].
func (n *node) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	id, a, err := n.tree.Lookup(n.id, []byte(name))
	if err != nil {
		return nil, errno(err)
	}
	return n.child(ctx, id, &a, out), 0
}

// child describes a node below n, which becomes an inode if it is none yet.
func (n *node) child(ctx context.Context, id fsys.Node, a *fsys.Attr, out *fuse.EntryOut) *fs.Inode {
	put(&out.Attr, a)
	return n.NewInode(ctx, &node{tree: n.tree, id: id}, fs.StableAttr{Mode: a.Mode & fsys.TypeMask, Ino: a.Ino})
}

// Getattr implements [fs.NodeGetattrer].
func (n *node) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	a, err := n.tree.Attr(n.id)
	put(&out.Attr, &a)
	return errno(err)
}

// Open implements [fs.NodeOpener].
func (*node) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_KEEP_CACHE, 0
}

// Read implements [fs.NodeReader].
func (n *node) Read(_ context.Context, _ fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	got, err := n.tree.ReadAt(n.id, dest, off)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, errno(err)
	}
	return fuse.ReadResultData(dest[:got]), 0
}

// Readlink implements [fs.NodeReadlinker].
func (n *node) Readlink(context.Context) ([]byte, syscall.Errno) {
	target, err := n.tree.Readlink(n.id)
	return target, errno(err)
}

// OpendirHandle implements [fs.NodeOpendirHandler].
func (n *node) OpendirHandle(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return &listing{dir: n}, fuse.FOPEN_CACHE_DIR | fuse.FOPEN_KEEP_CACHE, 0
}

// A listing is a directory that is being read. go-fuse asks for one entry at a
// time; the tree is asked for many.
type listing struct {
	dir   *node
	from  uint64 // where to ask for more
	batch []entry
	given int // entries of the batch that were handed out
}

type entry struct {
	fuse.DirEntry

	id   fsys.Node
	attr fsys.Attr
}

var _ interface {
	fs.FileReaddirenter
	fs.FileLookuper
	fs.FileSeekdirer
} = (*listing)(nil)

// Readdirent implements [fs.FileReaddirenter].
func (l *listing) Readdirent(context.Context) (*fuse.DirEntry, syscall.Errno) {
	if l.given == len(l.batch) {
		if err := l.more(); err != nil && len(l.batch) == 0 {
			return nil, errno(err)
		}
	}
	if len(l.batch) == 0 {
		return nil, 0
	}
	l.given++
	return &l.batch[l.given-1].DirEntry, 0
}

func (l *listing) more() error {
	const many = 128
	l.batch, l.given = l.batch[:0], 0
	return l.dir.tree.ReadDir(l.dir.id, l.from, func(e *fsys.Entry) bool {
		d := fuse.DirEntry{Name: string(e.Name), Ino: e.Attr.Ino, Mode: e.Attr.Mode, Off: e.Next}
		l.batch = append(l.batch, entry{d, e.Node, e.Attr})
		l.from = e.Next
		return len(l.batch) < many
	})
}

// Lookup implements [fs.FileLookuper]. The name is that of the last entry.
func (l *listing) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if l.given == 0 || l.batch[l.given-1].Name != name || l.batch[l.given-1].id == 0 {
		return l.dir.Lookup(ctx, name, out)
	}
	e := &l.batch[l.given-1]
	return l.dir.child(ctx, e.id, &e.attr, out), 0
}

// Seekdir implements [fs.FileSeekdirer].
func (l *listing) Seekdir(_ context.Context, off uint64) syscall.Errno {
	l.from, l.batch, l.given = off, l.batch[:0], 0
	return 0
}

func put(out *fuse.Attr, a *fsys.Attr) {
	*out = fuse.Attr{
		Ino: a.Ino, Size: uint64(a.Size), Blocks: uint64(a.Blocks),
		Atime: uint64(a.AccTime.Sec), Mtime: uint64(a.ModTime.Sec), Ctime: uint64(a.ChgTime.Sec),
		Atimensec: a.AccTime.Nsec, Mtimensec: a.ModTime.Nsec, Ctimensec: a.ChgTime.Nsec,
		Mode: a.Mode, Nlink: a.Nlink, Owner: fuse.Owner{Uid: a.UID, Gid: a.GID},
		Rdev: uint32(unix.Mkdev(a.Major, a.Minor)), Blksize: 4096,
	}
}

func errno(err error) syscall.Errno {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, fsys.ErrNotExist):
		return syscall.ENOENT
	case errors.Is(err, fsys.ErrNotDir):
		return syscall.ENOTDIR
	case errors.Is(err, fsys.ErrIsDir):
		return syscall.EISDIR
	case errors.Is(err, fsys.ErrNotLink):
		return syscall.EINVAL
	}
	return syscall.EIO
}
