package mount

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Remains are what a mount that was taken away from its place may have left: the
// same file system at another place, or in a mount namespace that was copied
// while it was there. As long as it is anywhere, its server has to go on.
type Remains struct {
	entry *Entry
	abort *os.File // nil if this process cannot end the connection
}

// Remove takes away the mount of ours at path, as [Unmount] does, and returns
// what can be known of it afterwards. Close that when it is not needed any more.
func Remove(ctx context.Context, path string) (*Remains, error) {
	p, err := removable(ctx, path)
	if err != nil {
		return nil, err
	}
	// Opened while the mount is there: its number may be another's soon after.
	r := &Remains{entry: p.entry, abort: openAbort(p.entry)}
	if err := p.unmount(ctx, false); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// Close releases what is held.
func (r *Remains) Close() {
	if r.abort != nil {
		closeFile(r.abort)
	}
}

// Users lists who still uses the file system, as far as this process may know:
// mounts of this namespace, and processes of any.
func (r *Remains) Users(ctx context.Context) []Holder {
	table, err := ReadTable()
	if err != nil {
		return nil
	}
	var list []Holder
	for _, m := range table.ByDevice(r.entry.Major, r.entry.Minor) {
		list = append(list, Holder{How: UseMount, Path: m.Point})
	}
	return append(list, holders(ctx, func(ctx context.Context, found chan<- Holder) {
		findProcesses(ctx, r.entry, onDevice, found)
	})...)
}

// Namespaces lists a process of each other mount namespace that has the file
// system, as far as this process may know.
func (r *Remains) Namespaces(ctx context.Context) []Holder {
	own, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		return nil
	}
	seen := map[string]bool{own: true}
	return holders(ctx, func(ctx context.Context, found chan<- Holder) {
		for _, dir := range processes() {
			ns, err := os.Readlink(dir + "/ns/mnt")
			if err != nil || seen[ns] {
				continue
			}
			seen[ns] = true
			if point, ok := pointIn(dir, r.entry); ok {
				send(ctx, found, holder(dir, UseNamespace, point))
			}
		}
	})
}

// pointIn finds where a process has a file system mounted.
func pointIn(dir string, e *Entry) (string, bool) {
	f, err := os.Open(dir + "/mountinfo")
	if err != nil {
		return "", false
	}
	defer closeFile(f)
	table, err := ParseTable(f)
	if err != nil {
		return "", false
	}
	found := table.ByDevice(e.Major, e.Minor)
	if len(found) == 0 {
		return "", false
	}
	return found[0].Point, true
}

// Abort ends the connection to the server, wherever the file system still is:
// what is left of it answers every request with an error. It fails with
// errors.ErrUnsupported where this process has no way to do so.
func (r *Remains) Abort() error {
	if r.abort == nil {
		return errors.ErrUnsupported
	}
	_, err := r.abort.WriteString("1")
	return err
}

const (
	fusectlDir   = "/sys/fs/fuse/connections"
	fusectlMagic = 0x65735543 // FUSE_CTL_SUPER_MAGIC of Linux fs/fuse/control.c
)

// openAbort opens the file that ends a connection (Linux
// Documentation/filesystems/fuse/fuse.rst), nil if there is no way. It is named
// after the device number, which for FUSE has no major part.
func openAbort(e *Entry) *os.File {
	if e.Major != 0 {
		return nil
	}
	name := strconv.FormatUint(uint64(e.Minor), 10) + "/abort"
	var st unix.Statfs_t
	if unix.Statfs(fusectlDir, &st) == nil && st.Type == fusectlMagic {
		return openWrite(unix.AT_FDCWD, filepath.Join(fusectlDir, name))
	}
	dir, err := mountFusectl()
	if err != nil {
		return nil
	}
	defer closeFD(dir)
	return openWrite(dir, name)
}

func openWrite(dir int, name string) *os.File {
	fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	return os.NewFile(uintptr(fd), name)
}

// mountFusectl makes FUSE's control file system without a place in the tree, for
// systems on which nobody has mounted it. Only root can.
func mountFusectl() (fd int, err error) {
	fs, err := unix.Fsopen("fusectl", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer closeFD(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, err
	}
	return unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
}
