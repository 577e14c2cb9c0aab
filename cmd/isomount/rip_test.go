package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func mapText(m *ripMap) string {
	var b strings.Builder
	if err := m.write(&b); err != nil {
		return err.Error()
	}
	_, text, _ := strings.Cut(b.String(), "size  status\n")
	return text
}

func TestRipMapSet(t *testing.T) {
	m := newRipMap(100)
	for _, s := range []struct {
		off, size int64
		status    ripStatus
		want      []ripRegion
	}{
		{0, 10, ripDone, []ripRegion{{0, 10, ripDone}, {10, 90, ripNew}}},
		{10, 10, ripDone, []ripRegion{{0, 20, ripDone}, {20, 80, ripNew}}},
		{40, 10, ripBad, []ripRegion{{0, 20, ripDone}, {20, 20, ripNew}, {40, 10, ripBad}, {50, 50, ripNew}}},
		{15, 30, ripFailed, []ripRegion{{0, 15, ripDone}, {15, 30, ripFailed}, {45, 5, ripBad}, {50, 50, ripNew}}},
		{45, 5, ripFailed, []ripRegion{{0, 15, ripDone}, {15, 35, ripFailed}, {50, 50, ripNew}}},
		{0, 100, ripDone, []ripRegion{{0, 100, ripDone}}},
		{99, 1, ripBad, []ripRegion{{0, 99, ripDone}, {99, 1, ripBad}}},
	} {
		m.set(s.off, s.size, s.status)
		if diff := cmp.Diff(m.regions, s.want, cmp.AllowUnexported(ripRegion{})); diff != "" {
			t.Errorf("set(%d, %d, %c) (-got +want):\n%s", s.off, s.size, s.status, diff)
		}
	}
}

// The text is one that GNU ddrescue 1.27 wrote, with a bad sector.
const ddrescueMap = `# Mapfile. Created by GNU ddrescue version 1.27
# Command line: ddrescue -b 2048 /dev/sr0 a.iso a.map
# Start time:   2024-01-02 03:04:05
# Current time: 2024-01-02 03:14:05
# Finished
# current_pos  current_status  current_pass
0x00042800     +               1
#      pos        size  status
0x00000000  0x00042000  +
0x00042000  0x00000800  -
0x00042800  0x00117800  +
`

func TestRipMapOfDdrescue(t *testing.T) {
	m, err := readRipMap(strings.NewReader(ddrescueMap))
	if err != nil {
		t.Fatal(err)
	}
	want := []ripRegion{{0, 0x42000, ripDone}, {0x42000, 0x800, ripBad}, {0x42800, 0x117800, ripDone}}
	if diff := cmp.Diff(m.regions, want, cmp.AllowUnexported(ripRegion{})); diff != "" {
		t.Errorf("(-got +want):\n%s", diff)
	}
	var b strings.Builder
	if err := m.write(&b); err != nil {
		t.Fatal(err)
	}
	_, got, _ := strings.Cut(b.String(), "# current_pos")
	_, old, _ := strings.Cut(ddrescueMap, "# current_pos")
	if diff := cmp.Diff(got, old); diff != "" {
		t.Errorf("written again (-got +want):\n%s", diff)
	}
	m.resize(0x200000)
	if got := m.bytes(ripNew); got != 0x200000-0x15a000 {
		t.Errorf("of a larger device %d bytes are new", got)
	}
	m.resize(0x42400)
	if got, want := mapText(m), "0x00000000  0x00042000  +\n0x00042000  0x00000400  -\n"; got != want {
		t.Errorf("of a smaller device: got %q, want %q", got, want)
	}
}

func TestRipMapsThatAreNone(t *testing.T) {
	for name, text := range map[string]string{
		"empty":       "",
		"not a map":   "hello\n",
		"overlapping": "0 ?\n0 10 +\n5 10 +\n",
		"backwards":   "0 ?\n20 10 +\n0 10 +\n",
		"no size":     "0 ?\n0 0 +\n",
		"negative":    "0 ?\n-5 10 +\n",
		"huge":        "0 ?\n0x7fffffffffffffff 10 +\n",
		"status":      "0 ?\n0 10 x\n",
		"words":       "0 ?\n0 10\n",
	} {
		if m, err := readRipMap(strings.NewReader(text)); err == nil {
			t.Errorf("%s: no error, %v", name, m.regions)
		}
	}
	m, err := readRipMap(strings.NewReader("0 ?\n10 10 +\n"))
	if err != nil || mapText(m) != "0x00000000  0x0000000A  ?\n0x0000000A  0x0000000A  +\n" {
		t.Errorf("a gap: error %v, %q", err, mapText(m))
	}
}

func FuzzRipMap(f *testing.F) {
	f.Add([]byte(ddrescueMap))
	f.Add([]byte("0 ?\n10 10 +\n20 5 -\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := readRipMap(bytes.NewReader(b))
		if err != nil {
			return
		}
		checkMap(t, m)
		m.resize(1000)
		checkMap(t, m)
		m.set(100, 300, ripBad)
		checkMap(t, m)
		again, err := readRipMap(strings.NewReader("0 ?\n" + mapText(m)))
		if err != nil || mapText(again) != mapText(m) {
			t.Errorf("written and read again: error %v\n%s\n%s", err, mapText(m), mapText(again))
		}
	})
}

// checkMap checks that a map has no gaps and no neighbours that are the same.
func checkMap(t *testing.T, m *ripMap) {
	t.Helper()
	end, last := int64(0), ripStatus(0)
	for _, r := range m.regions {
		if r.off != end || r.size <= 0 || r.status == last {
			t.Fatalf("region %d+%d %c after %d %c", r.off, r.size, r.status, end, last)
		}
		end, last = r.end(), r.status
	}
}

// A drive is a device with bad sectors: each fails so many times.
type drive struct {
	data  []byte
	fails map[int64]int
	gone  int64 // from here on the drive does not answer, 0: never
	reads int
}

func (d *drive) ReadAt(p []byte, off int64) (int, error) {
	d.reads++
	if off%blockBytes != 0 || len(p)%blockBytes != 0 {
		return 0, unix.EINVAL
	}
	for s := off / blockBytes; s*blockBytes < off+int64(len(p)); s++ {
		switch {
		case d.gone > 0 && s*blockBytes >= d.gone:
			return 0, unix.ENXIO
		case d.fails[s] > 0:
			d.fails[s]--
			return 0, unix.EIO
		}
	}
	return bytes.NewReader(d.data).ReadAt(p, off)
}

// A memory is what is written.
type memory []byte

func (m memory) WriteAt(p []byte, off int64) (int, error) { return copy(m[off:], p), nil }

func pattern(size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i>>11) ^ byte(i) | 1
	}
	return b
}

func ripAll(ctx context.Context, d *drive, m *ripMap, out memory, retries int) error {
	r := &ripper{src: d, dst: out, m: m, retries: retries, buf: make([]byte, ripPiece)}
	return r.run(ctx)
}

func TestRipperReadsAroundBadSectors(t *testing.T) {
	const forever = 1 << 30
	for _, tt := range []struct {
		name    string
		fails   map[int64]int
		size    int
		retries int
		want    string // what stays bad
	}{
		{"a good disc", nil, 1000 * blockBytes, 0, ""},
		{"an odd end", nil, 1000*blockBytes - 7, 0, ""},
		{"one bad sector", map[int64]int{100: forever}, 1000 * blockBytes, 2, "100+1 "},
		{"the first and the last", map[int64]int{0: forever, 999: forever}, 1000 * blockBytes, 0, "0+1 999+1 "},
		{"good when tried alone", map[int64]int{100: 1}, 1000 * blockBytes, 0, ""},
		{"good at the second retry", map[int64]int{100: 3, 101: forever}, 1000 * blockBytes, 2, "101+1 "},
		{"not good before", map[int64]int{100: 3}, 1000 * blockBytes, 1, "100+1 "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := &drive{data: pattern(tt.size), fails: tt.fails}
			m, out := newRipMap(int64(tt.size)), make(memory, tt.size)
			if err := ripAll(t.Context(), d, m, out, tt.retries); err != nil {
				t.Fatal(err)
			}
			checkMap(t, m)
			want, got := pattern(tt.size), ""
			for _, r := range m.of(ripBad, ripNew, ripFailed, ripScraped) {
				clear(want[r.off:r.end()])
				got += badText(r)
			}
			if got != tt.want || !bytes.Equal(out, want) {
				t.Errorf("bad: got %q, want %q; content as it should be: %v", got, tt.want, bytes.Equal(out, want))
			}
		})
	}
}

func badText(r ripRegion) string {
	return fmt.Sprintf("%d+%d ", r.off/blockBytes, (r.size+blockBytes-1)/blockBytes)
}

// A drive that goes away, or a user who interrupts, loses nothing that was read.
func TestRipperGoesOn(t *testing.T) {
	const size = 1000 * blockBytes
	d := &drive{data: pattern(size), gone: 500 * blockBytes}
	m, out := newRipMap(size), make(memory, size)
	err := ripAll(t.Context(), d, m, out, 3)
	if !errors.Is(err, errGone) || exitCode(err) != exitRead {
		t.Fatalf("got error %v, exit code %d", err, exitCode(err))
	}
	if bad := m.bytes(ripBad, ripFailed); bad > 0 {
		t.Errorf("%d bytes are taken for bad", bad)
	}
	read := m.bytes(ripDone)
	if read < 400*blockBytes {
		t.Errorf("only %d bytes were read", read)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := ripAll(ctx, d, m, out, 3); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: got %v", err)
	}
	d.gone, d.reads = 0, 0
	if err := ripAll(t.Context(), d, m, out, 3); err != nil {
		t.Fatal(err)
	}
	if most := (size-int(read))/ripPiece + 2; d.reads > most || !bytes.Equal(out, d.data) {
		t.Errorf("%d reads, want %d at most; content as it should be: %v", d.reads, most, bytes.Equal(out, d.data))
	}
}

func TestRipperTellsOfAFullDisk(t *testing.T) {
	r := &ripper{src: &drive{data: pattern(blockBytes)}, dst: fullDisk{}, m: newRipMap(blockBytes), buf: make([]byte, ripPiece)}
	if err := r.run(t.Context()); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("got %v", err)
	}
}

type fullDisk struct{}

func (fullDisk) WriteAt([]byte, int64) (int, error) { return 0, unix.ENOSPC }

func TestAlignedReader(t *testing.T) {
	data := pattern(5*blockBytes + 100)
	r := alignedReader{&drive{data: data}}
	for _, c := range []struct{ off, size int64 }{{0, 1}, {100, 2048}, {2047, 2}, {blockBytes * 5, 100}, {3, 3 * blockBytes}} {
		p := make([]byte, c.size)
		n, err := r.ReadAt(p, c.off)
		if int64(n) != c.size || err != nil || !bytes.Equal(p, data[c.off:c.off+c.size]) {
			t.Errorf("%d bytes at %d: got %d, error %v", c.size, c.off, n, err)
		}
	}
	if n, err := r.ReadAt(make([]byte, 200), 5*blockBytes); n != 100 || !errors.Is(err, io.EOF) {
		t.Errorf("over the end: got %d, error %v", n, err)
	}
	if n, err := r.ReadAt(make([]byte, 200), 9*blockBytes); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("behind the end: got %d, error %v", n, err)
	}
}

// A map that is of another disc must not mix two of them.
func TestRipKnowsTheDisc(t *testing.T) {
	dir := t.TempDir()
	one, two := filepath.Join(dir, "one"), filepath.Join(dir, "two")
	data := pattern(100 * blockBytes)
	if err := os.WriteFile(one, data, 0o600); err != nil {
		t.Fatal(err)
	}
	data[16*blockBytes+40]++
	if err := os.WriteFile(two, data, 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(from string) (int, string) {
		var errs bytes.Buffer
		a := &app{out: io.Discard, err: &errs}
		code := a.run(t.Context(), []string{"rip", from, "-o", filepath.Join(dir, "out"), "--map", filepath.Join(dir, "map")})
		return code, errs.String()
	}
	if code, text := run(one); code != exitPartial { // there is no file system on it
		t.Fatalf("exit code %d, %s", code, text)
	}
	if code, text := run(two); code != exitFailed || !strings.Contains(text, "is of another disc") {
		t.Errorf("another disc: exit code %d, %s", code, text)
	}
	if code, text := run(one); code != exitPartial {
		t.Errorf("the same again: exit code %d, %s", code, text)
	}
}
