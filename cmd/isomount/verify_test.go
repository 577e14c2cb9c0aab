package main

import (
	"bytes"
	"crypto/md5"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/isofs/master"
)

// However an image is cut into pieces, a span has the bytes that are its own.
func TestSpanFeed(t *testing.T) {
	data := []byte("0123456789abcdefghij")
	for _, size := range []int{1, 3, 7, len(data)} {
		got := new(recorder)
		s := &span{from: 2, to: 17, blank: [2]int64{5, 8}, hash: got}
		for off := 0; off < len(data); off += size {
			s.feed(data[off:min(len(data), off+size)], int64(off))
		}
		if want := "234   89abcdefg"; got.String() != want {
			t.Errorf("pieces of %d: got %q, want %q", size, got.String(), want)
		}
	}
	if string(data) != "0123456789abcdefghij" {
		t.Errorf("what was fed was changed to %q", data)
	}
}

// A recorder is a hash that keeps what it is given.
type recorder struct{ bytes.Buffer }

func (r *recorder) Sum(b []byte) []byte { return append(b, r.Bytes()...) }
func (r *recorder) Size() int           { return r.Len() }
func (r *recorder) BlockSize() int      { return 1 }

var _ hash.Hash = (*recorder)(nil)

// implanted makes an image with a checksum of isomd5sum in it.
func implanted(tb testing.TB) []byte {
	tb.Helper()
	tree := master.NewTree(fsys.Attr{})
	const size = 3 << 20
	a := &fsys.Attr{Mode: fsys.TypeFile | 0o644, Size: size}
	if _, err := tree.Add(tree.Root(), "file", a, content{}, 0); err != nil {
		tb.Fatal(err)
	}
	f, err := os.Create(filepath.Join(tb.TempDir(), "x.iso"))
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	if _, err := master.Write(tb.Context(), f, tree, master.Options{}, nil); err != nil {
		tb.Fatal(err)
	}
	if err := master.ImplantMD5(tb.Context(), f, false, false, nil); err != nil {
		tb.Fatal(err)
	}
	b, err := os.ReadFile(f.Name())
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// content is the content of any file: numbers.
type content struct{}

func (content) Open(n *master.Node) (io.ReadCloser, error) {
	var b strings.Builder
	for i := 0; int64(b.Len()) < n.Size(); i++ {
		fmt.Fprintln(&b, i)
	}
	return io.NopCloser(strings.NewReader(b.String()[:n.Size()])), nil
}

func sweepISOMD5(tb testing.TB, b []byte) *span {
	tb.Helper()
	spans, err := isomd5Spans(bytes.NewReader(b), int64(len(b)))
	if err != nil || len(spans) != 1 {
		tb.Fatalf("got %d checksums, error %v, want one", len(spans), err)
	}
	s := sweep{src: bytes.NewReader(b), size: int64(len(b)), spans: spans}
	if err := s.run(tb.Context(), nil); err != nil {
		tb.Fatal(err)
	}
	return spans[0]
}

// Damage is found, and where it begins, wherever it is; and never where there is none.
func TestISOMD5FindsDamage(t *testing.T) {
	good := implanted(t)
	if s := sweepISOMD5(t, good); !s.matches() || s.parts.damage != [2]int64{} {
		t.Errorf("good image: matches %v, damage in %v", s.matches(), s.parts.damage)
	}
	for at := int64(40_000); at < int64(len(good))-20*blockBytes; at += 300_001 {
		b := bytes.Clone(good)
		b[at] ^= 1
		s := sweepISOMD5(t, b)
		// Behind the last of the parts the damage cannot be located.
		if d := s.parts.damage; s.matches() || (d[1] > 0 && (d[0] > at || d[1] <= at)) || (d[1] == 0 && at < s.to*20/22) {
			t.Errorf("damage at %d: matches %v, damage in %v", at, s.matches(), d)
		}
	}
	b := bytes.Clone(good)
	b[appUseOff+3] ^= 1
	if spans, err := isomd5Spans(bytes.NewReader(b), int64(len(b))); len(spans) != 0 || err != nil {
		t.Errorf("no checksum: got %d, error %v", len(spans), err)
	}
	copy(b[appUseOff:], "ISO MD5SUM = xyz;SKIPSECTORS = 15;")
	if spans, err := isomd5Spans(bytes.NewReader(b), int64(len(b))); len(spans) != 0 || err == nil {
		t.Errorf("malformed checksum: got %d, error %v", len(spans), err)
	}
	s := sweepISOMD5(t, good[:len(good)/2])
	if s.void == "" {
		t.Error("half an image: the checksum is taken for one that can be computed")
	}
}

// isomd5sum's own program has the same opinion.
func TestISOMD5AgreesWithCheckisomd5(t *testing.T) {
	tool, err := exec.LookPath("checkisomd5")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	good := implanted(t)
	for _, at := range []int{0, 100, 1_000_000, len(good) - 1} {
		b := bytes.Clone(good)
		if at > 0 {
			b[at] ^= 1
		}
		name := filepath.Join(t.TempDir(), "x.iso")
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		want := exec.Command(tool, name).Run() == nil
		if got := sweepISOMD5(t, b).matches(); got != want {
			t.Errorf("damage at %d: got %v, checkisomd5 says %v", at, got, want)
		}
	}
}

func tagLine(body string) string {
	return body + fmt.Sprintf(" self=%x\n", md5.Sum([]byte(body)))
}

func TestParseTag(t *testing.T) {
	const body = "libisofs_sb_checksum_tag_v1 pos=50 range_start=32 range_size=18 next=55 md5=bde62948728a5e90ed8e9a928ff82aca"
	tag, ok := parseTag(append([]byte(tagLine(body)), make([]byte, 100)...))
	want := sumTag{kind: "sb_checksum", pos: 50, start: 32, size: 18, next: 55, sum: "bde62948728a5e90ed8e9a928ff82aca", self: tag.self, selfWants: tag.self}
	if diff := cmp.Diff(tag, want, cmp.AllowUnexported(sumTag{})); diff != "" || !ok {
		t.Errorf("tag (-got +want), %v:\n%s", ok, diff)
	}
	if _, err := tag.span(1 << 20); err != nil {
		t.Errorf("span: %v", err)
	}
	if s, err := tag.span(40 * blockBytes); err != nil || s.void == "" {
		t.Errorf("span behind the end: %+v, error %v", s, err)
	}
	changed, ok := parseTag([]byte(strings.Replace(tagLine(body), "range_size=18", "range_size=19", 1)))
	if _, err := changed.span(1 << 20); err == nil || !ok {
		t.Errorf("changed tag: got error %v, want that it does not match itself", err)
	}
	for _, s := range []string{"", "libisofs_x", "libisofs_sb_checksum_tag_v1 pos=-5\n", "other_tag_v1 pos=5\n", body} {
		if tag, ok := parseTag([]byte(s)); ok {
			t.Errorf("%q: got %+v", s, tag)
		}
	}
}

func TestFindSum(t *testing.T) {
	const a, b = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	for _, tt := range []struct{ name, text, want string }{
		{"plain", b + "  other.iso\n" + a + "  x.iso\n", a},
		{"binary", a + " *x.iso\n", a},
		{"with a folder", a + "  ./images/x.iso\n", a},
		{"tagged", "# comment\nSHA256 (other) = " + b + "\nSHA256 (x.iso) = " + a + "\n", a},
		{"alone", a + "\n", a},
		{"in capitals", strings.ToUpper(a) + "  x.iso\n", a},
		{"not listed", b + "  other.iso\n", ""},
		{"of another kind", "d41d8cd98f00b204e9800998ecf8427e  x.iso\n", ""},
		{"empty", "", ""},
	} {
		got, err := findSum(strings.NewReader(tt.text), "x.iso")
		if fmt.Sprintf("%x", got) != tt.want || (tt.want == "") != errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: got %x, error %v, want %s", tt.name, got, err, tt.want)
		}
	}
}

// What cannot be read is found to the sector, everything else is read, and
// checksums that it belongs to are void.
func TestSweepBadSectors(t *testing.T) {
	data := bytes.Repeat([]byte("x"), copyPiece+10*blockBytes+100)
	r := &holes{bytes.NewReader(data), [][2]int64{{3 * blockBytes, 5 * blockBytes}, {copyPiece + 1, copyPiece + 2}, {copyPiece + blockBytes, copyPiece + blockBytes + 5}}}
	before, behind := &recorder{}, &recorder{}
	s := sweep{src: r, size: int64(len(data)), spans: []*span{
		{to: 3 * blockBytes, hash: before},
		{from: 5 * blockBytes, to: 5*blockBytes + 9, hash: behind},
		{from: 4 * blockBytes, to: 6 * blockBytes, hash: &recorder{}},
	}}
	if err := s.run(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	var got [][2]int64
	for _, b := range s.bad {
		got = append(got, [2]int64{b.from, b.to})
	}
	if diff := cmp.Diff(got, [][2]int64{{3 * blockBytes, 5 * blockBytes}, {copyPiece, copyPiece + 2*blockBytes}}); diff != "" {
		t.Errorf("bad ranges (-got +want):\n%s", diff)
	}
	if before.Len() != 3*blockBytes || behind.Len() != 9 || s.spans[0].void+s.spans[1].void != "" {
		t.Errorf("good ranges: got %d and %d bytes, void %q %q", before.Len(), behind.Len(), s.spans[0].void, s.spans[1].void)
	}
	if want := "sector 3 cannot be read"; !strings.Contains(s.spans[2].void, "sector") {
		t.Errorf("got void %q, want %q", s.spans[2].void, want)
	}
	for _, tt := range []struct {
		from, to int64
		want     int
	}{{0, 3 * blockBytes, 0}, {0, 3*blockBytes + 1, 1}, {4 * blockBytes, copyPiece + 1, 2}, {5 * blockBytes, copyPiece, 0}, {1 << 40, 1 << 41, 0}} {
		if got := s.within(tt.from, tt.to); len(got) != tt.want {
			t.Errorf("%d-%d: got %d bad ranges, want %d", tt.from, tt.to, len(got), tt.want)
		}
	}
	if got := s.badSectors(); got != 4 {
		t.Errorf("got %d bad sectors, want 4", got)
	}
}

var errHole = errors.New("input/output error")

// holes is a reader that fails at some places, as a disc does: a read ends
// before the first of them.
type holes struct {
	r   *bytes.Reader
	bad [][2]int64
}

func (h *holes) ReadAt(p []byte, off int64) (int, error) {
	end := off + int64(len(p))
	failed := false
	for _, b := range h.bad {
		if b[0] < end && b[1] > off {
			end, failed = max(off, b[0]), true
		}
	}
	n, err := h.r.ReadAt(p[:end-off], off)
	if failed && err == nil {
		err = errHole
	}
	return n, err
}

func FuzzVerifyParsers(f *testing.F) {
	f.Add([]byte(tagLine("libisofs_checksum_tag_v1 pos=1 range_start=0 range_size=9 md5=00")))
	f.Add([]byte("ISO MD5SUM = 0123;SKIPSECTORS = 15;FRAGMENT SUMS = 0;FRAGMENT COUNT = 3"))
	f.Add([]byte("SHA256 (x) = 00\n01 *x\n"))
	volume := make([]byte, 40*blockBytes)
	copy(volume[primaryOff:], "\x01CD001")
	f.Fuzz(func(t *testing.T, b []byte) {
		if tag, ok := parseTag(b); ok {
			_, _ = tag.span(1 << 20)
		}
		_, _ = findSum(bytes.NewReader(b), "x")
		v := bytes.Clone(volume)
		copy(v[appUseOff:], b[:min(len(b), appUseLen)])
		copy(v[20*blockBytes:], b[:min(len(b), blockBytes)])
		spans, _ := isomd5Spans(bytes.NewReader(v), int64(len(v)))
		tags, _ := libisofsSpans(bytes.NewReader(v), int64(len(v)))
		s := sweep{src: bytes.NewReader(v), size: int64(len(v)), spans: append(spans, tags...)}
		if err := s.run(t.Context(), nil); err != nil {
			t.Error(err)
		}
	})
}
