package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/isomount/isomount/pkg/fsys"
)

func catCommand(a *app) *cobra.Command {
	var options string
	c := &cobra.Command{
		Use:   "cat IMAGE PATH...",
		Short: "Write files of a disc image to standard output",
		Long: `Write files of a disc image to standard output, one after the other, without
mounting it. Paths are those of ls; links are followed within the disc.

What cannot be read is told of, and the exit code says so; what comes before it
in the file has been written by then.`,
		Example: `  isomount cat debian.iso /.disk/info
  isomount cat backup.iso 'logs/*.gz' | zcat`,
		Args: args(cobra.MinimumNArgs(2)),
		RunE: func(c *cobra.Command, words []string) error {
			d, err := openDisc(words[0], options)
			if err != nil {
				return err
			}
			return errors.Join(a.cat(c.Context(), d, words[1:]), d.Close())
		},
	}
	c.Flags().StringVarP(&options, "options", "o", "", "mount options, separated by commas, that choose a tree or how it is shown")
	return c
}

// cat writes files; one that cannot be read does not keep the others.
func (a *app) cat(ctx context.Context, d *disc, paths []string) error {
	var first error
	for _, word := range paths {
		places, err := pick(ctx, d.volume.FS, []string{word})
		if err != nil {
			first = a.first(first, err)
			continue
		}
		for i := range places {
			err := a.catOne(ctx, d.volume.FS, &places[i])
			if isOutput(err) || ctx.Err() != nil {
				return errors.Join(err, ctx.Err())
			}
			first = a.first(first, err)
		}
	}
	return first
}

func (a *app) catOne(ctx context.Context, f fsys.FS, p *place) error {
	n, attr, err := fsys.Resolve(f, p.path, true)
	switch {
	case err != nil:
		err = notFound(err)
	case attr.IsDir():
		err = fsys.ErrIsDir
	case !attr.IsRegular():
		err = errNotFile
	default:
		err = copyNode(ctx, a.out, f, n, attr.Size)
	}
	if err == nil || isOutput(err) {
		return err
	}
	return fmt.Errorf("%s: %w", printable("/"+p.path), err)
}

var errNotFile = errors.New("is not a file with content")

// An outputError is one of what is written to, not of what is read.
type outputError struct{ err error }

func (e *outputError) Error() string { return e.err.Error() }
func (e *outputError) Unwrap() error { return e.err }

func isOutput(err error) bool {
	_, ok := errors.AsType[*outputError](err)
	return ok
}

// copyNode writes the first size bytes of a file.
func copyNode(ctx context.Context, w io.Writer, f fsys.FS, n fsys.Node, size int64) error {
	return copyPart(ctx, w, f, n, 0, size)
}

// copyPart writes the bytes of a file from off to end.
func copyPart(ctx context.Context, w io.Writer, f fsys.FS, n fsys.Node, off, end int64) error {
	buf := make([]byte, min(end-off, copyPiece))
	for off < end {
		if err := ctx.Err(); err != nil {
			return err
		}
		p := buf[:min(int64(len(buf)), end-off)]
		k, err := readNode(f, n, p, off)
		if _, err := w.Write(p[:k]); err != nil {
			return &outputError{err}
		}
		if err != nil {
			return err
		}
		off += int64(k)
	}
	return nil
}

// readNode fills p from a file. Fewer bytes than the file should have are an
// error, and come with it.
func readNode(f fsys.FS, n fsys.Node, p []byte, off int64) (int, error) {
	k, err := f.ReadAt(n, p, off)
	switch {
	case k == len(p):
		return k, nil
	case err == nil, errors.Is(err, io.EOF):
		err = fmt.Errorf("ends at %d: %w", off+int64(k), io.ErrUnexpectedEOF)
	}
	return k, err
}
