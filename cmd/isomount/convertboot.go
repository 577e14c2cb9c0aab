package main

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/isofs"
	"github.com/isomount/isomount/pkg/isofs/master"
)

// A bootCopy takes over what makes a disc bootable into a new image of it: the
// entries of the El Torito catalog, and the master boot record of isohybrid images.
type bootCopy struct {
	disc  *disc
	info  *isofs.Info
	tree  *master.Tree
	opt   *master.Options
	files map[int64]*master.Node // those that may matter, by where they begin
	notes []noteText             // what could not be taken over
}

// copyBoot adds to opt what makes the disc bootable. The tree is without the
// catalog afterwards, which is made anew.
func copyBoot(d *disc, tree *master.Tree, opt *master.Options) ([]noteText, error) {
	c := &bootCopy{disc: d, info: d.volume.Report.Details.ISO, tree: tree, opt: opt}
	if c.info == nil || len(c.info.Boot) == 0 {
		return c.notes, c.area()
	}
	c.find()
	if err := c.catalog(); err != nil {
		return nil, err
	}
	for i := range c.info.Boot {
		if err := c.entry(&c.info.Boot[i]); err != nil {
			return nil, err
		}
	}
	return c.notes, c.area()
}

func (c *bootCopy) note(format string, args ...any) {
	c.notes = append(c.notes, noteText{"/", fmt.Sprintf(format, args...)})
}

// find finds the files of the tree that begin where a boot image does, or the
// catalog.
func (c *bootCopy) find() {
	c.files = map[int64]*master.Node{c.catalogAt(): nil}
	for i := range c.info.Boot {
		c.files[c.info.Boot[i].Offset] = nil
	}
	for n := range c.tree.All() {
		if !n.IsRegular() || n.Size() == 0 {
			continue
		}
		at := firstByte(c.disc.volume.FS, fsys.Node(n.Key()))
		if old, wanted := c.files[at]; wanted && old == nil {
			c.files[at] = n
		}
	}
}

// bootRecord is what the descriptor of El Torito calls itself, and catalogField
// where it has the sector of the catalog (El Torito 2.0).
const (
	bootRecord   = "EL TORITO SPECIFICATION"
	catalogField = 0x47
)

// catalogAt returns the first byte of the catalog, or -1.
func (c *bootCopy) catalogAt() int64 {
	i := slices.IndexFunc(c.info.Descriptors, func(d isofs.Descriptor) bool {
		return d.Kind == isofs.DescriptorBoot && d.System == bootRecord
	})
	var b [4]byte
	if i < 0 || c.read(b[:], c.info.Descriptors[i].Offset+catalogField) != nil {
		return -1
	}
	return int64(binary.LittleEndian.Uint32(b[:])) * blockBytes
}

func (c *bootCopy) read(p []byte, off int64) error {
	n, err := c.disc.image.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	return cmp.Or(err, io.ErrUnexpectedEOF)
}

// catalog has the new catalog shown where the old one was.
func (c *bootCopy) catalog() error {
	n := c.files[c.catalogAt()]
	if n == nil {
		return nil
	}
	c.opt.BootCatalog = n.Path()
	return c.tree.Remove(n)
}

// entry takes over one boot image.
func (c *bootCopy) entry(e *isofs.BootEntry) error {
	b := master.Boot{
		Platform: master.Platform(e.Platform), Emulation: master.Emulation(e.Media), NotBootable: !e.Bootable,
		LoadSegment: e.LoadSegment, SystemType: e.SystemType, Sectors: e.Sectors,
	}
	head := make([]byte, bootHead)
	if err := c.read(head, e.Offset); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		head = head[:0] // a short image has no tables
	} else if err != nil {
		return fmt.Errorf("boot image at byte %d: %w", e.Offset, err)
	}
	size := e.Size
	if n := c.files[e.Offset]; n != nil {
		b.Path, size = n.Path(), n.Size()
	}
	tabled := c.tables(&b, head, e.Offset, size)
	switch {
	case b.Emulation > master.HardDisk, len(c.opt.Boot) == master.MaxBoots:
		c.note("the boot entry at byte %d, of a kind or number that is not written, is not in the new image", e.Offset)
		return nil
	case b.Path != "":
	case e.Size == 0:
		c.note("the boot entry at byte %d, where there is nothing, is not in the new image", e.Offset)
		return nil
	default:
		c.hidden(&b, e, max(e.Size, tabled))
		if tabled == 0 && guessed(e) {
			c.note("the boot image at byte %d is no file and does not tell its size: the %d bytes that are loaded were kept", e.Offset, e.Size)
		}
	}
	c.opt.Boot = append(c.opt.Boot, b)
	return nil
}

// guessed tells whether the size of a boot image is no more than what a BIOS loads
// of it, which may then load the rest. For EFI it is all (UEFI 13.3.2.1), unless
// it is 0 or 1.
func guessed(e *isofs.BootEntry) bool {
	loaded := e.Media == isofs.MediaNone && e.Size == int64(e.Sectors)*virtualSector
	return loaded && (e.Platform != isofs.PlatformEFI || e.Sectors <= 1)
}

const (
	bootHead      = 2556 // bytes of a boot image in which tables can be
	infoAt        = 8    // of the boot information table of isolinux
	grubAt        = 2548 // of the block address of GRUB 2
	virtualSector = 512
	volumeSector  = 16 // of the first volume descriptor
)

// tables finds the tables that were written into a boot image, and have to be
// written into the new one. It returns the size that the image has by them.
func (c *bootCopy) tables(b *master.Boot, head []byte, off, size int64) (tabled int64) {
	if len(head) < bootHead {
		return 0
	}
	le := binary.LittleEndian
	volume, file, length := le.Uint32(head[infoAt:]), le.Uint32(head[infoAt+4:]), int64(le.Uint32(head[infoAt+8:]))
	if int64(volume) == c.info.Start+volumeSector && int64(file)*blockBytes == off && off+length <= c.disc.image.Size() {
		b.InfoTable, tabled = true, length
	}
	if max(size, tabled) >= bootHead && int64(le.Uint64(head[grubAt:])) == off/virtualSector+5 { //nolint:gosec // compared only
		b.GRUB2 = true
	}
	return tabled
}

// hidden takes over a boot image that is no file.
func (c *bootCopy) hidden(b *master.Boot, e *isofs.BootEntry, size int64) {
	b.Size = min(size, c.disc.image.Size()-e.Offset)
	b.Hidden = &rangeContent{c.disc.image, e.Offset, b.Size}
}

// A rangeContent is a piece of a disc as a file.
type rangeContent struct {
	disc      io.ReaderAt
	off, size int64
}

// Open implements master.Content.
func (r *rangeContent) Open(*master.Node) (io.ReadCloser, error) {
	return io.NopCloser(io.NewSectionReader(r.disc, r.off, r.size)), nil
}

// Places in the master boot record of an isohybrid image.
const (
	hybridCode   = 432
	hybridSigOff = 64 // in isolinux.bin
)

// area takes over the code of an isohybrid image, and tells of what else is
// before the file system.
func (c *bootCopy) area() error {
	if c.info == nil || c.info.Start != 0 {
		return nil
	}
	b := make([]byte, systemArea)
	if err := c.read(b, 0); err != nil {
		return fmt.Errorf("before the file system: %w", err)
	}
	rest := b
	if c.isHybrid(b) {
		c.opt.HybridMBR = b[:hybridCode]
		rest = b[virtualSector:]
	}
	if slices.ContainsFunc(rest, func(x byte) bool { return x != 0 }) {
		c.note("what is before the file system, such as partition tables and code to boot from a hard disk, is not in the new image")
	}
	return nil
}

// isHybrid tells whether the first sector loads the first boot image, as isolinux.
func (c *bootCopy) isHybrid(b []byte) bool {
	if len(c.opt.Boot) == 0 || !c.opt.Boot[0].InfoTable || c.opt.Boot[0].Platform != master.BIOS || c.opt.Boot[0].Emulation != master.NoEmulation {
		return false
	}
	e := &c.info.Boot[0]
	sig := make([]byte, 4)
	return b[510] == 0x55 && b[511] == 0xAA &&
		binary.LittleEndian.Uint64(b[hybridCode:]) == uint64(e.Offset)/virtualSector && //nolint:gosec // it is not negative
		c.read(sig, e.Offset+hybridSigOff) == nil && bytes.Equal(sig, []byte{0xFB, 0xC0, 0x78, 0x70})
}
