package image

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isomount/isomount/pkg/binfmt"
	"github.com/isomount/isomount/pkg/source"
)

// A fixture is a smallest image of a format or filter, with what it must show.
type fixture struct {
	kind     string // name of the format or filter
	file     string // in testdata
	format   string
	sessions []Session
	tracks   []Track
	size     int64
	sha256   string // of the data of all sectors
}

var fixtures = []fixture{
	{
		// yes 'isomount raw fixture' | head -c 4196 > raw.iso
		kind: "raw", file: "raw.iso", format: "raw", size: 4196,
		sessions: []Session{{Number: 1, Sectors: 3}},
		tracks:   []Track{{Number: 1, Session: 1, Data: true, Sectors: 3}},
		sha256:   "0929d61fd6f425d5db0caf73ee5a44cbd5c5aac4939135169e4c42f7ef60c5a6",
	},
	{
		// Three frames of 1,500 bytes of raw.iso by zstd, an empty frame to skip
		// after the first, and a table with checksums (testdata/zstd.py).
		kind: "zstd", file: "raw.iso.zst", format: "raw", size: 4196,
		sessions: []Session{{Number: 1, Sectors: 3}},
		tracks:   []Track{{Number: 1, Session: 1, Data: true, Sectors: 3}},
		sha256:   "0929d61fd6f425d5db0caf73ee5a44cbd5c5aac4939135169e4c42f7ef60c5a6",
	},
}

func openFile(t *testing.T, path string) *source.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	s, err := source.FromFile(f)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFixtures(t *testing.T) {
	for _, tt := range fixtures {
		t.Run(tt.file, func(t *testing.T) {
			d, err := Open(openFile(t, filepath.Join("testdata", tt.file)), tt.file)
			if err != nil {
				t.Fatal(err)
			}
			if d.Format != tt.format || d.Size() != tt.size {
				t.Errorf("got format %s of %d bytes, want %s of %d", d.Format, d.Size(), tt.format, tt.size)
			}
			if diff := cmp.Diff(d.Sessions, tt.sessions); diff != "" {
				t.Errorf("sessions (-got +want):\n%s", diff)
			}
			if diff := cmp.Diff(d.Tracks, tt.tracks); diff != "" {
				t.Errorf("tracks (-got +want):\n%s", diff)
			}
			if got := sum(t, d); got != tt.sha256 {
				t.Errorf("data: got SHA-256 %s, want %s", got, tt.sha256)
			}
		})
	}
}

func sum(t *testing.T, d *Disc) string {
	t.Helper()
	h := sha256.New()
	if n, err := io.Copy(h, io.NewSectionReader(d, 0, d.Size())); err != nil || n != d.Size() {
		t.Errorf("read %d of %d bytes, error %v", n, d.Size(), err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Whatever is in the tables has a fixture and is documented.
func TestTablesAreComplete(t *testing.T) {
	names := map[string]bool{}
	for _, f := range known.filters {
		names[f.name] = true
	}
	for _, f := range known.formats {
		names[f.name] = true
	}
	if last := known.formats[len(known.formats)-1].name; last != "raw" {
		t.Errorf("raw takes everything, but %s comes after it", last)
	}
	for name := range names {
		if missing := missingParts(t, name); len(missing) > 0 {
			t.Errorf("%s is in the tables, but has no %q", name, missing)
		}
	}
	for _, f := range fixtures {
		if !names[f.kind] {
			t.Errorf("fixture %s is of %s, which is not in the tables", f.file, f.kind)
		}
	}
}

func missingParts(t *testing.T, name string) []string {
	t.Helper()
	var missing []string
	if _, err := os.Stat(name + ".go"); err != nil {
		missing = append(missing, "file "+name+".go")
	}
	fixed := false
	for _, f := range fixtures {
		fixed = fixed || f.kind == name
	}
	if !fixed {
		missing = append(missing, "fixture")
	}
	docs, err := os.ReadFile("../../docs/FORMATS.md")
	if errors.Is(err, os.ErrNotExist) {
		return missing
	}
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`(?mi)^\|.*\b` + regexp.QuoteMeta(name) + `\b`).Match(docs) {
		missing = append(missing, "row in docs/FORMATS.md")
	}
	return missing
}

func TestRaw(t *testing.T) {
	for _, tt := range []struct {
		name    string
		size    int
		sectors int64
		err     error
	}{
		{"nothing", 0, 0, binfmt.ErrMagic},
		{"less than a sector", 2047, 0, binfmt.ErrMagic},
		{"one sector", 2048, 1, nil},
		{"a sector and a byte", 2049, 2, nil},
		{"16 sectors", 32768, 16, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, err := Open(bytes.NewReader(make([]byte, tt.size)), "x.iso")
			if !errors.Is(err, tt.err) {
				t.Fatalf("got error %v, want %v", err, tt.err)
			}
			if err != nil {
				return
			}
			if d.Tracks[0].Sectors != tt.sectors || d.Sessions[0].Sectors != tt.sectors {
				t.Errorf("got %d sectors in a session of %d, want %d", d.Tracks[0].Sectors, d.Sessions[0].Sectors, tt.sectors)
			}
		})
	}
}

// Only a file whose bytes are those of the disc can be spliced from.
func TestLocalFile(t *testing.T) {
	src := openFile(t, "testdata/raw.iso")
	d, err := Open(src, "raw.iso")
	if err != nil {
		t.Fatal(err)
	}
	if fd, ok := d.LocalFile(); !ok || fd != src.Fd() {
		t.Errorf("plain file: got %d, %v, want descriptor %d", fd, ok, src.Fd())
	}
	d, err = Open(bytes.NewReader(make([]byte, 4096)), "x")
	if err != nil {
		t.Fatal(err)
	}
	if fd, ok := d.LocalFile(); ok || fd != -1 {
		t.Errorf("memory: got %d, %v, want none", fd, ok)
	}
	d, err = wrapping.open(&renamed{src, "raw"}, "x")
	if err != nil {
		t.Fatal(err)
	}
	if fd, ok := d.LocalFile(); ok {
		t.Errorf("unwrapped file: got %d, want none", fd)
	}
}

// renamed is a source without a descriptor.
type renamed struct {
	Source

	name string
}

// wrapping has a filter that takes off "WRAP", one that fails after "BAD!", and
// a format that fails on "ODD!" and takes "MINE".
var wrapping = tables{
	filters: []filter{
		{"wrap", func(src Source) (Source, error) {
			return cut(src, "WRAP", nil)
		}},
		{"bad", func(src Source) (Source, error) {
			return cut(src, "BAD!", binfmt.Corrupt(4, "block of no bytes"))
		}},
	},
	formats: []format{
		{"odd", func(src Source, _ string) (*Disc, error) {
			_, err := cut(src, "ODD!", binfmt.Corrupt(4, "track of no sectors"))
			return nil, err
		}},
		{"mine", func(src Source, _ string) (*Disc, error) {
			inner, err := cut(src, "MINE", nil)
			if err != nil {
				return nil, err
			}
			return newDataDisc(inner, inner.Size()), nil
		}},
		{"suffix", func(src Source, name string) (*Disc, error) {
			if filepath.Ext(name) != ".sfx" {
				return nil, binfmt.ErrMagic
			}
			return newDataDisc(src, src.Size()), nil
		}},
		{"raw", openRaw},
	},
}

// cut returns what follows a magic, or err if that is set.
func cut(src Source, magic string, err error) (Source, error) {
	b := make([]byte, len(magic))
	if binfmt.ReadFull(src, b, 0) != nil || string(b) != magic {
		return nil, binfmt.ErrMagic
	}
	if err != nil {
		return nil, err
	}
	n := int64(len(magic))
	return io.NewSectionReader(src, n, src.Size()-n), nil
}

func TestProbe(t *testing.T) {
	sector := string(bytes.Repeat([]byte("s"), SectorSize))
	for _, tt := range []struct {
		name   string
		image  string
		file   string
		format string // or the error
	}{
		{"no filter, no format", sector, "x", "raw"},
		{"a filter", "WRAP" + sector, "x", "raw"},
		{"a filter and a format", "WRAPMINE" + sector, "x", "mine"},
		{"four filters", "WRAPWRAPWRAPWRAP" + sector, "x", "raw"},
		{"five filters", "WRAPWRAPWRAPWRAPWRAP" + sector, "x", "offset 0: compressed more than 4 times over"},
		{"a suffix", sector, "x.sfx", "suffix"},
		{"a filter that fails stops", "BAD!" + sector, "x.sfx", "bad image: offset 4: block of no bytes"},
		{"a filter that fails within", "WRAPBAD!" + sector, "x", "bad image: offset 4: block of no bytes"},
		{"a format that fails stops", "ODD!" + sector, "x.sfx", "odd image: offset 4: track of no sectors"},
		{"nothing after unwrapping", "WRAP", "x", ErrUnknown.Error()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, err := wrapping.open(bytes.NewReader([]byte(tt.image)), tt.file)
			if err != nil {
				if err.Error() != tt.format {
					t.Errorf("got error %v, want %q", err, tt.format)
				}
				return
			}
			if d.Format != tt.format {
				t.Errorf("got %q, want %q", d.Format, tt.format)
			}
			if b := make([]byte, SectorSize); binfmt.ReadFull(d, b, 0) != nil || string(b) != sector {
				t.Errorf("got %.10q in the first sector", b)
			}
		})
	}
}

func FuzzOpen(f *testing.F) {
	for _, tt := range fixtures {
		b, err := os.ReadFile(filepath.Join("testdata", tt.file))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, tt.file)
	}
	f.Fuzz(func(t *testing.T, b []byte, name string) {
		d, err := Open(bytes.NewReader(b), name)
		if err != nil {
			return
		}
		if len(d.Sessions) == 0 || len(d.Tracks) == 0 || d.Format == "" || d.Size() < 0 {
			t.Errorf("got a disc without sessions, tracks, format or size: %+v", d)
		}
		for _, off := range []int64{0, d.Size() / 2, d.Size() - 1, d.Size(), -1} {
			p := make([]byte, 4096)
			if n, err := d.ReadAt(p, off); n < len(p) && err == nil {
				t.Errorf("short read at %d without an error", off)
			}
		}
	})
}
