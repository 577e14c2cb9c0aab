package fat

import (
	"fmt"
	"testing"

	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/fsys/fsystest"
)

// BenchmarkEntry is the cost of one entry with a long name in a listing.
func BenchmarkEntry(b *testing.B) {
	var files []file
	for i := range 10_000 {
		files = append(files, file{name: fmt.Sprintf("A file with a long name %05d.txt", i), short: fmt.Sprintf("F%05d  TXT", i)})
	}
	v := open(b, newBuilder(b, 32, 4096).image(files...))
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; {
		if err := v.ReadDir(v.Root(), 0, func(*fsys.Entry) bool { i++; return i < b.N }); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReadAt(b *testing.B) {
	v := open(b, newBuilder(b, 32, 4096).image(file{short: "FILE       ", data: fsystest.Noise(8 << 20)}))
	n, _, err := v.Lookup(v.Root(), []byte("FILE"))
	if err != nil {
		b.Fatal(err)
	}
	p := make([]byte, 128<<10)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.ReadAt(n, p, 4<<20); err != nil {
			b.Fatal(err)
		}
	}
}
