package isofs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/isomount/isomount/pkg/binfmt"
	"github.com/isomount/isomount/pkg/fsys"
)

// Volume descriptors lie from sector 16 on (ECMA-119 6.7.1). Linux looks no
// further than sector 99.
const (
	firstDescriptor = 16
	endDescriptors  = 100
)

// Volume descriptor types (ECMA-119 8.1.1).
const (
	typeBoot          = 0
	typePrimary       = 1
	typeSupplementary = 2
	typePartition     = 3
	typeTerminator    = 255
)

var (
	standardID   = []byte("CD001") // ECMA-119 8.1.2, at BP 2
	highSierraID = []byte("CDROM") // at BP 10
)

// A descriptor is a volume descriptor (ECMA-119 8). Of other types than primary
// and supplementary only the first lines are filled in.
type descriptor struct {
	off     int64 // byte offset in the image
	kind    DescriptorKind
	typ     uint8 // 8.1.1
	version uint8 // 8.1.3; 2 marks an enhanced volume descriptor of ISO 9660:1999
	text    [9]string
	dates   [4][]byte // creation, modification, expiration, effective

	blocks    uint32 // 8.4.8: volume space size
	escape    []byte // 8.5.6: escape sequences
	setSize   uint16 // 8.4.10
	setNumber uint16 // 8.4.11
	blockSize uint16 // 8.4.12
	tableSize uint32 // 8.4.13: bytes of a path table
	tables    [4]uint32
	root      []byte // 8.4.18: directory record of the root
	rootOff   int64  // byte offset of root in the image
	catalog   uint32 // sector of the boot catalog, in a boot record of El Torito
	liars     []string
}

// Texts of a descriptor, in disc order.
const (
	textSystem = iota
	textLabel
	textVolumeSet
	textPublisher
	textPreparer
	textApplication
	textCopyright
	textAbstract
	textBibliographic
)

// DescriptorKind says what a volume descriptor describes.
type DescriptorKind string

// Kinds of volume descriptors.
const (
	DescriptorBoot          DescriptorKind = "boot"
	DescriptorPrimary       DescriptorKind = "primary"
	DescriptorJoliet        DescriptorKind = "joliet"
	DescriptorEnhanced      DescriptorKind = "enhanced" // ISO 9660:1999
	DescriptorSupplementary DescriptorKind = "supplementary"
	DescriptorPartition     DescriptorKind = "partition"
	DescriptorTerminator    DescriptorKind = "terminator"
	DescriptorUnknown       DescriptorKind = "unknown"
	DescriptorHighSierra    DescriptorKind = "highsierra"
)

// readDescriptors reads the descriptors of the session up to the terminator.
func (v *Volume) readDescriptors() error {
	sector := make([]byte, sectorSize)
	for n := v.start + firstDescriptor; n < v.start+endDescriptors; n++ {
		off := n * sectorSize
		err := v.readMeta(sector, off)
		if errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("volume descriptor at sector %d: %w", n, err)
		}
		d, ok := parseDescriptor(sector, off)
		if !ok {
			continue // Linux passes over what is no descriptor
		}
		v.descriptors = append(v.descriptors, d)
		if d.kind == DescriptorTerminator || d.kind == DescriptorHighSierra {
			break
		}
	}
	v.sort()
	return nil
}

// sort finds the descriptors that matter: the first of its kind counts.
func (v *Volume) sort() {
	for i := range v.descriptors {
		d := &v.descriptors[i]
		switch {
		case d.kind == DescriptorPrimary && v.primary == nil:
			v.primary = d
		case d.kind == DescriptorHighSierra && v.primary == nil:
			v.primary, v.highSierra = d, true
		case d.kind == DescriptorJoliet && v.joliet == nil:
			v.joliet = d
		case d.kind == DescriptorEnhanced && v.enhanced == nil:
			v.enhanced = d
		}
	}
	if v.enhanced != nil && v.primary != nil && bytes.Equal(v.enhanced.root[2:6], v.primary.root[2:6]) {
		v.enhanced = nil
	}
}

// parseDescriptor decodes a sector, and tells whether it is a descriptor.
// "CD001" counts before "CDROM": a descriptor of ISO 9660 may hold the latter
// in its system identifier.
func parseDescriptor(sector []byte, off int64) (descriptor, bool) {
	d := descriptor{off: off, kind: DescriptorUnknown}
	switch {
	case bytes.Equal(sector[1:6], standardID):
		d.typ, d.version = sector[0], sector[6]
		d.parse(bytes.Clone(sector))
		return d, true
	case bytes.Equal(sector[9:14], highSierraID):
		d.typ, d.version = sector[8], sector[14]
		d.parseHighSierra(bytes.Clone(sector))
		return d, true
	}
	return d, false
}

func (d *descriptor) parse(sector []byte) {
	switch d.typ {
	case typeBoot:
		d.kind = DescriptorBoot
		d.text[textSystem] = trimText(sector[7:39])         // 8.2.4: boot system identifier
		d.catalog = binary.LittleEndian.Uint32(sector[71:]) // El Torito, figure 7
	case typePrimary:
		d.kind = DescriptorPrimary
		d.parseVolume(sector)
	case typeSupplementary:
		d.kind = supplementaryKind(sector)
		d.parseVolume(sector)
	case typePartition:
		d.kind = DescriptorPartition
	case typeTerminator:
		d.kind = DescriptorTerminator
	}
}

// supplementaryKind tells Joliet, by the escape sequences of UCS-2 levels 1 to
// 3 (Joliet specification, "Escape Sequences"), from ISO 9660:1999 (8.5.3).
func supplementaryKind(sector []byte) DescriptorKind {
	switch esc := sector[88:120]; {
	case esc[0] == '%' && esc[1] == '/' && (esc[2] == '@' || esc[2] == 'C' || esc[2] == 'E'):
		return DescriptorJoliet
	case sector[6] == 2:
		return DescriptorEnhanced
	}
	return DescriptorSupplementary
}

// parseVolume decodes a primary or supplementary descriptor (8.4, 8.5).
func (d *descriptor) parseVolume(sector []byte) {
	c := binfmt.At(sector, d.off)
	c.Skip(8)
	d.text[textSystem] = d.decodeText(c.Bytes(32)) // BP 9-40
	d.text[textLabel] = d.decodeText(c.Bytes(32))  // BP 41-72
	c.Skip(8)
	d.blocks = d.both32(&c, "volume space size")                     // BP 81-88
	d.escape = bytes.TrimRight(c.Bytes(32), "\x00")                  // BP 89-120
	d.setSize = d.both16(&c, "volume set size")                      // BP 121-124
	d.setNumber = d.both16(&c, "volume number")                      // BP 125-128
	d.blockSize = d.both16(&c, "logical block size")                 // BP 129-132
	d.tableSize = d.both32(&c, "path table size")                    // BP 133-140
	d.tables = [4]uint32{c.U32LE(), c.U32LE(), c.U32BE(), c.U32BE()} // BP 141-156
	d.rootOff = c.Off()
	d.root = c.Bytes(minRecord) // BP 157-190
	for i := textVolumeSet; i <= textApplication; i++ {
		d.text[i] = d.decodeText(c.Bytes(128)) // BP 191-702
	}
	for i := textCopyright; i <= textBibliographic; i++ {
		d.text[i] = d.decodeText(c.Bytes(37)) // BP 703-813
	}
	for i := range d.dates {
		d.dates[i] = c.Bytes(17) // BP 814-881
	}
}

// parseHighSierra decodes a descriptor as it was before ISO 9660 (High Sierra
// Group working paper of 1986; the fields are where Linux reads them).
func (d *descriptor) parseHighSierra(sector []byte) {
	if d.typ != typePrimary {
		return
	}
	d.kind = DescriptorHighSierra
	c := binfmt.At(sector, d.off)
	c.Skip(16)
	d.text[textSystem] = d.decodeText(c.Bytes(32)) // BP 17-48
	d.text[textLabel] = d.decodeText(c.Bytes(32))  // BP 49-80
	c.Skip(8)
	d.blocks = d.both32(&c, "volume space size") // BP 89-96
	c.Skip(32)
	d.setSize = d.both16(&c, "volume set size")      // BP 129-132
	d.setNumber = d.both16(&c, "volume number")      // BP 133-136
	d.blockSize = d.both16(&c, "logical block size") // BP 137-140
	d.tableSize = d.both32(&c, "path table size")    // BP 141-148
	d.tables[0] = c.U32LE()                          // BP 149-152
	c.Skip(12)
	d.tables[2] = c.U32BE() // BP 165-168
	c.Skip(12)
	d.rootOff = c.Off()
	d.root = c.Bytes(minRecord) // BP 181-214
	for i := textVolumeSet; i <= textApplication; i++ {
		d.text[i] = d.decodeText(c.Bytes(128)) // BP 215-726
	}
	d.text[textCopyright] = d.decodeText(c.Bytes(32)) // BP 727-758
	d.text[textAbstract] = d.decodeText(c.Bytes(32))  // BP 759-790
	for i := range d.dates {
		d.dates[i] = c.Bytes(16) // BP 791-854
	}
}

// both32 reads a both-byte-order number and remembers when its halves differ.
func (d *descriptor) both32(c *binfmt.Cursor, field string) uint32 {
	le, be := c.U32LE(), c.U32BE()
	if le != be {
		d.liars = append(d.liars, fmt.Sprintf("%s is %d in little and %d in big-endian order", field, le, be))
	}
	return le
}

func (d *descriptor) both16(c *binfmt.Cursor, field string) uint16 {
	le, be := c.U16LE(), c.U16BE()
	if le != be {
		d.liars = append(d.liars, fmt.Sprintf("%s is %d in little and %d in big-endian order", field, le, be))
	}
	return le
}

// decodeText turns a padded field into a string.
func (d *descriptor) decodeText(b []byte) string {
	if d.kind == DescriptorJoliet {
		return strings.TrimRight(string(appendUTF16(nil, b, nil)), " \x00")
	}
	return trimText(b)
}

// trimText takes the padding away. What is no UTF-8 is read as Latin 1, which
// writers on Windows came closest to.
func trimText(b []byte) string {
	b = bytes.TrimRight(b, " \x00")
	if utf8.Valid(b) {
		return string(b)
	}
	runes := make([]rune, len(b))
	for i, c := range b {
		runes[i] = rune(c)
	}
	return string(runes)
}

// volumeDate returns the first date of a descriptor that is set, creation before
// modification, else that of its root directory.
func (v *Volume) volumeDate(d *descriptor) fsys.Time {
	for _, b := range d.dates[:2] {
		if t, ok := longDate(b); ok {
			return t
		}
	}
	var root record
	if root.decode(d.root, d.rootOff, v.highSierra) {
		if t, ok := recordDate(root.date); ok {
			return t
		}
	}
	return fsys.Time{}
}
