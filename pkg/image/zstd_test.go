package image

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"

	"github.com/isomount/isomount/pkg/binfmt"
)

// sample returns n bytes, some of which can be compressed.
func sample(n int) []byte {
	b := make([]byte, n)
	rng := rand.NewChaCha8([32]byte{7})
	for at := 0; at < n; at += 3000 {
		rng.Read(b[at:min(n, at+1000)])
	}
	return b
}

func compress(tb testing.TB, data []byte, level int) []byte {
	tb.Helper()
	var out bytes.Buffer
	z, err := NewZstdWriter(tb.Context(), &out, level)
	if err != nil {
		tb.Fatal(err)
	}
	if n, err := io.Copy(z, bytes.NewReader(data)); err != nil || n != int64(len(data)) {
		tb.Fatalf("wrote %d bytes, error %v", n, err)
	}
	if err := z.Close(); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

func TestZstdRoundTrip(t *testing.T) {
	defer goleak.VerifyNone(t)
	for _, n := range []int{0, 1, zstdPiece - 1, zstdPiece, zstdPiece + 1, 5*zstdPiece + 77} {
		data := sample(n)
		for _, level := range []int{0, 1, 19} {
			packed := compress(t, data, level)
			src, err := openZstd(bytes.NewReader(packed))
			if err != nil {
				t.Fatalf("%d bytes at level %d: %v", n, level, err)
			}
			if src.Size() != int64(n) {
				t.Errorf("%d bytes at level %d: got size %d", n, level, src.Size())
			}
			got, err := io.ReadAll(io.NewSectionReader(src, 0, src.Size()))
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d bytes at level %d: read %d others, error %v", n, level, len(got), err)
			}
		}
	}
}

// What is written, zstd(1) decompresses and finds nothing wrong with.
func TestZstdAgreesWithZstd(t *testing.T) {
	if _, err := exec.LookPath("zstd"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	data := sample(3*zstdPiece + 5)
	name := filepath.Join(t.TempDir(), "x.zst")
	if err := os.WriteFile(name, compress(t, data, 3), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := exec.Command("zstd", "-dc", name).Output()
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("got %d bytes, want the %d that went in; error %v", len(got), len(data), err)
	}
}

// Pieces from anywhere, across frames, by many at once.
func TestZstdReadAt(t *testing.T) {
	data := sample(6*zstdPiece + 123)
	src, err := openZstd(bytes.NewReader(compress(t, data, 1)))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(g)))
			for range 50 {
				off := rng.Int64N(int64(len(data)))
				want := data[off:min(int64(len(data)), off+rng.Int64N(2*zstdPiece))]
				got := make([]byte, len(want))
				if err := binfmt.ReadFull(src, got, off); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%d bytes at %d: error %v", len(want), off, err)
				}
			}
		})
	}
	wg.Wait()
	z, ok := src.(*zstdSource)
	if !ok {
		t.Fatalf("got a %T", src)
	}
	if most := zstdKept / zstdPiece; len(z.recent) > most {
		t.Errorf("%d frames are kept, want at most %d", len(z.recent), most)
	}
	p := make([]byte, 10)
	if n, err := src.ReadAt(p, src.Size()-4); n != 4 || !errors.Is(err, io.EOF) {
		t.Errorf("at the end: got %d bytes, error %v", n, err)
	}
	if n, err := src.ReadAt(p, src.Size()+1<<40); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("behind the end: got %d bytes, error %v", n, err)
	}
	if n, err := src.ReadAt(p, -1); n != 0 || err == nil {
		t.Errorf("before the start: got %d bytes, error %v", n, err)
	}
}

// Damage is told apart from other files, and where it is.
func TestZstdDamage(t *testing.T) {
	good := compress(t, sample(2*zstdPiece), 1)
	end := len(good)
	for _, tt := range []struct {
		name string
		edit func(b []byte) []byte
		is   error // nil: a CorruptError
		off  int64
	}{
		{"other magic", func(b []byte) []byte { b[0]++; return b }, binfmt.ErrMagic, 0},
		{"cut to nothing", func(b []byte) []byte { return b[:16] }, binfmt.ErrMagic, 0},
		{"half a table", func(b []byte) []byte { return b[:end-1] }, nil, int64(end) - zstdFooter - 2*8 - zstdSkipHeader},
		{"half a frame", func(b []byte) []byte { return b[:1000] }, nil, 0},
		{"something behind the frames", func(b []byte) []byte { return append(b[:end-33], "no frame of zstd at all, this"...) }, nil, int64(end) - 33},
		{"frames to skip without a table", func(b []byte) []byte {
			binary.LittleEndian.PutUint32(b, zstdSkipMagic)
			return b[:end-1]
		}, binfmt.ErrMagic, 0},
		{"more frames than bytes", func(b []byte) []byte {
			binary.LittleEndian.PutUint32(b[end-9:], 1<<31)
			return b
		}, nil, int64(end - 9)},
		{"another number of frames", func(b []byte) []byte { b[end-9]--; return b }, nil, int64(end-9) - 8 - 8},
		{"unknown flags", func(b []byte) []byte { b[end-5] = 4; return b }, nil, int64(end - 5)},
		{"frame too large", func(b []byte) []byte {
			binary.LittleEndian.PutUint32(b[end-9-4:], zstdMaxFrame+1)
			return b
		}, nil, int64(end - 9 - 8)},
		{"sizes that do not fit", func(b []byte) []byte { b[end-9-8]++; return b }, nil, int64(end - 9 - 16 - 8)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := openZstd(bytes.NewReader(tt.edit(bytes.Clone(good))))
			checkDamage(t, err, tt.is, tt.off)
		})
	}
	t.Run("content", func(t *testing.T) {
		b := bytes.Clone(good)
		b[100]++
		src, err := openZstd(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		p := make([]byte, 100)
		_, err = src.ReadAt(p, 50)
		checkDamage(t, err, nil, 0)
		if err := binfmt.ReadFull(src, p, zstdPiece); err != nil {
			t.Errorf("the other frame: %v", err)
		}
	})
	t.Run("size in the table", func(t *testing.T) {
		b := bytes.Clone(good)
		b[end-9-4]++
		src, err := openZstd(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		_, err = src.ReadAt(make([]byte, 1), zstdPiece)
		checkDamage(t, err, nil, int64(binary.LittleEndian.Uint32(b[end-9-16:]))) // where the second frame begins
	})
}

func checkDamage(t *testing.T, err, is error, off int64) {
	t.Helper()
	if is != nil {
		if !errors.Is(err, is) {
			t.Errorf("got error %v, want %v", err, is)
		}
		return
	}
	var c *binfmt.CorruptError
	if !errors.As(err, &c) || c.Off != off {
		t.Errorf("got error %v, want damage at %d", err, off)
	}
}

// Without a table the frames are found one by one, whether they tell their size
// or not.
func TestZstdWithoutTable(t *testing.T) {
	data := sample(3*zstdPiece + 777)
	packed := compress(t, data, 3)
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	large := enc.EncodeAll(make([]byte, zstdMaxFrame+1), nil)
	var piped bytes.Buffer // a stream does not know how long it will be
	for off := 0; off < len(data); off += 100_000 {
		enc.Reset(&piped)
		if _, err := io.Copy(enc, bytes.NewReader(data[off:min(len(data), off+100_000)])); err != nil {
			t.Fatal(err)
		}
		if err := enc.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for name, b := range map[string][]byte{
		"sizes":    packed[:len(packed)-zstdFooter-4*8-zstdSkipHeader],
		"no sizes": piped.Bytes(),
	} {
		src, err := openZstd(bytes.NewReader(b))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, err := io.ReadAll(io.NewSectionReader(src, 0, src.Size()))
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: got %d bytes of %d, error %v", name, len(got), len(data), err)
		}
	}
	if _, err := openZstd(bytes.NewReader(large)); !errors.Is(err, ErrNotSeekable) {
		t.Errorf("one large frame: got error %v, want ErrNotSeekable", err)
	}
}

// A writer that fails, or is told to stop, leaves no goroutine behind.
func TestZstdWriterFails(t *testing.T) {
	defer goleak.VerifyNone(t)
	data := sample(20 * zstdPiece)
	z, err := NewZstdWriter(t.Context(), iotest.TruncateWriter(failing{}, 0), 1)
	if err != nil {
		t.Fatal(err)
	}
	z.Abort()

	if z, err = NewZstdWriter(t.Context(), failing{}, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(data); !errors.Is(err, iotest.ErrTimeout) {
		t.Errorf("write: got error %v, want that of the writer", err)
	}
	if err := z.Close(); !errors.Is(err, iotest.ErrTimeout) {
		t.Errorf("close: got error %v, want that of the writer", err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	if z, err = NewZstdWriter(ctx, io.Discard, 1); err != nil {
		t.Fatal(err)
	}
	cancel()
	for err == nil { // the queue may have room for some
		_, err = z.Write(data)
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got error %v", err)
	}
	z.Abort()
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, iotest.ErrTimeout }

func FuzzZstd(f *testing.F) {
	b, err := os.ReadFile("testdata/raw.iso.zst")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		src, err := openZstd(bytes.NewReader(b))
		if err != nil {
			return
		}
		p := make([]byte, 3000)
		for _, off := range []int64{0, 1499, src.Size() / 2, src.Size() - 1} {
			if n, err := src.ReadAt(p, off); n < len(p) && err == nil {
				t.Errorf("short read of %d at %d without an error", n, off)
			}
		}
	})
}

func BenchmarkZstdSequential(b *testing.B) {
	src, err := openZstd(bytes.NewReader(compress(b, sample(8<<20), 3)))
	if err != nil {
		b.Fatal(err)
	}
	p := make([]byte, 64<<10)
	b.ReportAllocs()
	b.SetBytes(src.Size())
	for b.Loop() {
		for off := int64(0); off < src.Size(); off += int64(len(p)) {
			if _, err := src.ReadAt(p, off); err != nil && !errors.Is(err, io.EOF) {
				b.Fatal(err)
			}
		}
	}
}
