// Package image finds the disc in an image file.
//
// [Open] looks at the bytes and gives a [Disc]: the sectors of 2,048 bytes that
// a file system sees, and the tracks and sessions they lie in. What a file
// system is, the package does not know.
package image

import (
	"errors"
	"fmt"
	"io"

	"github.com/isomount/isomount/pkg/binfmt"
)

// SectorSize is the size in bytes of the data of a sector.
const SectorSize = 2048

// A Source is what an image is read from.
type Source interface {
	io.ReaderAt
	Size() int64
}

// A filter unwraps a compressed image file; what it gives is looked at again.
// It returns binfmt.ErrMagic if the file is not its own.
type filter struct {
	name string
	open func(src Source) (Source, error)
}

// A format recognises a container. It returns binfmt.ErrMagic if the image is
// not its own; any other error is shown to the user. name is that of the file,
// for formats that only a suffix tells.
type format struct {
	name string
	open func(src Source, name string) (*Disc, error)
}

// tables are what [Open] tries, in this order.
type tables struct {
	filters []filter
	formats []format
}

// known holds all filters and formats. To add one: a file NAME.go with its open
// function, a line here, a smallest fixture in fixtures of image_test.go, and a
// row in docs/FORMATS.md; a test names what is missing. raw takes everything
// and stays last.
var known = tables{
	filters: []filter{
		{"zstd", openZstd},
	},
	formats: []format{
		{"raw", openRaw},
	},
}

// maxFilters bounds how often something compressed may be compressed again.
const maxFilters = 4

// Open finds the disc in an image; name is that of its file. It returns
// [ErrUnknown] for what is no image at all.
func Open(src Source, name string) (*Disc, error) { return known.open(src, name) }

func (t *tables) open(src Source, name string) (*Disc, error) {
	src, err := t.unwrap(src)
	if err != nil {
		return nil, err
	}
	for _, f := range t.formats {
		d, err := f.open(src, name)
		if errors.Is(err, binfmt.ErrMagic) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s image: %w", f.name, err)
		}
		d.Format = f.name
		return d, nil
	}
	return nil, ErrUnknown
}

// ErrUnknown reports bytes in which no disc was recognised: a
// [binfmt.ErrMagic] that every line of the tables gave.
var ErrUnknown error = unknownError{}

type unknownError struct{}

func (unknownError) Error() string { return "no disc image of a kind that isomount knows" }
func (unknownError) Unwrap() error { return binfmt.ErrMagic }

// unwrap applies filters until none knows what it sees.
func (t *tables) unwrap(src Source) (Source, error) {
	for range maxFilters + 1 {
		inner, err := t.unwrapOnce(src)
		if errors.Is(err, binfmt.ErrMagic) {
			return src, nil
		}
		if err != nil {
			return nil, err
		}
		src = inner
	}
	return nil, binfmt.Corrupt(0, "compressed more than %d times over", maxFilters)
}

// unwrapOnce returns binfmt.ErrMagic when no filter knows the file.
func (t *tables) unwrapOnce(src Source) (Source, error) {
	for _, f := range t.filters {
		inner, err := f.open(src)
		if errors.Is(err, binfmt.ErrMagic) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s image: %w", f.name, err)
		}
		return inner, nil
	}
	return nil, binfmt.ErrMagic
}
