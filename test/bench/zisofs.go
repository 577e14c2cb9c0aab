package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/isofs"
)

// zisofs prints how fast a compressed file is read through a mount, against
// the speed of the decoder alone.
func (b *bench) zisofs() error {
	image, err := b.packed()
	if err != nil || image == "" {
		return err
	}
	cores := runtime.GOMAXPROCS(0)
	size := int64(b.sizes.zisofs) << 20
	t := newTable(fmt.Sprintf("A zisofs file of %d MiB on %d cores, blocks of 32 KiB; medians of %d rounds.", b.sizes.zisofs, cores, b.sizes.rounds),
		"", "", "of the decoder on all cores", "hits of the cache")
	type run struct {
		name    string
		measure func() (time.Duration, string, error)
		bytes   int64
	}
	runs := []run{
		{fmt.Sprintf("decoder alone, %d cores", cores), func() (time.Duration, string, error) { return b.decode(image, cores) }, size},
		{"decoder alone, 1 core", func() (time.Duration, string, error) { return b.decode(image, 1) }, size},
	}
	for _, jobs := range []int{1, 2} {
		runs = append(runs, run{
			fmt.Sprintf("mount, from start to end, %d readers", jobs),
			func() (time.Duration, string, error) {
				return b.readPacked(image, func(path string) error { return inShares(b.ctx, path, size, jobs) })
			}, size,
		})
	}
	runs = append(runs, run{
		"mount, random 4 KiB, 1 reader",
		func() (time.Duration, string, error) {
			return b.readPacked(image, func(path string) error { return randomJob(b.ctx, path, 1) })
		}, randomReads * randomSize,
	})
	times, hits := make([][]time.Duration, len(runs)), make([]string, len(runs))
	for range b.sizes.rounds {
		for i, r := range runs {
			took, rate, err := r.measure()
			if err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
			times[i], hits[i] = append(times[i], took), rate
		}
	}
	best := median(times[0])
	for i, r := range runs {
		took := median(times[i])
		share := none
		if r.bytes == size {
			share = fmt.Sprintf("%.2f", best.Seconds()/took.Seconds())
		}
		t.add(r.name, rate(r.bytes, took), share, hits[i])
	}
	t.print(os.Stdout)
	return nil
}

// packed makes an image with one compressed file, called file; "" if there is
// no tool for it.
func (b *bench) packed() (string, error) {
	tree, image := b.path("packed"), b.path("packed.iso")
	b.later(func() { _ = os.RemoveAll(tree); _ = os.Remove(image) })
	b.say("making a compressed file of %d MiB", b.sizes.zisofs)
	if err := os.Mkdir(tree, 0o755); err != nil {
		return "", err
	}
	if err := b.putLog(filepath.Join(tree, "file")); err != nil {
		return "", err
	}
	if !b.try("xorriso", "-outdev", image, "-map", tree, "/", "-set_filter_r", "--zisofs", "/", "--") {
		return "", nil
	}
	return image, nil
}

// putLog writes what looks like a log: half of it compresses well.
func (b *bench) putLog(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	block := make([]byte, 0, 1<<20+128)
	for range b.sizes.zisofs {
		block = block[:0]
		for len(block) < 1<<20 {
			block = fmt.Appendf(block, "%016x the reader asked for block %d of the disc\n", rnd.Uint64(), rnd.IntN(1000))
		}
		if _, err := f.Write(block[:1<<20]); err != nil {
			_ = f.Close()
			return err
		}
	}
	return f.Close()
}

// decode reads the file without a mount, in one share for each core.
func (b *bench) decode(image string, cores int) (time.Duration, string, error) {
	f, err := os.Open(image)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = f.Close() }()
	tree, node, err := openPacked(f)
	if err != nil {
		return 0, "", err
	}
	attr, err := tree.Attr(node)
	if err != nil {
		return 0, "", err
	}
	took, err := b.clock(false, func() error {
		return together(cores, func(j int) error {
			from, to := share(attr.Size, cores, j)
			_, err := io.CopyBuffer(struct{ io.Writer }{io.Discard},
				io.NewSectionReader(fileOf{tree, node}, from, to-from), make([]byte, 128<<10))
			return err
		})
	})
	return took, none, err
}

func openPacked(f *os.File) (*isofs.FS, fsys.Node, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	v, err := isofs.Open(f, st.Size(), isofs.Options{})
	if err != nil {
		return nil, 0, err
	}
	tree, err := v.FS(isofs.RockRidge, isofs.TreeOptions{})
	if err != nil {
		return nil, 0, err
	}
	node, _, err := tree.Lookup(tree.Root(), []byte("file"))
	return tree, node, err
}

// A fileOf is a file of a tree as an io.ReaderAt.
type fileOf struct {
	tree fsys.FS
	node fsys.Node
}

func (f fileOf) ReadAt(p []byte, off int64) (int, error) { return f.tree.ReadAt(f.node, p, off) }

// share is the part of size bytes that job j of several reads.
func share(size int64, jobs, j int) (from, to int64) {
	return size * int64(j) / int64(jobs), size * int64(j+1) / int64(jobs)
}

// readPacked reads the file through a mount of a daemon that has seen nothing
// of it before, and tells how often the cache had what was wanted.
func (b *bench) readPacked(image string, read func(path string) error) (took time.Duration, hits string, err error) {
	err = b.scope(func() error {
		d, err := b.startDaemon("packed")
		if err != nil {
			return err
		}
		m, err := d.mount("packed", image)
		if err != nil {
			return err
		}
		before, err := d.stats()
		if err != nil {
			return err
		}
		if took, err = b.clock(false, func() error { return read(filepath.Join(m.dir, "file")) }); err != nil {
			return err
		}
		after, err := d.stats()
		found, missed := after.Counters.Hits-before.Counters.Hits, after.Counters.Misses-before.Counters.Misses
		hits = fmt.Sprintf("%.0f %% of %d", 100*float64(found)/float64(max(found+missed, 1)), found+missed)
		return err
	})
	return took, hits, err
}

// inShares has jobs read a file once, each its share.
func inShares(ctx context.Context, path string, size int64, jobs int) error {
	return together(jobs, func(j int) error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		from, to := share(size, jobs, j)
		return errors.Join(consume(ctx, io.NewSectionReader(f, from, to-from), make([]byte, 128<<10)), f.Close())
	})
}
