package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/isomount/isomount/pkg/ipc"
	"github.com/isomount/isomount/pkg/mount"
)

func mountCommand(a *app) *cobra.Command {
	var options []string
	var asJSON, lasts bool
	autorun := autorunNever
	c := &cobra.Command{
		Use:   "mount IMAGE [MOUNTPOINT] [-o OPTIONS] [--autorun[=WHEN]] [--json]",
		Short: "Show a disc image as a directory",
		Long: `Show what is on a disc image as a read-only directory tree. It is there when
the command returns.

Without MOUNTPOINT a directory named after the disc's label is made, and removed
again when the drive ends: below $XDG_RUNTIME_DIR/isomount, for root below
/run/isomount/mnt, else below /tmp/isomount-UID.

OPTIONS are those of mount -t iso9660 and mount -t udf, and some more, e.g.
fs=udf, norock, nojoliet, map=off, session=2, uid=1000, mode=444 (octal),
allow_other. isomount(1) has them all.`,
		Example: `  isomount mount debian.iso
  isomount mount game.iso /mnt/cd -o map=off
  dir=$(isomount mount sdk.iso --json | jq -r .mountpoint)`,
		Args: args(cobra.RangeArgs(1, 2)),
		RunE: func(c *cobra.Command, words []string) error {
			j := mountJob{image: words[0], options: strings.Join(options, ","), before: a.interrupted.arm}
			if len(words) > 1 {
				j.point = words[1]
			}
			d, notes, err := j.run(c.Context())
			if err == nil && lasts {
				err = persist(d)
			}
			if err != nil {
				return err
			}
			for _, n := range notes {
				fmt.Fprintf(a.err, "isomount: note: %s\n", n)
			}
			if asJSON {
				err = a.json(d)
			} else {
				_, err = fmt.Fprintf(a.out, "%s: %s at %s (drive %s)\n", filepath.Base(string(d.Image)), title(d), d.Mountpoint, d.Name)
			}
			if err != nil {
				return err
			}
			return a.autorun(c.Context(), autorun, d)
		},
	}
	c.Flags().StringArrayVarP(&options, "options", "o", nil, "mount options, separated by commas")
	c.Flags().BoolVar(&asJSON, "json", false, "print the drive as JSON")
	c.Flags().BoolVar(&lasts, "persist", false, "have it come back at login or boot, see isomount persist")
	c.Flags().Var(&autorun, "autorun", "run what the disc wants to be run: ask (if just --autorun is given),\nnever, or always, without asking")
	c.Flags().Lookup("autorun").NoOptDefVal = string(autorunAsk)
	return c
}

// title names a disc for people.
func title(d *ipc.Drive) string {
	if d.Label == "" {
		return d.Filesystem
	}
	return fmt.Sprintf("%q, %s", d.Label, d.Filesystem)
}

// A mountJob mounts one image.
type mountJob struct {
	image   string
	point   string // "": make one
	options string
	before  func() // called before anything is made; nil: nothing to do

	file *os.File
	made bool
}

// run opens and mounts with the authority of this process; the daemon gets
// descriptors and reads only what it was given.
func (j *mountJob) run(ctx context.Context) (*ipc.Drive, []string, error) {
	if err := j.open(); err != nil {
		return nil, nil, err
	}
	defer func() { _ = j.file.Close() }()
	client, err := connectOrStart(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = client.Close() }()
	if err := j.makePoint(ctx, client); err != nil {
		return nil, nil, err
	}
	reply, err := j.mount(ctx, client)
	if err != nil {
		if j.made {
			err = errors.Join(err, mount.RemoveMade(j.point))
		}
		return nil, nil, err
	}
	return &reply.Drive, reply.Notes, nil
}

// makePoint makes a mount point if none was given, named after the disc.
func (j *mountJob) makePoint(ctx context.Context, client *ipc.Client) error {
	label := ""
	if j.point == "" || os.Geteuid() != 0 {
		// fusermount3 shows a mount before it is served. It should not do that
		// for what is no image.
		probed, err := client.Probe(ctx, &ipc.ProbeRequest{Image: ipc.Path(j.image), Options: j.options}, j.file)
		if err != nil {
			return err
		}
		label = probed.Label
	}
	if j.before != nil {
		j.before()
	}
	if err := ctx.Err(); err != nil || j.point != "" {
		return err
	}
	var err error
	j.point, err = mount.MakePoint(label)
	j.made = err == nil
	return err
}

// open opens the image. A file that this user cannot read stays closed to the
// daemon too.
func (j *mountJob) open() error {
	path, err := filepath.Abs(j.image)
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return openError(j.image, err)
	}
	j.image, j.file = path, f
	return nil
}

// openError says what to do about an image that cannot be opened.
func openError(image string, err error) error {
	e := &ipc.Error{Err: ipc.ErrReadFailed, Image: ipc.Path(image), Message: err.Error()}
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		e.Message = pe.Err.Error()
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.Err, e.Hint = ipc.ErrNotFound, "check the name"
	case errors.Is(err, fs.ErrPermission):
		e.Err, e.Hint = ipc.ErrPermission, "you need permission to read the image"
	}
	return e
}

func (j *mountJob) mount(ctx context.Context, client *ipc.Client) (*ipc.MountReply, error) {
	m, err := mount.Prepare(ctx, j.point, mount.Options{
		Source: j.image, Image: j.file, AllowOther: hasOption(j.options, "allow_other"),
	})
	if err != nil {
		return nil, err
	}
	reply, err := client.Mount(ctx, &ipc.MountRequest{
		Image: ipc.Path(j.image), Mountpoint: ipc.Path(m.Point()), Made: j.made, Options: j.options,
	}, j.file, m.Device())
	if err != nil {
		return nil, errors.Join(err, m.Abort()) //nolint:contextcheck // also when ctx has ended
	}
	return reply, m.Attach() //nolint:contextcheck // a mount is not left half-way
}

func hasOption(list, name string) bool {
	for o := range strings.SplitSeq(list, ",") {
		if strings.TrimSpace(o) == name {
			return true
		}
	}
	return false
}

// json prints a value for programs.
func (a *app) json(v any) error {
	enc := json.NewEncoder(a.out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
