// Package drive owns the discs that are mounted: which numbers they have, whose
// they are, and when they end.
//
// Start with [New], take over with [Manager.Inherit] what the process before
// left, then [Manager.Mount] for each image and the FUSE device of the mount
// that its client made. A drive ends when its mount does, not with the process;
// the package neither mounts nor unmounts, and opens no path.
package drive

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isomount/isomount/pkg/cache"
	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/fusefs"
	"github.com/isomount/isomount/pkg/image"
	"github.com/isomount/isomount/pkg/source"
	"github.com/isomount/isomount/pkg/volume"
)

// A State is where a drive is in its life.
type State string

// States of a drive.
const (
	Starting State = "starting" // the kernel has not been answered yet
	Mounted  State = "mounted"
	Failing  State = "failing" // reads of its image failed
	Ending   State = "ending"  // the mount is gone, a read of the image still waits
)

// Info describes a drive.
type Info struct {
	Number     int // from 0 on, the lowest that is free
	Image      string
	Label      string
	FS         string // e.g. "iso9660 (rockridge)"
	Size       int64  // of the image, in bytes
	MountPoint string
	Made       bool // the mount point was made for this mount
	UID        uint32
	State      State
	Since      time.Time
	Options    string
	Requests   fusefs.Stats
	Cache      cache.Stats
	Report     volume.Report
	EndsEarly  bool // it ends with the process even where others are kept
}

// A drive is one disc and its mount.
type drive struct {
	number  int
	spec    Spec
	device  *os.File
	journal *fusefs.Journal // nil: the drive ends with the process
	since   time.Time
	opened  <-chan struct{} // closed when an inherited image is open, or cannot be; else nil
	ended   chan struct{}   // closed when nothing of it is left

	// Guarded by Manager.mu until the drive is served.
	size   int64
	meta   *cache.Reader
	close  func() error
	volume *volume.Volume // nil while the image is not read
	server *fusefs.Server

	uring bool         // it uses io_uring and ends with the process; nothing of it is stored
	local atomic.Int64 // descriptor of the file that is the disc, plus 1; 0: there is none
	state State        // guarded by Manager.mu
}

// A Spec is what a client asks to have mounted.
type Spec struct {
	Image      *os.File // open for reading
	Path       string   // how the client names the image, for people
	Options    string   // mount options
	MountPoint string   // absolute
	Made       bool     // the mount point was made for this mount
	UID        uint32   // whose drive it is
	GID        uint32
}

func newDrive(spec Spec) *drive {
	return &drive{spec: spec, state: Starting, since: time.Now(), ended: make(chan struct{})}
}

// A disc is an image that has been read so far that its tree can be shown.
type disc struct {
	size   int64
	meta   *cache.Reader
	blocks *cache.Blocks // what was decompressed
	volume *volume.Volume
	uring  bool
	local  int // descriptor of the file that is the disc, or -1
}

// metaShare is how many bytes of the sector cache the metadata of one local
// image may hold. What goes beyond is in the page cache of the kernel.
const metaShare = 4 << 20

func open(spec Spec, c *cache.Cache) (*disc, error) {
	o, err := volume.ParseOptions(spec.Options, fsys.Owner{UID: spec.UID, GID: spec.GID})
	if err != nil {
		return nil, err
	}
	file, err := source.FromFile(spec.Image)
	if err != nil {
		return nil, err
	}
	data, err := image.Open(file, spec.Path)
	if err != nil {
		return nil, err
	}
	d := &disc{size: data.Size(), meta: c.ReaderWithin(data, data.Size(), metaShare), blocks: c.Blocks(), local: -1, uring: o.Transport == volume.TransportURing}
	meta := &surveyReader{kept: d.meta}
	if fd, ok := data.LocalFile(); ok && file.HasPages() {
		d.local, meta.data = fd, data
	}
	meta.surveying.Store(meta.data != nil)
	d.volume, err = volume.Open(volume.Disc{Data: data, Meta: meta, Size: d.size, Blocks: d.blocks}, o)
	if err != nil {
		return nil, errors.Join(err, d.close())
	}
	meta.surveying.Store(false)
	return d, nil
}

// A surveyReader reads metadata through the cache, but that of a plain local
// image not before the disc is surveyed: a survey looks here and there, at what
// is not read next, and the cache fetches much around it.
type surveyReader struct {
	surveying atomic.Bool
	data      io.ReaderAt
	kept      *cache.Reader
}

// ReadAt implements [io.ReaderAt].
func (r *surveyReader) ReadAt(p []byte, off int64) (int, error) {
	if r.surveying.Load() {
		return r.data.ReadAt(p, off)
	}
	return r.kept.ReadAt(p, off)
}

// close gives back what the disc holds of the cache.
func (d *disc) close() error { return errors.Join(d.meta.Close(), d.blocks.Close()) }

// insert puts a disc into the drive.
func (d *drive) insert(disc *disc) {
	d.size, d.meta, d.volume, d.close = disc.size, disc.meta, disc.volume, disc.close
	d.local.Store(int64(disc.local) + 1)
	d.uring = disc.uring
}

// localFile is [fusefs.Options.LocalFile].
func (d *drive) localFile() (fd int, ok bool) {
	fd = int(d.local.Load()) - 1
	return fd, fd >= 0
}

// newDriveOf returns a drive with copies of an image and of a device.
func newDriveOf(spec Spec, device *os.File) (d *drive, err error) {
	d = newDrive(spec)
	if d.spec.Image, err = copyOf(spec.Image); err != nil {
		return nil, err
	}
	if d.device, err = copyOf(device); err != nil {
		return nil, errors.Join(err, d.spec.Image.Close())
	}
	return d, nil
}

func copyOf(f *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("copy the descriptor of %s: %w", f.Name(), err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// closeFiles closes the image and the device, to which nothing was written.
func (d *drive) closeFiles() {
	_ = d.device.Close()
	_ = d.spec.Image.Close()
}

// release lets go of what the drive made for itself.
func (d *drive) release() {
	if d.close != nil {
		_ = d.close() // nothing was written
	}
	if d.journal != nil {
		_ = d.journal.Close()
	}
}

var (
	// ErrNotFound reports a drive that does not exist, or not for this user.
	ErrNotFound = errors.New("no such drive")
	// ErrLimit reports that a user, or the daemon, has all the drives it may have.
	ErrLimit = errors.New("too many drives")
	// ErrClosed reports a daemon that is ending.
	ErrClosed = errors.New("the daemon is ending")
	// ErrPanic reports an image on which a parser failed of itself; the log has
	// the stack.
	ErrPanic = errors.New("the program failed while it read the image")
	// ErrDevice reports a descriptor that is no FUSE device of a mount.
	ErrDevice = errors.New("not a FUSE device")
)
