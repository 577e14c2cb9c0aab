package main

import (
	"context"
	"errors"
	"path"
	"slices"
	"strings"

	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/isofs/master"
)

// A plan is what is taken off a disc, in the order in which that goes fastest
// and safest: directories from the top, files in the order in which they lie on
// the disc, then what has no content. Links come last, so that nothing is ever
// written through one.
type plan struct {
	dirs   []place
	files  []placedFile
	others []place // devices, sockets, pipes, and symbolic links behind them
	bytes  int64   // of the content
}

// A placedFile is a file with content.
type placedFile struct {
	place

	pos int64 // of its first byte on the disc; less than 0 if there is none
}

var errSameName = errors.New("another file gets the same name, so this one is left out")

// A planner makes a plan.
type planner struct {
	fs      fsys.FS
	exclude []string
	bad     func(path string, err error)

	plan
	seen map[string]fsys.Node // paths that are in it
}

func (p *planner) make(ctx context.Context, places []place) (*plan, error) {
	p.seen = map[string]fsys.Node{}
	for _, top := range places {
		if err := p.parents(top.path); err != nil {
			return nil, err
		}
		w := walker{fs: p.fs, visit: p.add, bad: p.bad, skip: p.excluded}
		if err := w.walk(ctx, top); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(p.files, func(a, b placedFile) int {
		switch {
		case a.pos < b.pos:
			return -1
		case a.pos > b.pos:
			return 1
		}
		return 0
	})
	slices.SortStableFunc(p.others, func(a, b place) int { return rank(&a) - rank(&b) })
	return &p.plan, nil
}

func rank(p *place) int {
	if p.kind() == fsys.TypeLink {
		return 1
	}
	return 0
}

// parents adds the directories above a path. One that was reached through a
// link on the disc becomes a directory.
func (p *planner) parents(of string) error {
	for i, c := range of {
		if _, in := p.seen[of[:i]]; in || c != '/' {
			continue
		}
		n, a, err := fsys.Resolve(p.fs, of[:i], true)
		if err != nil {
			return err
		}
		if err := p.add(&place{of[:i], n, a}); err != nil {
			return err
		}
	}
	return nil
}

// excluded passes over what was excluded, and what is in the plan with all
// that is below it.
func (p *planner) excluded(x *place) bool {
	if n, in := p.seen[x.path]; in && n == x.node && !x.attr.IsDir() {
		return true
	}
	return x.path != "" && slices.ContainsFunc(p.exclude, func(pattern string) bool {
		return master.Match(strings.TrimPrefix(pattern, "/"), x.path)
	})
}

func (p *planner) add(x *place) error {
	if n, in := p.seen[x.path]; in {
		if n != x.node {
			p.bad(x.path, errSameName)
		}
		return nil
	}
	p.seen[x.path] = x.node
	switch {
	case x.attr.IsDir():
		p.dirs = append(p.dirs, *x)
	case x.attr.IsRegular():
		p.files = append(p.files, placedFile{*x, firstByte(p.fs, x.node)})
		p.bytes += x.attr.Size
	default:
		p.others = append(p.others, *x)
	}
	return nil
}

// firstByte tells where a file begins on the disc, or -1.
func firstByte(f fsys.FS, n fsys.Node) int64 {
	pos := int64(-1)
	if x, ok := f.(fsys.ExtentFS); ok {
		err := x.Extents(n, 0, func(e fsys.Extent) bool {
			pos = max(e.Pos, -1)
			return pos < 0
		})
		if err != nil {
			return -1 // reading it will tell
		}
	}
	return pos
}

// checkPatterns finds patterns that can match nothing.
func checkPatterns(patterns []string) error {
	for _, p := range patterns {
		if _, err := path.Match(p, ""); err != nil {
			return usagef("--exclude %s: %w", p, err)
		}
	}
	return nil
}

// A linker knows which files have several names.
type linker map[linkKey]string

type linkKey struct {
	ino  uint64
	size int64
	mode uint32
}

func keyOf(p *place) (linkKey, bool) {
	a := &p.attr
	return linkKey{a.Ino, a.Size, a.Mode}, a.Nlink > 1 && a.Ino != 0
}

// first returns the path under which a file was written before.
func (l linker) first(p *place) (string, bool) {
	k, several := keyOf(p)
	if !several {
		return "", false
	}
	path, ok := l[k]
	return path, ok
}

// written notes a file's first name.
func (l linker) written(p *place) {
	if k, several := keyOf(p); several {
		l[k] = p.path
	}
}

// xattrsOf reads the attributes of a node in the order of their names. What
// cannot be read is told to bad.
func xattrsOf(f fsys.FS, n fsys.Node, bad func(error)) []master.Xattr {
	x, ok := f.(fsys.XattrFS)
	if !ok {
		return nil
	}
	names, err := x.Xattrs(n)
	if err != nil {
		bad(err)
		return nil
	}
	slices.Sort(names)
	var list []master.Xattr
	for _, name := range names {
		value, err := x.Xattr(n, name)
		if err != nil {
			bad(err)
			continue
		}
		list = append(list, master.Xattr{Name: name, Value: slices.Clone(value)})
	}
	return list
}
