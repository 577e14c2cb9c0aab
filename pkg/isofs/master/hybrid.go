package master

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"math"
)

// An isohybrid image also boots from a USB stick: its first sector is a master
// boot record whose code loads the boot image of isolinux, and whose partition
// table covers the whole image and, if there is one, the EFI boot image. Where the
// code looks for what is known from the syslinux sources (utils/isohybrid.c) and
// the images that xorriso makes.
const (
	hybridCode    = 432 // bytes of code; behind it the address of the boot image
	hybridID      = 440 // of the disk
	hybridTable   = 446
	hybridMark    = 510
	hybridSigOff  = 64 // of the boot image
	partActive    = 0x80
	partHidden    = 0x17 // the type that isohybrid images have by tradition
	partEFI       = 0xEF
	sectorsABlock = blockSize / bootSector
)

// hybridSig is what an isolinux that can be loaded so has at hybridSigOff.
var hybridSig = []byte{0xFB, 0xC0, 0x78, 0x70}

// checkHybrid makes sure that the code will find what it is made for.
func (m *image) checkHybrid() error {
	code := m.opt.HybridMBR
	switch {
	case code == nil:
		return nil
	case len(code) < hybridCode || len(code) > systemArea:
		return fmt.Errorf("%w: isohybrid MBR of %d bytes; isolinux has one of %d in isohdpfx.bin", ErrOption, len(code), hybridCode)
	case m.opt.SystemArea != nil:
		return fmt.Errorf("%w: an isohybrid MBR and a system area exclude each other", ErrOption)
	}
	e := m.hybridBoot()
	if e == nil {
		return fmt.Errorf("isohybrid MBR: no boot image for a BIOS with a boot information table: %w", ErrBoot)
	}
	head := make([]byte, hybridSigOff+len(hybridSig))
	r, err := e.node.inode.content.Open(e.node)
	if err == nil {
		_, err = io.ReadFull(r, head)
		err = errors.Join(err, r.Close())
	}
	if err == nil && !bytes.Equal(head[hybridSigOff:], hybridSig) {
		err = fmt.Errorf("not an isolinux.bin that an isohybrid MBR can load: %w", ErrBoot)
	}
	if err != nil {
		return &fs.PathError{Op: "boot", Path: e.Path, Err: err}
	}
	return nil
}

// hybridBoot returns the boot image that the code loads, or nil.
func (m *image) hybridBoot() *bootEntry {
	if m.boot == nil {
		return nil
	}
	e := &m.boot.entries[0]
	if e.Platform != BIOS || e.Emulation != NoEmulation || !e.InfoTable {
		return nil
	}
	return e
}

// A geometry is how the old calls of a BIOS count the sectors of a disk.
type geometry struct{ heads, sectors, cylinders int64 }

// maxCylinders is what 10 bits can count.
const maxCylinders = 1024

// geometryOf finds one for an image. The small one is that of Zip drives, which
// BIOSes guess by; the large one ends at 7.8 GiB.
func geometryOf(blocks int64) geometry {
	g := geometry{heads: 64, sectors: 32}
	if blocks*sectorsABlock > maxCylinders*g.heads*g.sectors {
		g = geometry{heads: 255, sectors: 63}
	}
	g.cylinders = (blocks*sectorsABlock + g.heads*g.sectors - 1) / (g.heads * g.sectors)
	return g
}

// size returns the sectors of the disk.
func (g *geometry) size() int64 { return g.heads * g.sectors * g.cylinders }

// chs encodes a sector as the three bytes of a partition table. What is too far
// away is the last that can be said.
func (g *geometry) chs(sector int64) [3]byte {
	cylinder, rest := sector/(g.heads*g.sectors), sector%(g.heads*g.sectors)
	if cylinder >= maxCylinders {
		cylinder, rest = maxCylinders-1, g.heads*g.sectors-1
	}
	return [3]byte{byte(rest / g.sectors), byte(rest%g.sectors+1) | byte(cylinder>>8<<6), byte(cylinder)}
}

// alignHybrid makes the image end with a cylinder, of which the last blocks are
// still to come.
func (m *image) alignHybrid(tail int64) {
	if m.opt.HybridMBR == nil {
		return
	}
	g := geometryOf(m.next + tail)
	m.disk = g
	m.skipTo((g.size()+sectorsABlock-1)/sectorsABlock - tail)
}

// systemAreaBytes makes what goes before the volume descriptors.
func (m *image) systemAreaBytes() []byte {
	if m.opt.HybridMBR == nil {
		return m.opt.SystemArea
	}
	b := make([]byte, bootSector)
	copy(b, m.opt.HybridMBR[:hybridCode])
	boot := int64(m.hybridBoot().node.inode.lba)
	binary.LittleEndian.PutUint64(b[hybridCode:], uint64(boot*sectorsABlock))
	binary.LittleEndian.PutUint32(b[hybridID:], m.diskID())
	table := b[hybridTable:hybridTable]
	g := &m.disk
	efi := m.efiBoot()
	if efi == nil {
		g.appendPartition(table, partActive, partHidden, 0, g.size())
	} else {
		// Firmware passes over tables whose partitions overlap, but not over one
		// whose first partition has no type.
		table = g.appendPartition(table, partActive, 0, 0, g.size())
		i := efi.node.inode
		g.appendPartition(table, 0, partEFI, int64(i.lba)*sectorsABlock, (i.size+bootSector-1)/bootSector)
	}
	b[hybridMark], b[hybridMark+1] = 0x55, 0xAA
	return b
}

func (m *image) efiBoot() *bootEntry {
	for i := range m.boot.entries {
		if e := &m.boot.entries[i]; e.Platform == EFI {
			return e
		}
	}
	return nil
}

// diskID tells the disk from others. It depends on what the volume says of itself
// only, so that an image can be made again.
func (m *image) diskID() uint32 {
	h := fnv.New32a()
	_, _ = fmt.Fprintf(h, "%s %d", m.opt.VolumeID, m.opt.Modified.UnixNano()) // it takes anything
	return h.Sum32()
}

func (g *geometry) appendPartition(b []byte, status, kind byte, first, n int64) []byte {
	from, to := g.chs(first), g.chs(first+n-1)
	b = append(append(b, status), from[:]...)
	b = append(append(b, kind), to[:]...)
	b = binary.LittleEndian.AppendUint32(b, uint32(min(first, math.MaxUint32)))
	return binary.LittleEndian.AppendUint32(b, uint32(min(n, math.MaxUint32)))
}
