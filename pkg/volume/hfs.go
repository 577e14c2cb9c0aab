package volume

import (
	"errors"
	"io"
	"strings"

	"github.com/isomount/isomount/pkg/binfmt"
	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/hfsplus"
)

// surveyHFS adds the trees of HFS and HFS+ volumes, which lie in a partition of
// their own or fill the disc.
func surveyHFS(d Disc, o Options, s *surveyed) error {
	ranges, err := hfsplus.Find(d.Meta, d.Size)
	if err != nil {
		return err
	}
	found := binfmt.ErrMagic
	for _, r := range ranges {
		f, err := hfsplus.Open(io.NewSectionReader(d.Data, r.Off, r.Size), r.Size, hfsplus.Options{
			Owner: o.Owner, Meta: io.NewSectionReader(d.Meta, r.Off, r.Size), Forks: o.Forks,
		})
		switch {
		case errors.Is(err, binfmt.ErrMagic):
			continue
		case err != nil:
			found = errors.Join(found, err)
			continue
		}
		info := f.Info()
		s.details.HFS = append(s.details.HFS, info)
		s.note(strings.ToLower(info.Format), info.Notes)
		name := HFSPlus
		if info.Format == "HFS" {
			name = "hfs"
		}
		s.trees = append(s.trees, Tree{
			Name: name, FS: HFSPlus, Label: info.Label, Entries: f.RootEntries(),
			open: func(Options) (fsys.FS, error) { return placed{f, r.Off}, nil },
		})
		found = nil
	}
	return found
}

// A reader is what the readers of whole volumes give.
type reader interface {
	fsys.FS
	fsys.ExtentFS
	fsys.ParentFS
}

// placed is a tree whose volume does not begin at the first byte of the image.
type placed struct {
	reader
	off int64
}

// Extents tells where bytes lie in the image.
func (p placed) Extents(n fsys.Node, off int64, yield func(fsys.Extent) bool) error {
	return p.reader.Extents(n, off, func(e fsys.Extent) bool {
		if e.Pos >= 0 {
			e.Pos += p.off
		}
		return yield(e)
	})
}

// Xattrs passes on to the tree, if it has attributes.
func (p placed) Xattrs(n fsys.Node) ([]string, error) {
	if x, ok := p.reader.(fsys.XattrFS); ok {
		return x.Xattrs(n)
	}
	return nil, nil
}

// Xattr passes on to the tree, if it has attributes.
func (p placed) Xattr(n fsys.Node, name string) ([]byte, error) {
	if x, ok := p.reader.(fsys.XattrFS); ok {
		return x.Xattr(n, name)
	}
	return nil, fsys.ErrNoXattr
}
