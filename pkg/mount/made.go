package mount

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// A place is a directory in which mount points are made.
type place struct {
	dir  string
	perm fs.FileMode   // of the directories that are made on the way
	up   int           // how many of them at the end of dir may be made
	old  time.Duration // see leftoverAge
}

// leftoverAge is how old an empty directory must be to be taken for what a
// killed process left behind, and not for one that is about to be mounted on.
const leftoverAge = time.Minute

// places lists where mount points are made for this user, the best first.
func places() []place {
	uid := os.Getuid()
	tmp := place{"/tmp/isomount-" + strconv.Itoa(uid), 0o700, 1, leftoverAge}
	if uid == 0 {
		// Other users must get through to a mount with allow_other.
		return []place{{"/run/isomount/mnt", 0o755, 2, leftoverAge}, tmp}
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		return []place{{filepath.Join(dir, "isomount"), 0o700, 1, leftoverAge}, tmp}
	}
	return []place{tmp}
}

// MakePoint makes a new directory named after a label, in the first of these
// that can be used: $XDG_RUNTIME_DIR/isomount (root: /run/isomount/mnt) and
// /tmp/isomount-UID. If the name is taken it gets a number.
func MakePoint(label string) (string, error) {
	var errs []error
	for _, p := range places() {
		path, err := p.make(pointName(label))
		if err == nil {
			return path, nil
		}
		errs = append(errs, err)
	}
	return "", errors.Join(errs...)
}

// make makes a directory in the place, and the place if need be: also when
// another process tidies it away at the same moment.
func (p *place) make(name string) (path string, err error) {
	const tries = 10
	for range tries {
		if err = p.ready(); err != nil {
			return "", err
		}
		if path, err = p.makeNamed(name); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return path, err
}

// tidy removes the directories that were made on the way to the place, as far
// as nothing else is in them.
func (p *place) tidy() {
	dir := p.dir
	for range p.up {
		if unix.Rmdir(dir) != nil {
			return
		}
		dir = filepath.Dir(dir)
	}
}

// ready makes the place and makes sure that nobody else can put something
// into it: in /tmp another user may have been there first.
func (p *place) ready() error {
	parts := strings.Split(p.dir, "/")
	for n := len(parts) - p.up + 1; n <= len(parts); n++ {
		dir := strings.Join(parts[:n], "/")
		if err := mkdir(dir, p.perm); err != nil && !errors.Is(err, fs.ErrExist) {
			return fail(dir, err, nil)
		}
		if err := checkOwn(dir); err != nil {
			return err
		}
	}
	return nil
}

// mkdir makes a directory with a mode that the umask does not change.
func mkdir(dir string, perm fs.FileMode) error {
	if err := os.Mkdir(dir, perm); err != nil {
		return err
	}
	return os.Chmod(dir, perm)
}

// checkOwn accepts a real directory of this user that nobody else may write to.
func checkOwn(dir string) error {
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return fail(dir, err, nil)
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return fail(dir, ErrNotDir, nil)
	case int(st.Uid) != os.Getuid():
		return fail(dir, fmt.Errorf("belongs to user %d: %w", st.Uid, ErrPermission), nil)
	case st.Mode&0o022 != 0:
		return fail(dir, fmt.Errorf("others may write to it: %w", ErrPermission), nil)
	}
	return nil
}

// maxTaken is how many mount points may have the same label.
const maxTaken = 10000

func (p *place) makeNamed(name string) (string, error) {
	for n := 1; n <= maxTaken; n++ {
		path := p.dir + "/" + name
		if n > 1 {
			path += "-" + strconv.Itoa(n)
		}
		err := mkdir(path, p.perm)
		if errors.Is(err, fs.ErrExist) && p.removeLeftover(path) {
			err = mkdir(path, p.perm)
		}
		if !errors.Is(err, fs.ErrExist) {
			return path, err
		}
	}
	return "", fail(p.dir+"/"+name, ErrBusy, nil)
}

// removeLeftover removes an old empty directory on which nothing is mounted.
func (p *place) removeLeftover(path string) bool {
	table, err := ReadTable()
	if err != nil || table.At(path) != nil {
		return false // before stat: it may not answer
	}
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil || time.Since(time.Unix(st.Ctim.Unix())) < p.old {
		return false
	}
	return unix.Rmdir(path) == nil
}

// maxName is the longest name in bytes, so that a number still fits behind it.
const maxName = 100

// pointName makes a file name of a label: what could hurt in a terminal or a
// path becomes '_', and a leading '.' and the names of the daemon's own files
// in the same directory are avoided.
func pointName(label string) string {
	name := strings.Map(func(r rune) rune {
		if r == '/' || r == utf8.RuneError || !unicode.IsPrint(r) {
			return '_'
		}
		return r
	}, strings.TrimSpace(label))
	for len(name) > maxName {
		_, n := utf8.DecodeLastRuneInString(name)
		name = strings.TrimSpace(name[:len(name)-n])
	}
	switch {
	case name == "":
		return "disc"
	case name[0] == '.':
		return "_" + name[1:]
	case strings.HasPrefix(name, "socket"), strings.HasPrefix(name, "isomountd"):
		return "_" + name
	}
	return name
}

// RemoveMade removes a directory that [MakePoint] made, if it is empty and
// nothing is mounted on it. Of any other path it does nothing, whatever it is
// told.
func RemoveMade(path string) error {
	dir, name := filepath.Split(filepath.Clean(path))
	for _, p := range places() {
		if filepath.Clean(dir) == p.dir && name != "" {
			err := removeIn(p.dir, name)
			p.tidy()
			return err
		}
	}
	return nil
}

// removeIn removes an empty directory by its name in dir, which is not followed
// if it has become a symbolic link.
func removeIn(dir, name string) error {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fail(dir, err, nil)
	}
	defer closeFD(fd)
	err = unix.Unlinkat(fd, name, unix.AT_REMOVEDIR)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return fail(dir+"/"+name, err, nil)
}
