package main

import (
	"bytes"
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	"github.com/isomount/isomount/pkg/binfmt"
	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/isofs"
	"github.com/isomount/isomount/pkg/volume"
)

// libisofs tells of the tags, and checks the checksum of every file.
func (j *verifyJob) libisofs(ctx context.Context) error {
	spans := j.ofCheck(checkLibisofs)
	files, err := j.fileSums(ctx)
	if err != nil {
		return err
	}
	if len(spans) == 0 && files == 0 {
		j.none(checkLibisofs, "no checksums recorded")
		return nil
	}
	var parts []string
	for _, s := range spans {
		parts = append(parts, s.what)
	}
	j.result(checkLibisofs, strings.Join(append(parts, counted(files, "file", "files")), ", "))
	return nil
}

// fileSums checks the checksums of the files, and returns how many there are.
func (j *verifyJob) fileSums(ctx context.Context) (int, error) {
	size := j.disc.image.Size()
	v, err := volume.Open(volume.Disc{Data: j.disc.image, Size: size}, volume.Options{FS: volume.ISO9660, SBSector: -1})
	if err != nil {
		return 0, nil //nolint:nilerr // a disc without ISO 9660, or a damaged one, which is told of already
	}
	f, ok := v.FS.(*isofs.FS)
	if !ok {
		return 0, nil
	}
	at, err := f.Sums()
	if errors.Is(err, fsys.ErrNoXattr) {
		return 0, nil
	}
	if err != nil {
		j.fails(checkLibisofs, "", "", err)
		return 0, nil
	}
	list := &sumList{verifyJob: j, fs: f, at: at, seen: map[int64]bool{}}
	if !list.check() {
		return 0, nil
	}
	j.meter.start("files", size)
	err = visitTree(ctx, f, treeVisitor{list.entry, func(string, error) {}})
	return len(list.seen), err
}

// A sumList is the array of checksums that libisofs records.
type sumList struct {
	*verifyJob

	fs   *isofs.FS
	at   isofs.Sums
	seen map[int64]bool // places that have been compared
}

// check compares the array with its own checksum, its last entry.
func (l *sumList) check() bool {
	h := md5.New()
	start, n := l.at.Block*blockBytes, (l.at.Count-1)*md5.Size
	_, err := io.Copy(h, io.NewSectionReader(l.disc.image, start, n))
	want := make([]byte, md5.Size)
	if err == nil {
		err = binfmt.ReadFull(l.disc.image, want, start+n)
	}
	if err == nil && !bytes.Equal(h.Sum(nil), want) {
		err = binfmt.Corrupt(start, "the list of checksums does not match its own checksum")
	}
	if err != nil {
		l.fails(checkLibisofs, "", "", err)
	}
	return err == nil
}

// entry compares a file with its checksum, once if it has several names.
func (l *sumList) entry(path string, n fsys.Node, a *fsys.Attr) (bool, error) {
	if !a.IsRegular() {
		return true, nil
	}
	i, err := l.fs.SumIndex(n)
	switch {
	case errors.Is(err, fsys.ErrNoXattr), err == nil && l.seen[i]:
		return true, nil
	case err == nil && (i < 1 || i >= l.at.Count-1):
		err = binfmt.Corrupt(int64(n), "checksum %d of %d", i, l.at.Count)
	}
	if err != nil {
		l.fails(checkLibisofs, path, "", err)
		return true, nil
	}
	l.seen[i] = true
	l.meter.add(a.Size)
	if err := l.compare(i, n, a.Size, md5.New()); err != nil {
		l.fails(checkLibisofs, path, "", err)
	}
	return true, nil
}

func (l *sumList) compare(i int64, n fsys.Node, size int64, h hash.Hash) error {
	want := make([]byte, md5.Size)
	if err := binfmt.ReadFull(l.disc.image, want, l.at.Block*blockBytes+i*md5.Size); err != nil {
		return err
	}
	if err := readThrough(l.fs, n, size, h); err != nil {
		return err
	}
	if got := h.Sum(nil); !bytes.Equal(got, want) {
		return fmt.Errorf("checksum is %x, and should be %x", got, want)
	}
	return nil
}
