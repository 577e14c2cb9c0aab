package master

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/isomount/isomount/pkg/binfmt"
	"github.com/isomount/isomount/pkg/fsys/fsystest"
)

// A memFile is an image in memory.
type memFile struct{ b []byte }

func (m *memFile) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(m.b).ReadAt(p, off)
}

func (m *memFile) WriteAt(p []byte, off int64) (int, error) { return copy(m.b[off:], p), nil }

func TestImplantMD5(t *testing.T) {
	image := imageOf(t, treeOf(t, []fsystest.File{{Path: "f", Data: noise(1, 3<<20)}}), Options{})
	f := &memFile{bytes.Clone(image)}
	must(t, ImplantMD5(t.Context(), f, true, false, nil))
	field := string(f.b[implantOff:][:implantLen])
	for _, part := range []string{"ISO MD5SUM = ", ";SKIPSECTORS = 15;RHLISOSTATUS=1;FRAGMENT SUMS = ", ";FRAGMENT COUNT = 20;"} {
		if !strings.Contains(field, part) {
			t.Errorf("field %q lacks %q", field, part)
		}
	}
	copy(f.b[implantOff:], image[implantOff:][:implantLen])
	if !bytes.Equal(f.b, image) {
		t.Error("something else was changed")
	}
}

func TestImplantMD5Again(t *testing.T) {
	f := &memFile{imageOf(t, treeOf(t, nil), Options{})}
	must(t, ImplantMD5(t.Context(), f, false, false, nil))
	first := bytes.Clone(f.b)
	if err := ImplantMD5(t.Context(), f, false, false, nil); !errors.Is(err, ErrImplanted) {
		t.Errorf("error %v, want ErrImplanted", err)
	}
	must(t, ImplantMD5(t.Context(), f, false, true, nil))
	if !bytes.Equal(f.b, first) {
		t.Error("another sum the second time")
	}
}

func TestImplantMD5Refuses(t *testing.T) {
	image := imageOf(t, treeOf(t, nil), Options{})
	tiny := bytes.Clone(image)
	copy(tiny[16*blockSize+80:], []byte{15, 0, 0, 0})
	tests := []struct {
		name  string
		image []byte
		want  error
	}{
		{"no image", make([]byte, 100_000), binfmt.ErrMagic},
		{"nothing", nil, io.ErrUnexpectedEOF},
		{"cut", image[:len(image)/2], io.ErrUnexpectedEOF},
	}
	for _, tt := range tests {
		if err := ImplantMD5(t.Context(), &memFile{tt.image}, false, false, nil); !errors.Is(err, tt.want) {
			t.Errorf("%s: error %v, want %v", tt.name, err, tt.want)
		}
	}
	var corrupt *binfmt.CorruptError
	if err := ImplantMD5(t.Context(), &memFile{tiny}, false, false, nil); !errors.As(err, &corrupt) {
		t.Errorf("tiny volume: error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := ImplantMD5(ctx, &memFile{image}, false, false, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
}
