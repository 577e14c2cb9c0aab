package test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// A faulty is an image that stalls or fails at will: a file of a FUSE file
// system in this process.
type faulty struct {
	fs.Inode
	data  []byte
	from  atomic.Int64 // where faults begin
	to    atomic.Int64 // and end
	stall atomic.Bool  // reads wait until they are interrupted, or this ends
	deaf  atomic.Bool  // they are not interrupted either
	errno atomic.Int32 // reads fail
	short atomic.Bool  // reads return less than was asked for
	ends  atomic.Int64 // the image has no more bytes than this, unless 0

	stalled atomic.Int32 // how many reads did
}

var (
	_ fs.NodeOpener    = (*faulty)(nil)
	_ fs.NodeReader    = (*faulty)(nil)
	_ fs.NodeGetattrer = (*faulty)(nil)
)

// Open has every read come here.
func (f *faulty) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_DIRECT_IO, 0
}

// size is how many bytes the image has now.
func (f *faulty) size() int64 {
	if n := f.ends.Load(); n != 0 {
		return n
	}
	return int64(len(f.data))
}

// Getattr tells the size.
func (f *faulty) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Size, out.Mode = uint64(f.size()), 0o444
	return 0
}

// Read is a read of the image.
func (f *faulty) Read(ctx context.Context, _ fs.FileHandle, b []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	if off+int64(len(b)) > f.from.Load() && off < f.to.Load() {
		if f.stall.Load() {
			f.stalled.Add(1)
		}
		for f.stall.Load() {
			if ctx.Err() != nil && !f.deaf.Load() {
				return nil, syscall.EINTR
			}
			time.Sleep(time.Millisecond)
		}
		if e := f.errno.Load(); e != 0 {
			return nil, syscall.Errno(e)
		}
	}
	if n := len(b); f.short.Load() && n > 1 {
		b = b[:1+rand.IntN(n-1)]
	}
	end := min(off+int64(len(b)), f.size())
	return fuse.ReadResultData(f.data[min(off, end):end]), 0
}

// faultyImage serves a copy of an image that can have faults where from and to
// say; at first that is nowhere.
func faultyImage(t *testing.T, image string) (*faulty, string) {
	t.Helper()
	needRoot(t)
	data, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	f := &faulty{data: data}
	dir := openDir(t)
	root := &fs.Inode{}
	server, err := fs.Mount(dir, root, &fs.Options{
		MountOptions: fuse.MountOptions{DirectMount: true, AllowOther: true, FsName: "faulty"},
		OnAdd: func(ctx context.Context) {
			root.AddChild("disc.iso", root.NewPersistentInode(ctx, f, fs.StableAttr{Mode: syscall.S_IFREG}), false)
		},
	})
	if err != nil {
		t.Skipf("FUSE: %v", err)
	}
	t.Cleanup(func() {
		f.stall.Store(false)
		within(t, 10*time.Second, "the faulty image is unmounted", func() bool { return server.Unmount() == nil })
	})
	return f, filepath.Join(dir, "disc.iso")
}

// What is read of the file z of a faulty image, and where that lies.
const (
	pieceBytes = 64 << 10
	pieces     = 32
	badPiece   = 20
)

// A faultyDrive is a mounted image whose file z can fail in a piece.
type faultyDrive struct {
	*faulty
	*daemon
	path    string
	point   string
	content []byte
}

func mountFaulty(t *testing.T, flags ...string) *faultyDrive {
	t.Helper()
	content := filler(pieces * pieceBytes)
	image := makeImage(t, map[string]string{"a": "small", "z": content}, "--sort-weight", "2", "/a", "--sort-weight", "1", "/z")
	f, path := faultyImage(t, image)
	start := int64(bytes.Index(f.data, []byte(content[:4096])))
	f.from.Store(start + badPiece*pieceBytes + 4096)
	f.to.Store(start + badPiece*pieceBytes + 8192)
	d := startDaemon(t, 0, flags...)
	return &faultyDrive{f, d, path, d.mount(path), []byte(content)}
}

// piece reads a piece of the file z, past the page cache.
func (f *faultyDrive) piece(n int) error {
	file, err := os.OpenFile(filepath.Join(f.point, "z"), os.O_RDONLY|syscall.O_DIRECT, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	got := make([]byte, pieceBytes)
	if _, err := file.ReadAt(got, int64(n)*pieceBytes); err != nil {
		return err
	}
	if !bytes.Equal(got, f.content[n*pieceBytes:][:pieceBytes]) {
		return fmt.Errorf("piece %d differs", n)
	}
	return nil
}

// checkPieces reads all pieces at once. Those from first to last must fail with
// EIO, the others be right.
func (f *faultyDrive) checkPieces(t *testing.T, first, last int) {
	t.Helper()
	errs := make([]error, pieces)
	var wg sync.WaitGroup
	for n := range pieces {
		wg.Go(func() { errs[n] = f.piece(n) })
	}
	wg.Wait()
	for n, err := range errs {
		switch bad := n >= first && n <= last; {
		case bad && !errors.Is(err, syscall.EIO):
			t.Errorf("piece %d: got %v, want EIO", n, err)
		case !bad && err != nil:
			t.Errorf("piece %d: %v", n, err)
		}
	}
}

// An error of the disk costs what touches it, and is gone when it is.
func TestImageWithABadPlace(t *testing.T) {
	f := mountFaulty(t)
	f.errno.Store(int32(syscall.EIO))
	f.checkPieces(t, badPiece, badPiece)
	f.errno.Store(0)
	f.checkPieces(t, pieces, pieces)
	f.must("unmount", f.point)
}

// A disk that gives less than it was asked for is asked again.
func TestImageThatIsReadInBits(t *testing.T) {
	f := mountFaulty(t)
	f.short.Store(true)
	f.checkPieces(t, pieces, pieces)
	if got, err := os.ReadFile(filepath.Join(f.point, "z")); err != nil || !bytes.Equal(got, f.content) {
		t.Errorf("through the page cache: %d bytes, %v", len(got), err)
	}
	f.must("unmount", f.point)
	f.must("mount", f.path, f.point) // opening it is no different
	f.must("unmount", f.point)
}

// A place of the disk that does not answer costs what touches it, no longer than
// the deadline, and meanwhile everything else is as quick as ever.
func TestImageWithAPlaceThatStalls(t *testing.T) {
	const deadline = 2 * time.Second
	f := mountFaulty(t, "--deadline="+deadline.String())
	f.stall.Store(true)
	bad := make(chan error, 1)
	began := time.Now()
	go func() { bad <- f.piece(badPiece) }()
	within(t, 10*time.Second, "the disk stalls", func() bool { return f.stalled.Load() > 0 })
	for n := range pieces {
		if n != badPiece {
			if err := f.piece(n); err != nil {
				t.Errorf("piece %d: %v", n, err)
			}
		}
	}
	select {
	case err := <-bad:
		t.Errorf("the piece that stalls was answered after %v, before the others: %v", time.Since(began), err)
	default:
	}
	if err := <-bad; !errors.Is(err, syscall.EIO) {
		t.Errorf("got %v, want EIO", err)
	}
	if took := time.Since(began); took < deadline || took > 3*deadline {
		t.Errorf("that took %v", took)
	}
	f.stall.Store(false)
	f.checkPieces(t, pieces, pieces)
	f.must("unmount", f.point)
}

// Of an image that ends too early, what is there is right.
func TestImageThatEndsEarly(t *testing.T) {
	f := mountFaulty(t)
	f.ends.Store(f.from.Load()) // in the middle of the bad piece
	f.checkPieces(t, badPiece, pieces)
	f.ends.Store(0)
	f.checkPieces(t, pieces, pieces)
	f.must("unmount", f.point)
}
