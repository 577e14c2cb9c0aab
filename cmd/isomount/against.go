package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/isomount/isomount/pkg/fsys"
)

// An againstCheck compares the tree that is shown with a directory: names,
// kinds, contents, and where links point to.
type againstCheck struct {
	*verifyJob

	fs   fsys.FS
	dir  string
	same int
	seen map[string]bool // paths of the disc
	buf  [2][]byte
}

// compare compares with the directory that --against names.
func (j *verifyJob) compare(ctx context.Context) error {
	if j.against == "" {
		return nil
	}
	dir, err := filepath.EvalSymlinks(j.against)
	if err != nil {
		return err
	}
	if err := checkDir(dir); err != nil {
		return err
	}
	c := &againstCheck{verifyJob: j, fs: j.disc.volume.FS, dir: dir, seen: map[string]bool{}}
	c.buf[0], c.buf[1] = make([]byte, 256<<10), make([]byte, 256<<10)
	j.meter.start("compare", 0)
	err = visitTree(ctx, c.fs, treeVisitor{c.entry, func(path string, err error) { j.fails(checkAgainst, path, "", err) }})
	if err == nil {
		err = c.missing(ctx)
	}
	j.result(checkAgainst, fmt.Sprintf("%s the same as in %s", counted(c.same, "entry", "entries"), j.against))
	return err
}

func (c *againstCheck) differs(path, what string) {
	c.problem(problem{Check: checkAgainst, Path: path, Error: what})
}

func (c *againstCheck) entry(path string, n fsys.Node, a *fsys.Attr) (enter bool, err error) {
	c.seen[path] = true
	local := filepath.Join(c.dir, path)
	info, err := os.Lstat(local)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		c.differs(path, "is on the disc only")
		return false, nil
	case err != nil:
		return false, err
	case !sameKind(a, info.Mode()):
		c.differs(path, "is of another kind than in the directory")
		return false, nil
	}
	before := len(c.done.Problems)
	switch a.Mode & fsys.TypeMask {
	case fsys.TypeFile:
		err = c.file(path, local, n, a.Size, info.Size())
	case fsys.TypeLink:
		err = c.link(path, local, n)
	}
	if len(c.done.Problems) == before && err == nil {
		c.same++
	}
	return true, err
}

// sameKind tells whether a file of the disc is what a mode says.
func sameKind(a *fsys.Attr, mode fs.FileMode) bool {
	kinds := map[uint32]fs.FileMode{
		fsys.TypeFile: 0, fsys.TypeDir: fs.ModeDir, fsys.TypeLink: fs.ModeSymlink, fsys.TypeFifo: fs.ModeNamedPipe,
		fsys.TypeSocket: fs.ModeSocket, fsys.TypeBlock: fs.ModeDevice, fsys.TypeChar: fs.ModeDevice | fs.ModeCharDevice,
	}
	kind, ok := kinds[a.Mode&fsys.TypeMask]
	return ok && mode.Type() == kind
}

func (c *againstCheck) link(path, local string, n fsys.Node) error {
	want, err := os.Readlink(local)
	if err != nil {
		return err
	}
	got, err := c.fs.Readlink(n)
	switch {
	case err != nil:
		c.fails(checkAgainst, path, "", err)
	case string(got) != want:
		c.differs(path, fmt.Sprintf("points to %s, in the directory to %s", printable(string(got)), printable(want)))
	}
	return nil
}

func (c *againstCheck) file(path, local string, n fsys.Node, size, want int64) error {
	if size != want {
		c.differs(path, fmt.Sprintf("has %d bytes, in the directory %d", size, want))
		return nil
	}
	f, err := os.Open(local)
	if err != nil {
		return err
	}
	err = c.content(path, f, n, size)
	return errors.Join(err, f.Close())
}

// content compares the bytes of two files of the same size. Its error is one of
// the directory's file.
func (c *againstCheck) content(path string, f *os.File, n fsys.Node, size int64) error {
	for off := int64(0); off < size; {
		k := min(int64(len(c.buf[0])), size-off)
		got, want := c.buf[0][:k], c.buf[1][:k]
		if _, err := io.ReadFull(f, want); err != nil {
			return fmt.Errorf("%s: %w", f.Name(), err)
		}
		if m, err := c.fs.ReadAt(n, got, off); m < len(got) {
			c.fails(checkAgainst, path, "", fmt.Errorf("at byte %d: %w", off+int64(m), cmp.Or(err, io.ErrUnexpectedEOF)))
			return nil
		}
		if !bytes.Equal(got, want) {
			at := 0
			for got[at] == want[at] {
				at++
			}
			c.differs(path, fmt.Sprintf("differs from byte %d on", off+int64(at)))
			return nil
		}
		off += k
		c.meter.add(k)
	}
	return nil
}

// missing tells of what only the directory has.
func (c *againstCheck) missing(ctx context.Context) error {
	return filepath.WalkDir(c.dir, func(local string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || local == c.dir {
			return err
		}
		rel, err := filepath.Rel(c.dir, local)
		if err != nil {
			return err
		}
		if c.seen["/"+rel] {
			return nil
		}
		c.differs("/"+rel, "is in the directory only")
		if d.IsDir() {
			return filepath.SkipDir
		}
		return nil
	})
}
