package isofs

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"

	"github.com/isomount/isomount/pkg/binfmt"
	"github.com/isomount/isomount/pkg/fsys/fsystest"
)

const testShift = 15

// bzipped is the first 32 KiB of "isomount " repeated, by bzip2 -9.
const bzipped = "425a6839314159265359949334b000071c1180400000238e00200070430204d550cca628547950a8ea8546a8546a8546" +
	"2854628546a8547542a3f177245385090949334b00"

// packers compress a block, by the algorithm's name in its entry.
var packers = map[string]func(tb testing.TB, block []byte) []byte{
	"pz": packZlib, "PZ": packZlib,
	"xz": func(tb testing.TB, block []byte) []byte {
		tb.Helper()
		return pack(tb, block, func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) })
	},
	"XZ": func(tb testing.TB, block []byte) []byte { // with a dictionary of 1.5 GiB in the header
		tb.Helper()
		b := pack(tb, block, func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) })
		b[16] = 39
		return b
	},
	"l4": func(tb testing.TB, block []byte) []byte {
		tb.Helper()
		return pack(tb, block, func(w io.Writer) (io.WriteCloser, error) { return lz4.NewWriter(w), nil })
	},
	"zd": func(tb testing.TB, block []byte) []byte {
		tb.Helper()
		return pack(tb, block, func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) })
	},
	"b2": func(tb testing.TB, _ []byte) []byte {
		tb.Helper()
		b, err := hex.DecodeString(bzipped)
		if err != nil {
			tb.Fatal(err)
		}
		return b
	},
}

func packZlib(tb testing.TB, block []byte) []byte {
	tb.Helper()
	return pack(tb, block, func(w io.Writer) (io.WriteCloser, error) { return zlib.NewWriter(w), nil })
}

func pack(tb testing.TB, block []byte, writer func(io.Writer) (io.WriteCloser, error)) []byte {
	tb.Helper()
	var b bytes.Buffer
	w, err := writer(&b)
	if err == nil {
		_, err = w.Write(block)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// zisofsFile makes a compressed file. Blocks of zeros take no space.
func zisofsFile(tb testing.TB, algorithm string, content []byte) []byte {
	tb.Helper()
	first := algorithm == "pz"
	var blocks [][]byte
	for rest := content; len(rest) > 0; {
		block := rest[:min(len(rest), 1<<testShift)]
		rest = rest[len(block):]
		if len(bytes.Trim(block, "\x00")) == 0 {
			blocks = append(blocks, nil)
			continue
		}
		blocks = append(blocks, packers[algorithm](tb, block))
	}
	head := binary.LittleEndian.AppendUint32(bytes.Clone(zisofsMagic), uint32(len(content)))
	head = append(head, 4, testShift, 0, 0)
	size := 4
	if !first {
		head = append(bytes.Clone(zisofs2Magic), 0, 6, 1, testShift)
		head = append(binary.LittleEndian.AppendUint64(head, uint64(len(content))), 0, 0, 0, 0)
		size = 8
	}
	at := len(head) + size*(len(blocks)+1)
	for i := 0; i <= len(blocks); i++ {
		if first {
			head = binary.LittleEndian.AppendUint32(head, uint32(at))
		} else {
			head = binary.LittleEndian.AppendUint64(head, uint64(at))
		}
		if i < len(blocks) {
			at += len(blocks[i])
		}
	}
	return append(head, bytes.Join(blocks, nil)...)
}

// zf makes a ZF entry for a file of size bytes.
func zf(tag, algorithm string, shift byte, size uint64) []byte {
	if algorithm == "pz" {
		return su(tag, []byte(algorithm), []byte{4, shift}, both(uint32(size)))
	}
	return su(tag, []byte(algorithm), []byte{6, shift}, binary.LittleEndian.AppendUint64(nil, size))
}

// packed makes a Rock Ridge disc of one file "z".
func packed(stored, entry []byte) *testImage {
	return rockDisc(func(m *testImage) [][]byte {
		return [][]byte{rec("Z.;1", m.alloc(stored), len(stored), withUse(px(0o100644, 1), nm("z"), entry))}
	})
}

func TestZisofs(t *testing.T) {
	text := []byte(strings.Repeat("isomount ", 4000)[:1<<testShift])
	noise := make([]byte, 1<<testShift)
	for i, r := 0, rand.New(rand.NewPCG(1, 2)); i < len(noise); i++ {
		noise[i] = byte(r.Uint32())
	}
	long := join(text, make([]byte, 1<<testShift), noise, text[:1000])
	for _, tt := range []struct {
		name, tag, algorithm string
		content              []byte
	}{
		{"version 1", "ZF", "pz", long},
		{"version 2", "ZF", "PZ", long},
		{"Z2", "Z2", "PZ", long},
		{"whole blocks", "ZF", "pz", text},
		{"nothing but zeros", "ZF", "pz", make([]byte, 100_000)},
		{"xz", "ZF", "xz", long},
		{"xz with a huge dictionary", "ZF", "XZ", long},
		{"lz4", "ZF", "l4", long},
		{"zstd", "ZF", "zd", long},
		{"bzip2", "ZF", "b2", join(text, text)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := packed(zisofsFile(t, tt.algorithm, tt.content), zf(tt.tag, tt.algorithm, testShift, uint64(len(tt.content))))
			fsystest.Test(t, m.fs(t, RockRidge, TreeOptions{}), []fsystest.File{{Path: "z", Mode: 0o644, Data: tt.content}})
		})
	}
}

func TestZisofsAsItIs(t *testing.T) {
	stored := zisofsFile(t, "pz", []byte("content"))
	for _, tt := range []struct {
		name  string
		entry []byte
		o     TreeOptions
	}{
		{"by option", zf("ZF", "pz", testShift, 7), TreeOptions{NoZisofs: true}},
		{"unknown algorithm", zf("ZF", "??", testShift, 7), TreeOptions{}},
		{"block size overflows", zf("ZF", "pz", 40, 7), TreeOptions{}},
		{"block size too small", zf("ZF", "pz", 3, 7), TreeOptions{}},
		{"no room for the pointers", zf("ZF", "pz", testShift, 1<<32-1), TreeOptions{}},
		{"size overflows", zf("ZF", "PZ", testShift, 1<<64-1), TreeOptions{}},
		{"entry cut short", su("ZF", []byte("pz")), TreeOptions{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fsystest.Test(t, packed(stored, tt.entry).fs(t, RockRidge, tt.o), []fsystest.File{{Path: "z", Data: stored}})
		})
	}
}

func TestZisofsDamaged(t *testing.T) {
	content := []byte(strings.Repeat("isomount ", 10_000))
	entry := zf("ZF", "pz", testShift, uint64(len(content)))
	pointer := func(b []byte, i int, v uint32) { binary.LittleEndian.PutUint32(b[16+4*i:], v) }
	for _, tt := range []struct {
		name   string
		change func(b []byte)
		good   int64 // a block that can still be read, or -1
	}{
		{"no header", func(b []byte) { b[0] = 0 }, -1},
		{"pointer past the end", func(b []byte) { pointer(b, 1, 1<<31) }, 2},
		{"pointers in the wrong order", func(b []byte) { pointer(b, 1, 0) }, 2},
		{"bad data", func(b []byte) { b[40], b[41] = 0xff, 0xff }, 1},
		{"data ends too early", func(b []byte) { pointer(b, 1, 40) }, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			stored := zisofsFile(t, "pz", content)
			tt.change(stored)
			f := packed(stored, entry).fs(t, RockRidge, TreeOptions{})
			exerciseTree(t, f)
			n, _ := lookup(t, f, "z")
			var corrupt *binfmt.CorruptError
			if _, err := f.ReadAt(n, make([]byte, 10), 0); !errors.As(err, &corrupt) {
				t.Errorf("got error %v, want damage", err)
			}
			if tt.good < 0 {
				return
			}
			got := make([]byte, 10)
			if _, err := f.ReadAt(n, got, tt.good<<testShift); err != nil || !bytes.Equal(got, content[tt.good<<testShift:][:10]) {
				t.Errorf("block %d: got %q, %v", tt.good, got, err)
			}
		})
	}
}

// A counted keeps every block and counts how often one was made.
type counted struct {
	kept  map[[2]uint64][]byte
	fills int
}

func (c *counted) Get(key [2]uint64, size int, fill func(dst []byte) error, use func(block []byte) error) error {
	if _, ok := c.kept[key]; !ok {
		c.kept[key] = make([]byte, size)
		c.fills++
		if err := fill(c.kept[key]); err != nil {
			return err
		}
	}
	return use(c.kept[key])
}

func TestZisofsBlocksAreMadeOnce(t *testing.T) {
	content := []byte(strings.Repeat("isomount ", 20_000))
	m := packed(zisofsFile(t, "pz", content), zf("ZF", "pz", testShift, uint64(len(content))))
	blocks := &counted{kept: map[[2]uint64][]byte{}}
	f, err := m.open(t, Options{Blocks: blocks}).FS(RockRidge, TreeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if got := read(t, f, "z"); got != string(content) {
			t.Error("content differs")
		}
	}
	if want := (len(content) + 1<<testShift - 1) >> testShift; blocks.fills != want {
		t.Errorf("got %d blocks made, want %d", blocks.fills, want)
	}
}

// Two records may say different things of the same content.
func TestZisofsSizesDisagree(t *testing.T) {
	content := []byte(strings.Repeat("isomount ", 4000))
	stored := zisofsFile(t, "pz", content)
	m := rockDisc(func(m *testImage) [][]byte {
		lba := m.alloc(stored)
		file := func(name string, shift byte, size uint64) []byte {
			return rec("Z.;1", lba, len(stored), withUse(px(0o100644, 1), nm(name), zf("ZF", "pz", shift, size)))
		}
		return [][]byte{file("short", testShift, 100), file("long", testShift, 36_000), file("small blocks", 14, 36_000)}
	})
	for _, blocks := range []Blocks{nil, &counted{kept: map[[2]uint64][]byte{}}} {
		f, err := m.open(t, Options{Blocks: blocks}).FS(RockRidge, TreeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			for name, size := range map[string]int{"short": 100, "long": 36_000} {
				if got := read(t, f, name); got != string(content[:size]) {
					t.Errorf("%s: content differs", name)
				}
			}
		}
		exerciseTree(t, f)
	}
}

func TestRecentBlocks(t *testing.T) {
	var c recent
	fills := 0
	get := func(k uint64) {
		t.Helper()
		err := c.Get([2]uint64{k, 0}, 8, func(dst []byte) error {
			fills++
			binary.LittleEndian.PutUint64(dst, k)
			return nil
		}, func(b []byte) error {
			if got := binary.LittleEndian.Uint64(b); got != k {
				t.Errorf("got block %d, want %d", got, k)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	for k := range uint64(recentBlocks) {
		get(k)
	}
	get(0)
	get(recentBlocks) // pushes out 1
	if fills != recentBlocks+1 {
		t.Errorf("got %d blocks made, want %d", fills, recentBlocks+1)
	}
	get(0)
	get(1)
	if fills != recentBlocks+2 {
		t.Errorf("got %d blocks made, want %d", fills, recentBlocks+2)
	}
	broken := errors.New("broken")
	if err := c.Get([2]uint64{99, 0}, 8, func([]byte) error { return broken }, func([]byte) error { return nil }); !errors.Is(err, broken) {
		t.Errorf("got error %v, want %v", err, broken)
	}
	get(99)
}

func FuzzCodecs(f *testing.F) {
	for name, pack := range packers {
		f.Add(name, pack(f, []byte(strings.Repeat("isomount ", 4000)[:1<<testShift])), uint16(1<<testShift-1))
	}
	f.Fuzz(func(t *testing.T, name string, packed []byte, size uint16) {
		c := codecOf(name)
		if c == nil {
			return
		}
		dst := make([]byte, int(size)+1)
		if err := c(dst, packed); err == nil && len(packed) == 0 {
			t.Errorf("%s made %d bytes of nothing", name, len(dst))
		}
	})
}
