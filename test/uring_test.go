package test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// allowURing has the kernel offer FUSE over io_uring until the test ends. Tests
// of other packages that do so wait meanwhile.
func allowURing(t *testing.T) {
	t.Helper()
	const enable = "/sys/module/fuse/parameters/enable_uring"
	needRoot(t)
	old, err := os.ReadFile(enable)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("this kernel has no FUSE over io_uring")
	}
	f, openErr := os.OpenFile(enable, os.O_RDWR, 0)
	if err := errors.Join(err, openErr); err != nil {
		t.Skip(err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("Y"); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(os.WriteFile(enable, old, 0o600), f.Close()); err != nil {
			t.Error(err)
		}
	})
}

// mountURing mounts an image on a new directory with transport=uring.
func (d *daemon) mountURing(image string) string {
	d.t.Helper()
	point, err := os.MkdirTemp(d.dir, "mnt")
	if err != nil {
		d.t.Fatal(err)
	}
	d.must("mount", image, point, "-o", "transport=uring")
	return point
}

// sameFiles compares two trees, file by file.
func sameFiles(a, b string) error {
	return filepath.WalkDir(a, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, err := filepath.Rel(a, path)
		if err != nil {
			return err
		}
		want, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		got, err := os.ReadFile(filepath.Join(b, name))
		if err == nil && string(got) != string(want) {
			err = fmt.Errorf("%s differs", name)
		}
		return err
	})
}

func TestURingShowsTheSame(t *testing.T) {
	allowURing(t)
	files := map[string]string{"large": filler(40 << 20)}
	for i := range 3000 {
		files[fmt.Sprintf("dir%d/file%04d", i%7, i)] = filler(i * 11)
	}
	image := makeImage(t, files)
	d := startDaemon(t, 0)
	plain, ring := d.mount(image), d.mountURing(image)
	if err := errors.Join(sameFiles(plain, ring), sameFiles(ring, plain)); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("2"), 0); err != nil {
		t.Log(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := sameFiles(plain, ring); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	const most = 16 << 10
	within(t, 5*time.Second, "memory is given back", func() bool { return d.statusKiB("RssAnon") <= most })
	if out := d.must("list"); !strings.Contains(out, "mounted (uring)") {
		t.Errorf("list: %s", out)
	}
	if out := d.must("info", "1"); !strings.Contains(out, "this drive ends when isomountd does") {
		t.Errorf("info: %s", out)
	}
	d.must("unmount", ring)
	d.must("unmount", plain)
}

// readUntilItEnds reads a file, past the page cache, until that fails.
func readUntilItEnds(path string) error {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_DIRECT, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, 64<<10)
	for off := int64(0); ; off += int64(len(buf)) {
		n, err := f.ReadAt(buf, off)
		if errors.Is(err, io.EOF) {
			off = 0
		} else if err != nil || n == 0 {
			return err
		}
	}
}

// scanUntilItEnds reads the files of a directory, past the page cache, until
// that fails.
func scanUntilItEnds(dir string) error {
	for {
		list, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range list {
			path := filepath.Join(dir, e.Name())
			if _, err := os.ReadFile(path); err != nil {
				return err
			}
			if err := forgetPages(path); err != nil {
				return err
			}
		}
	}
}

// forgetPages drops the pages of a file.
func forgetPages(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}

// A daemon that is killed takes such a drive with it: readers get an error and
// do not hang, the next daemon does not have it, and the mount is taken away.
func TestURingEndsWithTheDaemon(t *testing.T) {
	allowURing(t)
	files := map[string]string{"a": filler(3 << 20)}
	for i := range 2000 {
		files[fmt.Sprintf("small/%04d", i)] = filler(i)
	}
	image := makeImage(t, files)
	d := startKept(t, 0)
	for range 5 {
		lasting, ring := d.mount(image), d.mountURing(image)
		ended := make(chan error)
		const readers = 8
		for i := range readers {
			go func() {
				if i%2 == 0 {
					ended <- readUntilItEnds(filepath.Join(ring, "a"))
				} else {
					ended <- scanUntilItEnds(filepath.Join(ring, "small"))
				}
			}()
		}
		time.Sleep(20 * time.Millisecond)
		old := d.child()
		if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		for range readers {
			select {
			case err := <-ended:
				// ECANCELED is what becomes of a request that was just being handed over.
				if !errors.Is(err, syscall.ENOTCONN) && !errors.Is(err, syscall.ECONNABORTED) && !errors.Is(err, syscall.ECANCELED) {
					t.Errorf("a reader: got %v", err)
				}
			case <-time.After(10 * time.Second):
				t.Fatal("a reader hangs")
			}
		}
		within(t, 10*time.Second, "the connection ends", func() bool {
			var st syscall.Statfs_t
			return errors.Is(syscall.Statfs(ring, &st), syscall.ENOTCONN)
		})
		if out := d.must("list"); strings.Contains(out, ring) || !strings.Contains(out, lasting) {
			t.Errorf("drives of the next daemon: %s", out)
		}
		d.must("mount", image, ring) // takes the dead mount away
		d.must("unmount", ring)
		if list, err := os.ReadDir(ring); err != nil || len(list) != 0 {
			t.Errorf("the dead mount is still there: %v, %v", list, err)
		}
		d.must("unmount", lasting)
	}
}

// A daemon that hands over unmounts such a drive, and the others go on.
func TestURingEndsAtAHandover(t *testing.T) {
	allowURing(t)
	image := makeImage(t, map[string]string{"a": "content"})
	d := startKept(t, 0)
	lasting, ring := d.mount(image), d.mountURing(image)
	d.must("daemon", "--restart")
	if out := d.must("list"); strings.Contains(out, ring) || !strings.Contains(out, lasting) {
		t.Errorf("drives of the next daemon: %s", out)
	}
	if list, err := os.ReadDir(ring); err != nil || len(list) != 0 {
		t.Errorf("still mounted: %v, %v", list, err)
	}
	if got, err := os.ReadFile(filepath.Join(lasting, "a")); err != nil || string(got) != "content" {
		t.Errorf("the other drive: %q, %v", got, err)
	}
	d.must("unmount", lasting)
}

// A place of the disk that does not answer costs what touches it.
func TestURingWithAPlaceThatStalls(t *testing.T) {
	allowURing(t)
	const deadline = 2 * time.Second
	f := mountFaulty(t, "--deadline="+deadline.String())
	f.must("unmount", f.point)
	f.must("mount", f.path, f.point, "-o", "transport=uring")
	f.checkPieces(t, pieces, pieces)
	f.stall.Store(true)
	began := time.Now()
	f.checkPieces(t, badPiece, badPiece)
	if took := time.Since(began); took < deadline || took > 3*deadline {
		t.Errorf("that took %v", took)
	}
	f.stall.Store(false)
	f.checkPieces(t, pieces, pieces)
	f.must("unmount", f.point)
}
