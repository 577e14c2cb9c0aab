package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/ipc"
)

func lsCommand(a *app) *cobra.Command {
	j := &lsJob{app: a}
	c := &cobra.Command{
		Use:   "ls IMAGE [PATH...] [-l] [-R] [-d] [--json]",
		Short: "List files of a disc image",
		Long: `List what is on a disc image, without mounting it.

A PATH that is a directory is listed, every other is shown by itself. Paths begin
at the root of the disc, with or without a slash; in them * ? and [] match within
a name and ** any number of directories (quote them, or the shell takes them for
its own). On a terminal, names that would act on it are shown quoted.`,
		Example: `  isomount ls debian.iso
  isomount ls -l debian.iso /pool '*.txt'
  isomount ls debian.iso '**/*.deb'
  isomount ls -R --json debian.iso | jq '.[] | select(.size > 1000000) | .path'`,
		Args: args(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, words []string) error { return j.run(c.Context(), words[0], words[1:]) },
	}
	f := c.Flags()
	f.StringVarP(&j.options, "options", "o", "", "mount options, separated by commas, that choose a tree or how it is shown")
	f.BoolVarP(&j.long, "long", "l", false, "mode, links, owner, group, size and time as well")
	f.BoolVarP(&j.recursive, "recursive", "R", false, "what is in directories, and in those in them")
	f.BoolVarP(&j.self, "directory", "d", false, "directories themselves, not what is in them")
	f.BoolVarP(&j.null, "null", "0", false, "end each name with a zero byte instead of a new line")
	f.BoolVar(&j.json, "json", false, "print an array of objects, one a file")
	return c
}

// An lsJob is one run of the command.
type lsJob struct {
	app       *app
	options   string
	long      bool
	recursive bool
	self      bool
	null      bool
	json      bool

	fs    fsys.FS
	safe  bool // names are quoted if need be
	first error
	lines int // that were printed
}

func (j *lsJob) run(ctx context.Context, image string, paths []string) error {
	d, err := openDisc(image, j.options)
	if err != nil {
		return err
	}
	j.fs, j.safe = d.volume.FS, isTerminal(j.app.out)
	places, err := pick(ctx, j.fs, paths)
	if err == nil {
		err = j.show(ctx, places)
	} else {
		err = fmt.Errorf("%s: %w", image, err)
	}
	return errors.Join(err, d.Close())
}

func (j *lsJob) show(ctx context.Context, places []place) error {
	switch {
	case j.json:
		fmt.Fprint(j.app.out, "[")
		err := j.list(ctx, places)
		end := "]\n"
		if j.lines > 0 {
			end = "\n]\n"
		}
		fmt.Fprint(j.app.out, end)
		return err
	default:
		return j.list(ctx, places)
	}
}

// list shows files first, then what is in each directory under its name, as
// ls(1) does.
func (j *lsJob) list(ctx context.Context, places []place) error {
	var files, dirs []place
	for _, p := range places {
		if p.attr.IsDir() && !j.self {
			dirs = append(dirs, p)
		} else {
			files = append(files, p)
		}
	}
	if err := j.print(files, true); err != nil {
		return err
	}
	for _, d := range dirs {
		if err := j.dir(ctx, d, len(places) > 1); err != nil {
			return err
		}
	}
	return j.first
}

// dir shows what is in a directory and, if asked for, below it.
func (j *lsJob) dir(ctx context.Context, top place, titled bool) error {
	w := walker{fs: j.fs, bad: j.bad, visit: func(*place) error { return nil }}
	var failed error
	w.enter = func(p *place, list []place) {
		if failed == nil && (titled || j.recursive) {
			failed = j.title(p)
		}
		if failed == nil {
			failed = j.print(list, false)
		}
	}
	w.skip = func(p *place) bool { return failed != nil || !j.recursive && p.path != top.path }
	err := w.walk(ctx, top)
	return errors.Join(failed, err)
}

// bad tells of something that cannot be read and goes on.
func (j *lsJob) bad(path string, err error) {
	j.first = j.app.first(j.first, fmt.Errorf("%s: %w", printable("/"+path), err))
}

func (j *lsJob) title(p *place) error {
	if j.json || j.null {
		return nil
	}
	gap := ""
	if j.lines > 0 {
		gap = "\n"
	}
	j.lines++
	_, err := fmt.Fprintf(j.app.out, "%s%s:\n", gap, j.text("/"+p.path))
	return err
}

// print shows files: with their paths, or with their names only.
func (j *lsJob) print(list []place, paths bool) error {
	if j.json {
		return j.printJSON(list)
	}
	var col columns
	if j.long {
		col.measure(list)
	}
	for i := range list {
		p := &list[i]
		name := p.name()
		if paths || j.null {
			name = p.path
		}
		line := j.text(name)
		if j.long {
			line = col.line(p) + " " + line + j.target(p)
		}
		end := "\n"
		if j.null {
			end = "\x00"
		}
		j.lines++
		if _, err := io.WriteString(j.app.out, line+end); err != nil {
			return err
		}
	}
	return nil
}

// text is a name as it is, or made safe for a terminal.
func (j *lsJob) text(name string) string {
	switch {
	case name == "":
		return "/"
	case j.safe:
		return printable(name)
	}
	return name
}

// target shows where a link leads.
func (j *lsJob) target(p *place) string {
	if p.kind() != fsys.TypeLink {
		return ""
	}
	t, err := j.fs.Readlink(p.node)
	if err != nil {
		j.bad(p.path, err)
		return " -> ?"
	}
	return " -> " + j.text(string(t))
}

// columns are the widths of ls -l.
type columns struct{ links, uid, gid, size int }

func (c *columns) measure(list []place) {
	for i := range list {
		a := &list[i].attr
		c.links = max(c.links, len(fmt.Sprint(a.Nlink)))
		c.uid = max(c.uid, len(fmt.Sprint(a.UID)))
		c.gid = max(c.gid, len(fmt.Sprint(a.GID)))
		c.size = max(c.size, len(sizeText(a)))
	}
}

// line is what ls -l shows before the name. Owners are numbers: the names of
// this machine say nothing about the disc.
func (c *columns) line(p *place) string {
	if p.node == 0 {
		return "?????????? cannot be read"
	}
	a := &p.attr
	when := time.Unix(a.ModTime.Sec, int64(a.ModTime.Nsec))
	return fmt.Sprintf("%s %*d %*d %*d %*s %s", modeText(a.Mode), c.links, a.Nlink, c.uid, a.UID, c.gid, a.GID,
		c.size, sizeText(a), when.Format(time.DateTime))
}

// sizeText is the size, of a device its numbers.
func sizeText(a *fsys.Attr) string {
	switch a.Mode & fsys.TypeMask {
	case fsys.TypeChar, fsys.TypeBlock:
		return fmt.Sprintf("%d,%d", a.Major, a.Minor)
	}
	return fmt.Sprint(a.Size)
}

// kind returns the letter that ls(1) has for the type of a file, and our word.
func kind(mode uint32) (letter, word string) {
	switch mode & fsys.TypeMask {
	case fsys.TypeFile:
		return "-", "file"
	case fsys.TypeDir:
		return "d", "directory"
	case fsys.TypeLink:
		return "l", "symlink"
	case fsys.TypeChar:
		return "c", "character device"
	case fsys.TypeBlock:
		return "b", "block device"
	case fsys.TypeFifo:
		return "p", "fifo"
	case fsys.TypeSocket:
		return "s", "socket"
	}
	return "", ""
}

// modeText writes a mode as ls -l does (POSIX, ls: STDOUT).
func modeText(mode uint32) string {
	b := []byte("rwxrwxrwx")
	for i := range b {
		if mode&(1<<(8-i)) == 0 {
			b[i] = '-'
		}
	}
	for _, s := range []struct {
		bit uint32
		at  int
		set byte
	}{{0o4000, 2, 's'}, {0o2000, 5, 's'}, {0o1000, 8, 't'}} {
		if mode&s.bit == 0 {
			continue
		}
		if b[s.at] == '-' {
			b[s.at] = s.set - 'a' + 'A'
		} else {
			b[s.at] = s.set
		}
	}
	letter, _ := kind(mode)
	if letter == "" {
		letter = "?"
	}
	return letter + string(b)
}

// A listed is a file as --json shows it. It is documented in isomount(1).
type listed struct {
	Path   ipc.Path  `json:"path"`
	Type   string    `json:"type"`
	Mode   string    `json:"mode"` // octal, permissions only
	Size   int64     `json:"size"`
	Time   time.Time `json:"mtime"`
	UID    uint32    `json:"uid"`
	GID    uint32    `json:"gid"`
	Links  uint32    `json:"nlink"`
	Inode  uint64    `json:"ino"`
	Target *ipc.Path `json:"target,omitempty"` // of a symlink
	Device string    `json:"device,omitempty"` // MAJOR:MINOR
	Error  string    `json:"error,omitempty"`  // why nothing else is known
}

func (j *lsJob) printJSON(list []place) error {
	for i := range list {
		text, err := json.Marshal(j.listed(&list[i]))
		if err != nil {
			return err
		}
		gap := ",\n  "
		if j.lines == 0 {
			gap = "\n  "
		}
		j.lines++
		if _, err := fmt.Fprintf(j.app.out, "%s%s", gap, text); err != nil {
			return err
		}
	}
	return nil
}

func (j *lsJob) listed(p *place) *listed {
	a := &p.attr
	l := &listed{Path: ipc.Path("/" + p.path)}
	if p.node == 0 {
		l.Type, l.Error = "unknown", "cannot be read"
		if _, _, err := fsys.Resolve(j.fs, p.path, false); err != nil {
			l.Error = err.Error()
		}
		return l
	}
	_, l.Type = kind(a.Mode)
	l.Mode = fmt.Sprintf("%04o", a.Mode&fsys.PermMask)
	l.Size, l.Time = a.Size, time.Unix(a.ModTime.Sec, int64(a.ModTime.Nsec)).UTC()
	l.UID, l.GID, l.Links, l.Inode = a.UID, a.GID, a.Nlink, a.Ino
	switch p.kind() {
	case fsys.TypeLink:
		if t, err := j.fs.Readlink(p.node); err == nil {
			target := ipc.Path(t)
			l.Target = &target
		} else {
			l.Error = err.Error()
		}
	case fsys.TypeChar, fsys.TypeBlock:
		l.Device = strings.Replace(sizeText(a), ",", ":", 1)
	}
	return l
}
