package isofs

import "github.com/isomount/isomount/pkg/fsys"

// neighbourhood is how many bytes of directory records are looked at for the
// files that follow one. Nothing tells where the directory ends, but the next
// one begins with a record of itself.
const neighbourhood = 16 << 10

// Neighbours implements [fsys.NeighbourFS]: the record of the next file comes
// right after that of a file, and most writers lay out the contents in the same
// order.
func (f *FS) Neighbours(n fsys.Node, list []fsys.Neighbour) int {
	s := getScratch()
	defer putScratch(s)
	off := int64(n & (1<<fsys.NodeBits - 1))
	if off < firstDescriptor*sectorSize || off >= f.v.size {
		return 0
	}
	in := off % sectorSize
	start := off - in
	s.scan.open(f.v, start, min(neighbourhood, f.v.size-start), in)
	found := 0
	for found < len(list) && s.scan.next(&s.rec) && s.scan.bad == 0 {
		switch {
		case s.rec.isDot():
			return found
		case s.rec.off == off, s.rec.isDir(), s.rec.size == 0:
			continue
		}
		file, ok := f.neighbour(s)
		if !ok {
			return found
		}
		list[found] = file
		found++
	}
	return found
}

// neighbour describes the file whose first record is in s.
func (f *FS) neighbour(s *scratch) (fsys.Neighbour, bool) {
	file := fsys.Neighbour{Node: fsys.Node(s.rec.off), Pos: fsys.Encoded}
	s.size = int64(s.rec.size)
	if s.rec.flags&flagMore != 0 || !f.parseUse(s, false) || f.typeOf(s) != fsys.TypeFile {
		return file, false // a file of several sections is large, whoever reads it takes his time
	}
	file.Size = f.fileSize(s)
	if f.isPlain(s) {
		file.Pos = f.v.extentOf(&s.rec)
	}
	return file, file.Size > 0
}

// ReadImage implements [fsys.NeighbourFS].
func (f *FS) ReadImage(p []byte, off int64) (int, error) { return f.v.r.ReadAt(p, off) }
