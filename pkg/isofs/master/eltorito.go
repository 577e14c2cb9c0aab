package master

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/isomount/isomount/pkg/fsys"
)

// A Platform is the kind of machine that a boot image is for.
type Platform byte

// Platforms (El Torito 2.1; EFI: UEFI 13.3.2.1).
const (
	BIOS Platform = 0x00
	PPC  Platform = 0x01
	Mac  Platform = 0x02
	EFI  Platform = 0xEF
)

// An Emulation is the drive that a BIOS makes of a boot image.
type Emulation byte

// Emulations (El Torito 2.2).
const (
	NoEmulation Emulation = iota
	Floppy12              // 1.2 MB
	Floppy144             // 1.44 MB
	Floppy288             // 2.88 MB
	HardDisk
)

// A Boot is an El Torito boot image: a file of the tree, or one that no directory
// shows.
type Boot struct {
	Path        string  // in the tree
	Hidden      Content // of a file that is not in the tree, if Path is empty
	Size        int64   // of that, in bytes
	Platform    Platform
	Emulation   Emulation
	NotBootable bool
	LoadSegment uint16 // default 0x7C0
	SystemType  byte   // of a hard disk's partition
	Sectors     uint16 // how many of 512 bytes to load; default 4 for BIOS, else the whole image
	InfoTable   bool   // patch the boot information table of isolinux into bytes 8-63
	GRUB2       bool   // patch the block address that GRUB wants at byte 2548
}

// ErrBoot reports a boot image that cannot serve as one.
var ErrBoot = errors.New("unfit boot image")

// MaxBoots is how many boot images fit into a catalog of one block, which is all
// that is written, each with a header.
const MaxBoots = 31

// A bootCatalog lists the boot images.
type bootCatalog struct {
	lba     uint32
	inode   *inode // of the catalog as a file, or nil
	entries []bootEntry
}

type bootEntry struct {
	Boot
	node *Node
}

const (
	bootSector  = 512 // El Torito counts boot images in "virtual sectors"
	infoOff     = 8
	infoLen     = 56
	grubOff     = 2548
	maxInfoSize = 64 << 20
)

// A patch replaces bytes of a file.
type patch struct {
	off  int64
	data []byte
	next *patch
}

// applyPatches changes p, which lies at byte offset off of the file.
func (i *inode) applyPatches(p []byte, off int64) {
	if i.extra == nil {
		return
	}
	for x := i.extra.patch; x != nil; x = x.next {
		lo, hi := max(x.off, off), min(x.off+int64(len(x.data)), off+int64(len(p)))
		if lo < hi {
			copy(p[lo-off:hi-off], x.data[lo-x.off:])
		}
	}
}

// prepareBoot finds the boot images and adds the catalog to the tree.
func (m *image) prepareBoot() error {
	if len(m.opt.Boot) == 0 {
		return m.checkHybrid()
	}
	if len(m.opt.Boot) > MaxBoots {
		return fmt.Errorf("%d boot images: %w", len(m.opt.Boot), ErrBoot)
	}
	m.boot = &bootCatalog{}
	for _, b := range m.opt.Boot {
		n := m.bootNode(&b)
		if n == nil || !n.IsRegular() || n.inode.size == 0 {
			return &fs.PathError{Op: "boot", Path: b.Path, Err: fmt.Errorf("no file of that name with content: %w", ErrBoot)}
		}
		if b.Emulation > HardDisk || (b.InfoTable && n.inode.size < infoOff+infoLen) || (b.GRUB2 && n.inode.size < grubOff+8) {
			return &fs.PathError{Op: "boot", Path: b.Path, Err: ErrBoot}
		}
		m.boot.entries = append(m.boot.entries, bootEntry{b, n})
	}
	if err := m.checkHybrid(); err != nil {
		return err
	}
	return m.showCatalog()
}

// bootNode finds the file of a boot image, or makes one that is not in the tree.
func (m *image) bootNode(b *Boot) *Node {
	if b.Path != "" || b.Hidden == nil {
		return m.tree.Lookup(b.Path)
	}
	b.Path = fmt.Sprintf("hidden boot image %d", len(m.boot.entries)+1)
	i := &inode{mode: fsys.TypeFile, nlink: 1, size: b.Size, content: b.Hidden}
	n := &Node{name: b.Path, parent: m.tree.root, inode: i}
	m.hidden = append(m.hidden, n)
	return n
}

// showCatalog makes the catalog a file of the image if it shall be seen.
func (m *image) showCatalog() error {
	path := strings.Trim(m.opt.BootCatalog, "/")
	if path == "" {
		return nil
	}
	dir, name := splitPath(path)
	parent := m.tree.Lookup(dir)
	if parent == nil || !parent.IsDir() {
		return &fs.PathError{Op: "boot catalog", Path: m.opt.BootCatalog, Err: fs.ErrNotExist}
	}
	if parent.Child(name) != nil {
		return &fs.PathError{Op: "boot catalog", Path: m.opt.BootCatalog, Err: fs.ErrExist}
	}
	if err := checkName(parent, name); err != nil {
		return err
	}
	ns := m.date.UnixNano()
	i := &inode{mode: fsys.TypeFile | 0o444, nlink: 1, mtime: ns, atime: ns, ctime: ns, size: blockSize}
	d := parent.inode.dir
	m.extra[d] = append(m.extra[d], &Node{name: name, parent: parent, inode: i})
	m.boot.inode = i
	return nil
}

// layCatalog plans the boot catalog.
func (m *image) layCatalog() {
	if m.boot == nil {
		return
	}
	m.boot.lba = m.addBytes("boot catalog", blockSize, m.boot.encode)
	if m.boot.inode != nil {
		m.boot.inode.lba = m.boot.lba
	}
}

// finishBoot computes the patches of boot images, whose places are known now.
func (m *image) finishBoot() error {
	if m.boot == nil {
		return nil
	}
	for _, e := range m.boot.entries {
		e.node.inode.more().patch = nil
	}
	for _, e := range m.boot.entries {
		if err := e.addPatches(); err != nil {
			return &fs.PathError{Op: "boot", Path: e.Path, Err: err}
		}
	}
	return nil
}

func (e *bootEntry) addPatches() error {
	x := e.node.inode.more()
	if e.GRUB2 {
		at := uint64(e.node.inode.lba)*(blockSize/bootSector) + 5
		x.patch = &patch{grubOff, binary.LittleEndian.AppendUint64(nil, at), x.patch}
	}
	if e.InfoTable {
		table, err := infoTable(e.node)
		if err != nil {
			return err
		}
		x.patch = &patch{infoOff, table, x.patch}
	}
	return nil
}

// infoTable makes the boot information table (mkisofs(8), "EL TORITO BOOT
// INFORMATION TABLE"): where the volume descriptor and the image lie, its
// length, and the sum of its words behind the table.
func infoTable(n *Node) ([]byte, error) {
	sum, err := bootSum(n)
	if err != nil {
		return nil, err
	}
	const primaryVolume = 16
	t := binary.LittleEndian.AppendUint32(nil, primaryVolume)
	t = binary.LittleEndian.AppendUint32(t, n.inode.lba)
	t = binary.LittleEndian.AppendUint32(t, uint32(n.inode.size))
	t = binary.LittleEndian.AppendUint32(t, sum)
	return appendZeros(t, infoLen-len(t)), nil
}

func bootSum(n *Node) (sum uint32, err error) {
	if n.inode.size > maxInfoSize {
		return 0, fmt.Errorf("boot information table in a file of %d bytes: %w", n.inode.size, ErrBoot)
	}
	r, err := n.inode.content.Open(n)
	if err != nil {
		return 0, err
	}
	p := make([]byte, (n.inode.size+3)&^3)
	_, err = io.ReadFull(r, p[:n.inode.size])
	n.inode.applyPatches(p, 0)
	for off := infoOff + infoLen; off < len(p); off += 4 {
		sum += binary.LittleEndian.Uint32(p[off:])
	}
	return sum, errors.Join(err, r.Close())
}

// bootRecord makes the descriptor that points to the catalog (El Torito 2.0).
func (m *image) bootRecord() []byte {
	b := append([]byte{descBoot}, "CD001\x01"...)
	b = appendPadded(b, []byte("EL TORITO SPECIFICATION"), 64, []byte{0})
	b = binary.LittleEndian.AppendUint32(b, m.boot.lba) // BP 72-75
	return appendBlock(nil, b)
}

// encode makes the boot catalog: a validation entry, the default entry, and for
// every further image a section header with one entry (El Torito 2.1 to 2.4).
func (c *bootCatalog) encode() []byte {
	b := validationEntry(c.entries[0].Platform)
	for i, e := range c.entries {
		if i > 0 {
			header := byte(0x90)
			if i == len(c.entries)-1 {
				header = 0x91
			}
			b = append(b, header, byte(e.Platform), 1, 0)
			b = appendZeros(b, 28)
		}
		b = e.append(b)
	}
	return appendBlock(nil, b)
}

// validationEntry makes the first entry, whose 16-bit words add up to zero.
func validationEntry(p Platform) []byte {
	b := []byte{1, byte(p), 0, 0}
	b = appendPadded(b, []byte("ISOMOUNT"), 24, []byte{0})
	b = append(b, 0, 0, 0x55, 0xAA)
	var sum uint16
	for i := 0; i < len(b); i += 2 {
		sum += binary.LittleEndian.Uint16(b[i:])
	}
	binary.LittleEndian.PutUint16(b[28:], -sum)
	return b
}

func (e *bootEntry) append(b []byte) []byte {
	indicator := byte(0x88)
	if e.NotBootable {
		indicator = 0
	}
	b = append(b, indicator, byte(e.Emulation))
	b = binary.LittleEndian.AppendUint16(b, e.LoadSegment)
	b = append(b, e.SystemType, 0)
	b = binary.LittleEndian.AppendUint16(b, e.sectors())
	b = binary.LittleEndian.AppendUint32(b, e.node.inode.lba)
	return appendZeros(b, 20)
}

// sectors returns how much is loaded. For EFI it is the size of the image, if
// 16 bits can tell it.
func (e *bootEntry) sectors() uint16 {
	switch {
	case e.Sectors != 0:
		return e.Sectors
	case e.Emulation != NoEmulation:
		return 1
	case e.Platform == BIOS:
		return 4
	}
	return uint16(min((e.node.inode.size+bootSector-1)/bootSector, 0xFFFF))
}
