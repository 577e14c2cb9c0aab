package volume

import (
	"fmt"
	"io"

	"github.com/isomount/isomount/pkg/boot"
	"github.com/isomount/isomount/pkg/boot/fat"
	"github.com/isomount/isomount/pkg/fsys"
)

// surveyFAT adds the tree of an image that is a FAT file system itself: a floppy
// disk, or an EFI partition cut out of a disc.
func surveyFAT(d Disc, o Options, s *surveyed) error {
	f, err := fat.Open(d.Data, d.Size, fat.Options{Owner: o.Owner, Meta: d.Meta})
	if err != nil {
		return err
	}
	info := f.Info()
	s.details.FAT = &info
	s.note(VFAT, info.Notes)
	s.trees = append(s.trees, Tree{
		Name: VFAT, FS: VFAT, Label: info.Label, Entries: countRoot(f),
		open: func(Options) (fsys.FS, error) { return f, nil },
	})
	return nil
}

// countRoot counts the entries of a root, up to a limit.
func countRoot(f fsys.FS) int {
	const limit = 1000
	n := 0
	_ = f.ReadDir(f.Root(), 0, func(*fsys.Entry) bool { n++; return n < limit }) // what can be read counts
	return n
}

// addPiece adds a piece of the disc as a file, and what it holds, if it holds
// FAT, as a directory.
func addPiece(m *mux, dir int, name string, d Disc, o Options, off, size int64) {
	m.addFile(dir, name+".img", off, size)
	if off < 0 || size <= 0 || off >= d.Size {
		return
	}
	size = min(size, d.Size-off)
	f, err := fat.Open(io.NewSectionReader(d.Data, off, size), size, fat.Options{
		Owner: o.Owner, Meta: io.NewSectionReader(d.Meta, off, size),
	})
	if err == nil {
		m.addTree(dir, name, placed{f, off})
	}
}

// partitions reads the partition tables, which are there for starting a
// computer and have no say in what is shown. What cannot be read is noted.
func (s *surveyed) partitions(d Disc) {
	list, err := boot.Partitions(d.Meta, d.Size)
	if err != nil {
		s.note("partitions", []string{err.Error()})
		return
	}
	s.details.Partitions = list
	for _, p := range list {
		s.note(fmt.Sprintf("%s partition %d", p.Scheme, p.Number), p.Notes)
	}
}

// addPartitions adds the partitions of a hybrid disc.
func (s *surveyed) addPartitions(m *mux, d Disc, o Options) {
	for _, p := range s.details.Partitions {
		addPiece(m, m.dir(0, "partitions"), fmt.Sprintf("%s%d", p.Scheme, p.Number), d, o, p.Off, p.Size)
	}
}
