package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/image"
	"github.com/isomount/isomount/pkg/isofs/master"
)

// errPartial goes with a result that is there but not whole; what is missing
// has been told.
var errPartial = errors.New("something was left out, or is not as it was")

// An outFile is the image that a command makes.
type outFile struct {
	path     string // "-" for standard output
	compress bool   // even if the name does not say so
	level    int    // of the compression; 0 for the default

	file *os.File // while it is written: nil for standard output
}

// addFlags adds -o and, where something can be compressed, what belongs to it.
func (o *outFile) addFlags(c *cobra.Command) {
	c.Flags().StringVarP(&o.path, "output", "o", "", "`FILE` to write, - for standard output; one whose name ends in .zst is compressed")
	c.Flags().BoolVar(&o.compress, "compress", false, "compress with zstd, so that it can still be mounted")
	c.Flags().IntVar(&o.level, "level", 0, "how hard to compress: `N` from 1 to 19 (default 3)")
}

// zst tells whether the image is compressed.
func (o *outFile) zst() bool { return o.compress || strings.HasSuffix(o.path, ".zst") }

// check finds what is wrong before work begins.
func (o *outFile) check(a *app) error {
	switch {
	case o.path == "":
		return usagef("no output; say where the image shall go with -o FILE, or -o - for standard output")
	case o.level < 0 || o.level > 19:
		return usagef("--level=%d: not from 1 to 19", o.level)
	case o.level > 0 && !o.zst():
		return usagef("--level: the output is not compressed; add --compress")
	case o.path == "-" && isTerminal(a.out):
		return usagef("standard output is a terminal; name a file with -o FILE, or use a pipe")
	case o.path == "-":
		return nil
	}
	return checkDir(filepath.Dir(o.path))
}

// checkDir looks whether there is a directory for an output.
func checkDir(dir string) error {
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		err = &fs.PathError{Op: "output", Path: dir, Err: fsys.ErrNotDir}
	}
	return err
}

// write calls fill with a writer for the image, which appears under its name
// only if fill and ctx are without error.
func (o *outFile) write(ctx context.Context, a *app, fill func(io.Writer) error) error {
	if o.path == "-" {
		return o.fill(ctx, a.out, fill)
	}
	return master.Create(ctx, o.path, func(f *os.File) error {
		o.file = f
		defer func() { o.file = nil }()
		return o.fill(ctx, f, fill)
	})
}

func (o *outFile) fill(ctx context.Context, w io.Writer, fill func(io.Writer) error) error {
	if !o.zst() {
		return fill(w)
	}
	z, err := image.NewZstdWriter(ctx, w, o.level)
	if err != nil {
		return err
	}
	if err := fill(z); err != nil {
		z.Abort()
		return err
	}
	return z.Close()
}

// size returns the bytes of the file that was written, 0 for a pipe.
func (o *outFile) size() int64 {
	info, err := os.Stat(o.path)
	if err != nil || !info.Mode().IsRegular() {
		return 0
	}
	return info.Size()
}

// sourceDate returns the time that SOURCE_DATE_EPOCH gives images that shall be
// reproducible (reproducible-builds.org), else the zero time.
func sourceDate() (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		return time.Time{}, nil
	}
	sec, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, usagef("SOURCE_DATE_EPOCH=%s: not a number of seconds since 1970", text)
	}
	return time.Unix(sec, 0).UTC(), nil
}

// maxNotes is how many notes are shown to people.
const maxNotes = 20

// tellNotes shows notes to people.
func (a *app) tellNotes(notes []noteText) {
	for i, n := range notes {
		if i == maxNotes {
			fmt.Fprintf(a.err, "isomount: note: and %d more\n", len(notes)-i)
			return
		}
		fmt.Fprintf(a.err, "isomount: note: %s\n", n)
	}
}

// A noteText is a master.Note as JSON shows it.
type noteText struct {
	Path  string `json:"path"`
	Error string `json:"error"`
}

// blockBytes is the size of a block of an image.
const blockBytes = 2048

func (n noteText) String() string { return printable(n.Path) + ": " + n.Error }

// noteTexts writes notes out, without saying the path twice.
func noteTexts(notes []master.Note) []noteText {
	texts := make([]noteText, 0, len(notes))
	for _, n := range notes {
		texts = append(texts, noteText{n.Path, bareText(n.Err, n.Path)})
	}
	return texts
}

// bareText is an error's text without the path that is shown beside it.
func bareText(err error, path string) string {
	if e, ok := errors.AsType[*fs.PathError](err); ok && e.Path == path {
		return e.Err.Error()
	}
	return err.Error()
}

// counted writes a number with what is counted.
func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// errMismatch goes with bytes that are not what they should be.
var errMismatch = errors.New("not what it should be")
