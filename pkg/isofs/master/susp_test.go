package master

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isomount/isomount/pkg/fsys"
)

// entriesOf makes System Use entries of the given lengths.
func entriesOf(lengths ...int) []byte {
	var b []byte
	for i, n := range lengths {
		e := append([]byte{'X', 'X', byte(n), 1}, bytes.Repeat([]byte{byte(i)}, n-4)...)
		b = append(b, e...)
	}
	return b
}

func repeat(n, times int) []int {
	list := make([]int, times)
	for i := range list {
		list[i] = n
	}
	return list
}

// follow puts entries together again as a reader does, and checks what Linux
// wants of continuation areas.
func follow(t *testing.T, su []byte, areas map[int64][]byte, lba uint32) (entries []byte, hops int) {
	t.Helper()
	for {
		var ce []byte
		for len(su) > 0 {
			e := su[:su[2]]
			su = su[su[2]:]
			if string(e[:2]) == "CE" {
				ce = e
			} else {
				entries = append(entries, e...)
			}
		}
		if ce == nil {
			return entries, hops
		}
		block, off, size := le32(ce[4:]), le32(ce[12:]), le32(ce[20:])
		if off+size > blockSize {
			t.Errorf("area at %d of %d bytes crosses a block", off, size)
		}
		su = areas[int64(block-lba)*blockSize+int64(off)]
		if len(su) != int(size) {
			t.Fatalf("area has %d bytes, CE says %d", len(su), size)
		}
		hops++
	}
}

func le32(b []byte) uint32 { return binary.LittleEndian.Uint32(b) }

func TestContinuationAreas(t *testing.T) {
	tests := []struct {
		name    string
		start   int64 // where the space is filled up to
		room    int
		entries []byte
		hops    int
		err     error
	}{
		{"all fit", 0, 100, entriesOf(50, 50), 0, nil},
		{"one goes out", 0, 100, entriesOf(50, 51), 1, nil},
		{"no room at all", 0, ceLen, entriesOf(50, 51), 1, nil},
		{"to the end of a block", blockSize - 101, ceLen, entriesOf(50, 51), 1, nil},
		{"not begun in a block that is too small", blockSize - 100, ceLen, entriesOf(50, 51), 1, nil},
		{"larger than a block", 0, 100, entriesOf(repeat(255, 20)...), 3, nil},
		{"larger than a block from its middle", 1000, 100, entriesOf(repeat(255, 20)...), 4, nil},
		{"nothing fits before the end of the block", blockSize - 20, 100, entriesOf(repeat(255, 20)...), 3, nil},
		{"as many hops as Linux takes", 0, ceLen, entriesOf(repeat(252, 8*30+8)...), 31, nil},
		{"one hop more", 0, ceLen, entriesOf(repeat(252, 8*31+8)...), 0, errAttributes},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			areas := map[int64][]byte{}
			c := contArea{pos: tt.start, write: func(pos int64, area []byte) error {
				areas[pos] = bytes.Clone(area)
				return nil
			}}
			su, err := c.place(nil, tt.entries, tt.room, 77)
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if err != nil {
				return
			}
			if len(su) > tt.room {
				t.Errorf("%d bytes in a room of %d", len(su), tt.room)
			}
			got, hops := follow(t, su, areas, 77)
			if !bytes.Equal(got, tt.entries) {
				t.Errorf("entries got lost")
			}
			if hops != tt.hops {
				t.Errorf("%d hops, want %d", hops, tt.hops)
			}
			measured := contArea{pos: tt.start}
			if _, err := measured.place(nil, tt.entries, tt.room, 0); err != nil || measured.pos != c.pos {
				t.Errorf("measured %d, %v, but wrote up to %d", measured.pos, err, c.pos)
			}
		})
	}
}

func TestTooManyAttributes(t *testing.T) {
	tree := NewTree(fsys.Attr{})
	a := fsys.Attr{Mode: fsys.TypeFile}
	n, err := tree.Add(tree.Root(), "f", &a, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	n.SetXattrs([]Xattr{{"user.huge", make([]byte, 70_000)}})
	_, err = Write(t.Context(), bytes.NewBuffer(nil), tree, Options{}, nil)
	if !errors.Is(err, errAttributes) || !strings.Contains(err.Error(), "/f") {
		t.Errorf("error %v, want one that names the file", err)
	}
}

// components decodes SL or AL entries, as RRIP 4.1.3 describes them.
func components(t *testing.T, b []byte, sig string) (parts []string) {
	t.Helper()
	more := false // the last component goes on
	for len(b) > 0 {
		e := b[:b[2]]
		b = b[b[2]:]
		if string(e[:2]) != sig || (e[4] == suContinue) != (len(b) > 0) {
			t.Fatalf("entry %q with flags %d, %d bytes follow", e[:2], e[4], len(b))
		}
		for c := e[5:]; len(c) > 0; {
			content := string(c[2 : 2+c[1]])
			switch c[0] &^ suContinue {
			case slCurrent:
				content = "."
			case slParent:
				content = ".."
			case slRoot:
				content = "ROOT"
			}
			if more {
				parts[len(parts)-1] += content
			} else {
				parts = append(parts, content)
			}
			more = c[0]&suContinue != 0
			c = c[2+c[1]:]
		}
	}
	if more {
		t.Error("the last component is said to go on")
	}
	return parts
}

func TestSymbolicLinks(t *testing.T) {
	long, longer := strings.Repeat("x", 248), strings.Repeat("y", 600)
	tests := []struct {
		target string
		want   []string
	}{
		{"a", []string{"a"}},
		{"/", []string{"ROOT"}},
		{"/usr/lib", []string{"ROOT", "usr", "lib"}},
		{"../.././x", []string{"..", "..", ".", "x"}},
		{"a//b/", []string{"a", "", "b", ""}},
		{"...", []string{"..."}},
		{long + "/" + long, []string{long, long}},
		{"a/" + longer + "/b", []string{"a", longer, "b"}},
		{strings.Repeat("../", 200) + "x", append(strings.Split(strings.Repeat("../", 199)+"..", "/"), "x")},
	}
	for _, tt := range tests {
		var k rockRidge
		k.appendSL(tt.target)
		if diff := cmp.Diff(tt.want, components(t, k.buf, "SL")); diff != "" {
			t.Errorf("%.40s (-want +got):\n%s", tt.target, diff)
		}
	}
}

func TestLongNames(t *testing.T) {
	for _, n := range []int{1, 250, 251, 500, 501, maxNameLen} {
		name := strings.Repeat("é", n)[:n]
		var k rockRidge
		k.appendNM(name)
		got := ""
		for b := k.buf; len(b) > 0; b = b[b[2]:] {
			if last := int(b[2]) == len(b); (b[4] == suContinue) == last {
				t.Errorf("%d bytes: flags %d, last %v", n, b[4], last)
			}
			got += string(b[5:b[2]])
		}
		if got != name {
			t.Errorf("%d bytes: got %d", n, len(got))
		}
	}
}

func TestDeviceNumbers(t *testing.T) {
	tests := []struct{ major, minor, high, low uint32 }{
		{8, 1, 0, 8<<8 | 1},
		{0xFFF, 0xFF, 0, 0xFFFFF},
		{4, 256, 4, 256},
		{0x1000, 1, 0x1000, 1},
	}
	for _, tt := range tests {
		var k rockRidge
		k.appendPN(&extra{major: tt.major, minor: tt.minor})
		if high, low := le32(k.buf[4:]), le32(k.buf[12:]); high != tt.high || low != tt.low {
			t.Errorf("%d:%d: got %#x %#x, want %#x %#x", tt.major, tt.minor, high, low, tt.high, tt.low)
		}
	}
}
