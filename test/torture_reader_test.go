package test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The tree that readers check: files whose every byte follows from the number
// of the file and its offset, and a directory of many names to look up.
const (
	tortureFiles = 48
	tortureNames = 3000
	tortureBytes = 1 << 20 // of noise
)

// noise is a megabyte without a pattern, the same in every process.
var noise = func() []byte {
	b := make([]byte, tortureBytes)
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // must be the same everywhere
	for i := 0; i < len(b); i += 8 {
		v := r.Uint64()
		for j := range 8 {
			b[i+j] = byte(v >> (8 * j))
		}
	}
	return slices.Concat(b, b)
}()

func tortureSize(file int) int { return 1 + file*file*331 }

// tortureContent returns n bytes of a file from off on.
func tortureContent(file, off, n int) []byte {
	at := (file*7919 + off) % tortureBytes
	return noise[at : at+n]
}

// makeTortureTree writes the tree below dir.
func makeTortureTree(dir string) error {
	if err := os.MkdirAll(filepath.Join(dir, "names"), 0o755); err != nil {
		return err
	}
	for i := range tortureFiles {
		name := filepath.Join(dir, "f"+strconv.Itoa(i))
		if err := os.WriteFile(name, tortureContent(i, 0, tortureSize(i)), 0o644); err != nil {
			return err
		}
		if err := os.Symlink("names/f"+strconv.Itoa(i), filepath.Join(dir, "l"+strconv.Itoa(i))); err != nil {
			return err
		}
	}
	for i := range tortureNames {
		if err := os.WriteFile(filepath.Join(dir, "names", "n"+strconv.Itoa(i)), nil, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// A reading is what a reader reports at its end.
type reading struct {
	Ops     int
	Longest time.Duration // an operation took
	Wrong   string        // what was, or ""
}

// readerVariable has the test binary be a reader of the mount that it names.
const readerVariable = "ISOMOUNT_TEST_READER"

// runReader checks the tree at root until its standard input is closed.
func runReader(root string) int {
	var stop atomic.Bool
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop.Store(true)
	}()
	var began atomic.Int64 // of the operation that runs
	began.Store(time.Now().UnixNano())
	go func() {
		const hung = 20 * time.Second
		for {
			time.Sleep(hung / 20)
			if time.Since(time.Unix(0, began.Load())) > hung {
				fmt.Println(`{"Wrong":"an operation hangs"}`)
				os.Exit(0)
			}
		}
	}()
	buf, err := unix.Mmap(-1, 0, 256<<10, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	r := &reader{root: root, buf: buf}
	var result reading
	for !stop.Load() && result.Wrong == "" {
		start := time.Now()
		began.Store(start.UnixNano())
		if err := r.one(); err != nil {
			result.Wrong = err.Error()
		}
		result.Ops++
		result.Longest = max(result.Longest, time.Since(start))
	}
	_ = json.NewEncoder(os.Stdout).Encode(result)
	return 0
}

// A reader does what makes the kernel ask: it goes round the caches.
type reader struct {
	root string
	buf  []byte // aligned for O_DIRECT
	n    int
}

// one does one operation, in turn of each kind.
func (r *reader) one() error {
	ops := []func() error{
		r.readDirect, r.readCached, r.list, r.attributes, r.statfs, r.xattr, r.missing, r.lookup, r.link, r.hole, r.readDirect,
	}
	r.n++
	return ops[r.n%len(ops)]()
}

func (r *reader) file() (int, string) {
	i := rand.IntN(tortureFiles)
	return i, filepath.Join(r.root, "f"+strconv.Itoa(i))
}

// readDirect reads a piece of a file with O_DIRECT.
func (r *reader) readDirect() error {
	i, name := r.file()
	return r.read(i, name, unix.O_DIRECT)
}

// readCached reads through the page cache and then empties it.
func (r *reader) readCached() error {
	i, name := r.file()
	return r.read(i, name, 0)
}

func (r *reader) read(i int, name string, flags int) error {
	f, err := os.OpenFile(name, os.O_RDONLY|flags, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	size := tortureSize(i)
	off := rand.IntN(size) &^ 511
	buf := r.buf[:(1+rand.IntN(len(r.buf)/512))*512]
	n, err := f.ReadAt(buf, int64(off))
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	want := min(len(buf), size-off)
	if n != want || !bytes.Equal(buf[:n], tortureContent(i, off, n)) {
		return fmt.Errorf("%s at %d: %d bytes, want %d, or they differ", name, off, n, want)
	}
	if flags == 0 {
		return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	}
	return nil
}

// list reads the root, without what the kernel remembers of it.
func (r *reader) list() error {
	f, err := os.Open(r.root)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return err
	}
	names, err := f.Readdirnames(-1)
	if err != nil {
		return err
	}
	slices.Sort(names)
	if want := 2*tortureFiles + 1; len(names) != want || len(slices.Compact(names)) != want {
		return fmt.Errorf("list: %d names, want %d: %q", len(names), want, names)
	}
	return nil
}

func (r *reader) attributes() error {
	i, name := r.file()
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, name, unix.AT_STATX_FORCE_SYNC, unix.STATX_BASIC_STATS, &st); err != nil {
		return fmt.Errorf("statx: %w", err)
	}
	if st.Size != uint64(tortureSize(i)) || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Errorf("statx %s: %d bytes, mode %o", name, st.Size, st.Mode)
	}
	return nil
}

func (r *reader) statfs() error {
	var st unix.Statfs_t
	if err := unix.Statfs(r.root, &st); err != nil || st.Blocks == 0 {
		return fmt.Errorf("statfs: %d blocks, %w", st.Blocks, err)
	}
	return nil
}

func (r *reader) xattr() error {
	_, name := r.file()
	_, err := unix.Getxattr(name, "user.none", nil)
	if !errors.Is(err, unix.ENODATA) && !errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("getxattr: %w", err)
	}
	return nil
}

func (r *reader) missing() error {
	name := filepath.Join(r.root, fmt.Sprintf("none-%d-%d", os.Getpid(), r.n))
	if _, err := os.Lstat(name); !errors.Is(err, syscall.ENOENT) {
		return fmt.Errorf("lookup of a missing name: %w", err)
	}
	return nil
}

func (r *reader) lookup() error {
	st, err := os.Lstat(filepath.Join(r.root, "names", "n"+strconv.Itoa(rand.IntN(tortureNames))))
	if err == nil && (st.Size() != 0 || !st.Mode().IsRegular()) {
		err = fmt.Errorf("lookup: %d bytes, %v", st.Size(), st.Mode())
	}
	return err
}

func (r *reader) link() error {
	i := rand.IntN(tortureFiles)
	got, err := os.Readlink(filepath.Join(r.root, "l"+strconv.Itoa(i)))
	if err == nil && got != "names/f"+strconv.Itoa(i) {
		err = fmt.Errorf("link %d leads to %s", i, got)
	}
	return err
}

func (r *reader) hole() error {
	i, name := r.file()
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if off, err := unix.Seek(int(f.Fd()), 0, unix.SEEK_HOLE); err != nil || off != int64(tortureSize(i)) {
		return fmt.Errorf("first hole of %s at %d, want %d: %w", name, off, tortureSize(i), err)
	}
	return nil
}
