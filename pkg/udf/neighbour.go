package udf

import "github.com/isomount/isomount/pkg/fsys"

// How far is looked for the file entries that follow one, in blocks: in all,
// and in a row that are no file's.
const (
	neighbourhood = 128
	strangers     = 8
)

// Neighbours implements [fsys.NeighbourFS]. A file entry does not say which
// directory it belongs to, but what masters discs writes the entries of a
// directory's files one after the other, and their contents as well.
func (f *FS) Neighbours(n fsys.Node, list []fsys.Neighbour) int {
	a, err := f.nodeAddr(n)
	if err != nil {
		return 0
	}
	w := f.window()
	defer f.release(w)
	found, strange := 0, 0
	for range neighbourhood {
		if found == len(list) || strange > strangers {
			break
		}
		a.block++
		file, ok := f.neighbour(w, a)
		if !ok {
			strange++
			continue
		}
		list[found] = file
		found, strange = found+1, 0
	}
	return found
}

// neighbour describes the file whose entry is in block a, if there is one.
func (f *FS) neighbour(w *window, a addr) (fsys.Neighbour, bool) {
	b, off, err := f.readBlock(w, a)
	if err != nil {
		return fsys.Neighbour{}, false
	}
	e, err := parseICB(b, off, a)
	if err != nil || e.strategy != 4 || e.size == 0 {
		return fsys.Neighbour{}, false
	}
	if mode, _ := fileMode(e.fileType); mode != fsys.TypeFile {
		return fsys.Neighbour{}, false
	}
	file := fsys.Neighbour{Node: a.node(), Size: e.size, Pos: fsys.Encoded}
	if e.allocKind == allocEmbedded {
		return file, true
	}
	extents := f.extents(w, &e)
	if pos, there := extents.at(0); pos >= 0 && there >= e.size {
		file.Pos = pos
	}
	return file, true
}

// ReadImage implements [fsys.NeighbourFS].
func (f *FS) ReadImage(p []byte, off int64) (int, error) { return f.r.ReadAt(p, off) }
