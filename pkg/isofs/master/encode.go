package master

import (
	"encoding/binary"
	"time"
)

const (
	blockSize = 2048
	// maxExtent is the longest section of a file that a directory record can
	// describe and that ends on a block (ECMA-119 9.1.4, 6.5.1).
	maxExtent = 0xFFFFF800
)

// appendBoth16 appends a both-byte-order 16-bit number (ECMA-119 7.2.3).
func appendBoth16(b []byte, v uint16) []byte {
	b = binary.LittleEndian.AppendUint16(b, v)
	return binary.BigEndian.AppendUint16(b, v)
}

// appendBoth32 appends a both-byte-order 32-bit number (ECMA-119 7.3.3).
func appendBoth32(b []byte, v uint32) []byte {
	b = binary.LittleEndian.AppendUint32(b, v)
	return binary.BigEndian.AppendUint32(b, v)
}

// appendZeros appends n zero bytes.
func appendZeros(b []byte, n int) []byte {
	for ; n > 0; n-- {
		b = append(b, 0)
	}
	return b
}

// blocksOf returns how many blocks hold n bytes.
func blocksOf(n int64) int64 { return (n + blockSize - 1) / blockSize }

// appendRecordDate appends the date of a directory record (ECMA-119 9.1.5),
// in UTC. Years that it cannot express become the nearest that it can.
func appendRecordDate(b []byte, ns int64) []byte {
	t := time.Unix(0, ns).UTC()
	switch year := t.Year(); {
	case year < 1900:
		t = time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC)
	case year > 2155:
		t = time.Date(2155, 12, 31, 23, 59, 59, 0, time.UTC)
	}
	return append(b, byte(t.Year()-1900), byte(t.Month()), byte(t.Day()),
		byte(t.Hour()), byte(t.Minute()), byte(t.Second()), 0)
}

// appendVolumeDate appends the date of a volume descriptor (ECMA-119 8.4.26.1),
// in UTC. The zero time is "not specified".
func appendVolumeDate(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(b, "0000000000000000\x00"...)
	}
	t = t.UTC()
	b = t.AppendFormat(b, "20060102150405")
	hundredths := t.Nanosecond() / 1e7
	return append(b, byte('0'+hundredths/10), byte('0'+hundredths%10), 0)
}

// A dirRecord is a directory record (ECMA-119 9.1) without its System Use field.
type dirRecord struct {
	lba   uint32
	size  uint32
	mtime int64
	flags byte
	id    []byte
}

// File flags of a directory record (ECMA-119 9.1.6).
const (
	flagDirectory   = 0x02
	flagMultiExtent = 0x80
)

// recordHead is the length of a directory record before its identifier.
const recordHead = 33

// recordLen returns the length of a directory record with a System Use field
// of su bytes: both parts are padded to even lengths (ECMA-119 9.1.12, 9.1.13).
func recordLen(id, su int) int { return recordHead + id + 1 - id&1 + su + su&1 }

// maxRecord is the longest even length that its one byte can tell.
const maxRecord = 254

// appendRecord appends a directory record with the System Use field su.
func appendRecord(b []byte, r *dirRecord, su []byte) []byte {
	b = append(b, byte(recordLen(len(r.id), len(su))), 0) // BP 1-2
	b = appendBoth32(b, r.lba)                            // BP 3-10
	b = appendBoth32(b, r.size)                           // BP 11-18
	b = appendRecordDate(b, r.mtime)                      // BP 19-25
	b = append(b, r.flags, 0, 0)                          // BP 26-28
	b = appendBoth16(b, 1)                                // BP 29-32: volume sequence number
	b = append(b, byte(len(r.id)))                        // BP 33
	b = append(b, r.id...)
	b = appendZeros(b, 1-len(r.id)&1)
	b = append(b, su...)
	return appendZeros(b, len(su)&1)
}
