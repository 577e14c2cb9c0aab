package isofs

import (
	"io"
	"sort"
	"sync/atomic"

	"github.com/isomount/isomount/pkg/binfmt"
	"github.com/isomount/isomount/pkg/fsys"
)

// A section is a part of a file that one directory record describes
// (ECMA-119 6.4). If it is interleaved its units lie apart.
type section struct {
	off  int64 // byte offset in the file
	size int64 // bytes
	pos  int64 // byte offset in the image
	unit int64 // bytes of a file unit; 0 if it is not interleaved
	step int64 // bytes from one unit to the next
}

// A layout says where the bytes of a file are.
type layout struct {
	node     fsys.Node
	size     int64 // as stored
	sections []section
	encoded  encoded // decodes what is stored; nil for ordinary files
}

// encoded is content that is not stored as it is read.
type encoded interface {
	Size() int64
	ReadAt(p []byte, off int64) (int, error)
}

// maxKept is how many sections a layout may have to be kept.
const maxKept = 512

// join adds up the sizes of the file whose first record is r, reading the
// records of its other sections. A file whose last record says that more
// follow ends there. visit, which may be nil, is called for each record.
func (s *scanner) join(r *record, visit func(*record)) int64 {
	size := int64(r.size)
	if visit != nil {
		visit(r)
	}
	for n := 1; r.flags&flagMore != 0 && n < maxSections; n++ {
		var part record
		if !s.next(&part) {
			break
		}
		if !sameFile(r, &part) {
			s.pos = s.at // it is the next file's
			break
		}
		size += int64(part.size)
		if visit != nil {
			visit(&part)
		}
		if part.flags&flagMore == 0 {
			break
		}
	}
	return size
}

// sumSections returns the size of the file whose first record is in s, where
// nothing is known of the directory around it.
func (f *FS) sumSections(s *scratch) int64 {
	f.openAt(s)
	size := s.scan.join(&s.rec, nil)
	s.fail(s.scan.err)
	return size
}

// openAt sets the scanner to the record that comes after the one in s.
func (f *FS) openAt(s *scratch) {
	const enough = 16 << 20 // bytes: for maxSections records of usual length
	s.rec.copyTo(&s.head)
	block := f.v.blockSize()
	in := s.rec.off % block
	start := s.rec.off - in
	s.scan.open(f.v, start, min(enough, f.v.size-start), in+int64(s.rec.length))
	s.scan.align = block
}

// slot is where the layout of a file is kept.
func (f *FS) slot(n fsys.Node) *atomic.Pointer[layout] {
	return &f.layouts[uint64(n)>>5%uint64(len(f.layouts))]
}

// plain returns the only section of a regular file that is stored as it is
// read, for a layout that needs no memory of its own. Not ok means that the
// layout of the node knows more.
func (f *FS) plain(n fsys.Node) (sec [1]section, ok bool) {
	if l := f.slot(n).Load(); l != nil && l.node == n {
		return sec, false
	}
	s := getScratch()
	defer putScratch(s)
	if f.load(s, n) != nil || f.typeOf(s) != fsys.TypeFile || !f.isPlain(s) {
		return sec, false
	}
	sec[0] = section{size: int64(s.rec.size), pos: f.v.extentOf(&s.rec)}
	return sec, true
}

// isPlain tells whether the file in s is one piece of the image.
func (f *FS) isPlain(s *scratch) bool {
	interleaved := s.rec.unit > 0 && s.rec.gap > 0
	return s.rec.flags&flagMore == 0 && !interleaved && !f.isZisofs(s) && !f.isSparse(s)
}

// layout returns where the bytes of a regular file are.
func (f *FS) layout(n fsys.Node) (*layout, error) {
	slot := f.slot(n)
	if l := slot.Load(); l != nil && l.node == n {
		return l, nil
	}
	s := getScratch()
	defer putScratch(s)
	if err := f.load(s, n); err != nil {
		return nil, err
	}
	if f.typeOf(s) != fsys.TypeFile {
		return nil, f.notFile(s)
	}
	l := &layout{node: n}
	if f.addSections(l, s); s.err != nil {
		return nil, s.err
	}
	f.encode(l, s)
	if len(l.sections) <= maxKept {
		slot.Store(l)
	}
	return l, nil
}

// addSections collects the sections of the file in s.
func (f *FS) addSections(l *layout, s *scratch) {
	if s.rec.flags&flagMore == 0 {
		l.add(f.v, &s.rec)
		return
	}
	f.openAt(s)
	s.scan.join(&s.rec, func(r *record) { l.add(f.v, r) })
	s.fail(s.scan.err)
}

// add appends a section.
func (l *layout) add(v *Volume, r *record) {
	if r.size == 0 {
		return
	}
	sec := section{off: l.size, size: int64(r.size), pos: v.extentOf(r)}
	if r.unit > 0 && r.gap > 0 {
		block := v.blockSize()
		sec.unit, sec.step = int64(r.unit)*block, (int64(r.unit)+int64(r.gap))*block
	}
	l.sections = append(l.sections, sec)
	l.size += sec.size
}

// at returns where byte off of the section is, and how many bytes follow there.
func (s *section) at(off int64) (pos, n int64) {
	if s.unit == 0 {
		return s.pos + off, s.size - off
	}
	in := off % s.unit
	return s.pos + off/s.unit*s.step + in, min(s.unit-in, s.size-off)
}

// section returns the index of the section that holds byte off.
func (l *layout) section(off int64) int {
	return sort.Search(len(l.sections), func(i int) bool {
		return l.sections[i].off+l.sections[i].size > off
	})
}

// ReadAt reads the bytes as they are stored, like an io.ReaderAt.
func (l *layout) readAt(r io.ReaderAt, p []byte, off int64) (int, error) {
	if off < 0 || off >= l.size {
		return 0, io.EOF
	}
	short := int64(len(p)) > l.size-off
	if short {
		p = p[:l.size-off]
	}
	done := 0
	for i := l.section(off); done < len(p); {
		sec := &l.sections[i]
		pos, n := sec.at(off + int64(done) - sec.off)
		if n == 0 {
			i++
			continue
		}
		piece := p[done:min(int64(len(p)), int64(done)+n)]
		got, err := r.ReadAt(piece, pos)
		done += got
		if got < len(piece) {
			return done, unexpected(err)
		}
	}
	if short {
		return done, io.EOF
	}
	return done, nil
}

// unexpected turns the end of the image into an error: the file goes on.
func unexpected(err error) error {
	if err == nil || err == io.EOF { //nolint:errorlint // io.ReaderAt gives io.EOF itself
		return io.ErrUnexpectedEOF
	}
	return err
}

// ReadAt reads a regular file.
func (f *FS) ReadAt(n fsys.Node, p []byte, off int64) (int, error) {
	if sec, ok := f.plain(n); ok {
		l := layout{size: sec[0].size, sections: sec[:]}
		return l.readAt(f.v.r, p, off)
	}
	l, err := f.layout(n)
	if err != nil {
		return 0, err
	}
	if l.encoded != nil {
		return l.encoded.ReadAt(p, off)
	}
	return l.readAt(f.v.r, p, off)
}

// Extents tells where the bytes of a regular file are.
func (f *FS) Extents(n fsys.Node, off int64, yield func(fsys.Extent) bool) error {
	if sec, ok := f.plain(n); ok && off >= 0 {
		l := layout{size: sec[0].size, sections: sec[:]}
		l.extents(off, yield)
		return nil
	}
	l, err := f.layout(n)
	if err != nil {
		return err
	}
	if off < 0 {
		return binfmt.Corrupt(int64(n), "negative offset %d in the file", off)
	}
	switch e := l.encoded.(type) {
	case nil:
		l.extents(off, yield)
	case *sparse:
		return e.extents(off, yield)
	default:
		if size := e.Size(); off < size {
			yield(fsys.Extent{Off: off, Len: size - off, Pos: fsys.Encoded})
		}
	}
	return nil
}

func (l *layout) extents(off int64, yield func(fsys.Extent) bool) {
	for i := l.section(off); i < len(l.sections); i++ {
		sec := &l.sections[i]
		for off < sec.off+sec.size {
			pos, n := sec.at(off - sec.off)
			if !yield(fsys.Extent{Off: off, Len: n, Pos: pos}) {
				return
			}
			off += n
		}
	}
}
