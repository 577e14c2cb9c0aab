// Package drive owns the discs that are mounted: which numbers they have, whose
// they are, and when they end.
//
// Start with [New], then [Manager.Mount] for each image and the FUSE device of
// the mount that its client made. A drive ends when its mount does; the package
// neither mounts nor unmounts, and opens no path.
package drive

import (
	"errors"
	"os"
	"time"

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
}

// A drive is one disc and its mount.
type drive struct {
	number int
	spec   Spec
	size   int64
	meta   *cache.Reader
	volume *volume.Volume
	server *fusefs.Server
	since  time.Time
	ended  chan struct{} // closed when nothing of it is left
	state  State         // guarded by Manager.mu
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

// open reads the disc so far that its tree can be shown.
func open(spec Spec, c *cache.Cache) (*drive, error) {
	d := &drive{spec: spec, state: Starting, since: time.Now(), ended: make(chan struct{})}
	o, err := volume.ParseOptions(spec.Options, fsys.Owner{UID: spec.UID, GID: spec.GID})
	if err != nil {
		return nil, err
	}
	file, err := source.FromFile(spec.Image)
	if err != nil {
		return nil, err
	}
	disc, err := image.Open(file, spec.Path)
	if err != nil {
		return nil, err
	}
	d.size = disc.Size()
	d.meta = c.Reader(disc, disc.Size())
	d.volume, err = volume.Open(volume.Disc{Data: disc, Meta: d.meta, Size: disc.Size()}, o)
	if err != nil {
		return nil, errors.Join(err, d.meta.Close())
	}
	return d, nil
}

// release lets go of everything that the drive holds, the image included.
func (d *drive) release() {
	_ = d.meta.Close() // nothing was written
	_ = d.spec.Image.Close()
}

var (
	// ErrNotFound reports a drive that does not exist, or not for this user.
	ErrNotFound = errors.New("no such drive")
	// ErrLimit reports that a user, or the daemon, has all the drives it may have.
	ErrLimit = errors.New("too many drives")
	// ErrClosed reports a daemon that is ending.
	ErrClosed = errors.New("the daemon is ending")
	// ErrDevice reports a descriptor that is no FUSE device of a mount.
	ErrDevice = errors.New("not a FUSE device")
)
