package udf

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/isomount/isomount/pkg/fsys/fsystest"
)

// withLinks adds the blocks between packets to an image.
func withLinks(img []byte) []byte {
	var out []byte
	for packet := range slices.Chunk(img, packetData) {
		out = append(out, packet...)
		if len(packet) == packetData {
			out = append(out, bytes.Repeat([]byte{0xA5}, packetLinks)...)
		}
	}
	return out
}

func TestLinkBlocks(t *testing.T) {
	for _, k := range []kind{kindPhysical, kindSparable} {
		t.Run(string(k), func(t *testing.T) {
			d := newDisc(t, k, 2048)
			data := bytes.Repeat([]byte("0123456789abcde\n"), 3*packetData/16)
			large := d.file(string(data))
			want := sample(d)
			d.dir(d.root, d.root, name{name: "large", to: large})
			want = append(want[:1], fsystest.File{Path: "large", Data: data})
			img := withLinks(d.finish())
			f := open(t, img, Options{})
			fsystest.TestOptions(t, f, fsystest.Options{Want: want, Image: bytes.NewReader(img)})
			if notes := f.Info().Notes; len(notes) != 1 || !strings.Contains(notes[0], "packets") {
				t.Errorf("got notes %q", notes)
			}
		})
	}
}

// A volume without an anchor has none without those blocks either.
func TestNoLinkBlocks(t *testing.T) {
	img := make([]byte, 2<<20)
	copy(img[vrsStart:], "\x00BEA01\x01")
	copy(img[vrsStart+vrsSize:], "\x00NSR02\x01")
	_, err := Open(bytes.NewReader(img), int64(len(img)), Options{})
	if err == nil || !strings.Contains(err.Error(), "NSR02 volume without an anchor") {
		t.Errorf("got error %v", err)
	}
}

func TestPacketsReadAt(t *testing.T) {
	img := make([]byte, 5*packetData+100)
	for i := range img {
		img[i] = byte(i>>11 ^ i)
	}
	whole := withLinks(img)
	if got := packedSize(int64(len(whole))); got != int64(len(img)) {
		t.Errorf("got size %d, want %d", got, len(img))
	}
	r := packets{bytes.NewReader(whole)}
	for _, off := range []int{0, 1, packetData - 1, packetData, 3*packetData - 7} {
		for _, n := range []int{0, 1, 100, packetData, 2*packetData + 5} {
			got := make([]byte, n)
			if m, err := r.ReadAt(got, int64(off)); m != n || err != nil || !bytes.Equal(got, img[off:off+n]) {
				t.Errorf("%d bytes at %d: got %d, %v", n, off, m, err)
			}
		}
	}
	if n, err := r.ReadAt(make([]byte, 200), int64(len(img)-50)); n != 50 || err == nil {
		t.Errorf("at the end: got %d bytes, %v", n, err)
	}
}
