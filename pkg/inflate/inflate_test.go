package inflate

import (
	"bytes"
	"compress/flate"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"hash/adler32"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
)

// pack compresses with the standard library.
func pack(tb testing.TB, data []byte, level int) []byte {
	tb.Helper()
	var b bytes.Buffer
	w, err := zlib.NewWriterLevel(&b, level)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// samples are contents of several kinds.
func samples() map[string][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	noise, skewed, near := make([]byte, 100_000), make([]byte, 100_000), make([]byte, 50_000)
	for i := range noise {
		noise[i] = byte(r.Uint32())
		skewed[i] = byte(r.ExpFloat64() * 9) // codes of many lengths
	}
	for i := range near {
		near[i] = byte(i % (1 + i/1000)) // matches of all distances
	}
	return map[string][]byte{
		"nothing": {}, "a byte": {7}, "zeros": make([]byte, 70_000), "text": []byte(strings.Repeat("a word or two, ", 3000)),
		"noise": noise, "skewed": skewed, "near": near,
	}
}

func TestZlib(t *testing.T) {
	for name, want := range samples() {
		for level := flate.HuffmanOnly; level <= flate.BestCompression; level++ {
			packed := pack(t, want, level)
			got := make([]byte, len(want))
			if n, err := Zlib(got, packed); err != nil || n != len(want) || !bytes.Equal(got, want) {
				t.Errorf("%s at level %d: %d bytes, error %v, want %d", name, level, n, err, len(want))
			}
			for _, size := range []int{len(want) / 3, max(len(want)-1, 0)} {
				got := make([]byte, size)
				if n, err := Zlib(got, packed); err != nil || n != size || !bytes.Equal(got, want[:size]) {
					t.Errorf("%s at level %d, the first %d bytes: %d, error %v", name, level, size, n, err)
				}
			}
			long := make([]byte, len(want)+1)
			if n, err := Zlib(long, packed); !errors.Is(err, io.ErrUnexpectedEOF) || n != len(want) {
				t.Errorf("%s at level %d, a byte too many: %d, error %v", name, level, n, err)
			}
		}
	}
}

func TestCutShort(t *testing.T) {
	for name, want := range samples() {
		want = want[:min(len(want), 2000)]
		packed := pack(t, want, flate.DefaultCompression)
		for n := range packed {
			if _, err := Zlib(make([]byte, len(want)), packed[:n]); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("%s: %d of %d bytes: error %v, want %v", name, n, len(packed), err, io.ErrUnexpectedEOF)
			}
		}
	}
}

// A bitWriter makes streams that no compressor makes.
type bitWriter struct {
	b    []byte
	bits uint
}

func (w *bitWriter) put(v uint32, n uint) {
	for i := range n {
		if w.bits%8 == 0 {
			w.b = append(w.b, 0)
		}
		w.b[len(w.b)-1] |= byte(v>>i&1) << (w.bits % 8)
		w.bits++
	}
}

func stream(fields ...uint32) []byte {
	w := &bitWriter{b: []byte{0x78, 0x9c}, bits: 16}
	for i := 0; i < len(fields); i += 2 {
		w.put(fields[i], uint(fields[i+1]))
	}
	return append(w.b, make([]byte, 16)...)
}

func TestDamaged(t *testing.T) {
	good := pack(t, []byte("the content of the test"), flate.BestCompression)
	wrongSum := bytes.Clone(good)
	wrongSum[len(wrongSum)-1]++
	for _, tt := range []struct {
		name string
		src  []byte
		want error
	}{
		{"wrong checksum", wrongSum, ErrChecksum},
		{"other method", []byte{0x77, 0x85, 3, 0}, ErrCorrupt},
		{"large window", []byte{0x88, 0x1c, 3, 0}, ErrCorrupt},
		{"header check", []byte{0x78, 0x9d, 3, 0}, ErrCorrupt},
		{"dictionary", []byte{0x78, 0xbb, 3, 0}, ErrCorrupt},
		{"block of kind 3", stream(7, 3), ErrCorrupt},
		{"stored length", stream(1, 3, 0, 5, 1, 16, 1, 16), ErrCorrupt},
		{"match before the start", stream(3, 3, 0x40, 7, 0, 5), ErrCorrupt},
		{"length 286", stream(3, 3, 0x63, 8), ErrCorrupt},
		{"distance 30", stream(3, 3, 0x0c, 8, 0x40, 7, 0x0f, 5), ErrCorrupt},
		{"287 literals", stream(5, 3, 30, 5, 0, 5, 0, 4), ErrCorrupt},
		{"31 distances", stream(5, 3, 0, 5, 30, 5, 0, 4), ErrCorrupt},
		{"no code of lengths", stream(5, 3, 0, 5, 0, 5, 0, 4, 0, 12), ErrCorrupt},
		{"over-subscribed", stream(5, 3, 0, 5, 0, 5, 0, 4, 1, 3, 1, 3, 1, 3, 0, 3), ErrCorrupt},
		{"incomplete", stream(5, 3, 0, 5, 0, 5, 0, 4, 2, 3, 2, 3, 2, 3, 0, 3), ErrCorrupt},
		{"repeat of nothing", stream(5, 3, 0, 5, 0, 5, 0, 4, 1, 3, 1, 3, 0, 3, 0, 3, 0, 1), ErrCorrupt},
		{"lengths beyond the last", stream(5, 3, 0, 5, 0, 5, 0, 4, 0, 3, 1, 3, 1, 3, 0, 3, 1, 1, 127, 7, 1, 1, 127, 7), ErrCorrupt},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Zlib(make([]byte, 23), tt.src); !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			r, err := zlib.NewReader(bytes.NewReader(tt.src))
			if err == nil {
				_, err = io.Copy(io.Discard, r)
			}
			if err == nil {
				t.Error("compress/zlib finds nothing wrong")
			}
		})
	}
}

// FuzzZlib compares with the standard library.
func FuzzZlib(f *testing.F) {
	for _, data := range samples() {
		f.Add(pack(f, data[:min(len(data), 3000)], flate.BestCompression), uint16(3000))
		f.Add(pack(f, data[:min(len(data), 300)], flate.HuffmanOnly), uint16(300))
	}
	f.Fuzz(func(t *testing.T, src []byte, size uint16) {
		if len(src) > 1 && src[1]&zlibDict != 0 {
			return // compress/zlib takes a dictionary of no bytes
		}
		got := make([]byte, size)
		n, err := Zlib(got, src)
		want := make([]byte, size)
		k := 0
		r, werr := zlib.NewReader(bytes.NewReader(src))
		if werr == nil {
			k, werr = io.ReadFull(r, want)
		}
		if k == int(size) && werr == nil {
			if n != k || !bytes.Equal(got, want) || err != nil && !errors.Is(err, ErrChecksum) && !errors.Is(err, ErrCorrupt) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("%d bytes, error %v, want %d", n, err, k)
			}
			return
		}
		// The library keeps back what it has when an error comes.
		if n < int(size) && err == nil {
			t.Fatalf("%d bytes of %d and no error, want %v", n, size, werr)
		}
		if n < k {
			t.Fatalf("%d bytes, error %v; compress/zlib has %d", n, err, k)
		}
		if !bytes.Equal(got[:k], want[:k]) {
			t.Fatalf("other bytes than those of compress/zlib before the error")
		}
	})
}

func TestStoredBlocks(t *testing.T) {
	want := bytes.Repeat([]byte("0123456789"), 20_000)
	src := []byte{0x78, 0x01}
	for rest := want; len(rest) > 0; {
		n := min(len(rest), 65535)
		last := byte(0)
		if n == len(rest) {
			last = 1
		}
		src = append(src, last)
		src = binary.LittleEndian.AppendUint16(src, uint16(n))
		src = binary.LittleEndian.AppendUint16(src, ^uint16(n))
		src = append(src, rest[:n]...)
		rest = rest[n:]
	}
	src = binary.BigEndian.AppendUint32(src, adler32.Checksum(want))
	got := make([]byte, len(want))
	if n, err := Zlib(got, src); err != nil || n != len(want) || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, error %v", n, err)
	}
}

func BenchmarkZlib(b *testing.B) {
	for name, data := range samples() {
		packed := pack(b, data, flate.DefaultCompression)
		dst := make([]byte, len(data))
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if _, err := Zlib(dst, packed); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
