package binfmt

import (
	"math/rand/v2"
	"testing"
)

// slowCRC is the definition in ECMA-167 3/7.2.6, bit by bit.
func slowCRC(b []byte) uint16 {
	var crc uint16
	for _, c := range b {
		crc ^= uint16(c) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return crc
}

func TestCRC16(t *testing.T) {
	// The example of UDF 6.5.
	if got, want := CRC16([]byte{0x70, 0x6a, 0x77}), uint16(0x3299); got != want {
		t.Errorf("CRC16 of the example = %#04x, want %#04x", got, want)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, 100)
	for n := range b {
		for i := range n {
			b[i] = byte(rnd.Uint32())
		}
		if got, want := CRC16(b[:n]), slowCRC(b[:n]); got != want {
			t.Errorf("CRC16 of %d bytes = %#04x, want %#04x", n, got, want)
		}
	}
}

func BenchmarkCRC16(b *testing.B) {
	data := make([]byte, 2032)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		CRC16(data)
	}
}
