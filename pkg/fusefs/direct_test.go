package fusefs

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/fsys/fsystest"
)

// elsewhere is a tree that cannot read its files itself.
type elsewhere struct{ *fsystest.Mem }

var errElsewhere = errors.New("read in the general way")

func (elsewhere) ReadAt(fsys.Node, []byte, int64) (int, error) { return 0, errElsewhere }

// localImage writes the image of a tree into a file, cut off at size if that is
// not negative.
func localImage(tb testing.TB, m *fsystest.Mem, size int64) *os.File {
	tb.Helper()
	image, n := m.Image()
	if size < 0 {
		size = n
	}
	f, err := os.Create(filepath.Join(tb.TempDir(), "image"))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = f.Close() })
	if _, err := io.Copy(f, io.NewSectionReader(image, 0, size)); err != nil {
		tb.Fatal(err)
	}
	return f
}

func local(f *os.File) func() (int, bool) {
	return func() (int, bool) { return int(f.Fd()), true }
}

func TestReadsGoToTheLocalFile(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789abcdef"), 1000)
	m := newTree(t, fsystest.File{Path: "file", Data: data})
	k, s := serve(t, elsewhere{m}, Options{LocalFile: local(localImage(t, m, -1))})
	_, entry := k.lookup(1, "file")
	for _, r := range []struct{ off, size, want int }{{0, 4096, 4096}, {4096, 8192, 8192}, {5, 7, 7}, {12288, 8192, 3712}} {
		e, got := k.read(entry.NodeId, int64(r.off), r.size)
		if e != 0 || !bytes.Equal(got, data[r.off:r.off+r.want]) {
			t.Errorf("read %d bytes at %d: %v, %d bytes", r.size, r.off, e, len(got))
		}
	}
	if got := s.Stats().ReadBytes; got != 4096+8192+7+3712 {
		t.Errorf("%d bytes were counted", got)
	}
}

// What is not in one piece, and what the file does not hold, is left to the
// tree, which knows what is wrong with it.
func TestReadsThatAreNotDirect(t *testing.T) {
	block := bytes.Repeat([]byte("x"), 4096)
	holed := append(append(bytes.Clone(block), make([]byte, 8192)...), block...)
	m := newTree(t, fsystest.File{Path: "a", Data: block}, fsystest.File{Path: "holed", Data: holed}, fsystest.File{Path: "z", Data: block})
	_, size := m.Image()
	f := localImage(t, m, size-1000)
	k, _ := serve(t, m, Options{LocalFile: local(f)})
	_, entry := k.lookup(1, "holed")
	if e, got := k.read(entry.NodeId, 0, len(holed)); e != 0 || !bytes.Equal(got, holed) {
		t.Errorf("file with a hole: %v, %d bytes", e, len(got))
	}
	k, _ = serve(t, elsewhere{m}, Options{LocalFile: local(f)})
	_, entry = k.lookup(1, "z")
	if e, _ := k.read(entry.NodeId, 0, len(block)); e != unix.EIO {
		t.Errorf("file beyond the end of the image: %v, want EIO", e)
	}
}

func TestPipeCarriesTheLongestRead(t *testing.T) {
	f := localImage(t, newTree(t, fsystest.File{Path: "file", Data: bytes.Repeat([]byte("splice! "), longestRead/8+1024)}), -1)
	p, err := newPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	// The worst case is a piece that does not begin with a page.
	head := putHead(make([]byte, outHeaderBytes+8), 2, longestRead)
	if !p.fill(head, int(f.Fd()), spot{pageBytes - 2048, longestRead}) {
		t.Fatal("the pipe is too small")
	}
	got := make([]byte, outHeaderBytes+longestRead+1)
	if n := drained(t, p, got); n != outHeaderBytes+longestRead {
		t.Fatalf("%d bytes came out of the pipe", n)
	}
	want := make([]byte, longestRead)
	if _, err := f.ReadAt(want, pageBytes-2048); err != nil || !bytes.Equal(got[outHeaderBytes:len(got)-1], want) {
		t.Errorf("wrong bytes came out of the pipe (%v)", err)
	}
	if h := view[fuse.OutHeader](got); h.Unique != 2 || int(h.Length) != outHeaderBytes+longestRead {
		t.Errorf("header %+v", h)
	}
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if p.fill(head, int(f.Fd()), spot{st.Size() - 10, 20}) {
		t.Error("bytes behind the end of the file were read")
	}
}

func drained(tb testing.TB, p *pipe, buf []byte) (n int) {
	tb.Helper()
	for {
		got, err := unix.Read(p.r, buf[n:])
		if errors.Is(err, unix.EAGAIN) {
			return n
		}
		if err != nil || got == 0 {
			tb.Fatalf("%d bytes, %v", got, err)
		}
		n += got
	}
}
