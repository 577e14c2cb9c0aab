package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/isomount/isomount/pkg/isofs/master"
	"github.com/isomount/isomount/pkg/source"
	"github.com/isomount/isomount/pkg/volume"
)

func ripCommand(a *app) *cobra.Command {
	j := &ripJob{app: a}
	c := &cobra.Command{
		Use:   "rip DEVICE -o FILE [--map FILE]",
		Short: "Make an image of a disc in a drive",
		Long: `Make an image of a disc in a drive, or of any block device or file: from its
beginning to the end of its file system. What was read is then checked against
what the disc says of itself, as verify does.

Sectors that cannot be read are tried again when everything else is safe. Those
that stay bad are zeros in the image, and are listed with the files that they are
part of; the exit code is 14.

With --map an interrupted run goes on where it was, and a later one, after the
disc was cleaned or in another drive, tries only what is bad. The map file is that
of GNU ddrescue. Until the end the image is called FILE.part; without --map it
appears at the end, and not at all if that is not reached.`,
		Example: `  isomount rip /dev/sr0 -o game.iso
  isomount rip /dev/sr0 -o scratched.iso --map scratched.map
  isomount rip /dev/sr0 -o scratched.iso --map scratched.map --retries 20`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, words []string) error { return j.run(c.Context(), words[0]) },
	}
	f := c.Flags()
	f.StringVarP(&j.output, "output", "o", "", "`FILE` to write")
	f.StringVar(&j.mapFile, "map", "", "keep in `FILE` what was read, and go on from there if it exists")
	f.IntVar(&j.retries, "retries", 3, "try bad sectors `N` times more")
	f.BoolVar(&j.whole, "whole", false, "read the whole device, also what lies behind its file system")
	f.BoolVar(&j.noVerify, "no-verify", false, "do not check what was read")
	f.BoolVar(&j.json, "json", false, "print what was done as JSON")
	j.progress = progressFlag(c)
	return c
}

// A ripJob is one run of the command.
type ripJob struct {
	app      *app
	output   string
	mapFile  string
	retries  int
	whole    bool
	noVerify bool
	json     bool
	progress *progressMode

	m     *ripMap
	meter *meter
	ripped
}

// A ripped is the result as --json shows it. It is documented in isomount(1).
type ripped struct {
	Device   string     `json:"device"`
	Output   string     `json:"output"`
	Bytes    int64      `json:"bytes"`
	End      string     `json:"end"` // why it ends there
	Bad      []badRun   `json:"bad"`
	Files    []string   `json:"files"` // that bad sectors are part of
	Verified *verified  `json:"verified,omitempty"`
	Notes    []noteText `json:"notes"`
}

// A badRun is a run of sectors of 2048 bytes that could not be read.
type badRun struct {
	Sector int64 `json:"sector"`
	Count  int64 `json:"count"`
}

func (j *ripJob) run(ctx context.Context, device string) error {
	switch {
	case j.output == "":
		return usagef("no output; say where the image shall go with -o FILE")
	case j.output == "-":
		return usagef("rip comes back to what it could not read and needs a file, not a pipe")
	case j.retries < 0:
		return usagef("--retries=%d: less than 0", j.retries)
	}
	if err := checkDir(filepath.Dir(j.output)); err != nil {
		return err
	}
	j.ripped = ripped{Device: device, Output: j.output, Bad: []badRun{}, Files: []string{}, Notes: []noteText{}}
	j.meter = j.app.meter(*j.progress)
	defer j.meter.close()
	err := j.rip(ctx, device)
	j.meter.close()
	if err != nil {
		return fmt.Errorf("%s: %w", device, err)
	}
	return j.tell(ctx)
}

func (j *ripJob) rip(ctx context.Context, device string) error {
	f, err := openDevice(device)
	if err != nil {
		return openError(device, err)
	}
	err = j.measure(f)
	if err == nil {
		r := &ripper{src: f, meter: j.meter, retries: j.retries}
		if j.mapFile == "" {
			err = j.atOnce(ctx, r)
		} else {
			err = j.inParts(ctx, r)
		}
	}
	return errors.Join(err, f.Close())
}

// openDevice opens a drive past the page cache, in which one bad sector would
// take others with it; anything else as it is.
func openDevice(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil || info.Mode()&fs.ModeDevice == 0 {
		return f, err
	}
	direct, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		return f, nil //nolint:nilerr // it can be read all the same
	}
	return direct, f.Close()
}

// measure finds out how much there is to read.
func (j *ripJob) measure(f *os.File) error {
	src, err := source.FromFile(f)
	if err != nil {
		return err
	}
	j.Bytes, j.End = src.Size(), "end of the device"
	if j.whole {
		return nil
	}
	v, err := volume.Open(volume.Disc{Data: alignedReader{f}, Size: src.Size()}, volume.Options{})
	if err != nil {
		j.Notes = append(j.Notes, noteText{j.Device, "no file system that isomount knows could be read, so the whole device is: " + err.Error()})
		return nil //nolint:nilerr // it has been noted
	}
	end, what := fileSystemEnd(&v.Report)
	switch {
	case end > j.Bytes:
		j.Notes = append(j.Notes, noteText{j.Device, fmt.Sprintf("the %s has %d bytes, and the device ends after %d", what, end, j.Bytes)})
	case end > 0:
		j.Bytes, j.End = end, "end of the "+what
	}
	return nil
}

// fileSystemEnd tells where the last file system of a disc ends, 0 if that is
// not known. UDF has descriptors at the end of the disc, behind its partitions.
func fileSystemEnd(r *volume.Report) (int64, string) {
	iso := r.Details.ISO
	if iso == nil || r.Details.HFS != nil {
		return 0, ""
	}
	end := iso.Blocks * int64(iso.BlockSize)
	if iso.Start > 0 {
		end += iso.Start * blockBytes
	}
	if udf := r.Details.UDF; udf != nil {
		for _, p := range udf.Partitions {
			if p.Start+p.Length > end {
				return 0, ""
			}
		}
	}
	return end, "ISO 9660 file system"
}

// An alignedReader reads whole sectors into aligned memory, as a device that is
// read past the page cache wants it.
type alignedReader struct{ io.ReaderAt }

// ReadAt implements io.ReaderAt.
func (r alignedReader) ReadAt(p []byte, off int64) (int, error) {
	start := off &^ (blockBytes - 1)
	end := (off + int64(len(p)) + blockBytes - 1) &^ (blockBytes - 1)
	buf, free, err := alignedBuffer(end - start)
	if err != nil {
		return 0, err
	}
	defer free()
	n, err := r.ReaderAt.ReadAt(buf, start)
	k := copy(p, buf[min(off-start, int64(n)):n])
	if k == len(p) {
		err = nil
	}
	return k, err
}

// alignedBuffer returns memory that begins at a page.
func alignedBuffer(size int64) (buf []byte, free func(), err error) {
	buf, err = unix.Mmap(-1, 0, int(max(size, 1)), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, nil, fmt.Errorf("memory: %w", err)
	}
	return buf[:size], func() { _ = unix.Munmap(buf) }, nil
}

// read runs the ripper and notes what stayed bad.
func (j *ripJob) read(ctx context.Context, r *ripper) error {
	buf, free, err := alignedBuffer(ripPiece)
	if err != nil {
		return err
	}
	defer free()
	r.buf, r.m = buf, j.m
	if err := r.run(ctx); err != nil {
		return err
	}
	for _, b := range j.m.of(ripBad, ripFailed, ripScraped, ripNew) {
		first, last := b.off/blockBytes, (b.end()+blockBytes-1)/blockBytes
		j.Bad = append(j.Bad, badRun{first, last - first})
	}
	return nil
}

// atOnce makes the image in one go.
func (j *ripJob) atOnce(ctx context.Context, r *ripper) error {
	j.m = newRipMap(j.Bytes)
	return master.Create(ctx, j.output, func(f *os.File) error {
		r.dst = f
		if err := j.read(ctx, r); err != nil {
			return err
		}
		return f.Truncate(j.Bytes) // what is bad at its end was never written
	})
}

// inParts makes the image with a map, so that it can be gone on with.
func (j *ripJob) inParts(ctx context.Context, r *ripper) error {
	if err := j.loadMap(); err != nil {
		return err
	}
	part := j.output + ".part"
	work := part
	if j.m.bytes(ripDone) > 0 {
		var err error
		if work, err = j.earlier(part, r.src); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(work, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return err
	}
	r.dst, r.save = f, func() error { return j.saveMap(ctx, f) }
	err = j.read(ctx, r)
	if err == nil {
		err = f.Truncate(j.Bytes)
	}
	// However it ended, what was read is kept.
	if err := errors.Join(err, j.saveMap(ctx, f), f.Close()); err != nil {
		return err
	}
	if work == j.output {
		return nil
	}
	return os.Rename(work, j.output)
}

func (j *ripJob) loadMap() error {
	f, err := os.Open(j.mapFile)
	if errors.Is(err, fs.ErrNotExist) {
		j.m = newRipMap(j.Bytes)
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // it was only read
	if j.m, err = readRipMap(f); err != nil {
		return fmt.Errorf("%s: %w", j.mapFile, err)
	}
	j.m.resize(j.Bytes)
	return nil
}

// saveMap writes the map, when what it says was read is on the disk; also when
// ctx has ended.
func (j *ripJob) saveMap(ctx context.Context, image *os.File) error {
	if err := image.Sync(); err != nil {
		return err
	}
	return master.Create(context.WithoutCancel(ctx), j.mapFile, func(f *os.File) error { return j.m.write(f) })
}

var errOtherDisc = errors.New("is of another disc; name another --map and -o, or put that disc in")

// earlier finds the image that the map is about, and makes sure that it is of
// the disc that is in the drive now.
func (j *ripJob) earlier(part string, src io.ReaderAt) (string, error) {
	for _, path := range []string{part, j.output} {
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		same := j.sameDisc(f, src)
		if err := f.Close(); err != nil {
			return "", err
		}
		if !same {
			return "", fmt.Errorf("%s %w", path, errOtherDisc)
		}
		return path, nil
	}
	return "", fmt.Errorf("%s says that something was read, but there is neither %s nor %s; remove it to begin anew: %w",
		j.mapFile, part, j.output, fs.ErrNotExist)
}

// sameDisc compares the first sectors with content that were read before: the
// volume descriptors.
func (j *ripJob) sameDisc(image, src io.ReaderAt) bool {
	const first, count = 16 * blockBytes, 4
	for n := range int64(count) {
		off := first + n*blockBytes
		if off+blockBytes > j.Bytes || !j.m.is(off, ripDone) {
			continue
		}
		var was, now [blockBytes]byte
		if _, err := image.ReadAt(was[:], off); err != nil {
			return false
		}
		if _, err := (alignedReader{src}).ReadAt(now[:], off); err == nil && was != now {
			return false
		}
	}
	return true
}
