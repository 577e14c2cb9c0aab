package lzfse

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// words makes n bytes of text that compresses like prose.
func words(n int) []byte {
	vocabulary := strings.Fields("disc sector tree a file of the directory extent with block record volume in session track to image")
	var b []byte
	for x := uint32(1); len(b) < n; {
		x = x*1664525 + 1013904223
		b = append(append(b, vocabulary[int(x>>16)%len(vocabulary)]...), ' ')
	}
	return b[:n]
}

func noise(n int) []byte {
	b, x := make([]byte, n), uint32(7)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// fixtures are what Apple's lzfse makes of these: lzfse -encode -i NAME -o NAME.lzfse.
var fixtures = []struct {
	name    string
	content []byte
}{
	{"one", []byte("1")},
	{"lzvn", words(2000)},
	{"words", words(20_000)},
	{"noise", noise(3000)},
	{"zeros", make([]byte, 100_000)},
	{"mixed", join(words(30_000), noise(500), make([]byte, 3000), words(1000))},
}

func read(tb testing.TB, name string) []byte {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".lzfse"))
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func TestDecode(t *testing.T) {
	for _, tt := range fixtures {
		t.Run(tt.name, func(t *testing.T) {
			src := read(t, tt.name)
			for _, room := range []int{0, 1, len(tt.content) / 2, len(tt.content), len(tt.content) + 100} {
				dst := make([]byte, room)
				n, err := Decode(dst, src)
				if want := min(room, len(tt.content)); err != nil || n != want || !bytes.Equal(dst[:n], tt.content[:want]) {
					t.Errorf("room for %d: got %d bytes, error %v, want %d", room, n, err, want)
				}
			}
		})
	}
}

// Blocks refer back to what earlier blocks became.
func TestDecodeBlocks(t *testing.T) {
	raw := func(s string) []byte {
		return append(binary.LittleEndian.AppendUint32([]byte(magicRaw), uint32(len(s))), s...)
	}
	lzvn := func(raw int, b []byte) []byte {
		head := binary.LittleEndian.AppendUint32([]byte(magicLZVN), uint32(raw))
		return append(binary.LittleEndian.AppendUint32(head, uint32(len(b))), b...)
	}
	src := join(raw("abc"), lzvn(4, []byte{0x40, 3, 'x', opEnd}), raw(""), raw("end"), []byte(magicEnd))
	dst := make([]byte, 100)
	if n, err := Decode(dst, src); err != nil || string(dst[:n]) != "abcx"+"bcx"+"end" {
		t.Errorf("got %q, %v", dst[:n], err)
	}
	var all, want []byte
	for _, tt := range fixtures {
		all, want = append(all, bytes.TrimSuffix(read(t, tt.name), []byte(magicEnd))...), append(want, tt.content...)
	}
	dst = make([]byte, len(want)+1)
	if n, err := Decode(dst, append(all, magicEnd...)); err != nil || !bytes.Equal(dst[:n], want) {
		t.Errorf("got %d bytes, %v, want %d", n, err, len(want))
	}
}

func TestDecodeLZVN(t *testing.T) {
	far := bytes.Repeat([]byte{0xE0, 239, 0}, 1)
	far = append(far, make([]byte, 254)...) // 255 literals
	for _, tt := range []struct {
		name string
		src  []byte
		want string
	}{
		{"nothing", []byte{opEnd}, ""},
		{"no operation", []byte{opNop, opPad, 0xE1, 'a', opEnd}, "a"},
		{"small literal", join([]byte{0xEF}, []byte("fifteen letters"), []byte{opEnd}), "fifteen letters"},
		{"large literal", join([]byte{0xE0, 0}, []byte("sixteen letters!"), []byte{opEnd}), "sixteen letters!"},
		{"small distance", []byte{0x80 | 2<<3, 2, 'a', 'b', opEnd}, "ab" + "ababa"},
		{"small distance, high bits", join(far, []byte{0xC0, 255, 'a', 'b', 'c', opEnd}), string(make([]byte, 255)) + "abc\x00\x00\x00"},
		{"medium distance", []byte{0xA0 | 1<<3 | 1, 1<<2 | 2, 0, 'a', opEnd}, "a" + "aaaaaaaaa"},
		{"large distance", []byte{0xC0 | 7, 3, 0, 'a', 'b', 'c', opEnd}, "abc" + "abc"},
		{"distance as before", []byte{0x80, 2, 'a', 'b', 0x40 | 6, 'c', opEnd}, "ab" + "aba" + "c" + "aca"},
		{"small match", []byte{0x80, 2, 'a', 'b', 0xF1, opEnd}, "ab" + "aba" + "b"},
		{"large match", []byte{0x40, 1, 'a', 0xF0, 4, opEnd}, "aaaa" + strings.Repeat("a", 20)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dst := make([]byte, 1000)
			if n, err := DecodeLZVN(dst, tt.src); err != nil || string(dst[:n]) != tt.want {
				t.Errorf("got %q, %v, want %q", dst[:n], err, tt.want)
			}
			full := make([]byte, len(tt.want)) // the end may be missing, then
			if n, err := DecodeLZVN(full, tt.src[:len(tt.src)-1]); err != nil || string(full[:n]) != tt.want {
				t.Errorf("without the end: got %q, %v, want %q", full[:n], err, tt.want)
			}
			if len(tt.want) == 0 {
				return
			}
			if _, err := DecodeLZVN(dst, tt.src[:len(tt.src)-1]); !errors.Is(err, ErrCorrupt) {
				t.Errorf("cut short: got error %v, want damage", err)
			}
		})
	}
}

func TestDecodeLZVNDamaged(t *testing.T) {
	for _, tt := range []struct {
		name string
		src  []byte
	}{
		{"instruction 0x1e", []byte{0x1E}},
		{"instruction 0x3e", []byte{0x3E}},
		{"instruction 0x70", []byte{0x70}},
		{"instruction 0xd0", []byte{0xD0}},
		{"no distance yet", []byte{0xE1, 'a', 0xF1}},
		{"distance of 0", []byte{0x40, 0, 'a'}},
		{"distance before the beginning", []byte{0x40, 2, 'a'}},
		{"literals cut short", []byte{0xE3, 'a', 'b'}},
		{"length cut short", []byte{0xF0}},
	} {
		if _, err := DecodeLZVN(make([]byte, 1000), tt.src); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: got error %v, want damage", tt.name, err)
		}
	}
}

// Wherever a stream is cut, and whatever a byte of its headers is changed to,
// it is decoded or refused.
func TestDecodeDamaged(t *testing.T) {
	for _, name := range []string{"words", "lzvn", "mixed"} {
		src := read(t, name)
		dst := make([]byte, 200_000)
		for n := 0; n < len(src); n += 1 + n/20 {
			if _, err := Decode(dst, src[:n]); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s cut to %d of %d bytes: got error %v, want damage", name, n, len(src), err)
			}
		}
		for i := range min(200, len(src)) {
			changed := bytes.Clone(src)
			changed[i] ^= 0xFF
			if _, err := Decode(dst, changed); err != nil && !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s with byte %d changed: got error %v", name, i, err)
			}
		}
	}
	for _, b := range []string{"", "bvx", "bvx1", "nonsense", "bvx-", "bvx-\x05\x00\x00\x00abc", "bvxn\x05", "bvxn\x05\x00\x00\x00\x05\x00\x00\x00"} {
		if _, err := Decode(make([]byte, 100), []byte(b)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%q: got error %v, want damage", b, err)
		}
	}
}

// All that is allocated is the header of each block of LZFSE.
func TestDecodeAllocs(t *testing.T) {
	dst := make([]byte, 1<<20)
	for name, want := range map[string]float64{"words": 1, "zeros": 1, "lzvn": 0} {
		src := read(t, name)
		if got := testing.AllocsPerRun(10, func() {
			if _, err := Decode(dst, src); err != nil {
				t.Error(err)
			}
		}); got != want {
			t.Errorf("%s: %v allocations, want %v", name, got, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, tt := range fixtures {
		f.Add(read(f, tt.name), uint16(len(tt.content)))
	}
	f.Fuzz(func(t *testing.T, src []byte, size uint16) {
		dst := make([]byte, size)
		for _, decode := range []func(dst, src []byte) (int, error){Decode, DecodeLZVN} {
			n, err := decode(dst, src)
			if n < 0 || n > len(dst) || err != nil && !errors.Is(err, ErrCorrupt) {
				t.Errorf("%d bytes of %d, error %v", n, len(dst), err)
			}
			if err == nil && n < len(dst) {
				continue
			}
			half := make([]byte, n/2) // what comes out does not depend on the room
			if m, err := decode(half, src); err != nil || m != len(half) || !bytes.Equal(half, dst[:m]) {
				t.Errorf("room for %d: got %d bytes, error %v", len(half), m, err)
			}
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	for _, name := range []string{"words", "mixed", "lzvn"} {
		b.Run(name, func(b *testing.B) {
			src, dst := read(b, name), make([]byte, 1<<20)
			n, err := Decode(dst, src)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Decode(dst, src); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
