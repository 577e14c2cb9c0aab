package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// What the client may take, from the start of its process on.
const (
	firstByteGoal = 10 * time.Millisecond
	clientGoal    = 5 * time.Millisecond
)

// smallImage makes an image with one file, called file, and returns its path.
func (b *bench) smallImage() (string, error) {
	tree, image := b.path("small"), b.path("small.iso")
	b.later(func() { _ = os.RemoveAll(tree); _ = os.Remove(image) })
	if err := b.putFile(filepath.Join(tree, "file"), []byte("content"), 1); err != nil {
		return "", err
	}
	return image, b.create(tree, image)
}

// start prints how long the client takes: alone, and to the first byte of a
// file of an image that it mounts, with a daemon that runs and an image in the
// page cache.
func (b *bench) start() error {
	image, err := b.smallImage()
	if err != nil {
		return err
	}
	d, err := b.startDaemon("start")
	if err != nil {
		return err
	}
	point, err := b.point("start")
	if err != nil {
		return err
	}
	b.later(func() { _ = d.detached("unmount", "--all", "--lazy").Run() })
	runs := []struct {
		name string
		goal time.Duration
		run  func() error
		undo func() error
	}{
		{"/bin/true", 0, func() error { return exec.CommandContext(b.ctx, "/bin/true").Run() }, nil},
		{"isomount --version", clientGoal, func() error { return d.client("--version").Run() }, nil},
		{"isomount list", clientGoal, func() error { return d.client("list").Run() }, nil},
		{
			"isomount mount, and the first byte", firstByteGoal, func() error { return d.firstByte(image, point.dir) },
			func() error { return d.run("unmount", point.dir) },
		},
	}
	b.say("starting the client %d times", b.sizes.starts)
	times := make([][]time.Duration, len(runs))
	for range b.sizes.starts {
		for i, r := range runs {
			took, err := b.clock(false, r.run)
			if err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
			times[i] = append(times[i], took)
			if r.undo != nil {
				if err := r.undo(); err != nil {
					return err
				}
			}
		}
	}
	t := newTable(fmt.Sprintf("From the start of a command to its end; %d runs.", b.sizes.starts), "command", "median", "shortest", "goal", "")
	for i, r := range runs {
		goal, verdict := none, ""
		if r.goal > 0 {
			goal, verdict = "≤ "+milliseconds(r.goal), judge(float64(median(times[i])), float64(r.goal))
		}
		t.add(r.name, milliseconds(median(times[i])), milliseconds(shortest(times[i])), goal, verdict)
	}
	t.print(os.Stdout)
	return nil
}

// firstByte mounts an image and reads a byte of its file.
func (d *daemon) firstByte(image, dir string) error {
	if err := d.run("mount", image, dir); err != nil {
		return err
	}
	f, err := os.Open(filepath.Join(dir, "file"))
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	_, err = f.Read(make([]byte, 1))
	return err
}
