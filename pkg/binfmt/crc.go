package binfmt

import "sync"

// crcTables holds, once crcOnce was done, the CRC of ECMA-167 1/7.2.6
// (polynomial 0x1021, initial value 0, high bit first) for one byte followed by
// 0 to 7 zero bytes, so that eight bytes are
// taken in one step. It costs 4 KiB and makes the check of a file entry of UDF four
// times faster than one byte at a time.
var (
	crcOnce   sync.Once
	crcTables [8][256]uint16
)

func makeCRCTables() {
	t := &crcTables
	for i := range 256 {
		crc := uint16(i) << 8
		for range 8 {
			carry := crc&0x8000 != 0
			crc <<= 1
			if carry {
				crc ^= 0x1021
			}
		}
		t[0][i] = crc
	}
	for n := 1; n < 8; n++ {
		for i := range 256 {
			prev := t[n-1][i]
			t[n][i] = prev<<8 ^ t[0][prev>>8]
		}
	}
}

// CRC16 returns the checksum of ITU-T V.41 over b, which is that of the descriptors
// of UDF (ECMA-167 3/7.2.6).
func CRC16(b []byte) uint16 {
	var crc uint16
	crcOnce.Do(makeCRCTables)
	t := &crcTables
	for len(b) >= 8 {
		crc = t[7][b[0]^byte(crc>>8)] ^ t[6][b[1]^byte(crc)] ^
			t[5][b[2]] ^ t[4][b[3]] ^ t[3][b[4]] ^ t[2][b[5]] ^ t[1][b[6]] ^ t[0][b[7]]
		b = b[8:]
	}
	for _, c := range b {
		crc = crc<<8 ^ t[0][byte(crc>>8)^c]
	}
	return crc
}
