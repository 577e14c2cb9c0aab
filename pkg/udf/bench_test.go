package udf

import (
	"bytes"
	"fmt"
	"strconv"
	"testing"

	"github.com/isomount/isomount/pkg/fsys"
)

// wideDisc has a root with n files.
func wideDisc(tb testing.TB, k kind, n int) []byte {
	tb.Helper()
	d := newDisc(tb, k, 2048)
	d.alloc(n) // in one step, because growing the image is slow
	d.next -= uint32(n)
	names := make([]name, n)
	for i := range names {
		names[i] = name{name: "entry-" + strconv.Itoa(i) + "-with-a-name-of-some-length", to: d.embedded(fileRegular, []byte("x"))}
	}
	d.dir(d.root, d.root, names...)
	return d.finish()
}

func count(*fsys.Entry) bool { return true }

// BenchmarkReadDir lists 100,000 entries with their attributes, from a volume
// that was not looked at before.
func BenchmarkReadDir(b *testing.B) {
	for _, k := range []kind{kindPhysical, kindVirtual, kindMetadata} {
		b.Run(string(k), func(b *testing.B) {
			img := wideDisc(b, k, 100_000)
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				f := open(b, img, Options{})
				b.StartTimer()
				if err := f.ReadDir(f.Root(), 0, count); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkReadDirInPieces lists 100,000 entries in calls for 25, as the
// kernel does.
func BenchmarkReadDirInPieces(b *testing.B) {
	img := wideDisc(b, kindPhysical, 100_000)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		f := open(b, img, Options{})
		b.StartTimer()
		for from, more := uint64(0), true; more; {
			n := 0
			err := f.ReadDir(f.Root(), from, func(e *fsys.Entry) bool {
				n, from = n+1, e.Next
				return n < 25
			})
			if err != nil {
				b.Fatal(err)
			}
			more = n == 25
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	f := open(b, wideDisc(b, kindPhysical, 100_000), Options{})
	var names [][]byte
	for i := range 1000 {
		names = append(names, fmt.Appendf(nil, "entry-%d-with-a-name-of-some-length", i*99))
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, _, err := f.Lookup(f.Root(), names[i%len(names)]); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFID parses one file identifier descriptor and its name.
func BenchmarkFID(b *testing.B) {
	raw := name{name: "entry-0000-with-a-name-of-some-length"}.fid(2048)
	var n namer
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		d, _ := parseFID(raw)
		buf = n.append(buf[:0], d.ident)
	}
}

// BenchmarkICB parses one file entry, CRC included.
func BenchmarkICB(b *testing.B) {
	e := entry{fileType: fileRegular, size: 1, allocKind: allocEmbedded, alloc: []byte("x")}
	raw := pad(e.encode(2048, 5), 2048)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parseICB(raw, 0, addr{5, 0}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFragmented reads 4 KiB pieces of a file of 100,000 extents.
func BenchmarkFragmented(b *testing.B) {
	const blocks, per = 100_000, 250
	d := newDisc(b, kindPhysical, 2048)
	d.alloc(3 * blocks)
	var next []byte
	first := uint32(blocks)
	for end := blocks; end > 0; end -= per {
		a := d.alloc(1)
		var descs []byte
		for i := end - per; i < end; i++ {
			descs = append(descs, shortAD(0, 2048, first+2*uint32(i))...)
		}
		d.write(addr{a, 0}, allocExtent(a, append(descs, next...)))
		next = shortAD(extNext, 2048, a)
	}
	d.dir(d.root, d.root, name{name: "f", to: d.put(d.icb(), entry{fileType: fileRegular, size: blocks * 2048, alloc: next})})
	img := d.finish()
	f, err := Open(bytes.NewReader(img), int64(len(img)), Options{})
	if err != nil {
		b.Fatal(err)
	}
	n, a, err := f.Lookup(f.Root(), []byte("f"))
	if err != nil {
		b.Fatal(err)
	}
	p := make([]byte, 4096)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for off := int64(0); b.Loop(); off = (off + 4096*997) % (a.Size - 4096) {
		if _, err := f.ReadAt(n, p, off); err != nil {
			b.Fatal(err)
		}
	}
}
