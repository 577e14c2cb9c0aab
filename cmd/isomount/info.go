package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/image"
	"github.com/isomount/isomount/pkg/ipc"
	"github.com/isomount/isomount/pkg/source"
	"github.com/isomount/isomount/pkg/volume"
)

func infoCommand(a *app) *cobra.Command {
	var options string
	var asJSON bool
	c := &cobra.Command{
		Use:   "info IMAGE|DRIVE [-o OPTIONS] [--json]",
		Short: "Tell what is on a disc",
		Long: `Tell what is on a disc: every descriptor and every tree, which tree is shown and
why, and what is odd about it. An image is read directly, without the daemon.`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, words []string) error {
			report, err := a.report(c.Context(), words[0], options)
			if err != nil {
				return err
			}
			if asJSON {
				return a.json(report)
			}
			return printReport(a.out, words[0], report)
		},
	}
	c.Flags().StringVarP(&options, "options", "o", "", "mount options, separated by commas")
	c.Flags().BoolVar(&asJSON, "json", false, "print the report as JSON")
	return c
}

// report describes the disc of an image or of a drive. A word that is a number
// means a drive, unless a file is called so.
func (a *app) report(ctx context.Context, word, options string) (*volume.Report, error) {
	if _, err := strconv.Atoi(word); err == nil {
		if _, err := os.Lstat(word); err != nil {
			return driveReport(ctx, word)
		}
	}
	d, err := openDisc(word, options)
	if err != nil {
		return nil, err
	}
	report := &d.volume.Report
	if report.Autorun, err = volume.FindAutorun(d.volume.FS); err != nil {
		report.Notes = append(report.Notes, fmt.Sprintf("the root could not be searched for autorun files: %v", err))
	}
	return report, d.Close()
}

func driveReport(ctx context.Context, name string) (*volume.Report, error) {
	client, err := connect(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = client.Close() }()
	reply, err := client.Info(ctx, &ipc.InfoRequest{Drive: name})
	if err != nil {
		return nil, err
	}
	r := new(volume.Report)
	return r, json.Unmarshal(reply.Report, r)
}

// A disc is an image that this program reads itself.
type disc struct {
	file   *os.File
	image  *image.Disc
	volume *volume.Volume
}

// openDisc opens an image without a daemon.
func openDisc(path, options string) (*disc, error) {
	return openDiscOf(path, options, fsys.Owner{UID: uint32(os.Getuid()), GID: uint32(os.Getgid())})
}

// openDiscOf opens an image, with an owner and modes where the disc has none.
func openDiscOf(path, options string, owner fsys.Owner) (*disc, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, openError(path, err)
	}
	d := &disc{file: f}
	if err := d.read(path, options, owner); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return d, nil
}

func (d *disc) read(path, options string, owner fsys.Owner) error {
	o, err := volume.ParseOptions(options, owner)
	if err != nil {
		return err
	}
	src, err := source.FromFile(d.file)
	if err != nil {
		return err
	}
	if d.image, err = image.Open(src, path); err != nil {
		return err
	}
	d.volume, err = volume.Open(volume.Disc{Data: d.image, Size: d.image.Size()}, o)
	return err
}

// Close lets go of the image.
func (d *disc) Close() error { return d.file.Close() }

// printReport writes a report for people.
func printReport(out io.Writer, name string, r *volume.Report) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "image\t%s\n", printable(name))
	fmt.Fprintf(w, "label\t%s\n", printable(r.Label))
	fmt.Fprintf(w, "shown\t%s: %s\n", r.Shown(), r.Why)
	for _, t := range r.Trees {
		fmt.Fprintf(w, "tree\t%s\n", treeText(&t))
	}
	for _, l := range r.Details.Lines() {
		fmt.Fprintf(w, "%s\t%s\n", l.Name, printable(l.Value))
	}
	for _, l := range autorunLines(r.Autorun) {
		fmt.Fprintf(w, "%s\t%s\n", l.Name, printable(l.Value))
	}
	for _, n := range r.Notes {
		fmt.Fprintf(w, "note\t%s\n", printable(n))
	}
	return w.Flush()
}

func treeText(t *volume.Tree) string {
	if t.Error != "" {
		return fmt.Sprintf("%s: cannot be read: %s", t.Name, t.Error)
	}
	entries := "entries"
	if t.Entries == 1 {
		entries = "entry"
	}
	return fmt.Sprintf("%s, %d %s in its root, label %s", t.Name, t.Entries, entries, printable(t.Label))
}

// autorunLines tells what a disc would like to be done. Names and command lines
// are the disc's own words.
func autorunLines(a *volume.Autorun) []volume.Line {
	if a == nil {
		return nil
	}
	var lines []volume.Line
	for _, l := range []volume.Line{
		{Name: "autorun", Value: a.Program},
		{Name: "autoopen", Value: a.Opens},
		{Name: "inf open", Value: a.Open},
		{Name: "inf icon", Value: a.Icon},
		{Name: "inf label", Value: a.Label},
	} {
		if l.Value != "" {
			lines = append(lines, l)
		}
	}
	return lines
}
