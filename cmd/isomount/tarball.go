package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/isomount/isomount/pkg/fsys"
)

// heldFile is the size up to which a file is read before its header is written:
// a damaged one is then left out. The header of a larger one cannot be taken back,
// see salvage.
const heldFile = 16 << 20

// A tarball is an archive that is being written, in the format of POSIX pax with
// the records that GNU tar, bsdtar and star have for attributes.
type tarball struct {
	job   *extractJob
	w     *tar.Writer
	out   io.Writer // what w writes to
	owner bool
	links linker
}

// writeTar writes a plan as an archive. Directories come last, the deepest
// first: their modes may forbid to write into them, and programs that take such
// attributes to heart at once exist, as do those that forget their times.
func (j *extractJob) writeTar(ctx context.Context, todo *plan) error {
	t := &tarball{job: j, w: tar.NewWriter(j.app.out), out: j.app.out, owner: !j.noOwner, links: linker{}}
	for i := range todo.files {
		if err := t.add(ctx, &todo.files[i].place, &j.Files); err != nil {
			return err
		}
	}
	for i := range todo.others {
		if err := t.add(ctx, &todo.others[i], &j.Special); err != nil {
			return err
		}
	}
	for _, d := range slices.Backward(todo.dirs) {
		if err := t.add(ctx, &d, &j.Directories); err != nil {
			return err
		}
	}
	return t.w.Close()
}

// add appends a file. An error means that the archive ends here; what can be
// passed over is noted.
func (t *tarball) add(ctx context.Context, p *place, count *int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if p.path == "" {
		return nil
	}
	err := t.entry(ctx, p)
	if skipped, ok := errors.AsType[*skipError](err); ok {
		t.job.bad(p.path, skipped.err)
		return nil
	}
	*count++
	return err
}

// A skipError is one that keeps a single file out of the archive.
type skipError struct{ err error }

func (e *skipError) Error() string { return e.err.Error() }
func (e *skipError) Unwrap() error { return e.err }

func (t *tarball) entry(ctx context.Context, p *place) error {
	h, err := t.header(p)
	if err != nil {
		return &skipError{err}
	}
	if h.Typeflag != tar.TypeReg {
		return t.write(h, p)
	}
	if data := dataOf(ctx, t.job.fs, p); data != nil {
		return t.sparse(ctx, h, p, data)
	}
	if h.Size > heldFile {
		return t.large(ctx, h, p)
	}
	var b bytes.Buffer
	if err := copyNode(ctx, &b, t.job.fs, p.node, h.Size); err != nil {
		return &skipError{err}
	}
	if err := t.write(h, p); err != nil {
		return err
	}
	_, err = t.w.Write(b.Bytes())
	t.counted(h.Size)
	return err
}

func (t *tarball) counted(n int64) {
	t.job.meter.add(n)
	t.job.Bytes += n
}

func (t *tarball) large(ctx context.Context, h *tar.Header, p *place) error {
	if err := t.write(h, p); err != nil {
		return err
	}
	s := t.salvage(p, t.w)
	if err := s.copy(ctx, 0, h.Size); err != nil {
		return err
	}
	s.tell()
	t.counted(h.Size)
	return nil
}

func (t *tarball) write(h *tar.Header, p *place) error {
	if err := t.w.WriteHeader(h); err != nil {
		if errors.Is(err, tar.ErrHeader) || strings.HasPrefix(err.Error(), "archive/tar: cannot encode") {
			return &skipError{err}
		}
		return err
	}
	t.links.written(p)
	return nil
}

// errNoTar reports what a tar archive has no words for.
var errNoTar = errors.New("a tar archive cannot hold a file of this type")

// tarType is the letter of tar for a type of file; ok is false if there is none.
func tarType(kind uint32) (letter byte, ok bool) {
	switch kind {
	case fsys.TypeFile:
		return tar.TypeReg, true
	case fsys.TypeDir:
		return tar.TypeDir, true
	case fsys.TypeLink:
		return tar.TypeSymlink, true
	case fsys.TypeChar:
		return tar.TypeChar, true
	case fsys.TypeBlock:
		return tar.TypeBlock, true
	case fsys.TypeFifo:
		return tar.TypeFifo, true
	}
	return 0, false
}

// header describes a file.
func (t *tarball) header(p *place) (*tar.Header, error) {
	a := &p.attr
	letter, ok := tarType(p.kind())
	if !ok {
		return nil, errNoTar
	}
	h := &tar.Header{
		Typeflag: letter, Name: p.path, Mode: int64(a.Mode & fsys.PermMask), Format: tar.FormatPAX,
		Uid: int(a.UID), Gid: int(a.GID), ModTime: time.Unix(a.ModTime.Sec, int64(a.ModTime.Nsec)),
		Devmajor: int64(a.Major), Devminor: int64(a.Minor), PAXRecords: map[string]string{},
	}
	if !t.owner {
		h.Uid, h.Gid = os.Getuid(), os.Getgid()
		h.Mode &^= 0o6000
	}
	if first, ok := t.links.first(p); ok {
		h.Typeflag, h.Linkname = tar.TypeLink, first
		return t.charset(h), nil
	}
	switch letter {
	case tar.TypeReg:
		h.Size = a.Size
	case tar.TypeDir:
		h.Name += "/"
	case tar.TypeSymlink:
		to, err := t.job.fs.Readlink(p.node)
		if err != nil {
			return nil, err
		}
		h.Linkname = string(to)
	}
	t.attributes(h, p)
	return t.charset(h), nil
}

// charset says of names that are not UTF-8 that they are just bytes (POSIX,
// pax: hdrcharset).
func (*tarball) charset(h *tar.Header) *tar.Header {
	if !utf8.ValidString(h.Name) || !utf8.ValidString(h.Linkname) {
		h.PAXRecords["hdrcharset"] = "BINARY"
	}
	return h
}

// attributes adds extended attributes, and ACLs as text besides.
func (t *tarball) attributes(h *tar.Header, p *place) {
	bad := func(err error) { t.job.bad(p.path, err) }
	for _, x := range xattrsOf(t.job.fs, p.node, bad) {
		if strings.Contains(x.Name, "=") {
			bad(fmt.Errorf("%s: attribute has a name that tar cannot hold", printable(x.Name)))
			continue
		}
		if key, ok := aclKey(x.Name); ok {
			if text, err := aclText(x.Value); err == nil {
				h.PAXRecords[key] = text
				continue
			}
		}
		h.PAXRecords["SCHILY.xattr."+x.Name] = string(x.Value)
	}
}

// aclKey is the record that holds an ACL (star(4), "SCHILY.acl").
func aclKey(name string) (key string, ok bool) {
	switch name {
	case "system.posix_acl_access":
		return "SCHILY.acl.access", true
	case "system.posix_acl_default":
		return "SCHILY.acl.default", true
	}
	return "", false
}
