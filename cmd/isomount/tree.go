package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/isomount/isomount/pkg/fsys"
)

func treeCommand(a *app) *cobra.Command {
	j := &treeJob{app: a}
	c := &cobra.Command{
		Use:   "tree IMAGE [PATH...] [-L DEPTH] [-d] [-s]",
		Short: "Draw the tree of directories of a disc image",
		Long: `Draw what is on a disc image as a tree, without mounting it. Paths are those of
ls; for programs there is ls -R --json.`,
		Example: `  isomount tree -L 2 debian.iso
  isomount tree -d debian.iso /pool`,
		Args: args(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, words []string) error { return j.run(c.Context(), words[0], words[1:]) },
	}
	f := c.Flags()
	f.StringVarP(&j.options, "options", "o", "", "mount options, separated by commas, that choose a tree or how it is shown")
	f.IntVarP(&j.depth, "depth", "L", 0, "go down `N` directories only")
	f.BoolVarP(&j.dirsOnly, "dirs", "d", false, "directories only")
	f.BoolVarP(&j.sizes, "size", "s", false, "sizes of files as well")
	return c
}

// A treeJob is one run of the command.
type treeJob struct {
	app      *app
	options  string
	depth    int // 0: no limit
	dirsOnly bool
	sizes    bool

	fs          fsys.FS
	names       lsJob // writes names
	seen        map[fsys.Node]struct{}
	dirs, files int
	first       error
}

func (j *treeJob) run(ctx context.Context, image string, paths []string) error {
	if j.depth < 0 {
		return usagef("--depth=%d: less than 0", j.depth)
	}
	d, err := openDisc(image, j.options)
	if err != nil {
		return err
	}
	j.fs, j.seen = d.volume.FS, map[fsys.Node]struct{}{}
	j.names = lsJob{app: j.app, fs: j.fs, safe: isTerminal(j.app.out)}
	places, err := pick(ctx, j.fs, paths)
	if err != nil {
		err = fmt.Errorf("%s: %w", image, err)
	}
	for i := range places {
		if err == nil {
			err = j.draw(ctx, &places[i])
		}
	}
	if err == nil {
		_, err = fmt.Fprintf(j.app.out, "\n%s\n", j.sum())
	}
	return errors.Join(err, j.names.first, j.first, d.Close())
}

func (j *treeJob) sum() string {
	dirs := counted(j.dirs, "directory", "directories")
	if j.dirsOnly {
		return dirs
	}
	return dirs + ", " + counted(j.files, "file", "files")
}

// A branch is a line of the tree that is still to be drawn.
type branch struct {
	place

	lead  string // what stands before its name, and
	below string // before those of what is in it
	depth int
}

const (
	twig, lastTwig = "├── ", "└── "
	pass, lastPass = "│   ", "    "
)

// draw shows a place and what is below it. The stack is a list of its own: a
// hostile disc may be deeper than any stack of calls.
func (j *treeJob) draw(ctx context.Context, top *place) error {
	for stack := []branch{{place: *top}}; len(stack) > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		b := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if err := j.line(&b); err != nil {
			return err
		}
		list := j.read(&b)
		for i, p := range slices.Backward(list) {
			n := branch{p, b.below + twig, b.below + pass, b.depth + 1}
			if i == len(list)-1 {
				n.lead, n.below = b.below+lastTwig, b.below+lastPass
			}
			stack = append(stack, n)
		}
	}
	return nil
}

func (j *treeJob) line(b *branch) error {
	name := b.name()
	switch {
	case b.depth == 0:
		name = "/" + b.path
	case b.attr.IsDir():
		j.dirs++
	default:
		j.files++
	}
	text := j.names.text(name) + j.names.target(&b.place)
	switch {
	case b.node == 0:
		text += "  (cannot be read)"
	case j.sizes && b.attr.IsRegular():
		text += "  (" + bytesText(b.attr.Size) + ")"
	}
	_, err := io.WriteString(j.app.out, b.lead+text+"\n")
	return err
}

// read lists what is drawn below a branch.
func (j *treeJob) read(b *branch) []place {
	if !b.attr.IsDir() || b.node == 0 || j.depth > 0 && b.depth >= j.depth {
		return nil
	}
	if _, again := j.seen[b.node]; again {
		j.bad(b, errTwice)
		return nil
	}
	j.seen[b.node] = struct{}{}
	list, err := readPlaces(j.fs, &b.place)
	if err != nil {
		j.bad(b, err)
	}
	if !j.dirsOnly {
		return list
	}
	var dirs []place
	for _, p := range list {
		if p.attr.IsDir() {
			dirs = append(dirs, p)
		}
	}
	return dirs
}

func (j *treeJob) bad(b *branch, err error) {
	j.first = j.app.first(j.first, fmt.Errorf("%s: %w", printable("/"+b.path), err))
}
