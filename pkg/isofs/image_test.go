package isofs

import (
	"bytes"
	"encoding/binary"
	"io"
	"testing"

	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/fsys/fsystest"
)

// testImage lays out an ISO 9660 image sector by sector. It checks nothing, so
// that broken images are as easy as good ones.
type testImage struct {
	data  []byte
	block int
	next  int // first free block
}

func newImage() *testImage { return newImageOf(sectorSize) }

func newImageOf(block int) *testImage {
	return &testImage{data: make([]byte, 20*sectorSize), block: block, next: 20 * sectorSize / block}
}

// put writes data at a byte offset.
func (m *testImage) put(off int, data []byte) {
	if end := off + len(data); end > len(m.data) {
		m.data = append(m.data, make([]byte, end-len(m.data)+(sectorSize-end%sectorSize)%sectorSize)...)
	}
	copy(m.data[off:], data)
}

// alloc places data at the next free block and returns its number.
func (m *testImage) alloc(data []byte) uint32 {
	lba := m.next
	m.put(lba*m.block, data)
	m.next += max(1, (len(data)+m.block-1)/m.block)
	return uint32(lba)
}

// file places the content of a file and returns its record.
func (m *testImage) file(name, content string, change ...func(*testRecord)) []byte {
	return rec(name, m.alloc([]byte(content)), len(content), change...)
}

// dir places a directory and returns its block and size. own is the system use
// area of its record of itself.
func (m *testImage) dir(own []byte, records ...[]byte) (uint32, int) {
	lba, size := m.reserve(records)
	return m.dirAt(lba, size, own, nil, records...)
}

func (m *testImage) reserve(records [][]byte) (uint32, int) {
	size := sectorSize
	for _, r := range records {
		size += len(r)
	}
	size = (size*5/4 + sectorSize - 1) / sectorSize * sectorSize
	lba := m.next
	m.next += size / m.block
	return uint32(lba), size
}

func (m *testImage) dirAt(lba uint32, size int, own, up []byte, records ...[]byte) (uint32, int) {
	dots := [][]byte{rec("\x00", lba, size, isDir, withUse(own)), rec("\x01", lba, size, isDir, withUse(up))}
	var out []byte
	for _, r := range append(dots, records...) {
		if room := sectorSize - len(out)%sectorSize; len(r) > room {
			out = append(out, make([]byte, room)...)
		}
		out = append(out, r...)
	}
	m.put(int(lba)*m.block, append(out, make([]byte, max(0, size-len(out)))...))
	for _, r := range records {
		m.adopt(lba, r)
	}
	return lba, size
}

// adopt tells the directory that a record leads to where its parent is.
func (m *testImage) adopt(parent uint32, r []byte) {
	if r[0] < minRecord || r[25]&flagDirectory == 0 {
		return
	}
	at := int(binary.LittleEndian.Uint32(r[2:])) * m.block
	if at+sectorSize > len(m.data) {
		return
	}
	if up := m.data[at+int(m.data[at]):]; up[32] == 1 && up[33] == 1 {
		put32(up[2:], parent)
	}
}

// volume writes a descriptor whose root is at lba.
func (m *testImage) volume(sector int, kind byte, lba uint32, size int, change ...func(d []byte)) {
	d := make([]byte, sectorSize)
	d[0] = kind
	copy(d[1:], "CD001\x01")
	pad(d[8:40], "LINUX")
	pad(d[40:72], "TEST")
	put32(d[80:], uint32(len(m.data)/m.block))
	put16(d[120:], 1)
	put16(d[124:], 1)
	put16(d[128:], uint16(m.block))
	copy(d[156:], rec("\x00", lba, size, isDir))
	pad(d[190:813], "")
	for i := range 4 {
		copy(d[813+17*i:], "2001010100000100\x00")
	}
	for _, c := range change {
		c(d)
	}
	m.put(sector*sectorSize, d)
}

// asJoliet makes a descriptor one of Joliet, level 3.
func asJoliet(d []byte) {
	copy(d[88:], "%/E")
	copy(d[40:72], utf16be("Test volume     "))
}

func (m *testImage) end(sector int) { m.put(sector*sectorSize, []byte("\xffCD001\x01")) }

// disc makes an image of one directory.
func disc(records func(m *testImage) [][]byte) *testImage { return discWith(nil, records) }

// rockDisc makes an image of one directory with Rock Ridge.
func rockDisc(records func(m *testImage) [][]byte) *testImage {
	return discWith(join(sp(0), px(fsys.TypeDir|0o755, 2), er()), records)
}

func discWith(own []byte, records func(m *testImage) [][]byte) *testImage {
	m := newImage()
	lba, size := m.dir(own, records(m)...)
	m.volume(16, 1, lba, size)
	m.end(17)
	return m
}

func pad(b []byte, s string) {
	for i := range b {
		b[i] = ' '
	}
	copy(b, s)
}

func put16(b []byte, v uint16) {
	binary.LittleEndian.PutUint16(b, v)
	binary.BigEndian.PutUint16(b[2:], v)
}

func put32(b []byte, v uint32) {
	binary.LittleEndian.PutUint32(b, v)
	binary.BigEndian.PutUint32(b[4:], v)
}

func both(values ...uint32) []byte {
	b := make([]byte, 8*len(values))
	for i, v := range values {
		put32(b[8*i:], v)
	}
	return b
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// testRecord is what a record can be changed in before it is put together.
type testRecord struct {
	lba, size  uint32
	ear, flags byte
	unit, gap  byte
	date       [7]byte
	use        []byte
}

func isDir(r *testRecord) { r.flags |= flagDirectory }

func withUse(use ...[]byte) func(*testRecord) {
	return func(r *testRecord) { r.use = join(use...) }
}

func withFlags(f byte) func(*testRecord) { return func(r *testRecord) { r.flags |= f } }

// rec makes a directory record.
func rec(name string, lba uint32, size int, change ...func(*testRecord)) []byte {
	r := testRecord{lba: lba, size: uint32(size), date: [7]byte{101, 2, 3, 4, 5, 6, 0}}
	for _, c := range change {
		c(&r)
	}
	b := make([]byte, recordHead, maxRecord)
	b[1] = r.ear
	put32(b[2:], r.lba)
	put32(b[10:], r.size)
	copy(b[18:], r.date[:])
	b[25], b[26], b[27] = r.flags, r.unit, r.gap
	put16(b[28:], 1)
	b[32] = byte(len(name))
	b = append(b, name...)
	if len(name)%2 == 0 {
		b = append(b, 0)
	}
	b = append(b, r.use...)
	if len(b)%2 == 1 {
		b = append(b, 0)
	}
	b[0] = byte(len(b))
	return b
}

// su makes a system use entry.
func su(tag string, data ...[]byte) []byte {
	d := join(data...)
	return join([]byte(tag), []byte{byte(len(d) + 4), 1}, d)
}

func sp(skip byte) []byte { return su("SP", []byte{0xbe, 0xef, skip}) }

func er() []byte { return su("ER", []byte{10, 0, 0, 1}, []byte("RRIP_1991A")) }

func px(mode, nlink uint32, rest ...uint32) []byte {
	uid, gid := uint32(0), uint32(0)
	if len(rest) > 1 {
		uid, gid, rest = rest[0], rest[1], rest[2:]
	} else {
		rest = nil
	}
	return su("PX", both(mode, nlink, uid, gid), both(rest...))
}

func nm(name string) []byte { return su("NM", []byte{0}, []byte(name)) }

func nmPart(name string) []byte { return su("NM", []byte{1}, []byte(name)) }

func ce(lba, off, size uint32) []byte { return su("CE", both(lba, off, size)) }

// sl makes an SL entry of components: flags and text.
func sl(flags byte, components ...string) []byte {
	d := []byte{flags}
	for i := 0; i+1 < len(components); i += 2 {
		d = append(d, components[i][0], byte(len(components[i+1])))
		d = append(d, components[i+1]...)
	}
	return su("SL", d)
}

func utf16be(s string) string {
	var b []byte
	for _, r := range s {
		b = append(b, byte(r>>8), byte(r))
	}
	return string(b)
}

func (m *testImage) open(tb testing.TB, o Options) *Volume {
	tb.Helper()
	v, err := Open(bytes.NewReader(m.data), int64(len(m.data)), o)
	if err != nil {
		tb.Fatalf("Open: %v", err)
	}
	return v
}

func (m *testImage) fs(tb testing.TB, k Kind, o TreeOptions) *FS {
	tb.Helper()
	f, err := m.open(tb, Options{}).FS(k, o)
	if err != nil {
		tb.Fatalf("FS(%s): %v", k, err)
	}
	return f
}

// list returns the names of a directory, each with '/' if it is one itself.
func list(tb testing.TB, f *FS, dir fsys.Node) []string {
	tb.Helper()
	var names []string
	err := f.ReadDir(dir, 0, func(e *fsys.Entry) bool {
		name := string(e.Name)
		if e.Attr.IsDir() {
			name += "/"
		}
		names = append(names, name)
		return true
	})
	if err != nil {
		tb.Errorf("ReadDir: %v", err)
	}
	return names
}

// lookup finds a path.
func lookup(tb testing.TB, f *FS, names ...string) (fsys.Node, fsys.Attr) {
	tb.Helper()
	n := f.Root()
	var a fsys.Attr
	for _, name := range names {
		var err error
		if n, a, err = f.Lookup(n, []byte(name)); err != nil {
			tb.Fatalf("Lookup(%q): %v", name, err)
		}
	}
	return n, a
}

// read returns the content of a file.
func read(tb testing.TB, f *FS, names ...string) string {
	tb.Helper()
	n, a := lookup(tb, f, names...)
	got, err := io.ReadAll(io.NewSectionReader(readerAt{f, n}, 0, a.Size))
	if err != nil {
		tb.Errorf("read %q: %v", names, err)
	}
	return string(got)
}

type readerAt struct {
	f *FS
	n fsys.Node
}

func (r readerAt) ReadAt(p []byte, off int64) (int, error) { return r.f.ReadAt(r.n, p, off) }

// exercise does to an image everything that a user could, and fails when the
// answers contradict each other.
func exercise(tb testing.TB, data []byte) {
	tb.Helper()
	v, err := Open(bytes.NewReader(data), int64(len(data)), Options{})
	if err != nil {
		return
	}
	_ = v.Info()
	_, _, _ = v.Choose(false, false)
	for _, tree := range v.Trees() {
		for _, o := range []TreeOptions{{}, {Map: MapAcorn, Check: CheckRelaxed, ShowAssoc: true, Charset: autoCharset}} {
			if f, err := v.FS(tree.Kind, o); err == nil {
				exerciseTree(tb, f)
			}
		}
	}
}

func exerciseTree(tb testing.TB, f *FS) {
	tb.Helper()
	if err := fsystest.Exercise(f, fsystest.Limits{Entries: 100, Bytes: 1 << 17}); err != nil {
		tb.Errorf("%s: %v", f.Kind(), err)
	}
}
