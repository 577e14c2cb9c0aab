package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/isofs/master"
)

// Jobs that walk a tree at once.
var walkers = []int{1, 8}

// growth prints what a file costs in trees of more and more files.
func (b *bench) growth() error {
	head := []string{"files", "image"}
	for _, jobs := range walkers {
		head = append(head, fmt.Sprintf("a file, cold, %d jobs", jobs), fmt.Sprintf("all, %d jobs", jobs))
	}
	t := newTable(fmt.Sprintf("Walk with stat through trees of more and more files, 100 to a directory; "+
		"medians of up to %d rounds. Each tree has a daemon of its own.", b.sizes.rounds),
		append(head, "memory of the daemon with the drive", "after the walks")...)
	for _, n := range []int{10, 1000, 100_000, 1_000_000} {
		if n > b.sizes.growth {
			break
		}
		err := b.scope(func() error {
			row, err := b.grown(n)
			if err == nil {
				t.add(row...)
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("%d files: %w", n, err)
		}
	}
	t.print(os.Stdout)
	return nil
}

// grown measures a tree of n files.
func (b *bench) grown(n int) ([]string, error) {
	b.say("a tree of %d files", n)
	image := b.path("growth.iso")
	b.later(func() { _ = os.Remove(image) })
	size, err := b.synthesize(image, n)
	if err != nil {
		return nil, err
	}
	d, err := b.startDaemon("growth")
	if err != nil {
		return nil, err
	}
	m, err := d.mount("growth", image)
	if err != nil {
		return nil, err
	}
	before := anonymous(d.pid)
	row := []string{strconv.Itoa(n), fmt.Sprintf("%.1f MiB", float64(size)/(1<<20))}
	for _, jobs := range walkers {
		took, err := b.coldMedian(func() error { return walkWith(b.ctx, m.dir, jobs, n) })
		if err != nil {
			return nil, err
		}
		row = append(row, fmt.Sprintf("%.2f µs", took.Seconds()*1e6/float64(n)), milliseconds(took))
	}
	return append(row, mebibytes(before), mebibytes(anonymous(d.pid))), nil
}

// coldMedian measures f with cold caches, for all rounds or until the time for
// one measurement is spent. A first run that is short does not count: programs
// and paths were read for it too.
func (b *bench) coldMedian(f func() error) (time.Duration, error) {
	var times []time.Duration
	var spent time.Duration
	for first := true; len(times) < b.sizes.rounds && spent <= b.sizes.spend; first = false {
		took, err := b.clock(true, f)
		if err != nil {
			return 0, err
		}
		if first && took < b.sizes.spend/10 {
			continue
		}
		times, spent = append(times, took), spent+took
	}
	return median(times), nil
}

// walkWith has jobs walk a tree, each through a share of its directories, and
// makes sure that they saw n files.
func walkWith(ctx context.Context, dir string, jobs, n int) error {
	shares, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	if err != nil {
		return err
	}
	seen := make([]int, jobs)
	err = together(jobs, func(j int) error {
		for i := j; i < len(shares); i += jobs {
			if err := walkShare(ctx, shares[i], &seen[j]); err != nil {
				return err
			}
		}
		return nil
	})
	total := 0
	for _, s := range seen {
		total += s
	}
	if err == nil && total != n {
		err = fmt.Errorf("%d files were seen, want %d", total, n)
	}
	return err
}

func walkShare(ctx context.Context, dir string, files *int) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		if !d.IsDir() {
			*files++
		}
		_, err = os.Lstat(path)
		return err
	})
}

// synthesize writes an image of n empty files without their being on any disk,
// and returns its size in bytes.
func (b *bench) synthesize(path string, n int) (int64, error) {
	tree, err := synthetic(n)
	if err != nil {
		return 0, err
	}
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	result, err := master.Write(b.ctx, f, tree, master.Options{VolumeID: "GROWTH"}, nil)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return 0, err
	}
	return result.Blocks * 2048, nil
}

func synthetic(n int) (*master.Tree, error) {
	const perDir, perTop = 100, 10_000
	tree := master.NewTree(fsys.Attr{})
	a := fsys.Attr{Mode: fsys.TypeFile | 0o644}
	folder := fsys.Attr{Mode: fsys.TypeDir | 0o755}
	var top, dir *master.Node
	for i := range n {
		var err error
		if i%perTop == 0 {
			top, err = tree.Add(tree.Root(), fmt.Sprintf("%03d", i/perTop), &folder, nil, 0)
		}
		if i%perDir == 0 && err == nil {
			dir, err = tree.Add(top, fmt.Sprintf("%05d", i/perDir), &folder, nil, 0)
		}
		if err == nil {
			_, err = tree.Add(dir, fmt.Sprintf("file-%07d.txt", i), &a, nil, 0)
		}
		if err != nil {
			return nil, err
		}
	}
	return tree, nil
}
