package fsystest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/isomount/isomount/pkg/fsys"
)

// An entry is an [fsys.Entry] that outlives its listing.
type entry struct {
	name string
	node fsys.Node
	attr fsys.Attr
	next uint64
}

var errStop = errors.New("listing went on after yield returned false")

// list reads at most limit entries of a directory from a place, and fails if
// it is handed more after it said stop.
func list(f fsys.FS, dir fsys.Node, from uint64, limit int) ([]entry, error) {
	var got []entry
	calls := 0
	err := f.ReadDir(dir, from, func(e *fsys.Entry) bool {
		if calls++; calls <= limit {
			got = append(got, entry{string(e.Name), e.Node, e.Attr, e.Next})
		}
		return calls < limit
	})
	if limit > 0 && calls > limit {
		return got, fmt.Errorf("%w: %d more", errStop, calls-limit)
	}
	return got, err
}

// nameFault names what no entry may be called, however damaged its disc is.
func nameFault(name string) string {
	b := []byte(name)
	switch {
	case len(b) == 0:
		return "name is empty"
	case name == "." || name == "..":
		return "name is . or .."
	case bytes.IndexByte(b, '/') >= 0 || bytes.IndexByte(b, 0) >= 0:
		return "name has a slash or a NUL"
	}
	return ""
}

// listFaults names what no listing may have, however damaged its disc is.
func listFaults(entries []entry) error {
	names, nexts := map[string]bool{}, map[uint64]bool{}
	for _, e := range entries {
		if fault := nameFault(e.name); fault != "" {
			return fmt.Errorf("entry %q: %s", e.name, fault)
		}
		if names[e.name] {
			return fmt.Errorf("entry %q is there twice", e.name)
		}
		if e.next == 0 || e.next >= 1<<62 || nexts[e.next] {
			return fmt.Errorf("entry %q: next %#x is 0, too large or there twice", e.name, e.next)
		}
		names[e.name], nexts[e.next] = true, true
	}
	return nil
}

// brokenFault names what is wrong with an entry whose node cannot be read, and
// with the error that its lookup gave.
func brokenFault(a fsys.Attr, lookup error) string {
	switch {
	case a != (fsys.Attr{Ino: a.Ino}) || a.Ino == 0:
		return "has no node, but attributes beyond an inode number"
	case lookup == nil:
		return "has no node when listed, but when looked up"
	case errors.Is(lookup, fs.ErrNotExist):
		return "is listed, but does not exist when looked up"
	}
	return ""
}

// listLimit ends listings that would never end.
const listLimit = 10_000_000

// checkDir checks everything about the entries of a directory and returns them.
func (c *checker) checkDir(path string, dir fsys.Node) []entry {
	all, err := list(c.fs, dir, 0, listLimit)
	if err != nil {
		c.errorf(path, "readdir: %w", err)
	}
	if err := listFaults(all); err != nil {
		c.errorf(path, "readdir: %w", err)
	}
	c.checkResume(path, dir, all)
	c.checkLookups(path, dir, all)
	c.checkMissing(path, dir)
	return all
}

// places returns indexes below n, the first and the last with them: up to about
// 64, and few of a long list, since each costs reading the list again.
func places(n int) []int {
	step := max(1, n/64)
	if n > 5000 {
		step = n / 6
	}
	var p []int
	for i := 0; i < n; i += step {
		p = append(p, i)
	}
	if n > 0 && p[len(p)-1] != n-1 {
		p = append(p, n-1)
	}
	return p
}

// checkResume lists from the middle, and stops in the middle.
func (c *checker) checkResume(path string, dir fsys.Node, all []entry) {
	for _, i := range places(len(all)) {
		rest, err := list(c.fs, dir, all[i].next, listLimit)
		if err != nil || !slices.Equal(rest, all[i+1:]) {
			c.errorf(path, "readdir after %q: got %d entries, error %v, want the %d that followed it", all[i].name, len(rest), err, len(all)-i-1)
		}
		head, err := list(c.fs, dir, 0, i+1)
		if err != nil || !slices.Equal(head, all[:i+1]) {
			c.errorf(path, "readdir stopped after %d entries: got %d, error %v", i+1, len(head), err)
		}
	}
}

// checkLookups looks up every name through one buffer, so that a reader that
// keeps the slice finds other names in it.
func (c *checker) checkLookups(path string, dir fsys.Node, all []entry) {
	var buf []byte
	for _, e := range all {
		buf = append(buf[:0], e.name...)
		n, a, err := c.fs.Lookup(dir, buf)
		if e.node == 0 {
			if fault := brokenFault(e.attr, err); fault != "" {
				c.errorf(join(path, e.name), "entry %s", fault)
			}
		} else if err != nil || n != e.node || a != e.attr {
			c.errorf(join(path, e.name), "lookup: got node %#x %+v, error %v, want %#x %+v as listed", n, a, err, e.node, e.attr)
		}
		for i := range buf {
			buf[i] = '?'
		}
	}
}

// missing are names that no directory has.
var missing = []string{
	"", ".", "..", "/", "no such file", "no/such", "no\x00such", "\x00", string(bytes.Repeat([]byte("n"), 255)), string(bytes.Repeat([]byte("\xff"), 70_000)),
}

func (c *checker) checkMissing(path string, dir fsys.Node) {
	for _, name := range missing {
		if _, _, err := c.fs.Lookup(dir, []byte(name)); !errors.Is(err, fs.ErrNotExist) {
			c.errorf(path, "lookup of %.20q (%d bytes), which is not there: got error %v, want ErrNotExist", name, len(name), err)
		}
	}
}

// checkFileAsDir asks what is no directory for what only a directory has.
func (c *checker) checkFileAsDir(path string, n fsys.Node) {
	if _, err := list(c.fs, n, 0, 1); !errors.Is(err, fsys.ErrNotDir) {
		c.errorf(path, "readdir of what is no directory: got error %v, want ErrNotDir", err)
	}
	if _, _, err := c.fs.Lookup(n, []byte("x")); !errors.Is(err, fsys.ErrNotDir) {
		c.errorf(path, "lookup in what is no directory: got error %v, want ErrNotDir", err)
	}
	if p, ok := c.fs.(fsys.ParentFS); ok {
		if _, err := p.Parent(n); err == nil {
			c.errorf(path, "parent of what is no directory: got no error")
		}
	}
}

// checkDirAsFile asks a directory for what only a file has.
func (c *checker) checkDirAsFile(path string, n fsys.Node) {
	if _, err := c.fs.ReadAt(n, make([]byte, 1), 0); !errors.Is(err, fsys.ErrIsDir) {
		c.errorf(path, "read of a directory: got error %v, want ErrIsDir", err)
	}
	if x, ok := c.fs.(fsys.ExtentFS); ok {
		if err := x.Extents(n, 0, func(fsys.Extent) bool { return true }); err == nil {
			c.errorf(path, "extents of a directory: got no error")
		}
	}
}
