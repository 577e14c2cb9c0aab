package udf

import (
	"github.com/isomount/isomount/pkg/binfmt"
)

// Types of extended attributes (ECMA-167 4/14.10).
const (
	eaDevice = 12
	eaImpl   = 2048
	eaApp    = 65536
)

const eaHeaderSize = 24

// An attribute is an extended attribute in the generic form (ECMA-167
// 4/14.10.2).
type attribute struct {
	kind    uint32 // RBP 0
	subtype uint8  // RBP 4
	data    []byte // RBP 12 on
}

// eachEA calls yield for the extended attributes in a space (ECMA-167
// 4/14.10.1) until it returns false. The positions in the header are not
// needed, because the attributes follow one another.
func eachEA(space []byte, yield func(attribute) bool) {
	if len(space) < eaHeaderSize {
		return
	}
	if t, err := parseTag(space, 0); err != nil || t.ident != tagEAHeader {
		return
	}
	c := binfmt.At(space, 0)
	c.Skip(eaHeaderSize)
	for c.Len() >= 12 {
		var a attribute
		a.kind = c.U32LE()    // RBP 0
		a.subtype = c.U8()    // RBP 4
		c.Skip(3)             // RBP 5: reserved
		n := int64(c.U32LE()) // RBP 8: length of the whole
		if n < 12 || n-12 > int64(c.Len()) {
			return
		}
		a.data = c.Bytes(int(n - 12))
		if !yield(a) {
			return
		}
	}
}

// deviceNumbers finds the device specification (ECMA-167 4/14.10.7). A device
// without one is 0:0.
func deviceNumbers(space []byte) (major, minor uint32) {
	eachEA(space, func(a attribute) bool {
		if a.kind != eaDevice || a.subtype != 1 {
			return true
		}
		c := binfmt.At(a.data, 0)
		c.Skip(4)         // RBP 12: implementation use length
		major = c.U32LE() // RBP 16
		minor = c.U32LE() // RBP 20
		return false
	})
	return major, minor
}
