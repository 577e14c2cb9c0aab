package master

import (
	"encoding/binary"
	"slices"
	"strings"
	"unicode/utf16"
)

// Volume descriptor types (ECMA-119 8.1.1).
const (
	descBoot       = 0
	descPrimary    = 1
	descSupplement = 2
	descTerminator = 255
)

// appendVolume appends the primary volume descriptor (ECMA-119 8.4), or Joliet's
// supplementary one (8.5), which has the same fields.
func (m *image) appendVolume(b []byte, h *hierarchy) []byte {
	o := &m.opt
	text := aText
	kind, escape := byte(descPrimary), ""
	if h.kind == treeJoliet {
		text, kind, escape = unicodeText, descSupplement, "%/E"
	}
	start := len(b)
	b = append(b, kind)
	b = append(b, "CD001\x01\x00"...) // BP 2-8
	b = text(b, o.SystemID, 32)       // BP 9-40
	b = text(b, o.VolumeID, 32)       // BP 41-72
	b = appendZeros(b, 8)             // BP 73-80
	b = appendBoth32(b, m.volumeBlocks())
	b = appendPadded(b, []byte(escape), 32, []byte{0}) // BP 89-120
	b = appendBoth16(b, 1)                             // BP 121-124: volume set size
	b = appendBoth16(b, 1)                             // BP 125-128: volume sequence number
	b = appendBoth16(b, blockSize)                     // BP 129-132
	b = appendBoth32(b, uint32(h.pathTable))           // BP 133-140
	b = binary.LittleEndian.AppendUint32(b, h.lTable)  // BP 141-144
	b = appendZeros(b, 4)                              // BP 145-148: optional copy
	b = binary.BigEndian.AppendUint32(b, h.mTable)     // BP 149-152
	b = appendZeros(b, 4)                              // BP 153-156: optional copy
	root := h.dirs[0]
	b = appendRecord(b, &dirRecord{lba: root.lba, size: root.size, mtime: root.node.inode.mtime, flags: flagDirectory, id: []byte{0}}, nil)
	b = text(b, o.VolumeSetID, 128)   // BP 191-318
	b = text(b, o.PublisherID, 128)   // BP 319-446
	b = text(b, o.PreparerID, 128)    // BP 447-574
	b = text(b, o.ApplicationID, 128) // BP 575-702
	for _, name := range []string{o.CopyrightFile, o.AbstractFile, o.BiblioFile} {
		b = m.appendFileID(b, h, name, text) // BP 703-813
	}
	b = appendVolumeDate(b, m.date)      // BP 814-830: creation
	b = appendVolumeDate(b, o.Modified)  // BP 831-847
	b = appendVolumeDate(b, o.Expires)   // BP 848-864
	b = appendVolumeDate(b, o.Effective) // BP 865-881
	b = append(b, 1, 0)                  // BP 882-883
	if h.kind == treeISO {
		b = append(b, strings.Repeat(" ", 512)...) // BP 884-1395: application use; isomd5sum's
	}
	return appendZeros(b, blockSize-(len(b)-start))
}

// appendFileID appends the identifier of a file of the root directory that
// tells something about the volume.
func (m *image) appendFileID(b []byte, h *hierarchy, name string, text func([]byte, string, int) []byte) []byte {
	const field = 37
	n := m.tree.root.Child(name)
	if name == "" || n == nil {
		return text(b, "", field)
	}
	pad := []byte{' '}
	if h.kind == treeJoliet {
		pad = []byte{0, ' '}
	}
	id := h.id(nil, n)
	if len(id) > field {
		return text(b, "", field)
	}
	return appendPadded(b, id, field, pad)
}

// aText appends a field of characters for the primary descriptor. Strictly only
// some ASCII characters may stand there (ECMA-119 7.4.1); as others do, all of
// ASCII is let through, and labels keep their lower case.
func aText(b []byte, s string, n int) []byte {
	var text []byte
	for _, r := range s {
		if r < ' ' || r > '~' {
			r = '_'
		}
		text = append(text, byte(r))
	}
	return appendPadded(b, text, n, []byte{' '})
}

// unicodeText appends a field of UCS-2 characters for Joliet's descriptor.
func unicodeText(b []byte, s string, n int) []byte {
	units := utf16.Encode([]rune(s))
	return appendPadded(b, appendUnits(nil, cutUnits(units, n/2)), n, []byte{0, ' '})
}

// appendTerminator appends what ends the list of descriptors (ECMA-119 8.3).
func appendTerminator(b []byte) []byte {
	return appendBlock(b, append([]byte{descTerminator}, "CD001\x01"...))
}

// appendBlock appends one block that starts with data and has zeros behind it.
func appendBlock(b, data []byte) []byte {
	b = slices.Grow(b, blockSize)
	b = append(b, data...)
	return appendZeros(b, blockSize-len(data))
}
