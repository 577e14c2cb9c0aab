// Package master writes disc images: ISO 9660 with Rock Ridge and Joliet, and
// on request a UDF bridge, in one pass to any writer.
//
// Build a [Tree] first, from files with [Scan], from another disc with
// [FromFS], or by hand with [NewTree] and [Tree.Add]; then call [Write]. The
// place of everything is computed before the first byte goes out, so a pipe
// will do as output, and memory is needed for the directory tree only. [Create]
// gives an output file that appears whole or not at all.
//
// The package reads the sources and never changes them. It does not read
// images (that is isofs), burn discs, or append sessions to them.
//
// The standards are cited by clause: ECMA-119 (ISO 9660), IEEE P1281 (SUSP)
// and P1282 (RRIP, "Rock Ridge"), the Joliet Specification, the El Torito
// Specification, ECMA-167 and OSTA UDF, and libisofs' AAIP 2.0.
package master

import (
	"context"
	"crypto/md5"
	"errors"
	"hash"
	"io"
	"time"
)

// Errors that callers may want to tell apart.
var (
	// ErrTooLarge reports a tree that no image of this kind can hold.
	ErrTooLarge = errors.New("too large for the image format")
	// ErrShort reports a file with fewer bytes than it had when it was scanned.
	ErrShort = errors.New("file became shorter while it was read")
	// ErrGone reports a file that was there when it was scanned and is not any more.
	ErrGone = errors.New("file vanished while the image was written")
	// ErrUDFXattrs reports extended attributes that only the Rock Ridge tree has.
	ErrUDFXattrs = errors.New("extended attributes are not written to the UDF tree")
	// ErrTooDeep reports directories nested too deep for plain ISO 9660.
	ErrTooDeep = errors.New("directories nested deeper than ISO 9660 allows")
)

// A Revision is a version of the UDF standard.
type Revision uint16

// UDF revisions that can be written.
const (
	UDF102 Revision = 0x0102
	UDF201 Revision = 0x0201
)

// Options say what is written beside the tree. The zero Options give ISO 9660
// level 3 with Rock Ridge and Joliet.
type Options struct {
	NoRockRidge bool     // leave out owners, modes, links, long names
	NoJoliet    bool     // leave out the Unicode tree for Windows
	LongJoliet  bool     // Joliet names of 103 instead of 64 characters
	Deep        bool     // keep directories where they are, however deep, instead of relocating them
	UDF         Revision // also write a UDF tree, without extended attributes; 0 for none

	// What the volume descriptors say. The first two have room for 32
	// characters, the other identifiers for 128, and Joliet for half of that.
	VolumeID      string // default "CDROM"
	SystemID      string // default "LINUX"
	VolumeSetID   string
	PublisherID   string
	PreparerID    string
	ApplicationID string // default "ISOMOUNT"
	CopyrightFile string // name of a file in the root directory
	AbstractFile  string // name of a file in the root directory
	BiblioFile    string // name of a file in the root directory

	Date      time.Time // of the volume's creation; default now
	Modified  time.Time // default Date; some programs use it to identify a volume
	Effective time.Time // from when on it may be used; default Date
	Expires   time.Time // default never

	// Reproducible makes the image depend on nothing but the tree and the
	// options, which should give Date: no file is younger than that, and its
	// last access and change are recorded as its last modification.
	Reproducible bool

	Boot        []Boot // El Torito boot images
	BootCatalog string // path at which the boot catalog is shown; default hidden
	SystemArea  []byte // what to put into the first 32,768 bytes; default zeros

	// HybridMBR is the code of a master boot record, isohdpfx.bin of isolinux, by
	// which the image boots from a USB stick too. The first of Boot has to be
	// isolinux.bin with InfoTable. A boot image for EFI becomes a partition.
	HybridMBR []byte

	MD5       bool // record checksums of files and session, as xorriso does with -md5 on
	NoPadding bool // leave out the 150 empty blocks at the end that old drives want
}

// A Result tells what was written.
type Result struct {
	Blocks      int64 // of 2048 bytes
	Files       int   // regular files, hard links counted once
	Directories int   // with the root
	Relocated   int   // directories moved up because they were too deep
	Notes       []Note
}

// A Note reports something that was left out, or written otherwise than it was
// found, without that being an error.
type Note struct {
	Path string // in the image, or of the source when it comes from Scan
	Err  error
}

// A Progress function is told now and then how many bytes of how many are written.
type Progress func(done, total int64)

// Write writes the image of a tree to w. The tree may be written again, with
// other options too, but not at the same time.
func Write(ctx context.Context, w io.Writer, t *Tree, opt Options, progress Progress) (Result, error) {
	m, err := plan(t, opt)
	if err != nil {
		return Result{}, err
	}
	var h hash.Hash
	if m.sums != nil {
		h = md5.New()
	}
	o := newOutput(ctx, w, m.next*blockSize, h, progress)
	if err := o.close(m.writeTo(o)); err != nil {
		return Result{}, err
	}
	return m.result, nil
}

func (m *image) writeTo(o *output) error {
	for _, s := range m.sections {
		if err := s.writeTo(o); err != nil {
			return err
		}
	}
	return nil
}
