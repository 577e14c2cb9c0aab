// Package fat reads the FAT12, FAT16 and FAT32 file systems of EFI system
// partitions and of El Torito floppy and hard disk images, with the long names
// of VFAT.
//
// Call [Open] first; it answers binfmt.ErrMagic for what is no FAT file system,
// as most boot images are not.
//
// A node is the byte offset of a directory entry, so nothing has to be kept.
// The file allocation table is read where it is needed, never as a whole; for
// large files a few marks on the way through their cluster chains are kept.
//
// The package does not write and does not read exFAT.
package fat

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"

	"github.com/isomount/isomount/pkg/binfmt"
	"github.com/isomount/isomount/pkg/fsys"
)

// Options say how to show a file system. The zero value is ready.
type Options struct {
	// Owner says who owns everything, since the disc does not.
	Owner fsys.Owner

	// Meta reads directories and the allocation table, so that they can be
	// cached apart from the content of files. Nil reads them like everything
	// else.
	Meta io.ReaderAt
}

// An FS is the file tree of one file system.
type FS struct {
	r, meta io.ReaderAt
	size    int64 // bytes that r has
	owner   fsys.Owner

	geo   geometry
	index *fsys.Index
	marks marks
	label string    // from the root directory
	date  fsys.Time // when it was set; zero if there is none
	notes []string
}

var (
	_ fsys.FS       = (*FS)(nil)
	_ fsys.ExtentFS = (*FS)(nil)
	_ fsys.ParentFS = (*FS)(nil)
)

// rootNode is the node of the root directory, which has no entry. No entry lies
// at this offset, since it is no multiple of 32.
const rootNode fsys.Node = 1

// Open reads the boot sector of a file system that begins at the first byte of
// r, of whose image size bytes are there.
func Open(r io.ReaderAt, size int64, o Options) (*FS, error) {
	v := &FS{r: r, meta: o.Meta, size: size, owner: o.Owner, index: fsys.NewIndex(0)}
	if v.meta == nil {
		v.meta = r
	}
	var boot [512]byte
	if size < int64(len(boot)) {
		return nil, binfmt.ErrMagic
	}
	if err := v.readMeta(boot[:], 0); err != nil {
		return nil, err
	}
	g, err := decodeBoot(boot[:])
	if err != nil {
		return nil, err
	}
	v.geo = g
	if end := g.dataOff + int64(g.clusters)*g.clusterSize; end > size {
		v.notes = append(v.notes, fmt.Sprintf("file system ends at byte %d, the image at %d", end, size))
	}
	return v, v.findLabel()
}

// Root implements [fsys.FS].
func (v *FS) Root() fsys.Node { return rootNode }

// maxName is how many UTF-16 units a long name has, and how many bytes UTF-8
// makes of them.
const maxName, maxNameBytes = 255, 3 * 255

// Statfs implements [fsys.FS].
func (v *FS) Statfs() fsys.Statfs {
	return fsys.Statfs{BlockSize: uint32(v.geo.clusterSize), Blocks: uint64(v.geo.clusters), NameLen: maxNameBytes}
}

// An Info describes a file system for people.
type Info struct {
	Format      string   `json:"format"` // "FAT12", "FAT16" or "FAT32"
	Label       string   `json:"label,omitempty"`
	Serial      string   `json:"serial,omitempty"` // as DOS shows it: 1234-ABCD
	OEM         string   `json:"oem,omitempty"`    // what wrote it, often
	ClusterSize int64    `json:"clusterSize"`
	Clusters    uint32   `json:"clusters"`
	Notes       []string `json:"notes,omitempty"`
}

// Info returns what the disc says about the file system.
func (v *FS) Info() Info {
	i := Info{
		Format: fmt.Sprintf("FAT%d", v.geo.bits), Label: v.label, OEM: v.geo.oem,
		ClusterSize: v.geo.clusterSize, Clusters: v.geo.clusters, Notes: v.notes,
	}
	if i.Label == "" {
		i.Label = v.geo.label
	}
	if v.geo.hasSerial {
		i.Serial = fmt.Sprintf("%04X-%04X", v.geo.serial>>16, v.geo.serial&0xFFFF)
	}
	return i
}

// A geometry is what the boot sector says (Microsoft FAT specification 1.03,
// "Boot Sector and BPB").
type geometry struct {
	bits        int // of a table entry: 12, 16 or 32
	clusterSize int64
	clusters    uint32 // that hold data; they are numbered from 2 on
	fatOff      int64  // byte offset of the table that is used
	fatSize     int64
	rootOff     int64 // of the root directory, in FAT12 and FAT16
	rootSize    int64
	rootCluster uint32 // of the root directory, in FAT32
	dataOff     int64  // of cluster 2

	oem, label string
	serial     uint32
	hasSerial  bool
}

// A bpb is the BIOS parameter block, as far as all three kinds have it.
type bpb struct {
	sectorSize, clusterSectors, reserved, fats int64
	rootEntries, sectors, fatSectors           int64
	media                                      uint8
}

// decodeBoot decodes a boot sector. Nothing in it is a magic number that every
// writer sets, so all fields have to make sense.
func decodeBoot(b []byte) (geometry, error) {
	c := binfmt.At(b, 0)
	c.Skip(3) // BS_jmpBoot
	g := geometry{oem: text(c.Bytes(8))}
	p := bpb{
		sectorSize:     int64(c.U16LE()),
		clusterSectors: int64(c.U8()),
		reserved:       int64(c.U16LE()),
		fats:           int64(c.U8()),
		rootEntries:    int64(c.U16LE()),
		sectors:        int64(c.U16LE()),
		media:          c.U8(),
		fatSectors:     int64(c.U16LE()),
	}
	c.Skip(8) // BPB_SecPerTrk, BPB_NumHeads, BPB_HiddSec
	if large := int64(c.U32LE()); p.sectors == 0 {
		p.sectors = large
	}
	if !p.plausible() {
		return geometry{}, binfmt.ErrMagic
	}
	activeFAT := int64(0)
	if p.fatSectors == 0 {
		p.fatSectors, activeFAT = g.decode32(&c)
	}
	g.decodeExtended(&c)
	return g, g.lay(p, activeFAT)
}

// plausible tells whether a parameter block can be one, as Linux and the
// specification have it.
func (p *bpb) plausible() bool {
	powerOfTwo := func(n, low, high int64) bool { return low <= n && n <= high && n&(n-1) == 0 }
	return powerOfTwo(p.sectorSize, 512, 4096) &&
		powerOfTwo(p.clusterSectors, 1, 128) &&
		p.reserved > 0 &&
		1 <= p.fats && p.fats <= 4 &&
		(p.media == 0xF0 || p.media >= 0xF8) &&
		p.sectors > 0 &&
		(p.rootEntries > 0 || p.fatSectors == 0)
}

// decode32 decodes what only FAT32 has. It returns the size of a table and
// which of the tables is in use.
func (g *geometry) decode32(c *binfmt.Cursor) (fatSectors, active int64) {
	fatSectors = int64(c.U32LE())
	if flags := c.U16LE(); flags&0x80 != 0 { // BPB_ExtFlags: tables are not mirrored
		active = int64(flags & 0xF)
	}
	c.Skip(2) // BPB_FSVer
	g.bits, g.rootCluster = 32, c.U32LE()
	c.Skip(16) // BPB_FSInfo, BPB_BkBootSec, BPB_Reserved
	return fatSectors, active
}

// decodeExtended decodes the extended boot record behind the parameter block.
func (g *geometry) decodeExtended(c *binfmt.Cursor) {
	c.Skip(2) // BS_DrvNum, BS_Reserved1
	sig := c.U8()
	serial, label := c.U32LE(), c.Bytes(11)
	g.hasSerial = sig == 0x28 || sig == 0x29
	if g.hasSerial {
		g.serial = serial
	}
	if sig == 0x29 && string(label) != "NO NAME    " {
		g.label = text(label)
	}
}

// lay computes where everything lies. How many clusters there are decides
// between FAT12 and FAT16.
func (g *geometry) lay(p bpb, activeFAT int64) error {
	rootSectors := (p.rootEntries*32 + p.sectorSize - 1) / p.sectorSize
	rootStart := p.reserved + p.fats*p.fatSectors
	data := p.sectors - rootStart - rootSectors
	if data < p.clusterSectors || p.fatSectors == 0 || activeFAT >= p.fats {
		return binfmt.ErrMagic
	}
	clusters := data / p.clusterSectors
	switch {
	case g.bits == 32:
	case clusters <= 4084:
		g.bits = 12
	default:
		g.bits = 16
	}
	g.fatOff = (p.reserved + activeFAT*p.fatSectors) * p.sectorSize
	g.fatSize = p.fatSectors * p.sectorSize
	g.clusterSize = p.clusterSectors * p.sectorSize
	g.rootOff, g.rootSize = rootStart*p.sectorSize, p.rootEntries*32
	g.dataOff = (rootStart + rootSectors) * p.sectorSize
	// A table may be too short for all clusters.
	g.clusters = uint32(max(0, min(clusters, g.fatSize*8/int64(g.bits)-2, g.bad()-2)))
	return nil
}

// bad returns the entry for a bad cluster, above all real clusters.
func (g *geometry) bad() int64 { return 0x0FFFFFF7 & (1<<g.bits - 1) }

// text returns a string of the disc that is padded with blanks.
func text(b []byte) string {
	s := make([]rune, 0, len(b))
	for _, x := range b {
		s = append(s, oem(x))
	}
	return strings.TrimRight(string(s), " \x00")
}

// readMeta fills p from byte offset off of the image with metadata. That the
// image is too short is damage; other errors may pass.
func (v *FS) readMeta(p []byte, off int64) error {
	if off < 0 || off > v.size-int64(len(p)) {
		return binfmt.Corrupt(off, "%d bytes lie outside the image", len(p))
	}
	return binfmt.ReadFull(v.meta, p, off)
}

// le is the byte order of everything.
var le = binary.LittleEndian
