package main

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/isomount/isomount/pkg/fsys"
)

// A place is a file or directory of a disc, and where it was found.
type place struct {
	path string // from the root, without a slash at its start; "" is the root
	node fsys.Node
	attr fsys.Attr
}

// name is the last part of the path, "/" for the root.
func (p *place) name() string {
	if p.path == "" {
		return "/"
	}
	return path.Base(p.path)
}

func (p *place) kind() uint32 { return p.attr.Mode & fsys.TypeMask }

// errTwice reports a directory that a disc holds in two places.
var errTwice = errors.New("directory is also found elsewhere, left out here")

// join appends a name to a path. The name is not cleaned.
func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// pick finds what paths name, in their order; no path means the root. In a
// path, * ? and [] match within a name, ** any number of directories; a file
// that is called exactly so comes first.
func pick(ctx context.Context, f fsys.FS, paths []string) ([]place, error) {
	if len(paths) == 0 {
		paths = []string{""}
	}
	var found []place
	for _, p := range paths {
		places, err := pickOne(ctx, f, p)
		if err != nil {
			return nil, err
		}
		found = append(found, places...)
	}
	return found, nil
}

func pickOne(ctx context.Context, f fsys.FS, pattern string) ([]place, error) {
	clean := strings.Trim(path.Clean("/"+pattern), "/")
	n, a, err := fsys.Resolve(f, clean, false)
	if err == nil {
		return []place{{clean, n, a}}, nil
	}
	if !strings.ContainsAny(clean, `*?[\`) {
		return nil, fmt.Errorf("%s: %w", printable(pattern), notFound(err))
	}
	g := globber{ctx: ctx, fs: f}
	places, err := g.run(strings.Split(clean, "/"))
	if err == nil && len(places) == 0 {
		err = fmt.Errorf("%s: nothing on the disc matches it%w", printable(pattern), quiet{fsys.ErrNotExist})
	}
	return places, err
}

// notFound takes a missing name for what it is when a file stands where a
// directory should.
func notFound(err error) error {
	if errors.Is(err, fsys.ErrNotDir) || errors.Is(err, fsys.ErrNotExist) {
		return errNotOnDisc
	}
	return err
}

var errNotOnDisc error = &worded{"no such file or directory on the disc", fsys.ErrNotExist}

// quiet gives an error a kind that its text does not show.
type quiet struct{ error }

func (quiet) Error() string   { return "" }
func (q quiet) Unwrap() error { return q.error }

// A worded error has a kind that its text does not show, and nothing to format
// when the program starts.
type worded struct {
	text string
	err  error
}

func (e *worded) Error() string { return e.text }
func (e *worded) Unwrap() error { return e.err }

// A globber finds paths that match a pattern.
type globber struct {
	ctx context.Context //nolint:containedctx // a globber lives for one call
	fs  fsys.FS
}

// run goes down one name of the pattern after the other.
func (g *globber) run(names []string) ([]place, error) {
	for _, n := range names {
		if _, err := path.Match(n, ""); err != nil {
			return nil, usagef("%s: %w", printable(strings.Join(names, "/")), err)
		}
	}
	root, err := g.fs.Attr(g.fs.Root())
	if err != nil {
		return nil, err
	}
	places := []place{{"", g.fs.Root(), root}}
	for i, name := range names {
		var next []place
		for _, dir := range places {
			found, err := g.step(dir, name, i == len(names)-1)
			if err != nil {
				return nil, err
			}
			next = append(next, found...)
		}
		places = next
	}
	return unique(places), nil
}

// unique leaves out what several "**" have found more than once.
func unique(places []place) []place {
	seen := make(map[string]bool, len(places))
	return slices.DeleteFunc(places, func(p place) bool {
		again := seen[p.path]
		seen[p.path] = true
		return again
	})
}

// step matches one name in a directory. What is no directory holds nothing.
func (g *globber) step(dir place, name string, last bool) ([]place, error) {
	if dir.kind() == fsys.TypeLink { // a link on the way is followed
		n, a, err := fsys.Resolve(g.fs, dir.path, true)
		if err != nil {
			return nil, nil //nolint:nilerr // it leads nowhere
		}
		dir.node, dir.attr = n, a
	}
	if !dir.attr.IsDir() {
		return nil, nil
	}
	if name == "**" {
		return g.below(dir, last)
	}
	list, err := readPlaces(g.fs, &dir)
	found := slices.DeleteFunc(list, func(p place) bool {
		ok, merr := path.Match(name, p.name())
		return !ok || merr != nil
	})
	if err != nil {
		err = fmt.Errorf("%s: %w", printable(dir.path), err)
	}
	return found, err
}

// below gives a directory and all that are below it; at the end of a pattern
// everything else below it too.
func (g *globber) below(dir place, last bool) ([]place, error) {
	var found []place
	w := walker{fs: g.fs, visit: func(p *place) error {
		if p.attr.IsDir() || last {
			found = append(found, *p)
		}
		return nil
	}}
	return found, w.walk(g.ctx, dir)
}

// A walker goes through a tree from the top, in the order of names. A directory
// is visited once, wherever else a damaged disc shows it again.
type walker struct {
	fs    fsys.FS
	visit func(p *place) error         // an error ends the walk
	bad   func(path string, err error) // what cannot be read is told to it; nil: an error ends the walk
	skip  func(p *place) bool          // what is passed over, with all below it; nil: nothing
	enter func(p *place, list []place) // a directory that was read; nil: nobody wants to know
	seen  map[fsys.Node]struct{}
}

// walk visits a place and everything below it.
func (w *walker) walk(ctx context.Context, top place) error {
	if w.seen == nil {
		w.seen = map[fsys.Node]struct{}{}
	}
	for stack := []place{top}; len(stack) > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		p := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		below, err := w.one(&p)
		if err != nil {
			return err
		}
		slices.Reverse(below)
		stack = append(stack, below...)
	}
	return nil
}

// one visits a place and returns what is in it.
func (w *walker) one(p *place) ([]place, error) {
	if w.skip != nil && w.skip(p) {
		return nil, nil
	}
	if p.node == 0 { // a damaged entry, of which only the name is known
		_, _, err := fsys.Resolve(w.fs, p.path, false)
		return nil, w.told(p.path, err)
	}
	if p.attr.IsDir() {
		if _, again := w.seen[p.node]; again {
			return nil, w.told(p.path, errTwice)
		}
		w.seen[p.node] = struct{}{}
	}
	if err := w.visit(p); err != nil || !p.attr.IsDir() {
		return nil, err
	}
	list, err := readPlaces(w.fs, p)
	if w.enter != nil {
		w.enter(p, list)
	}
	return list, w.told(p.path, err)
}

func (w *walker) told(path string, err error) error {
	switch {
	case err == nil:
		return nil
	case w.bad == nil:
		return fmt.Errorf("%s: %w", printable("/"+path), err)
	}
	w.bad(path, err)
	return nil
}

// readPlaces lists a directory in the order of names. An error comes with what
// could be read.
func readPlaces(f fsys.FS, dir *place) ([]place, error) {
	var list []place
	err := f.ReadDir(dir.node, 0, func(e *fsys.Entry) bool {
		list = append(list, place{join(dir.path, string(e.Name)), e.Node, e.Attr})
		return true
	})
	slices.SortFunc(list, func(a, b place) int { return strings.Compare(a.path, b.path) })
	return list, err
}
