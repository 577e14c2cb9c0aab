package isofs

import (
	"bytes"
	"encoding/binary"

	"github.com/isomount/isomount/pkg/binfmt"
)

// File flags of a directory record (ECMA-119 9.1.6).
const (
	flagHidden     = 1 << 0 // existence: need not be made known to the user
	flagDirectory  = 1 << 1
	flagAssociated = 1 << 2
	flagMore       = 1 << 7 // not the final record of the file
)

const (
	recordHead = 33 // bytes before the file identifier
	minRecord  = recordHead + 1
	maxRecord  = 255
)

// A record is a directory record (ECMA-119 9.1). Its slices lie in the buffer
// that it was decoded from. BP counts bytes from 1, as the standard does.
type record struct {
	off    int64  // byte offset in the image
	length int    // 9.1.1: bytes of the record
	ear    uint8  // 9.1.2: blocks of the extended attribute record
	extent uint32 // 9.1.3: first logical block
	size   uint32 // 9.1.4: bytes of this file section
	date   []byte // 9.1.5: see recordDate; six bytes in High Sierra
	flags  uint8  // 9.1.6
	unit   uint8  // 9.1.7: blocks of a file unit of an interleaved file
	gap    uint8  // 9.1.8: blocks between two file units
	name   []byte // 9.1.11: file identifier
	use    []byte // 9.1.13: system use
}

// decode reads the record at the beginning of b, and tells whether there is one.
func (r *record) decode(b []byte, off int64, highSierra bool) bool {
	if len(b) < minRecord || int(b[0]) < minRecord || int(b[0]) > len(b) || recordHead+int(b[32]) > int(b[0]) {
		return false
	}
	c := binfmt.At(b[:b[0]], off)
	r.off = off
	r.length = int(c.U8()) // BP 1
	r.ear = c.U8()         // BP 2
	r.extent = c.U32Both() // BP 3-10
	r.size = c.U32Both()   // BP 11-18
	if highSierra {
		r.date = c.Bytes(6) // BP 19-24
		r.flags = c.U8()    // BP 25
		c.Skip(1)           // BP 26: reserved
	} else {
		r.date = c.Bytes(7) // BP 19-25
		r.flags = c.U8()    // BP 26
	}
	r.unit = c.U8() // BP 27
	r.gap = c.U8()  // BP 28
	c.Skip(4)       // BP 29-32: volume sequence number
	n := int(c.U8())
	r.name = c.Bytes(n)
	if n%2 == 0 && c.Len() > 0 {
		c.Skip(1) // padding to an even length
	}
	r.use = c.Bytes(c.Len())
	return true
}

// isDot tells whether the record is a directory's record of itself, isDotDot
// whether it is that of its parent (ECMA-119 6.8.2.2).
func (r *record) isDot() bool    { return len(r.name) == 1 && r.name[0] == 0 }
func (r *record) isDotDot() bool { return len(r.name) == 1 && r.name[0] == 1 }

func (r *record) isDir() bool { return r.flags&flagDirectory != 0 }

// copyTo moves the record's slices into buf, so that they outlive the buffer
// it was decoded from.
func (r *record) copyTo(buf *[maxRecord]byte) {
	rest := buf[:]
	for _, field := range []*[]byte{&r.date, &r.name, &r.use} {
		n := copy(rest, *field)
		*field, rest = rest[:n:n], rest[n:]
	}
}

// looksLikeRecord is a much stricter check than decoding needs. It finds the
// way back into a directory after a record that is damaged.
func looksLikeRecord(b []byte) bool {
	if len(b) < minRecord || int(b[0]) < minRecord || int(b[0]) > len(b) || b[32] == 0 || recordHead+int(b[32]) > int(b[0]) {
		return false
	}
	return bothAgree(b[2:10]) && bothAgree(b[10:18]) &&
		binary.LittleEndian.Uint16(b[28:]) == binary.BigEndian.Uint16(b[30:])
}

// bothAgree tells whether the halves of a both-byte-order number are the same.
func bothAgree(b []byte) bool {
	return binary.LittleEndian.Uint32(b) == binary.BigEndian.Uint32(b[4:])
}

// sameFile tells whether two records name the same file, as the sections of
// one file do (ECMA-119 6.5.1).
func sameFile(a, b *record) bool { return bytes.Equal(a.name, b.name) }
