package isofs

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/isomount/isomount/pkg/fsys"
)

// manyFiles makes a Rock Ridge directory of n files whose times and rest of the
// name are in continuation areas, as those of genisoimage are.
func manyFiles(n int) *testImage {
	return rockDisc(func(m *testImage) [][]byte {
		records := make([][]byte, 0, n)
		content := m.alloc([]byte("content"))
		stamp := []byte{110, 5, 6, 7, 8, 9, 0}
		for i := range n {
			name := fmt.Sprintf("file number %06d with a name.txt", i)
			records = append(records, rec(fmt.Sprintf("FILE%04X.TXT;1", i), content, 7,
				withUse(px(0o100644, 1), su("TF", []byte{0x0e}, stamp, stamp, stamp), nm(name))))
		}
		return records
	})
}

func BenchmarkRecord(b *testing.B) {
	r := rec("FILE0001.TXT;1", 100, 2048, withUse(px(0o100644, 1, 1000, 1000), nm("a usual name.txt")))
	v := rockDisc(func(m *testImage) [][]byte { return nil }).open(b, Options{})
	b.ReportAllocs()
	s := getScratch()
	defer putScratch(s)
	for b.Loop() {
		if !s.rec.decode(r, 0, false) {
			b.Fatal("no record")
		}
		s.susp.start(v, s.rec.use)
		s.rock.parse(&s.susp, false)
	}
}

// BenchmarkColdListing lists a directory of 100,000 entries that nobody has
// looked at before.
func BenchmarkColdListing(b *testing.B) {
	const n = 100_000
	m := manyFiles(n)
	b.ReportAllocs()
	for b.Loop() {
		f := m.fs(b, RockRidge, TreeOptions{})
		count := 0
		if err := f.ReadDir(f.Root(), 0, func(*fsys.Entry) bool { count++; return true }); err != nil || count != n {
			b.Fatalf("%d entries, %v", count, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/entry")
}

// BenchmarkListing lists a directory whose names are indexed already.
func BenchmarkListing(b *testing.B) {
	const n = 1000
	f := manyFiles(n).fs(b, RockRidge, TreeOptions{})
	b.ReportAllocs()
	for b.Loop() {
		if err := f.ReadDir(f.Root(), 0, func(*fsys.Entry) bool { return true }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/entry")
}

func BenchmarkLookup(b *testing.B) {
	const n = 50_000
	f := manyFiles(n).fs(b, RockRidge, TreeOptions{})
	names := make([][]byte, n)
	for i := range names {
		names[i] = fmt.Appendf(nil, "file number %06d with a name.txt", i)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if _, _, err := f.Lookup(f.Root(), names[i%n]); err != nil {
			b.Fatal(err)
		}
		i += 7919
	}
}

func BenchmarkReadAt(b *testing.B) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	f := disc(func(m *testImage) [][]byte { return [][]byte{m.file("A.;1", string(content))} }).fs(b, Plain, TreeOptions{})
	n, _ := lookup(b, f, "a")
	buf := make([]byte, 128<<10)
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	off := int64(0)
	for b.Loop() {
		if _, err := f.ReadAt(n, buf, off); err != nil {
			b.Fatal(err)
		}
		off = (off + int64(len(buf))) % int64(len(content))
	}
}
