// Package udf reads UDF file systems, revisions 1.01 to 2.60, as they are on
// DVDs, Blu-ray discs, packet-written CDs and disks (OSTA UDF, which is a
// profile of ECMA-167).
//
// Start with [Open]. What it returns is an [fsys.FS] whose nodes are the
// addresses of their file entries, so that nothing is kept for a node. All
// kinds of partition are read: physical, virtual, sparable and metadata; and
// where a disc has a second copy of what is damaged, that is used.
//
// Comments cite ECMA-167 (3rd edition) as "4/14.9", part and clause, with
// field positions in bytes from 0 (RBP), and the UDF specification (2.60
// unless told otherwise) as "UDF 2.2.8".
//
// The package writes nothing and does not decode what UDF leaves to others:
// encrypted or compressed sectors.
package udf

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/isomount/isomount/pkg/binfmt"
	"github.com/isomount/isomount/pkg/fsys"
)

// Options refine how a volume is found and shown. The zero value is ready.
type Options struct {
	Owner fsys.Owner
	// Meta reads what is not file content; nil: the reader given to Open.
	Meta io.ReaderAt
	// Index finds names; nil: one of its own. It may not be shared with
	// another file system.
	Index *fsys.Index

	NoVRS     bool   // do not look for the volume recognition sequence (novrs)
	Anchor    int64  // sector of the anchor, before the usual ones are tried (anchor=)
	LastBlock int64  // last sector of the disc; 0: that of the image (lastblock=)
	BlockSize int64  // bytes of a sector; 0: found out (bs=)
	Session   int64  // first sector, of 2048 bytes, of the session (session=)
	Undelete  bool   // show deleted entries too (undelete)
	Hide      bool   // do not show hidden entries, as Linux does without unhide
	Charset   string // of names, as IANA or the kernel call it (iocharset=); "": UTF-8
}

// An FS is an open UDF file system. It implements [fsys.FS],
// [fsys.ExtentFS], [fsys.XattrFS] and [fsys.ParentFS].
type FS struct {
	r, meta io.ReaderAt
	size    int64
	packed  bool // r and meta leave out the blocks between packets
	opts    Options
	owner   fsys.Owner
	names   namer

	sector   int64 // bytes
	block    int64 // bytes; the same in UDF, may be more in ECMA-167
	parts    []partition
	root     fsys.Node
	recorded timestamp // stands in for dates that are not valid
	files    uint64
	blocks   uint64
	info     Info

	index    *fsys.Index
	inodes   inodeCache
	windows  sync.Pool // of *window
	scanners sync.Pool // of *scanner
}

var (
	_ fsys.FS       = (*FS)(nil)
	_ fsys.ExtentFS = (*FS)(nil)
	_ fsys.XattrFS  = (*FS)(nil)
	_ fsys.ParentFS = (*FS)(nil)
)

// Open opens the UDF file system in the size bytes of r. It returns
// [binfmt.ErrMagic] if there is none.
func Open(r io.ReaderAt, size int64, o Options) (*FS, error) {
	f := &FS{r: r, meta: o.Meta, size: size, opts: o, owner: o.Owner, index: o.Index}
	if f.meta == nil {
		f.meta = r
	}
	if f.index == nil {
		f.index = fsys.NewIndex(0)
	}
	var err error
	if f.names.charset, err = charset(o.Charset); err != nil {
		return nil, err
	}
	err = f.mount()
	if err == nil {
		return f, nil
	}
	if !errors.Is(err, binfmt.ErrMagic) && f.info.Anchor == 0 && f.leaveOutLinks().mount() == nil {
		f.notef("blocks between the packets of a CD left out")
		return f, nil
	}
	return nil, err
}

// leaveOutLinks has the image read without the blocks between packets.
func (f *FS) leaveOutLinks() *FS {
	f.packed = true
	f.r, f.meta, f.size = packets{f.r}, packets{f.meta}, packedSize(f.size)
	return f
}

// mount finds the volume: an anchor that leads to a root directory.
func (f *FS) mount() error {
	nsr := ""
	if !f.opts.NoVRS {
		nsr = f.recognized()
	}
	var first error
	for a := range f.anchors(nsr != "" || f.opts.NoVRS) {
		f.info = Info{Recognition: nsr, Anchor: a.sector}
		if nsr == "" && !f.opts.NoVRS {
			f.notef("no volume recognition sequence")
		}
		if a.sector != anchorLBA && a.sector != f.opts.Anchor && a.sector != f.sessionSector()+anchorLBA {
			f.notef("anchor at %d missing, that at %d used", anchorLBA, a.sector)
		}
		err := f.load(a)
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
	}
	if first == nil {
		if nsr == "" {
			return binfmt.ErrMagic
		}
		first = binfmt.Corrupt(vrsStart, "%s volume without an anchor", nsr)
	}
	return first
}

// load reads the volume to which an anchor leads.
func (f *FS) load(a anchor) error {
	s := f.readSequences(a)
	if s.logical == nil {
		return binfmt.Corrupt(a.sector*f.sector, "no logical volume descriptor")
	}
	f.setBlock(int64(s.logical.block))
	maps, err := parseMaps(s.logical.maps, s.logical.nMaps, a.sector*f.sector)
	if err != nil {
		return err
	}
	f.setDates(s)
	if err := f.loadPartitions(s, maps); err != nil {
		return err
	}
	set, err := f.findFileSet(s.logical.fileSet)
	if err != nil {
		return err
	}
	if err := f.setRoot(set); err != nil {
		return err
	}
	f.describe(s, &set)
	return nil
}

// readSequences reads the main volume descriptor sequence, and the reserve
// one if something is missing in it.
func (f *FS) readSequences(a anchor) *sequence {
	s := f.readSequence(a.main)
	f.info.Sequence = "main"
	if s.complete() {
		return s
	}
	nothing := s.logical == nil && len(s.parts) == 0
	s.merge(f.readSequence(a.reserve))
	f.info.Sequence = "reserve"
	if nothing {
		f.notef("main volume descriptor sequence unreadable, reserve used")
	} else {
		f.notef("main volume descriptor sequence incomplete, reserve used for the rest")
	}
	return s
}

// setBlock sets the size of a logical block. UDF 2.2.4.2 wants that of a
// sector.
func (f *FS) setBlock(size int64) {
	f.block = f.sector
	if size == f.sector {
		return
	}
	if validBlock(size) && size > f.sector {
		f.block = size
	}
	f.notef("logical blocks of %d bytes in sectors of %d, %d taken", size, f.sector, f.block)
}

// setDates takes the date that stands in for invalid ones.
func (f *FS) setDates(s *sequence) {
	f.recorded = timestamp{}
	if s.primary != nil {
		f.recorded = s.primary.recorded
	}
}

// setRoot checks the root directory.
func (f *FS) setRoot(set fileSet) error {
	f.root = set.root.node()
	if !f.recorded.ok {
		f.recorded = set.recorded
	}
	w := f.window()
	defer f.release(w)
	e, err := f.readICB(w, set.root.addr)
	if err != nil {
		return fmt.Errorf("root directory: %w", err)
	}
	if e.fileType != fileDir {
		return binfmt.Corrupt(e.off, "root directory of file type %d", e.fileType)
	}
	f.blocks = uint64(f.parts[set.root.ref].length / f.block)
	return nil
}

// window returns a window on the metadata, to be given back.
func (f *FS) window() *window {
	w, _ := f.windows.Get().(*window)
	if w == nil {
		w = &window{}
	}
	w.reset(f.meta)
	return w
}

func (f *FS) release(w *window) { f.windows.Put(w) }

// Root implements [fsys.FS].
func (f *FS) Root() fsys.Node { return f.root }

// Statfs implements [fsys.FS].
func (f *FS) Statfs() fsys.Statfs {
	return fsys.Statfs{BlockSize: uint32(f.block), Blocks: f.blocks, Files: f.files, NameLen: maxName}
}
