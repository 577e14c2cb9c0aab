// Package mount puts FUSE file systems into the tree, takes them out again and
// tells what is there, always with the authority of the calling process.
//
// To mount, call [Prepare], give the device that it returns to whoever serves
// it, then [Mount.Attach] when the server has agreed or [Mount.Abort] when it
// has not:
//
//	m, err := mount.Prepare(ctx, "/mnt/disc", mount.Options{Source: image})
//	…
//	if err := handOver(m.Device()); err != nil {
//		return errors.Join(err, m.Abort())
//	}
//	return m.Attach()
//
// To unmount, call [Unmount]. [ReadTable] lists what is mounted, [HealAll]
// removes mounts of ours whose server has died.
//
// # Order
//
// The server gets the device before the mount can be seen. With the mount API
// of Linux 5.2 the file system is created detached (fsopen, fsmount), so the
// kernel's INIT request already waits in the device; when the server has
// taken the device over, the finished mount is moved to its place in one step
// (move_mount). The tree is there when the command returns, nobody ever sees a
// mount that no one serves, and a process killed half-way leaves nothing: a
// detached mount ends with the last descriptor of it.
//
// With mount(2) and with fusermount3 the mount comes first, because the one
// cannot be split and the other hands out the device only after mounting.
// Requests then wait in the kernel until the server answers INIT, and
// [Mount.Abort] takes the mount away if it never does. A server must not read
// the device earlier: reads of a device that is not mounted yet fail with
// EPERM.
//
// # Never hang
//
// A path that leads into a FUSE file system whose server is dead fails, and
// one whose server is stuck waits for ever. Therefore nothing here calls stat,
// open or even a path lookup below a FUSE mount before a child process has
// shown within two seconds that it answers. What is read of such a mount before
// that (mount id, device number) comes from mountinfo and from statx with an
// empty mask, which the kernel answers from memory.
package mount

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Subtype is how our file systems are named in the mount table: "fuse.isomount".
const Subtype = "isomount"

// Options say how a file system is mounted. It is always read-only, nosuid,
// nodev and with default_permissions.
type Options struct {
	Source     string   // what the mount table shows as source, usually the path of the image; default Subtype
	Image      *os.File // if given, a mount point that would hide this file is refused
	AllowOther bool     // let other users in; fusermount3 asks /etc/fuse.conf whether a user may
	MaxRead    int      // largest read request in bytes; default: the kernel's
}

// A Mount is a file system that has been made and may not be visible yet.
type Mount struct {
	point  *point
	way    way
	device *os.File
	tree   *os.File // the detached mount, for ways that make one
	ended  bool     // Attach or Abort was called
}

// A way is one method of mounting.
type way int

const (
	wayDetached   way = iota // fsopen, fsmount, move_mount
	wayDirect                // mount(2)
	wayFusermount            // fusermount3
)

// Prepare checks the mount point, heals it if a dead mount of ours is on it,
// locks it against other callers of Prepare and makes the file system. What it
// returns must be given to [Mount.Attach] or [Mount.Abort].
func Prepare(ctx context.Context, path string, o Options) (*Mount, error) {
	p, err := openFreePoint(ctx, path)
	if err != nil {
		return nil, err
	}
	if o.Source == "" {
		o.Source = Subtype
	}
	m := &Mount{point: p}
	if err := m.prepare(ctx, &o); err != nil {
		p.close()
		return nil, err
	}
	return m, nil
}

func (m *Mount) prepare(ctx context.Context, o *Options) error {
	if o.Image != nil && m.point.hides(o.Image) {
		return fail(m.point.path, ErrHidesImage, nil)
	}
	if err := m.point.claim(ctx); err != nil {
		return err
	}
	if !capable() {
		return m.fusermount(ctx, o)
	}
	err := m.byKernel(o)
	if errors.Is(err, unix.EPERM) {
		// A container may have the capability and yet forbid the call.
		if err := m.fusermount(ctx, o); err == nil {
			return nil
		}
	}
	return err
}

// byKernel mounts with system calls of our own.
func (m *Mount) byKernel(o *Options) error {
	dev, err := openDevice()
	if err != nil {
		return err
	}
	m.device = dev
	err = m.detached(o)
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, unix.EPERM) {
		err = m.direct(o)
	}
	if err != nil {
		m.device = nil
		return errors.Join(fail(m.point.path, err, nil), dev.Close())
	}
	return nil
}

func openDevice() (*os.File, error) {
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return nil, fail("/dev/fuse", ErrNoFuse, err)
	case err != nil:
		return nil, fail("/dev/fuse", err, nil)
	}
	if !isFUSEDevice(fd) {
		closeFD(fd)
		return nil, fail("/dev/fuse", ErrNoFuse, unix.ENODEV)
	}
	return os.NewFile(uintptr(fd), "/dev/fuse"), nil
}

// isFUSEDevice tells whether a descriptor is what /dev/fuse should be. A
// container may have an empty file in its place, which root can open.
func isFUSEDevice(fd int) bool {
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	return err == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == unix.Mkdev(10, 229) // misc, FUSE_MINOR
}

// Point returns the mount point: an absolute path without symbolic links.
func (m *Mount) Point() string { return m.point.path }

// Device returns the FUSE device that a server has to read. It belongs to m.
func (m *Mount) Device() *os.File { return m.device }

// Attach makes the mount visible, if it is not yet, and closes this process's
// descriptor of the device: from now on the mount lives as long as its server.
func (m *Mount) Attach() error {
	if m.ended {
		return os.ErrClosed
	}
	if m.way == wayDetached {
		if err := m.move(); err != nil {
			return errors.Join(err, m.Abort())
		}
	}
	m.readAhead()
	m.close()
	return nil
}

// Abort undoes Prepare, unless Attach was called before. Whoever already waits
// for an answer of the file system gets an error when the last copy of the
// device is closed.
func (m *Mount) Abort() error {
	if m.ended {
		return nil
	}
	defer m.close()
	if m.way == wayDetached {
		return nil // ends with its descriptor
	}
	return detach(context.Background(), m.point.path)
}

func (m *Mount) close() {
	m.ended = true
	for _, f := range []*os.File{m.device, m.tree} {
		if f != nil {
			closeFile(f)
		}
	}
	m.point.close()
}

// closeFile closes a file to which nothing was written.
func closeFile(f *os.File) { _ = f.Close() }

func closeFD(fd int) { _ = unix.Close(fd) }

// kernelOptions lists the options that fuse itself takes (Linux fs/fuse/inode.c,
// fuse_fs_parameters), those without a value with an empty one.
func (m *Mount) kernelOptions(o *Options) [][2]string {
	opts := [][2]string{
		{"fd", strconv.Itoa(int(m.device.Fd()))},
		{"rootmode", "40000"},
		{"user_id", strconv.Itoa(os.Getuid())},
		{"group_id", strconv.Itoa(os.Getgid())},
		{"default_permissions", ""},
	}
	if o.AllowOther {
		opts = append(opts, [2]string{"allow_other", ""})
	}
	if o.MaxRead > 0 {
		opts = append(opts, [2]string{"max_read", strconv.Itoa(o.MaxRead)})
	}
	return opts
}

// direct mounts with mount(2).
func (m *Mount) direct(o *Options) error {
	var data []string
	for _, opt := range m.kernelOptions(o) {
		data = append(data, strings.TrimSuffix(opt[0]+"="+opt[1], "="))
	}
	const flags = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV
	if err := unix.Mount(o.Source, m.point.proc(), "fuse."+Subtype, flags, strings.Join(data, ",")); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	m.way = wayDirect
	return nil
}
