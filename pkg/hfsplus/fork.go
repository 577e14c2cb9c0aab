package hfsplus

import (
	"errors"
	"io"
	"io/fs"
	"math"

	"github.com/isomount/isomount/pkg/binfmt"
	"github.com/isomount/isomount/pkg/fsys"
)

// Fork types in the keys of the extents overflow file (TN1150 "Extents
// Overflow File").
const (
	forkData     = 0x00
	forkResource = 0xFF
)

// An extent is a run of allocation blocks.
type extent struct{ start, count uint32 }

// extentsPlus and extentsHFS are how many extents a record holds.
const extentsPlus, extentsHFS = 8, 3

// A fork is where the bytes of a file lie: its first extents, and the key to
// the further ones in the extents overflow file.
type fork struct {
	cnid uint32
	kind uint8
	size int64
	ext  [extentsPlus]extent // unused ones are zero
}

// decodeFork decodes the fork data of HFS+ (TN1150 "Fork Data Structure").
func decodeFork(c *binfmt.Cursor, cnid uint32, kind uint8) fork {
	f := fork{cnid: cnid, kind: kind, size: int64(min(c.U64BE(), math.MaxInt64))}
	c.Skip(8) // clumpSize, totalBlocks
	decodeExtentsPlus(c, &f.ext)
	return f
}

func decodeExtentsPlus(c *binfmt.Cursor, ext *[extentsPlus]extent) {
	for i := range ext {
		ext[i] = extent{c.U32BE(), c.U32BE()}
	}
}

// decodeTreeForkHFS decodes size and extents of a B-tree in a master directory
// block.
func decodeTreeForkHFS(c *binfmt.Cursor, cnid uint32) fork {
	f := fork{cnid: cnid, kind: forkData, size: int64(c.U32BE())}
	decodeExtentsHFS(c, &f.ext)
	return f
}

func decodeExtentsHFS(c *binfmt.Cursor, ext *[extentsPlus]extent) {
	*ext = [extentsPlus]extent{}
	for i := range extentsHFS {
		ext[i] = extent{uint32(c.U16BE()), uint32(c.U16BE())}
	}
}

// pick returns what of ext, whose first block is block first of the fork, lies
// from block on. It is empty if that is not in ext.
func pick(ext *[extentsPlus]extent, first, block uint32) extent {
	at := uint64(first)
	for _, e := range ext {
		if e.count == 0 {
			break
		}
		if skip := uint64(block) - at; uint64(block) >= at && skip < uint64(e.count) {
			return extent{e.start + uint32(skip), e.count - uint32(skip)}
		}
		at += uint64(e.count)
	}
	return extent{}
}

// run returns the run of allocation blocks that holds block of a fork and what
// follows it.
func (v *FS) run(f *fork, block uint32) (extent, error) {
	e := pick(&f.ext, 0, block)
	if e.count == 0 {
		// The extents file itself has no overflow (TN1150).
		if v.extents == nil || f.cnid == cnidExtents {
			return e, binfmt.Corrupt(v.vol.base, "file %d has no block %d", f.cnid, block)
		}
		var err error
		if e, err = v.overflow(f, block); err != nil {
			return e, err
		}
	}
	if uint64(e.start)+uint64(e.count) > uint64(math.MaxUint32) {
		return extent{}, binfmt.Corrupt(v.vol.base, "file %d has blocks %d to %d", f.cnid, e.start, uint64(e.start)+uint64(e.count))
	}
	return e, nil
}

// overflow finds block of a fork in the extents overflow file.
func (v *FS) overflow(f *fork, block uint32) (extent, error) {
	t := v.extents
	n := t.node()
	defer t.done(n)
	target := extentKey{f.cnid, f.kind, block}
	err := t.descend(n, func(key []byte) bool {
		k, ok := v.extentKey(key)
		return ok && !target.less(k)
	})
	if err != nil {
		return extent{}, err
	}
	for i := n.nrec - 1; i >= 0; i-- {
		key, data, ok := t.record(n, i)
		k, known := v.extentKey(key)
		if !ok || !known || target.less(k) {
			continue
		}
		if run := pick(v.decodeExtents(data), k.block, block); k.cnid == f.cnid && k.kind == f.kind && run.count > 0 {
			return run, nil
		}
		break
	}
	return extent{}, binfmt.Corrupt(n.off, "file %d has no block %d", f.cnid, block)
}

func (v *FS) decodeExtents(data []byte) *[extentsPlus]extent {
	var ext [extentsPlus]extent
	c := binfmt.At(data, 0)
	if v.vol.isHFS() {
		decodeExtentsHFS(&c, &ext)
	} else {
		decodeExtentsPlus(&c, &ext)
	}
	return &ext
}

// An extentKey is the key of the extents overflow file.
type extentKey struct {
	cnid  uint32
	kind  uint8
	block uint32
}

func (a extentKey) less(b extentKey) bool {
	if a.cnid != b.cnid {
		return a.cnid < b.cnid
	}
	if a.kind != b.kind {
		return a.kind < b.kind
	}
	return a.block < b.block
}

func (v *FS) extentKey(key []byte) (extentKey, bool) {
	c := binfmt.At(key, 0)
	k := extentKey{kind: c.U8()}
	if v.vol.isHFS() {
		k.cnid, k.block = c.U32BE(), uint32(c.U16BE())
	} else {
		c.Skip(1)
		k.cnid, k.block = c.U32BE(), c.U32BE()
	}
	return k, c.Err() == nil
}

// forkRun returns where the byte at off of a fork lies in the image and how
// many bytes of the fork follow it there.
func (v *FS) forkRun(f *fork, off int64) (pos, n int64, err error) {
	block, within := off/v.vol.blockSize, off%v.vol.blockSize
	if block > math.MaxUint32 {
		return 0, 0, binfmt.Corrupt(v.vol.base, "file %d has no block %d", f.cnid, block)
	}
	e, err := v.run(f, uint32(block))
	if err != nil {
		return 0, 0, err
	}
	pos = v.vol.base + int64(e.start)*v.vol.blockSize + within
	return pos, min(int64(e.count)*v.vol.blockSize-within, f.size-off), nil
}

var errNegative = errors.New("negative offset")

// readFork reads a fork through r like an io.ReaderAt.
func (v *FS) readFork(r io.ReaderAt, f *fork, p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errNegative
	}
	if off >= f.size {
		return 0, io.EOF
	}
	want := p[:min(int64(len(p)), f.size-off)]
	done := 0
	for done < len(want) {
		pos, n, err := v.forkRun(f, off+int64(done))
		if err != nil {
			return done, err
		}
		k, err := binfmt.ReadPart(r, v.size, want[done:][:min(n, int64(len(want)-done))], pos)
		done += k
		if err != nil {
			return done, err
		}
	}
	if done < len(p) {
		return done, io.EOF
	}
	return done, nil
}

// forkExtents tells where the bytes of a fork lie.
func (v *FS) forkExtents(f *fork, off int64, yield func(fsys.Extent) bool) error {
	for off < f.size {
		pos, n, err := v.forkRun(f, off)
		if err != nil {
			return err
		}
		if !yield(fsys.Extent{Off: off, Len: n, Pos: pos}) {
			return nil
		}
		off += n
	}
	return nil
}

// ReadAt implements [fsys.FS].
func (v *FS) ReadAt(n fsys.Node, p []byte, off int64) (int, error) {
	rec, err := v.file(n)
	if err != nil {
		return 0, err
	}
	if isDot(n) {
		return v.readAppleDouble(&rec, p, off)
	}
	switch c, err := v.compressed(&rec); {
	case err != nil:
		return 0, err
	case c != nil:
		return v.readCompressed(c, p, off)
	}
	return v.readFork(v.r, &rec.data, p, off)
}

// Extents implements [fsys.ExtentFS].
func (v *FS) Extents(n fsys.Node, off int64, yield func(fsys.Extent) bool) error {
	rec, err := v.file(n)
	if err != nil {
		return err
	}
	if off < 0 {
		return errNegative
	}
	if isDot(n) {
		return v.appleDoubleExtents(&rec, off, yield)
	}
	c, err := v.compressed(&rec)
	if err != nil {
		return err
	}
	if c != nil {
		if off < c.size {
			yield(fsys.Extent{Off: off, Len: c.size - off, Pos: fsys.Encoded})
		}
		return nil
	}
	return v.forkExtents(&rec.data, off, yield)
}

// file returns the record of a regular file.
func (v *FS) file(n fsys.Node) (record, error) {
	rec, err := v.at(n)
	switch {
	case err != nil:
		return record{}, err
	case rec.folder:
		return record{}, fsys.ErrIsDir
	case rec.typ() != fsys.TypeFile:
		return record{}, fs.ErrInvalid
	case rec.isLink:
		return record{}, binfmt.Corrupt(v.vol.base, "hard link to a lost file")
	}
	return rec, nil
}
