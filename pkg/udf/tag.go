package udf

import "github.com/isomount/isomount/pkg/binfmt"

// Descriptor tag identifiers (ECMA-167 3/7.2.1 and 4/7.2.1).
const (
	tagSparing     = 0 // UDF 2.2.12: the sparing table has no number of its own
	tagPrimary     = 1
	tagAnchor      = 2
	tagPointer     = 3
	tagImplUse     = 4
	tagPartition   = 5
	tagLogical     = 6
	tagUnallocated = 7
	tagTerminating = 8
	tagIntegrity   = 9
	tagFileSet     = 256
	tagFileIdent   = 257
	tagAllocExtent = 258
	tagIndirect    = 259
	tagFile        = 261
	tagEAHeader    = 262
	tagExtFile     = 266
)

const tagSize = 16

// A tag is a descriptor tag (ECMA-167 3/7.2). RBP counts bytes from 0.
type tag struct {
	ident    uint16 // RBP 0
	crc      uint16 // RBP 8
	crcLen   uint16 // RBP 10
	location uint32 // RBP 12: where the descriptor says it lies
}

// parseTag decodes the tag at the start of b, which lies at byte off, and
// checks the checksum and the version, not the CRC.
func parseTag(b []byte, off int64) (tag, error) {
	c := binfmt.At(b, off)
	var t tag
	t.ident = c.U16LE()    // RBP 0
	version := c.U16LE()   // RBP 2
	checksum := c.U8()     // RBP 4
	c.Skip(3)              // RBP 5: reserved, serial number
	t.crc = c.U16LE()      // RBP 8
	t.crcLen = c.U16LE()   // RBP 10
	t.location = c.U32LE() // RBP 12
	if err := c.Err(); err != nil {
		return tag{}, err
	}
	if version != 2 && version != 3 {
		return tag{}, binfmt.Corrupt(off, "descriptor tag of version %d", version)
	}
	if tagChecksum(b) != checksum {
		return tag{}, binfmt.Corrupt(off, "descriptor tag with a wrong checksum")
	}
	return t, nil
}

// tagChecksum is the sum of the 16 bytes of a tag without the sum itself
// (ECMA-167 3/7.2.3).
func tagChecksum(b []byte) uint8 {
	b = b[:tagSize]
	return b[0] + b[1] + b[2] + b[3] + b[5] + b[6] + b[7] + b[8] + b[9] + b[10] + b[11] + b[12] + b[13] + b[14] + b[15]
}

// checkCRC checks the descriptor at the start of b against its tag. A length
// that reaches over the end of b cannot be checked and passes, as in Linux.
func (t *tag) checkCRC(b []byte, off int64) error {
	n := tagSize + int(t.crcLen)
	if n > len(b) || binfmt.CRC16(b[tagSize:n]) == t.crc {
		return nil
	}
	return binfmt.Corrupt(off, "descriptor %d with a wrong CRC", t.ident)
}

// checkTag decodes the tag of the descriptor b at byte off, which must say
// that it lies in block location, and checks the CRC.
func checkTag(b []byte, off int64, location uint32) (tag, error) {
	t, err := parseTag(b, off)
	if err != nil {
		return tag{}, err
	}
	if t.location != location {
		return tag{}, binfmt.Corrupt(off, "descriptor of block %d found in block %d", t.location, location)
	}
	return t, t.checkCRC(b, off)
}
