package main

import (
	"context"
	"fmt"
	"io"

	"github.com/isomount/isomount/pkg/fsys"
)

// tell says what was read, and checks it.
func (j *ripJob) tell(ctx context.Context) error {
	var checked error
	if len(j.Bad) > 0 {
		j.hit(ctx)
	} else if !j.noVerify {
		checked = j.verify(ctx)
	}
	if err := j.print(); err != nil {
		return err
	}
	switch {
	case len(j.Bad) > 0:
		return fmt.Errorf("%s: %s could not be read and are zeros in %s; files hit: %s: %w", j.Device,
			counted(int(j.badSectors()), "sector", "sectors"), j.output, counted(len(j.Files), "file", "files"), errPartial)
	case checked != nil:
		return checked
	case len(j.Notes) > 0:
		return fmt.Errorf("%s: not everything is as the disc says: %w", j.Device, errPartial)
	}
	return nil
}

func (j *ripJob) badSectors() (n int64) {
	for _, b := range j.Bad {
		n += b.Count
	}
	return n
}

// hit finds the files that bad sectors are part of.
func (j *ripJob) hit(ctx context.Context) {
	d, err := openDisc(j.output, "")
	if err != nil {
		j.Notes = append(j.Notes, noteText{j.output, "which files are hit cannot be told: " + err.Error()})
		return
	}
	defer func() { _ = d.Close() }() // it was only read
	x, ok := d.volume.FS.(fsys.ExtentFS)
	if !ok {
		return
	}
	w := walker{fs: d.volume.FS, bad: func(string, error) {}, visit: func(p *place) error {
		for _, b := range j.Bad {
			if p.attr.IsRegular() && overlaps(x, p.node, [2]int64{b.Sector * blockBytes, (b.Sector + b.Count) * blockBytes}) {
				j.Files = append(j.Files, "/"+p.path)
				break
			}
		}
		return nil
	}}
	if err := w.walk(ctx, place{node: d.volume.FS.Root(), attr: fsys.Attr{Mode: fsys.TypeDir}}); err != nil {
		j.Notes = append(j.Notes, noteText{j.output, "not all files that are hit are listed: " + err.Error()})
	}
}

// verify checks the image as the command of that name does.
func (j *ripJob) verify(ctx context.Context) error {
	app := *j.app
	if j.json {
		app.out = io.Discard
	}
	v := &verifyJob{app: &app, progress: j.progress}
	err := v.run(ctx, j.output)
	if v.disc == nil { // nothing is known of what is on it
		j.Notes = append(j.Notes, noteText{j.output, "there is no file system to check it by"})
		return nil
	}
	j.Verified = &v.done
	return err
}

func (j *ripJob) print() error {
	j.app.tellNotes(j.Notes)
	if j.json {
		return j.app.json(&j.ripped)
	}
	for i, b := range j.Bad {
		if i == maxNotes {
			fmt.Fprintf(j.app.out, "and %d runs more; --json tells all\n", len(j.Bad)-i)
			break
		}
		fmt.Fprintf(j.app.out, "bad: %s\n", sectorsText(b.Sector*blockBytes, (b.Sector+b.Count)*blockBytes))
	}
	for i, name := range j.Files {
		if i == maxNotes {
			fmt.Fprintf(j.app.out, "and %d files more; --json tells all\n", len(j.Files)-i)
			break
		}
		fmt.Fprintf(j.app.out, "hit: %s\n", printable(name))
	}
	_, err := fmt.Fprintf(j.app.out, "%s: %s, to the %s\n", j.output, bytesText(j.Bytes), j.End)
	return err
}
