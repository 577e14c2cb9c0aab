package source_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/isomount/isomount/pkg/source"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i>>8) ^ byte(i)
	}
	return b
}

// write makes a file and returns its path.
func write(t *testing.T, b []byte) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "x.iso")
	if err := os.WriteFile(p, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func open(t *testing.T, path string, flags int) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, flags, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func newFile(t *testing.T, path string) *source.File {
	t.Helper()
	s, err := source.FromFile(open(t, path, os.O_RDONLY))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFromFileRefuses(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	full := write(t, pattern(4096))
	link := filepath.Join(dir, "link")
	if err := os.Symlink(full, link); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		path  string
		flags int
		err   error
	}{
		{"directory", dir, os.O_RDONLY, source.ErrDirectory},
		{"empty file", write(t, nil), os.O_RDONLY, source.ErrEmpty},
		{"named pipe", fifo, os.O_RDONLY | unix.O_NONBLOCK, source.ErrPipe},
		{"character device", "/dev/null", os.O_RDONLY, source.ErrCharDevice},
		{"for writing only", full, os.O_WRONLY, source.ErrNotOpen},
		{"file named by O_PATH", full, unix.O_PATH, source.ErrNotOpen},
		{"directory named by O_PATH", dir, unix.O_PATH, source.ErrDirectory},
		{"link named by O_PATH", link, unix.O_PATH | unix.O_NOFOLLOW, source.ErrNotRegular},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := source.FromFile(open(t, tt.path, tt.flags))
			if !errors.Is(err, tt.err) || s != nil {
				t.Errorf("got %v, error %v, want %v", s, err, tt.err)
			}
		})
	}
}

func TestFromFileSocket(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.(*net.UnixListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := source.FromFile(f); !errors.Is(err, source.ErrSocket) {
		t.Errorf("got error %v, want ErrSocket", err)
	}
}

func TestFromFileClosed(t *testing.T) {
	f := open(t, write(t, pattern(10)), os.O_RDONLY)
	f.Close()
	if _, err := source.FromFile(f); !errors.Is(err, os.ErrClosed) {
		t.Errorf("got error %v, want ErrClosed", err)
	}
}

// Pipes, sockets and character devices can be asked for together.
func TestErrNotRegular(t *testing.T) {
	for _, err := range []error{source.ErrPipe, source.ErrSocket, source.ErrCharDevice} {
		if !errors.Is(err, source.ErrNotRegular) {
			t.Errorf("%v is not ErrNotRegular", err)
		}
	}
	if errors.Is(source.ErrDirectory, source.ErrNotRegular) || errors.Is(source.ErrPipe, source.ErrSocket) {
		t.Error("errors cannot be told apart")
	}
}

func TestReadAt(t *testing.T) {
	want := pattern(10_001)
	for _, flags := range []int{os.O_RDONLY, os.O_RDWR} {
		s, err := source.FromFile(open(t, write(t, want), flags))
		if err != nil {
			t.Fatal(err)
		}
		if err := iotest.TestReader(io.NewSectionReader(s, 0, s.Size()), want); err != nil {
			t.Error(err)
		}
	}
}

func TestReadAtEdges(t *testing.T) {
	content := pattern(5000)
	s := newFile(t, write(t, content))
	for _, tt := range []struct {
		name string
		off  int64
		n    int
		want int
		err  error
	}{
		{"start", 0, 100, 100, nil},
		{"up to the end", 4900, 100, 100, nil},
		{"over the end", 4900, 101, 100, io.EOF},
		{"at the end", 5000, 1, 0, io.EOF},
		{"behind the end", 1 << 40, 1, 0, io.EOF},
		{"at the largest offset", 1<<63 - 1, 10, 0, io.EOF},
		{"nothing", 10, 0, 0, nil},
		{"before the start", -1, 10, 0, fs.ErrInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := make([]byte, tt.n)
			n, err := s.ReadAt(p, tt.off)
			if n != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("got %d bytes, error %v, want %d, error %v", n, err, tt.want, tt.err)
			}
			if n > 0 && !bytes.Equal(p[:n], content[tt.off:tt.off+int64(n)]) {
				t.Error("got other bytes than the file has")
			}
		})
	}
}

// An image that is cut off while in use loses what is cut off and no more.
func TestTruncated(t *testing.T) {
	path := write(t, pattern(10_000))
	s := newFile(t, path)
	if err := os.Truncate(path, 6000); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 4000)
	for _, tt := range []struct {
		name string
		off  int64
		want int
		err  error
	}{
		{"what is left", 2000, 4000, nil},
		{"over the cut", 4000, 2000, io.ErrUnexpectedEOF},
		{"behind the cut", 6000, 0, io.ErrUnexpectedEOF},
		{"over what was the end", 8000, 0, io.ErrUnexpectedEOF},
		{"behind what was the end", 10_000, 0, io.EOF},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if n, err := s.ReadAt(p, tt.off); n != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("got %d bytes, error %v, want %d, error %v", n, err, tt.want, tt.err)
			}
		})
	}
	if err := s.Check(); !errors.Is(err, source.ErrChanged) || !strings.Contains(err.Error(), "6000 bytes and had 10000") {
		t.Errorf("check: got error %v, want ErrChanged with both sizes", err)
	}
}

// An image that grows while in use keeps its size.
func TestGrown(t *testing.T) {
	path := write(t, pattern(1000))
	s := newFile(t, path)
	if err := os.Truncate(path, 5000); err != nil {
		t.Fatal(err)
	}
	if n, err := s.ReadAt(make([]byte, 2000), 0); n != 1000 || !errors.Is(err, io.EOF) {
		t.Errorf("got %d bytes, error %v, want 1000, EOF", n, err)
	}
	if err := s.Check(); !errors.Is(err, source.ErrChanged) {
		t.Errorf("check: got error %v, want ErrChanged", err)
	}
}

func TestCheck(t *testing.T) {
	path := write(t, pattern(1000))
	s := newFile(t, path)
	if err := s.Check(); err != nil {
		t.Errorf("unchanged: got error %v", err)
	}
	if again := newFile(t, path); again.Identity() != s.Identity() {
		t.Errorf("the same file twice: %+v and %+v", again.Identity(), s.Identity())
	}
	if err := os.Chtimes(path, time.Time{}, time.Unix(1, 5)); err != nil {
		t.Fatal(err)
	}
	if err := s.Check(); !errors.Is(err, source.ErrChanged) {
		t.Errorf("written: got error %v, want ErrChanged", err)
	}
	if other := newFile(t, write(t, pattern(1000))); other.Identity() == s.Identity() {
		t.Error("another file has the same identity")
	}
}

// An image that is deleted, or replaced by renaming another over it, stays.
func TestDeleted(t *testing.T) {
	content := pattern(1000)
	for _, tt := range []struct {
		name string
		do   func(path string) error
	}{
		{"deleted", os.Remove},
		{"replaced", func(path string) error { return os.Rename(write(t, nil), path) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := write(t, content)
			s := newFile(t, path)
			if err := tt.do(path); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, 1000)
			if _, err := s.ReadAt(got, 0); err != nil || !bytes.Equal(got, content) {
				t.Errorf("read: got error %v, want the old content", err)
			}
			if err := s.Check(); !errors.Is(err, source.ErrDeleted) {
				t.Errorf("check: got error %v, want ErrDeleted", err)
			}
		})
	}
}

// A read of a closed file fails, even while others close it.
func TestReadAfterClose(t *testing.T) {
	f := open(t, write(t, pattern(100_000)), os.O_RDONLY)
	s, err := source.FromFile(f)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			p := make([]byte, 4096)
			for {
				if _, err := s.ReadAt(p, 4096); err != nil {
					if !errors.Is(err, os.ErrClosed) {
						t.Errorf("got error %v, want ErrClosed", err)
					}
					return
				}
			}
		})
	}
	f.Close()
	wg.Wait()
	if err := s.Check(); err == nil || errors.Is(err, source.ErrChanged) {
		t.Errorf("check of a closed file: got error %v", err)
	}
}

func TestFd(t *testing.T) {
	f := open(t, write(t, pattern(10)), os.O_RDONLY)
	s, err := source.FromFile(f)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := s.Fd(), int(f.Fd()); got != want {
		t.Errorf("got descriptor %d, want %d", got, want)
	}
}

// A block device has the size that its driver says. Only root can make one.
func TestBlockDevice(t *testing.T) {
	content := pattern(64 << 10)
	dev := attachLoop(t, write(t, content))
	s := newFile(t, dev)
	if got, want := s.Size(), int64(len(content)); got != want {
		t.Errorf("size: got %d, want %d", got, want)
	}
	got := make([]byte, len(content))
	if _, err := s.ReadAt(got, 0); err != nil || !bytes.Equal(got, content) {
		t.Errorf("read: got error %v, want the content", err)
	}
	if err := s.Check(); err != nil {
		t.Errorf("check: got error %v", err)
	}
}

func attachLoop(t *testing.T, path string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can attach a loop device")
	}
	if _, err := exec.LookPath("losetup"); err != nil {
		t.Skip("no losetup")
	}
	out, err := exec.Command("losetup", "--find", "--show", "--read-only", path).CombinedOutput()
	if err != nil {
		t.Skipf("no loop device can be attached: %s", out)
	}
	dev := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "--detach", dev).CombinedOutput(); err != nil {
			t.Errorf("detach %s: %s", dev, out)
		}
	})
	return dev
}

func BenchmarkReadAt(b *testing.B) {
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	s, err := source.FromFile(f)
	if err != nil {
		b.Fatal(err)
	}
	p := make([]byte, 2048)
	b.ReportAllocs()
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		if _, err := s.ReadAt(p, 4096); err != nil {
			b.Fatal(err)
		}
	}
}
