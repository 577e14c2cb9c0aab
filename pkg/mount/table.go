package mount

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// An Entry is one line of the mount table (proc_pid_mountinfo(5)).
type Entry struct {
	ID      int    // (1) mount id
	Parent  int    // (2) id of the mount below
	Major   uint32 // (3) st_dev of the files on it
	Minor   uint32
	Root    string   // (4) directory of the file system that is mounted
	Point   string   // (5) mount point
	Options string   // (6) options of the mount
	Tags    []string // (7) optional fields, such as shared:1
	Type    string   // (9) type, with subtype: "fuse.isomount"
	Source  string   // (10)
	Super   string   // (11) options of the file system
}

// IsFUSE tells whether a process serves the file system.
func (e *Entry) IsFUSE() bool {
	kind, _, _ := strings.Cut(e.Type, ".")
	return kind == "fuse" || kind == "fuseblk"
}

// IsOurs tells whether it is one of isomount's.
func (e *Entry) IsOurs() bool { return e.Type == "fuse."+Subtype }

// UserID returns who mounted a FUSE file system.
func (e *Entry) UserID() (uid uint32, ok bool) {
	for opt := range strings.SplitSeq(e.Super, ",") {
		if s, found := strings.CutPrefix(opt, "user_id="); found {
			n, err := strconv.ParseUint(s, 10, 32)
			return uint32(n), err == nil
		}
	}
	return 0, false
}

// A Table is the mount table of this process's namespace. Later entries may
// cover earlier ones.
type Table []Entry

// maxTable limits how much of mountinfo is read; the kernel's own limit is
// 100,000 mounts (fs.mount-max).
const maxTable = 256 << 20

// ReadTable reads the mount table of this process.
func ReadTable() (Table, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer closeFile(f)
	// The kernel gives the table in pieces of a page. What is mounted or
	// unmounted between two of them can hide a line, so read again if the
	// table has changed meanwhile.
	var b []byte
	for range 10 {
		if b, err = io.ReadAll(io.LimitReader(f, maxTable)); err != nil {
			return nil, err
		}
		if !changed(f) {
			break
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return nil, err
		}
	}
	return parseTable(b)
}

// changed tells whether the mounts have changed since f was opened or last asked.
func changed(f *os.File) bool {
	fds := []unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLPRI}} //nolint:gosec // a descriptor fits
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0 && fds[0].Revents&(unix.POLLPRI|unix.POLLERR) != 0
}

// ParseTable reads a table in the form of /proc/PID/mountinfo.
func ParseTable(r io.Reader) (Table, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxTable))
	if err != nil {
		return nil, err
	}
	return parseTable(b)
}

func parseTable(b []byte) (Table, error) {
	t := make(Table, 0, bytes.Count(b, []byte{'\n'}))
	n := 0
	for line := range bytes.Lines(b) {
		n++
		e, err := parseEntry(strings.TrimSuffix(string(line), "\n"))
		if err != nil {
			return nil, fmt.Errorf("mountinfo line %d: %w", n, err)
		}
		t = append(t, e)
	}
	return t, nil
}

// parseEntry splits at single spaces: a source can be empty.
func parseEntry(line string) (Entry, error) {
	var e Entry
	f := strings.Split(line, " ")
	dash := 6
	for dash < len(f) && f[dash] != "-" {
		dash++
	}
	if dash+4 > len(f) {
		return e, errors.New("too few fields")
	}
	if err := e.parseNumbers(f); err != nil {
		return e, err
	}
	e.Root, e.Point, e.Options = unescape(f[3]), unescape(f[4]), f[5]
	if dash > 6 {
		e.Tags = f[6:dash]
	}
	e.Type, e.Source, e.Super = unescape(f[dash+1]), unescape(f[dash+2]), f[dash+3]
	return e, nil
}

func (e *Entry) parseNumbers(f []string) (err error) {
	if e.ID, err = strconv.Atoi(f[0]); err != nil {
		return err
	}
	if e.Parent, err = strconv.Atoi(f[1]); err != nil {
		return err
	}
	major, minor, _ := strings.Cut(f[2], ":")
	ma, err := strconv.ParseUint(major, 10, 32)
	if err != nil {
		return err
	}
	mi, err := strconv.ParseUint(minor, 10, 32)
	if err != nil {
		return err
	}
	e.Major, e.Minor = uint32(ma), uint32(mi)
	return nil
}

// unescape undoes the kernel's \ooo for space, tab, newline, '#' and backslash
// (Linux fs/proc_namespace.c, mangle).
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if c, ok := octal(s[i:]); ok {
			b.WriteByte(c)
			i += 3
		} else {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// octal decodes a leading backslash and three octal digits.
func octal(s string) (byte, bool) {
	if len(s) < 4 || s[0] != '\\' {
		return 0, false
	}
	n, err := strconv.ParseUint(s[1:4], 8, 8)
	return byte(n), err == nil
}

// At returns the topmost mount at a mount point, or nil.
func (t Table) At(path string) *Entry {
	var top *Entry
	for i := range t {
		// What was mounted over another names it as its parent; ids are reused
		// and so tell nothing about the order.
		if e := &t[i]; e.Point == path && (top == nil || e.Parent == top.ID) {
			top = e
		}
	}
	return top
}

// ByID returns the mount with an id, or nil.
func (t Table) ByID(id int) *Entry {
	for i := range t {
		if t[i].ID == id {
			return &t[i]
		}
	}
	return nil
}

// ByDevice returns the mounts of one file system.
func (t Table) ByDevice(major, minor uint32) []Entry {
	return t.filter(func(e *Entry) bool { return e.Major == major && e.Minor == minor })
}

// Ours returns the mounts of isomount.
func (t Table) Ours() []Entry { return t.filter((*Entry).IsOurs) }

// on returns the mounts whose mount points lie on a mount.
func (t Table) on(id int) []Entry {
	return t.filter(func(e *Entry) bool { return e.Parent == id && e.ID != id })
}

func (t Table) filter(keep func(*Entry) bool) []Entry {
	var found []Entry
	for i := range t {
		if keep(&t[i]) {
			found = append(found, t[i])
		}
	}
	return found
}
