package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/isomount/isomount/pkg/isofs"
	"github.com/isomount/isomount/pkg/isofs/master"
)

func convertCommand(a *app) *cobra.Command {
	j := &convertJob{app: a}
	c := &cobra.Command{
		Use:   "convert IMAGE -o FILE|-",
		Short: "Make a plain or a compressed image of any image",
		Long: `Make a plain image, which every program reads, of an image of any kind; or a
compressed one, and back. A compressed image can be mounted as it is.

The disc is copied byte for byte, with all that is on it: every tree, boot
images, checksums. With --rebuild a new ISO 9660 image is made instead, of the
tree that mount shows; so it is too if options choose another tree, and if the
disc has several sessions, of which a plain image would show the first. It boots
as the old one did.

The image appears whole or not at all, also when it is interrupted.`,
		Example: `  isomount convert game.cue -o game.iso
  isomount convert debian.iso -o debian.iso.zst
  isomount convert debian.iso.zst -o - | sha256sum
  isomount convert mac.iso --options fs=hfsplus -o files.iso`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, words []string) error { return j.run(c.Context(), words[0]) },
	}
	j.out.addFlags(c)
	f := c.Flags()
	f.StringVar(&j.options, "options", "", "mount options, separated by commas, that choose a tree or how it is shown")
	f.BoolVar(&j.rebuild, "rebuild", false, "make a new image of the files instead of copying the disc")
	f.BoolVar(&j.skip, "skip-unreadable", false, "with --rebuild: leave out directories that cannot be read, say so, and exit with 14")
	f.BoolVar(&j.json, "json", false, "print what was made as JSON")
	j.progress = progressFlag(c)
	return c
}

// A convertJob is one run of the command.
type convertJob struct {
	app      *app
	out      outFile
	options  string
	rebuild  bool
	skip     bool
	json     bool
	progress *progressMode
}

// A converted is the result as --json shows it. It is documented in isomount(1).
type converted struct {
	Input   string     `json:"input"`
	Output  string     `json:"output"`
	Format  string     `json:"format"`  // of the input
	Bytes   int64      `json:"bytes"`   // of the output, before compression
	Rebuilt string     `json:"rebuilt"` // why; "" if the disc was copied
	Notes   []noteText `json:"notes"`
}

func (j *convertJob) run(ctx context.Context, path string) error {
	if err := j.out.check(j.app); err != nil {
		return err
	}
	d, err := openDisc(path, j.options)
	if err != nil {
		return err
	}
	r := &converted{Input: path, Output: j.out.path, Format: d.image.Format, Notes: []noteText{}}
	m := j.app.meter(*j.progress)
	defer m.close()
	if r.Rebuilt = j.reason(d); r.Rebuilt == "" {
		err = j.copy(ctx, d, m, r)
	} else {
		err = j.remake(ctx, d, m, r)
	}
	m.close()
	if err := errors.Join(err, d.Close()); err != nil {
		return explainWrite(err)
	}
	return j.tell(r)
}

// reason tells why the disc is not just copied; "" if it is.
func (j *convertJob) reason(d *disc) string {
	switch n := len(d.image.Sessions); {
	case j.rebuild:
		return "asked for"
	case j.options != "":
		return "options choose what is shown"
	case n > 1:
		return fmt.Sprintf("the disc has %d sessions", n)
	}
	return ""
}

// copy writes the sectors of the disc.
func (j *convertJob) copy(ctx context.Context, d *disc, m *meter, r *converted) error {
	r.Bytes = d.image.Size()
	m.start("copy", r.Bytes)
	return j.out.write(ctx, j.app, func(w io.Writer) error {
		return copyRange(ctx, w, d.image, r.Bytes, m)
	})
}

// copyPiece is how much is copied at a time.
const copyPiece = 1 << 20

// copyRange writes the first size bytes of src.
func copyRange(ctx context.Context, w io.Writer, src io.ReaderAt, size int64, m *meter) error {
	p := make([]byte, copyPiece)
	for off := int64(0); off < size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := src.ReadAt(p[:min(copyPiece, size-off)], off)
		if _, err := w.Write(p[:n]); err != nil {
			return err
		}
		off += int64(n)
		m.set(off)
		switch {
		case off == size:
		case errors.Is(err, io.EOF), n == 0 && err == nil:
			return fmt.Errorf("image ends at %d of %d: %w", off, size, io.ErrUnexpectedEOF)
		case err != nil:
			return err
		}
	}
	return nil
}

// remake writes a new image of the tree that is shown.
func (j *convertJob) remake(ctx context.Context, d *disc, m *meter, r *converted) error {
	opt, err := j.volumeOf(d)
	if err != nil {
		return err
	}
	m.start("read directories", 0)
	tree, notes, err := master.FromFS(ctx, d.volume.FS, j.skip)
	if err != nil {
		return fmt.Errorf("%w; --skip-unreadable leaves out what cannot be read", err)
	}
	lost, err := copyBoot(d, tree, &opt)
	if err != nil {
		return err
	}
	m.start("write", 0)
	return j.out.write(ctx, j.app, func(w io.Writer) error {
		result, err := master.Write(ctx, w, tree, opt, m.update)
		r.Bytes = result.Blocks * blockBytes
		r.Notes = append(noteTexts(append(notes, result.Notes...)), lost...)
		return err
	})
}

// volumeOf takes over what the disc says of itself.
func (j *convertJob) volumeOf(d *disc) (master.Options, error) {
	date, err := sourceDate()
	if err != nil {
		return master.Options{}, err
	}
	opt := master.Options{VolumeID: cut(d.volume.Report.Label, 32), Date: date, Reproducible: !date.IsZero()}
	info := d.volume.Report.Details.ISO
	if info == nil {
		return opt, nil
	}
	for i := range info.Descriptors {
		x := &info.Descriptors[i]
		if x.Kind != isofs.DescriptorPrimary {
			continue
		}
		opt.SystemID, opt.VolumeSetID, opt.PublisherID = cut(x.System, 32), cut(x.VolumeSet, 128), cut(x.Publisher, 128)
		opt.PreparerID, opt.ApplicationID = cut(x.Preparer, 128), cut(x.Application, 128)
		if created, err := time.Parse(time.RFC3339Nano, x.Created); err == nil && date.IsZero() {
			opt.Date = created
		}
		break
	}
	return opt, nil
}

// cut shortens a text to n characters.
func cut(s string, n int) string {
	runes := []rune(s)
	return string(runes[:min(n, len(runes))])
}

func (j *convertJob) tell(r *converted) error {
	j.app.tellNotes(r.Notes)
	if err := j.print(r); err != nil {
		return err
	}
	if len(r.Notes) > 0 {
		return fmt.Errorf("%s: %w; see the notes", r.Output, errPartial)
	}
	return nil
}

func (j *convertJob) print(r *converted) error {
	switch {
	case r.Output == "-":
		return nil
	case j.json:
		return j.app.json(r)
	}
	how := "copied"
	if r.Rebuilt != "" {
		how = "made anew, " + r.Rebuilt
	}
	size := bytesText(r.Bytes)
	if j.out.zst() {
		size = fmt.Sprintf("%s, compressed to %s", size, bytesText(j.out.size()))
	}
	if r.Format != "raw" {
		how += " from a " + r.Format + " image"
	}
	_, err := fmt.Fprintf(j.app.out, "%s: %s, %s\n", r.Output, size, how)
	return err
}
