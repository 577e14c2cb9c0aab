package fusefs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/fsys/fsystest"
)

const enableURing = "/sys/module/fuse/parameters/enable_uring"

// allowURing has the kernel offer FUSE over io_uring until the test ends. Tests
// of other packages wait meanwhile.
func allowURing(tb testing.TB) {
	tb.Helper()
	f, err := os.OpenFile(enableURing, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		tb.Skipf("FUSE over io_uring cannot be allowed here: %v", err)
	}
	if err != nil {
		tb.Fatal(err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		tb.Fatal(err)
	}
	old, err := os.ReadFile(enableURing)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := f.WriteString("Y"); err != nil {
		tb.Skipf("FUSE over io_uring cannot be allowed here: %v", err)
	}
	tb.Cleanup(func() {
		if err := os.WriteFile(enableURing, old, 0o600); err != nil {
			tb.Error(err)
		}
		_ = f.Close()
	})
}

// mountRings mounts a tree that is served over io_uring. The returned function
// unmounts it and waits for the server's end; the test's end does so as well.
func mountRings(tb testing.TB, tree fsys.FS, o Options) (dir string, s *Server, end func()) {
	tb.Helper()
	dev, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		tb.Skip(err)
	}
	dir = tb.TempDir()
	data := fmt.Sprintf("fd=%d,rootmode=40000,user_id=%d,group_id=%d,default_permissions", dev.Fd(), os.Getuid(), os.Getgid())
	if err := unix.Mount("isomount-test", dir, "fuse.isomount-test", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, data); err != nil {
		_ = dev.Close()
		tb.Skipf("cannot mount: %v", err)
	}
	o.URing = true
	s, err = New(tree, dev, o)
	if err != nil {
		_ = unix.Unmount(dir, unix.MNT_DETACH)
		tb.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve() }()
	end = sync.OnceFunc(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			tb.Error(err)
		}
		if err := <-done; err != nil {
			tb.Errorf("Serve: %v", err)
		}
		_ = dev.Close()
	})
	tb.Cleanup(end)
	if err := s.Ready(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	forgoPoll(tb, filepath.Join(dir, "hello"))
	return dir, s, end
}

// forgoPoll has the kernel learn that there is no FUSE_POLL. It asks when Go's
// runtime has epoll watch a file, and nobody could answer, since the runtime of
// this process would wait for epoll.
func forgoPoll(tb testing.TB, path string) {
	tb.Helper()
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0); err != nil {
		tb.Fatal(err)
	}
}

// ringTree is a tree with files of all sizes and a long directory.
func ringTree(tb testing.TB) (*fsystest.Mem, map[string][]byte) {
	tb.Helper()
	want := map[string][]byte{}
	var list []fsystest.File
	for i, size := range []int{0, 1, 4095, 4096, 4097, 70_000, maxRead - 1, maxRead, maxRead + 1, 5 << 20} {
		name := fmt.Sprintf("sizes/%d", i)
		want[name] = numbered(i, size)
		list = append(list, fsystest.File{Path: name, Data: want[name]})
	}
	for i := range 10_000 {
		name := fmt.Sprintf("many/%05d-%s", i, strings.Repeat("x", i%200))
		want[name] = numbered(i, 10+i%30)
		list = append(list, fsystest.File{Path: name, Data: want[name]})
	}
	return newTree(tb, list...), want
}

// numbered is content that differs from place to place and from file to file.
func numbered(file, size int) []byte {
	b := make([]byte, 0, size+32)
	for i := 0; len(b) < size; i++ {
		b = fmt.Appendf(b, "%d.%d;", file, i)
	}
	return b[:size]
}

// checkFiles reads the files below dir and compares every byte.
func checkFiles(dir string, want map[string][]byte) error {
	for name, data := range want {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		if !bytes.Equal(got, data) {
			return fmt.Errorf("%s: wrong content", name)
		}
	}
	return nil
}

func TestRingsShowTheTree(t *testing.T) {
	allowURing(t)
	tree, want := ringTree(t)
	dir, s, _ := mountRings(t, tree, Options{})
	asked := s.Stats().Requests
	seen := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		if info, err := d.Info(); err != nil {
			return err
		} else if data, ok := want[name]; ok {
			seen++
			if info.Size() != int64(len(data)) {
				t.Errorf("%s: %d bytes, want %d", name, info.Size(), len(data))
			}
		}
		return nil
	})
	if err != nil || seen != len(want) {
		t.Errorf("%d of %d files listed: %v", seen, len(want), err)
	}
	if to, err := os.Readlink(filepath.Join(dir, "link")); err != nil || to != "dir/nested" {
		t.Errorf("link: %q, %v", to, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "nothing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a name that is not there: %v", err)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil || st.Namelen == 0 {
		t.Errorf("statfs: %+v, %v", st, err)
	}
	if err := checkFiles(dir, want); err != nil {
		t.Error(err)
	}
	ringed := uint64(0)
	s.rings.mu.Lock()
	for _, w := range s.rings.workers {
		ringed += w.seq.Load()
	}
	s.rings.mu.Unlock()
	if total := s.Stats().Requests - asked; ringed < total*9/10 {
		t.Errorf("%d of %d requests came by the rings", ringed, total)
	}
}

func TestRingsUnderManyReaders(t *testing.T) {
	allowURing(t)
	tree, want := ringTree(t)
	dir, _, _ := mountRings(t, tree, Options{})
	sizes := map[string][]byte{}
	for name, data := range want {
		if strings.HasPrefix(name, "sizes/") {
			sizes[name] = data
		}
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := checkFiles(dir, want); err != nil {
				t.Error(err)
			}
			for range 5 {
				for name := range sizes {
					forget(t, filepath.Join(dir, name))
				}
				if err := checkFiles(dir, sizes); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// forget drops the pages of a file.
func forget(tb testing.TB, path string) {
	tb.Helper()
	f, err := os.Open(path)
	if err != nil {
		tb.Error(err)
		return
	}
	defer f.Close()
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		tb.Error(err)
	}
}

func TestRingsPanicIsAnErrorForThatReadAlone(t *testing.T) {
	allowURing(t)
	dir, _, _ := mountRings(t, newFaulty(t, "panic", "corrupt"), Options{})
	for range 3 * ringMost {
		for _, name := range []string{"panic", "corrupt"} {
			if _, err := os.ReadFile(filepath.Join(dir, name)); !errors.Is(err, unix.EIO) {
				t.Errorf("%s: got %v, want EIO", name, err)
			}
		}
	}
	if got, err := os.ReadFile(filepath.Join(dir, "hello")); err != nil || string(got) != "hello, disc\n" {
		t.Errorf("another file afterwards: %q, %v", got, err)
	}
}

// More programs wait for a dead image than there are workers, on every
// processor: all get their error, other requests are answered, and when the
// image is back, so is the drive.
func TestRingsDeadline(t *testing.T) {
	allowURing(t)
	tree := newFaulty(t, "stall")
	dir, s, end := mountRings(t, tree, Options{Deadline: 100 * time.Millisecond})
	var wg sync.WaitGroup
	var wrong atomic.Int32
	for range 4 * ringMost * runtime.NumCPU() {
		f, err := os.Open(filepath.Join(dir, "stall"))
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			defer f.Close()
			if _, err := f.ReadAt(make([]byte, 100), 1<<19); !errors.Is(err, unix.EIO) {
				wrong.Add(1)
			}
		})
	}
	wg.Wait()
	if n := wrong.Load(); n != 0 {
		t.Errorf("%d reads were not answered EIO", n)
	}
	if got := s.Stats().Late; got == 0 || got > maxStuck+ringMost*uint64(len(s.rings.count)) {
		t.Errorf("%d requests passed the deadline", got)
	}
	close(tree.stall)
	within(t, "the stuck workers are gone", func() bool { return s.rings.stuck.Load() == 0 })
	for range 100 {
		if got, err := os.ReadFile(filepath.Join(dir, "stall")); err != nil || !bytes.Equal(got, make([]byte, 1<<20)) {
			t.Fatalf("afterwards: %v, %d bytes", err, len(got))
		}
		forget(t, filepath.Join(dir, "stall"))
	}
	end()
}

// A read that is stuck holds up nothing else, on any processor.
func TestRingsWithAStalledReadGoOn(t *testing.T) {
	allowURing(t)
	tree := newFaulty(t, "stall")
	dir, s, _ := mountRings(t, tree, Options{})
	var wg sync.WaitGroup
	reads := ringMost - 1
	for i := range reads {
		f, err := os.Open(filepath.Join(dir, "stall"))
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			defer f.Close()
			if _, err := f.ReadAt(make([]byte, 100), int64(i)<<16); err != nil {
				t.Error(err)
			}
		})
		within(t, "the read has begun", func() bool { return int(tree.stalls.Load()) >= 1 })
		time.Sleep(3 * tick) // for the watchdog to see it
	}
	for i := range 50 {
		if _, err := os.Lstat(filepath.Join(dir, fmt.Sprintf("nothing%d", i))); !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	s.rings.mu.Lock()
	for q, n := range s.rings.count {
		if n > ringMost {
			t.Errorf("queue %d has %d entries", q, n)
		}
	}
	s.rings.mu.Unlock()
	close(tree.stall)
	wg.Wait()
}

// A program that waits for a dead image can be killed.
func TestRingsFreeAKilledReader(t *testing.T) {
	allowURing(t)
	tree := newFaulty(t, "stall")
	dir, _, _ := mountRings(t, tree, Options{})
	cat := exec.Command("cat", filepath.Join(dir, "stall"))
	if err := cat.Start(); err != nil {
		t.Fatal(err)
	}
	within(t, "the read has begun", func() bool { return tree.stalls.Load() > 0 })
	began := time.Now()
	if err := cat.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cat.Wait()
	if took := time.Since(began); took > 5*interruptGrace {
		t.Errorf("killed after %v", took)
	}
	close(tree.stall)
}

// Nothing of the rings is left when the mount goes while it is used.
func TestRingsUnmountUnderLoad(t *testing.T) {
	allowURing(t)
	tree, want := ringTree(t)
	threads, files := inUse(t)
	for range 20 {
		dir, _, end := mountRings(t, tree, Options{})
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for checkFiles(dir, want) == nil {
				}
			})
		}
		time.Sleep(20 * time.Millisecond)
		end()
		wg.Wait()
	}
	within(t, "threads and files are gone", func() bool {
		t, f := inUse(t)
		return t <= threads+ringFirst*runtime.NumCPU() && f <= files
	})
}

// inUse counts the threads and the open files of this process.
func inUse(tb testing.TB) (threads, files int) {
	tb.Helper()
	for dir, n := range map[string]*int{"/proc/self/task": &threads, "/proc/self/fd": &files} {
		list, err := os.ReadDir(dir)
		if err != nil {
			tb.Fatal(err)
		}
		*n = len(list)
	}
	return threads, files
}

func TestRingsAllocateNothing(t *testing.T) {
	if fsystest.Slow > 1 {
		t.Skip("the race detector allocates")
	}
	allowURing(t)
	dir, s, _ := mountRings(t, newTree(t, fsystest.File{Path: "file", Data: make([]byte, 1<<20)}), Options{})
	f, err := os.Open(filepath.Join(dir, "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	buf := make([]byte, 4096)
	fd, runs := int(f.Fd()), 200
	before := s.Stats().Requests
	allocs := testing.AllocsPerRun(runs, func() {
		if err := unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED); err != nil {
			t.Error(err)
		}
		if n, err := unix.Pread(fd, buf, 512<<10); n != len(buf) || err != nil {
			t.Error(n, err)
		}
	})
	if asked := s.Stats().Requests - before; asked < uint64(runs) {
		t.Fatalf("%d requests for %d reads", asked, runs)
	}
	if allocs > 0 {
		t.Errorf("%v allocations per request", allocs)
	}
}

// Without the kernel's consent there is no server, and the error says why.
func TestRingsThatAreNotAllowed(t *testing.T) {
	allowURing(t)
	if err := os.WriteFile(enableURing, []byte("N"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, dev := connect(t)
	if _, err := New(newTree(t), dev, Options{URing: true}); !errors.Is(err, ErrNoURing) || !strings.Contains(err.Error(), enableURing) {
		t.Errorf("got %v, want %v that names %s", err, ErrNoURing, enableURing)
	}
}

// A kernel that does not offer it in INIT after all gets an error.
func TestRingsThatAreNotOffered(t *testing.T) {
	allowURing(t)
	k, dev := connect(t)
	s, err := New(newTree(t), dev, Options{URing: true})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve() }()
	if e, _ := k.ask(opInit, 0, bytesIn(&fuse.InitIn{Major: 7, Minor: 42, Flags: ^uint32(0), Flags2: ^uint32(fuse.CAP_OVER_IO_URING >> 32)})); e != unix.EPROTO {
		t.Errorf("INIT: %v, want EPROTO", e)
	}
	if err := s.Ready(t.Context()); !errors.Is(err, ErrNoURing) {
		t.Errorf("Ready: %v, want %v", err, ErrNoURing)
	}
	_ = k.socket.Close()
	if err := <-done; !errors.Is(err, ErrNoURing) {
		t.Errorf("Serve: %v, want %v", err, ErrNoURing)
	}
}
