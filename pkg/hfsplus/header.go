package hfsplus

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/isomount/isomount/pkg/binfmt"
	"github.com/isomount/isomount/pkg/fsys"
)

// Signatures at the head of a volume.
const (
	sigHFS  = 0x4244 // "BD"
	sigPlus = 0x482B // "H+"
	sigX    = 0x4858 // "HX"
)

// headerOff is where the volume header and the master directory block lie; a
// copy lies as far from the volume's end.
const headerOff, headerSize = 1024, 512

// Reserved catalog node ids (TN1150 "Catalog File").
const (
	cnidRootParent = 1
	cnidRoot       = 2
	cnidExtents    = 3
	cnidCatalog    = 4
	cnidAttributes = 8
)

// A volume is what the volume header (TN1150 "Volume Header") or the master
// directory block (Inside Macintosh: Files 2-59) says.
type volume struct {
	signature  uint16
	attributes uint32
	writer     uint32 // lastMountedVersion of HFS+
	modified   uint32 // seconds since 1904, as all dates
	created    uint32
	files      uint32
	folders    uint32
	blockSize  int64  // bytes in an allocation block
	blocks     uint32 // how many
	free       uint32
	base       int64 // byte offset in the image of allocation block 0
	label      string
	id         uint64 // what the Finder tells volumes apart by
	wrapped    bool   // lies in an HFS wrapper

	catalogFile, extentsFile, attrsFile fork
}

func (v *volume) isHFS() bool { return v.signature == sigHFS }

// nameLen returns how many bytes a name can take in UTF-8.
func (v *volume) nameLen() int {
	if v.isHFS() {
		return 3 * maxNameHFS
	}
	return 3 * maxName
}

// readHeader finds and decodes the volume header.
func (v *FS) readHeader() error {
	var b [headerSize]byte
	if v.size < headerOff+headerSize {
		return binfmt.ErrMagic
	}
	if err := v.readMeta(b[:], headerOff); err != nil {
		return err
	}
	if binary.BigEndian.Uint16(b[:]) != sigHFS {
		return v.readPlus(b[:], 0, v.size)
	}
	if start, size, ok := embedded(b[:]); ok {
		return v.readWrapped(start, size)
	}
	return v.decodeHFS(b[:])
}

// readWrapped reads the header of an HFS+ volume inside an HFS volume.
func (v *FS) readWrapped(start, size int64) error {
	var b [headerSize]byte
	if err := v.readMeta(b[:], start+headerOff); err != nil {
		return fmt.Errorf("volume in HFS wrapper: %w", err)
	}
	v.vol.wrapped = true
	err := v.readPlus(b[:], start, size)
	if errors.Is(err, binfmt.ErrMagic) {
		return binfmt.Corrupt(start+headerOff, "no volume in HFS wrapper")
	}
	return err
}

// readPlus decodes the header of an HFS+ volume of size bytes that begins at
// byte offset start, or the copy of it at the volume's end.
func (v *FS) readPlus(b []byte, start, size int64) error {
	err := v.decodePlus(b, start)
	if err == nil || errors.Is(err, binfmt.ErrMagic) {
		return err
	}
	var alt [headerSize]byte
	if v.readMeta(alt[:], start+size-headerOff) != nil || v.decodePlus(alt[:], start) != nil {
		return err
	}
	v.notef("volume header: %v; the copy at the end is used", err)
	return nil
}

// embedded tells where the HFS+ volume lies that a master directory block wraps.
func embedded(b []byte) (start, size int64, ok bool) {
	sig := binary.BigEndian.Uint16(b[0x7C:]) // drEmbedSigWord
	block := int64(binary.BigEndian.Uint32(b[0x14:]))
	if (sig != sigPlus && sig != sigX) || block == 0 {
		return 0, 0, false
	}
	first := int64(binary.BigEndian.Uint16(b[0x1C:])) * 512
	start = first + int64(binary.BigEndian.Uint16(b[0x7E:]))*block
	return start, int64(binary.BigEndian.Uint16(b[0x80:])) * block, true
}

// decodePlus decodes the volume header of an HFS+ volume that begins at byte
// offset start of the image.
func (v *FS) decodePlus(b []byte, start int64) error {
	c := binfmt.At(b, start+headerOff)
	d := volume{signature: c.U16BE(), base: start, wrapped: v.vol.wrapped}
	if d.signature != sigPlus && d.signature != sigX {
		return binfmt.ErrMagic
	}
	c.Skip(2) // version
	d.attributes = c.U32BE()
	d.writer = c.U32BE()
	c.Skip(4) // journalInfoBlock
	d.created = c.U32BE()
	d.modified = c.U32BE()
	c.Skip(8) // backupDate, checkedDate
	d.files = c.U32BE()
	d.folders = c.U32BE()
	d.blockSize = int64(c.U32BE())
	d.blocks = c.U32BE()
	d.free = c.U32BE()
	c.Skip(28) // nextAllocation to encodingsBitmap
	c.Skip(24) // finderInfo[0] to [5]
	d.id = c.U64BE()
	c.Skip(80) // allocationFile
	d.extentsFile = decodeFork(&c, cnidExtents, forkData)
	d.catalogFile = decodeFork(&c, cnidCatalog, forkData)
	d.attrsFile = decodeFork(&c, cnidAttributes, forkData)
	if d.blockSize < 512 || d.blockSize > maxBlock || d.blockSize&(d.blockSize-1) != 0 {
		return binfmt.Corrupt(start+headerOff+40, "allocation blocks of %d bytes", d.blockSize)
	}
	if d.blocks == 0 {
		return binfmt.Corrupt(start+headerOff+44, "volume without blocks")
	}
	v.setVolume(d)
	return c.Err()
}

// maxBlock bounds allocation blocks, so that block numbers times sizes fit.
const maxBlock = 1 << 30

// decodeHFS decodes a master directory block.
func (v *FS) decodeHFS(b []byte) error {
	c := binfmt.At(b, headerOff)
	d := volume{signature: c.U16BE()}
	d.created = c.U32BE()
	d.modified = c.U32BE()
	d.attributes = uint32(c.U16BE())
	c.Skip(6) // drNmFls, drVBMSt, drAllocPtr
	d.blocks = uint32(c.U16BE())
	d.blockSize = int64(c.U32BE())
	c.Skip(4) // drClpSiz
	d.base = int64(c.U16BE()) * 512
	c.Skip(4) // drNxtCNID
	d.free = uint32(c.U16BE())
	name := c.Bytes(28) // drVN
	d.label = string(appendRoman(nil, name[1:][:min(27, int(name[0]))]))
	c.Skip(20) // drVolBkUp to drNmRtDirs
	d.files = c.U32BE()
	d.folders = c.U32BE()
	c.Skip(24) // drFndrInfo[0] to [5]
	d.id = c.U64BE()
	c.Skip(6) // drEmbedSigWord, drEmbedExtent
	d.extentsFile = decodeTreeForkHFS(&c, cnidExtents)
	d.catalogFile = decodeTreeForkHFS(&c, cnidCatalog)
	if d.blockSize < 512 || d.blockSize > maxBlock || d.blockSize%512 != 0 {
		return binfmt.Corrupt(headerOff+20, "allocation blocks of %d bytes", d.blockSize)
	}
	v.setVolume(d)
	return c.Err()
}

// setVolume takes a header that makes sense.
func (v *FS) setVolume(d volume) {
	v.vol = d
	if !d.isHFS() && d.attributes&(volJournaled|volUnmounted) == volJournaled {
		v.notef("volume was not unmounted in order, and its journal is not replayed")
	}
	if end := d.base + int64(d.blocks)*d.blockSize; end > v.size {
		v.notef("volume ends at byte %d, the image at %d", end, v.size)
	}
}

// Volume attributes (TN1150 "Volume Attributes"); the first is HFS's too.
const (
	volUnmounted = 1 << 8
	volJournaled = 1 << 13
)

// epoch1904 is the Macintosh epoch in seconds since 1970.
const epoch1904 = -2082844800

// date converts a date of the disc, or else another, or else the volume's: 0 is
// no date (TN1150 "HFS Plus Dates"). The dates of HFS+ are in GMT. Those of HFS
// are in the writer's local time, which the disc does not tell; they are taken
// as GMT.
func (v *FS) date(mac, other uint32) fsys.Time {
	for _, d := range [...]uint32{mac, other, v.vol.modified, v.vol.created} {
		if d != 0 {
			return fsys.Time{Sec: epoch1904 + int64(d)}
		}
	}
	return fsys.Time{}
}

// An Info describes a volume for people.
type Info struct {
	Format        string    `json:"format"` // "HFS", "HFS+" or "HFSX"
	Label         string    `json:"label"`
	ID            string    `json:"id,omitempty"` // 16 hexadecimal digits
	BlockSize     int64     `json:"blockSize"`
	Blocks        uint32    `json:"blocks"`
	FreeBlocks    uint32    `json:"freeBlocks"`
	Files         uint32    `json:"files"`
	Folders       uint32    `json:"folders"`
	Created       time.Time `json:"created,omitzero"`
	Modified      time.Time `json:"modified,omitzero"`
	CaseSensitive bool      `json:"caseSensitive"`
	Journaled     bool      `json:"journaled"`
	Clean         bool      `json:"clean"`   // was unmounted in order
	Wrapped       bool      `json:"wrapped"` // lies in an HFS wrapper
	Notes         []string  `json:"notes,omitempty"`
}

// Info returns what the disc says about the volume.
func (v *FS) Info() Info {
	d := &v.vol
	i := Info{
		Format: "HFS+", Label: d.label,
		BlockSize: d.blockSize, Blocks: d.blocks, FreeBlocks: d.free, Files: d.files, Folders: d.folders,
		Created: infoTime(d.created), Modified: infoTime(d.modified),
		CaseSensitive: v.catalog.caseSensitive,
		Journaled:     !d.isHFS() && d.attributes&volJournaled != 0,
		Clean:         d.attributes&volUnmounted != 0,
		Wrapped:       d.wrapped, Notes: v.notes,
	}
	if v.catalog.order.Load() != nil {
		i.Notes = append(slices.Clone(i.Notes), "catalog: links are broken; every node of it was read")
	}
	switch d.signature {
	case sigHFS:
		i.Format = "HFS"
	case sigX:
		i.Format = "HFSX"
	}
	if d.id != 0 {
		i.ID = fmt.Sprintf("%016x", d.id)
	}
	return i
}

func infoTime(mac uint32) time.Time {
	if mac == 0 {
		return time.Time{}
	}
	return time.Unix(epoch1904+int64(mac), 0).UTC()
}
