package master

import (
	"encoding/binary"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/isomount/isomount/pkg/binfmt"
)

// Descriptor tags (ECMA-167 3/7.2.1, 4/7.2.1).
const (
	tagPrimary        = 1
	tagAnchor         = 2
	tagImplementation = 4
	tagPartition      = 5
	tagLogicalVolume  = 6
	tagUnallocated    = 7
	tagTerminator     = 8
	tagIntegrity      = 9
	tagFileSet        = 256
	tagFileIdent      = 257
	tagAllocation     = 258
	tagFileEntry      = 261
	tagEAHeader       = 262
)

const (
	tagLen        = 16  // of a descriptor tag (ECMA-167 3/7.2)
	descriptorLen = 512 // of most descriptors
)

// seal fills in the tag of a descriptor, which is complete but for it.
func (u *udfPlan) seal(d []byte, id uint16, block uint32) []byte {
	version := uint16(2)
	if u.revision >= UDF201 {
		version = 3
	}
	le := binary.LittleEndian
	le.PutUint16(d[0:], id)
	le.PutUint16(d[2:], version)
	le.PutUint16(d[6:], 1) // serial number
	le.PutUint16(d[8:], binfmt.CRC16(d[tagLen:]))
	le.PutUint16(d[10:], uint16(len(d)-tagLen))
	le.PutUint32(d[12:], block)
	d[4] = 0
	sum := byte(0)
	for _, b := range d[:tagLen] {
		sum += b
	}
	d[4] = sum
	return d
}

// A udfWriter appends fields in disc order.
type udfWriter struct{ b []byte }

func (w *udfWriter) u8(v byte)      { w.b = append(w.b, v) }
func (w *udfWriter) u16(v uint16)   { w.b = binary.LittleEndian.AppendUint16(w.b, v) }
func (w *udfWriter) u32(v uint32)   { w.b = binary.LittleEndian.AppendUint32(w.b, v) }
func (w *udfWriter) u64(v uint64)   { w.b = binary.LittleEndian.AppendUint64(w.b, v) }
func (w *udfWriter) zeros(n int)    { w.b = appendZeros(w.b, n) }
func (w *udfWriter) bytes(p []byte) { w.b = append(w.b, p...) }
func (w *udfWriter) extent(n, at uint32) { // ECMA-167 3/7.1
	w.u32(n)
	w.u32(at)
}

// fill makes the descriptor as long as most of them are.
func (w *udfWriter) fill() { w.b = appendZeros(w.b, descriptorLen-len(w.b)) }

// charset appends the character set that UDF allows (UDF 2.1.2).
func (w *udfWriter) charset() {
	w.u8(0)
	w.b = appendPadded(w.b, []byte("OSTA Compressed Unicode"), 63, []byte{0})
}

// dstring appends text in a field of n bytes (ECMA-167 1/7.2.12), cut if it is
// too long. The last byte tells how many are used.
func (w *udfWriter) dstring(s string, n int) {
	text := appendCS0(nil, s, n-1)
	if s == "" {
		text = nil
	}
	w.b = appendPadded(w.b, text, n-1, []byte{0})
	w.u8(byte(len(text)))
}

// entity appends an entity identifier (ECMA-167 1/7.4, UDF 2.1.5).
func (w *udfWriter) entity(id string, suffix ...byte) {
	w.u8(0)
	w.b = appendPadded(w.b, []byte(id), 23, []byte{0})
	w.b = appendPadded(w.b, suffix, 8, []byte{0})
}

// implementer appends the identifier of this program.
func (w *udfWriter) implementer() {
	const osUnix = 4 // UDF 6.3
	w.entity("*isomount", osUnix)
}

// longAD appends a long allocation descriptor (ECMA-167 4/14.14.2). The unique
// identifier goes where UDF 2.3.4.3 wants it.
func (w *udfWriter) longAD(n, block, unique uint32) {
	w.u32(n)
	w.u32(block)
	w.u16(0) // partition
	w.u16(0)
	w.u32(unique)
}

// timestamp appends a time in UTC (ECMA-167 1/7.3).
func (w *udfWriter) timestamp(t time.Time) {
	t = t.UTC()
	year := min(max(t.Year(), 1), 9999)
	const coordinated = 1 << 12
	w.u16(coordinated)
	w.u16(uint16(year))
	w.bytes([]byte{byte(t.Month()), byte(t.Day()), byte(t.Hour()), byte(t.Minute()), byte(t.Second())})
	us := t.Nanosecond() / 1000
	w.bytes([]byte{byte(us / 10000), byte(us / 100 % 100), byte(us % 100)})
}

// appendCS0 appends text as OSTA compressed Unicode (UDF 2.1.1) of at most n
// bytes: one byte a character if that will do, else UTF-16. Bytes that are not
// UTF-8 become underscores.
func appendCS0(b []byte, s string, n int) []byte {
	units, wide := cs0Units(s)
	if !wide {
		units = units[:min(len(units), n-1)]
		b = append(b, 8)
		for _, u := range units {
			b = append(b, byte(u))
		}
		return b
	}
	return appendUnits(append(b, 16), cutUnits(units, (n-1)/2))
}

func cs0Units(s string) (units []uint16, wide bool) {
	units = make([]uint16, 0, len(s))
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError && n == 1 {
			r = '_'
		}
		wide = wide || r > 0xFF
		units = utf16.AppendRune(units, r)
		s = s[n:]
	}
	return units, wide
}

// maxUDFName is the longest file identifier in bytes, with the one that tells
// the form (ECMA-167 4/14.4.4).
const maxUDFName = 255

// udfName appends a node's identifier, with its number worked in before the extension.
func udfName(b []byte, n *Node, seq uint32) []byte {
	start := len(b)
	b = appendCS0(b, n.name, 2*len(n.name)+3)
	if seq == 0 && len(b)-start <= maxUDFName {
		return b
	}
	stem, ext := splitExt(n.name)
	if ext != "" {
		ext = "." + ext
	}
	_, wide := cs0Units(n.name)
	limit := maxUDFName - 1
	if wide {
		limit /= 2
	}
	s, _ := cs0Units(stem)
	e, _ := cs0Units(ext)
	e = cutUnits(e, limit/2)
	s = cutUnits(s, limit-seqLen(seq)-len(e))
	cut := string(utf16.Decode(s)) + string(appendSeq(nil, seq)) + string(utf16.Decode(e))
	return appendCS0(b[:start], cut, maxUDFName)
}
