package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/isomount/isomount/pkg/fsys"
)

func extractCommand(a *app) *cobra.Command {
	j := &extractJob{app: a}
	c := &cobra.Command{
		Use:   "extract IMAGE [PATH...] [-C DIR | --tar]",
		Short: "Copy files out of a disc image",
		Long: `Copy files out of a disc image, all of them or those that PATHs name as for ls,
without mounting it. They get the same paths below the current directory, or DIR.

Times, modes, hard and symbolic links, holes, extended attributes and ACLs are
kept; by root, owners and devices as well. Where the disc has no modes, yours are
taken.

Nothing is written outside of the directory, whatever the disc says, and no link
in it is followed. A file appears when it is whole: one that cannot be read is
told of and is not there, the others are, and the exit code is 14.`,
		Example: `  isomount extract debian.iso -C debian
  isomount extract debian.iso 'pool/**/*.deb' -C packages
  isomount extract backup.iso --tar | ssh host tar -xf -`,
		Args: args(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, words []string) error { return j.run(c.Context(), words[0], words[1:]) },
	}
	f := c.Flags()
	f.StringVarP(&j.dir, "directory", "C", ".", "write below `DIR`, which is made if it does not exist")
	f.BoolVar(&j.tar, "tar", false, "write a tar archive (pax) to standard output")
	f.StringArrayVarP(&j.exclude, "exclude", "x", nil, "leave out what matches `PATTERN`, as for create")
	f.BoolVar(&j.overwrite, "overwrite", false, "replace files that exist")
	f.BoolVar(&j.noOwner, "no-same-owner", false, "as root: leave owners, set-id bits and devices aside")
	f.StringVarP(&j.options, "options", "o", "", "mount options, separated by commas, that choose a tree or how it is shown")
	f.BoolVar(&j.json, "json", false, "print what was done as JSON")
	j.progress = progressFlag(c)
	return c
}

// An extractJob is one run of the command.
type extractJob struct {
	app       *app
	dir       string
	tar       bool
	exclude   []string
	overwrite bool
	noOwner   bool
	options   string
	json      bool
	silent    bool // say nothing but what went wrong
	progress  *progressMode

	fs     fsys.FS
	meter  *meter
	failed map[string]bool // directories that could not be made
	extracted
}

// An extracted is the result as --json shows it. It is documented in isomount(1).
type extracted struct {
	Directory   string     `json:"directory"`
	Files       int        `json:"files"`
	Directories int        `json:"directories"`
	Links       int        `json:"links"` // symbolic
	Special     int        `json:"special"`
	Bytes       int64      `json:"bytes"` // of files
	Notes       []noteText `json:"notes"`
}

func (j *extractJob) run(ctx context.Context, image string, paths []string) error {
	if err := checkPatterns(j.exclude); err != nil {
		return err
	}
	switch {
	case !j.tar:
	case j.dir != "." || j.overwrite || j.json:
		return usagef("--tar writes to standard output and goes neither with --directory nor with --overwrite or --json")
	case isTerminal(j.app.out):
		return usagef("standard output is a terminal; use a pipe or a file, or -C DIR instead of --tar")
	}
	umask := unix.Umask(0) // all modes are given from here on
	unix.Umask(umask)
	d, err := openDiscOf(image, j.options, writableOwner(umask))
	if err != nil {
		return err
	}
	j.Notes, j.Directory, j.failed = []noteText{}, j.dir, map[string]bool{}
	j.meter = j.app.meter(*j.progress)
	defer j.meter.close()
	err = errors.Join(j.extract(ctx, d, paths), d.Close())
	j.meter.close()
	if err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("%s: %w", image, err)
	}
	return errors.Join(err, j.tell(image))
}

// writableOwner gives what has neither owner nor mode on the disc to the
// caller, to do with it as with any new file.
func writableOwner(umask int) fsys.Owner {
	mode := 0o755 &^ uint32(umask) //nolint:gosec // nine bits
	return fsys.Owner{
		UID: uint32(os.Getuid()), GID: uint32(os.Getgid()),
		FileMode: mode, DirMode: mode, SetFile: true, SetDir: true, Fallback: true,
	}
}

func (j *extractJob) extract(ctx context.Context, d *disc, paths []string) error {
	j.fs = d.volume.FS
	j.meter.start("read directories", 0)
	places, err := pick(ctx, j.fs, paths)
	if err != nil {
		return err
	}
	p := planner{fs: j.fs, exclude: j.exclude, bad: j.bad}
	todo, err := p.make(ctx, places)
	if err != nil {
		return err
	}
	j.meter.start("extract", todo.bytes)
	if j.tar {
		return j.writeTar(ctx, todo)
	}
	t, err := newTarget(j.dir)
	if err != nil {
		return err
	}
	t.bad, t.over, t.owner = j.bad, j.overwrite, os.Geteuid() == 0 && !j.noOwner
	return errors.Join(j.write(ctx, t, todo), t.Close())
}

// bad tells of something that cannot be read or written.
func (j *extractJob) bad(path string, err error) {
	j.Notes = append(j.Notes, noteText{"/" + path, err.Error()})
}

// write carries out a plan. What was made gets its attributes however it ends.
func (j *extractJob) write(ctx context.Context, t *target, todo *plan) error {
	err := j.writeAll(ctx, t, todo)
	for _, d := range slices.Backward(todo.dirs) {
		if err := t.finish(&d, j.fs); err != nil {
			j.bad(d.path, err)
		}
	}
	return err
}

func (j *extractJob) writeAll(ctx context.Context, t *target, todo *plan) error {
	for i := range todo.dirs {
		if err := j.done(ctx, &todo.dirs[i], &j.Directories, t.mkdir(&todo.dirs[i])); err != nil {
			return err
		}
	}
	links := linker{}
	c := &filler{fs: j.fs, m: j.meter}
	for i := range todo.files {
		p := &todo.files[i].place
		if err := j.done(ctx, p, &j.Files, j.file(ctx, t, links, c, p)); err != nil {
			return err
		}
	}
	for i := range todo.others {
		p := &todo.others[i]
		count := &j.Special
		if p.kind() == fsys.TypeLink {
			count = &j.Links
		}
		if err := j.done(ctx, p, count, j.special(t, links, p)); err != nil {
			return err
		}
	}
	return nil
}

// done counts what was made, notes what was not, and ends it all if nothing more
// can be done.
func (j *extractJob) done(ctx context.Context, p *place, count *int, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil:
		*count++
		return nil
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT), errors.Is(err, unix.EROFS):
		return fmt.Errorf("%s: %w", printable(p.path), err)
	}
	j.failed[p.path] = p.attr.IsDir()
	if !j.failed[path.Dir(p.path)] { // else that has been told
		j.bad(p.path, err)
	}
	return nil
}

func (j *extractJob) file(ctx context.Context, t *target, links linker, c *filler, p *place) error {
	if first, ok := links.first(p); ok && t.link(first, p) == nil {
		j.meter.add(p.attr.Size)
		return nil // a link that cannot be made becomes a file of its own
	}
	err := t.file(p, j.fs, func(f *os.File) error { return c.fill(ctx, f, p) })
	if err == nil {
		links.written(p)
		j.Bytes += p.attr.Size
	}
	return err
}

func (j *extractJob) special(t *target, links linker, p *place) error {
	if first, ok := links.first(p); ok && t.link(first, p) == nil {
		return nil
	}
	err := t.special(p, j.fs)
	if err == nil {
		links.written(p)
	}
	return err
}

// tell says what was done.
func (j *extractJob) tell(image string) error {
	j.app.tellNotes(j.Notes)
	switch {
	case j.tar, j.silent:
	case j.json:
		if err := j.app.json(&j.extracted); err != nil {
			return err
		}
	default:
		fmt.Fprintf(j.app.out, "%s: %s, %s in %s\n", j.dir, counted(j.Files, "file", "files"), bytesText(j.Bytes),
			counted(j.Directories, "directory", "directories"))
	}
	if len(j.Notes) > 0 {
		return fmt.Errorf("%s: not everything was extracted as it is on the disc: %w", image, errPartial)
	}
	return nil
}
