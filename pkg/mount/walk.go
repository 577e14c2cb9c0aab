package mount

import (
	"context"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// A walker follows a path component by component, as the kernel would, and
// enters a FUSE file system only after it was seen to be alive.
type walker struct {
	path  string // as given, for messages
	todo  []string
	dir   int // where it is, O_PATH
	table Table
	alive map[int]bool // mounts that were checked
	links int
}

// maxLinks is the kernel's MAXSYMLINKS.
const maxLinks = 40

// openPoint opens what path names without entering what is mounted there.
func openPoint(ctx context.Context, path string) (*point, error) {
	abs, err := absolute(path)
	if err != nil {
		return nil, err
	}
	table, err := ReadTable()
	if err != nil {
		return nil, err
	}
	root, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fail("/", err, nil)
	}
	w := &walker{path: path, dir: root, table: table, alive: map[int]bool{}}
	w.push(abs)
	for len(w.todo) > 0 && err == nil {
		err = w.step(ctx)
	}
	if err != nil {
		closeFD(w.dir)
		return nil, fail(path, err, nil)
	}
	return w.point()
}

// push puts the components of a path before those that are left.
func (w *walker) push(path string) {
	var names []string
	for name := range strings.SplitSeq(path, "/") {
		if name != "" && name != "." {
			names = append(names, name)
		}
	}
	w.todo = append(names, w.todo...)
}

func (w *walker) step(ctx context.Context) error {
	if err := w.enter(ctx); err != nil {
		return err
	}
	name := w.todo[0]
	w.todo = w.todo[1:]
	fd, err := unix.Openat(w.dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	link, err := readlink(fd)
	if err != nil {
		w.become(fd)
		return nil //nolint:nilerr // not a symbolic link
	}
	closeFD(fd)
	return w.follow(link)
}

// enter makes sure that a lookup in the present directory will be answered.
func (w *walker) enter(ctx context.Context) error {
	id, err := mountID(w.dir, "")
	if err != nil || w.alive[id] {
		return err
	}
	e, err := w.entry(id)
	if err != nil {
		return err
	}
	if e != nil && e.IsFUSE() {
		if err := Alive(ctx, e); err != nil {
			return err
		}
	}
	w.alive[id] = true
	return nil
}

// entry finds a mount, also one that is newer than the table. There is none
// for mounts outside of a chroot.
func (w *walker) entry(id int) (*Entry, error) {
	if e := w.table.ByID(id); e != nil {
		return e, nil
	}
	table, err := ReadTable()
	if err != nil {
		return nil, err
	}
	w.table = table
	return table.ByID(id), nil
}

func (w *walker) become(fd int) {
	closeFD(w.dir)
	w.dir = fd
}

// follow goes on at the target of a symbolic link.
func (w *walker) follow(target string) error {
	if w.links++; w.links > maxLinks {
		return unix.ELOOP
	}
	w.push(target)
	if !strings.HasPrefix(target, "/") {
		return nil
	}
	root, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == nil {
		w.become(root)
	}
	return err
}

// readlink reads a symbolic link that was opened as such.
func readlink(fd int) (string, error) {
	b := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", b)
	if err != nil {
		return "", err
	}
	return string(b[:n]), nil
}

// point turns the place that was reached into a point.
func (w *walker) point() (*point, error) {
	p := &point{dir: os.NewFile(uintptr(w.dir), w.path)}
	var err error
	if p.path, err = os.Readlink(p.proc()); err == nil {
		p.id, err = mountID(w.dir, "")
	}
	if err == nil {
		p.entry, err = w.entry(p.id)
	}
	if err != nil {
		closeFile(p.dir)
		return nil, fail(w.path, err, nil)
	}
	return p, nil
}
