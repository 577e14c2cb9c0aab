package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// A workload is something that people do with a mounted disc.
type workload struct {
	name  string
	cold  bool // caches are dropped before
	run   func(ctx context.Context, dir string) error
	bare  func(ctx context.Context, image string, size int64) error // the same on the image itself; nil if that means nothing
	goals []goal
}

// A goal is how long isomount may take, as a multiple of what another takes.
type goal struct {
	other string
	most  float64
}

// Names of those that workloads are compared with.
const (
	ours     = "isomount"
	oursRing = "isomount, io_uring"
	objects  = "go-fuse nodes"
	bare     = "the image itself"
	host     = "the files themselves"
)

// Commands of workloads; what they print goes to /dev/null.
const (
	find = `find . -printf '%s\n'`
	cat  = `find small -type f -print0 | xargs -0 cat`
	grep = `grep -r nothing-like-this small`
	tar  = `tar cf - small | cat`
)

// workloads is everything that is compared, in order.
func (b *bench) workloads() []workload {
	return []workload{
		{"walk with stat, cold", true, shell(find), nil, []goal{{"fuseiso", 0.15}, {"erofs", 0.5}}},
		{"walk with stat, warm", false, shell(find), nil, []goal{{"erofs", 1.1}}},
		{"read every small file, cold", true, shell(cat), nil, []goal{{"fuseiso", 0.25}, {"erofs", 0.7}}},
		{"read every small file, warm", false, shell(cat), nil, []goal{{"erofs", 1.15}}},
		{"open, read, close, nothing else, warm", false, b.openEach, nil, nil},
		{"grep -r, cold", true, shell(grep + " || [ $? = 1 ]"), nil, []goal{{"fuseiso", 0.15}, {"erofs", 0.5}}},
		{"tar, cold", true, shell(tar), nil, []goal{{"fuseiso", 0.15}, {"erofs", 0.5}}},
		{onlyImage, false, sequentialDropped, bareSequential, []goal{{"fuseiso", 0.45}, {bare, 1.5}}},
		{"sequential 1 MiB, warm", false, sequential, nil, []goal{{"squashfs", 1.1}}},
		{"random 4 KiB, 1 job, cold", true, random(1), bareRandom(1), []goal{{"fuseiso", 0.7}}},
		{"random 4 KiB, 4 jobs, cold", true, random(4), bareRandom(4), []goal{{"fuseiso", 0.35}}},
		{"random 4 KiB, 8 jobs, cold", true, random(8), bareRandom(8), nil},
	}
}

// onlyImage is measured where the pages of the mount's files are not those of
// what lies below.
const onlyImage = "sequential 1 MiB, image in the page cache"

// shell runs a command line in the directory.
func shell(line string) func(ctx context.Context, dir string) error {
	return func(ctx context.Context, dir string) error {
		cmd := exec.CommandContext(ctx, "bash", "-o", "pipefail", "-c", line)
		cmd.Dir = dir
		groupOf(cmd)
		var said bytes.Buffer
		cmd.Stderr = &said
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%w: %.200s", err, bytes.TrimSpace(said.Bytes()))
		}
		return nil
	}
}

// openEach reads every small file, of which it knows the names, by paths of one
// name: what the kernel takes for a file, without the search for it.
func (b *bench) openEach(ctx context.Context, dir string) error {
	buf := make([]byte, 64<<10)
	for i := 0; i < b.sizes.files; i += smallPerDir {
		folder, err := openPlain(unix.AT_FDCWD, filepath.Join(dir, smallDir(i)))
		if err != nil {
			return err
		}
		for j := i; j < min(i+smallPerDir, b.sizes.files) && err == nil; j++ {
			err = readPlain(ctx, folder, smallName(j), buf)
		}
		if err := errors.Join(err, folder.Close()); err != nil {
			return err
		}
	}
	return nil
}

func readPlain(ctx context.Context, folder plainFile, name string, buf []byte) error {
	f, err := openPlain(int(folder), name)
	if err != nil {
		return err
	}
	return errors.Join(consume(ctx, f, buf), f.Close())
}

// A plainFile is read as most programs do it. An os.File of a FUSE file system
// has the runtime's poller look after it, which takes two system calls a file
// that no other kind of file costs.
type plainFile int

func openPlain(folder int, name string) (plainFile, error) {
	fd, err := unix.Openat(folder, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return plainFile(fd), nil
}

func (f plainFile) Read(p []byte) (int, error) {
	n, err := unix.Read(int(f), p)
	if n == 0 && err == nil {
		return 0, io.EOF
	}
	return max(n, 0), err
}

func (f plainFile) Close() error { return unix.Close(int(f)) }

// consume reads to the end.
func consume(ctx context.Context, r io.Reader, buf []byte) error {
	for ctx.Err() == nil {
		if _, err := r.Read(buf); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
	return ctx.Err()
}

func largeFiles(dir string) ([]string, error) {
	list, err := filepath.Glob(filepath.Join(dir, "large", "*.bin"))
	if err == nil && len(list) == 0 {
		err = errors.New("no large files")
	}
	return list, err
}

func sequential(ctx context.Context, dir string) error {
	list, err := largeFiles(dir)
	if err != nil {
		return err
	}
	buf := make([]byte, 1<<20)
	for _, path := range list {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		if err := errors.Join(consume(ctx, f, buf), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// sequentialDropped drops the pages of the mount's files and leaves the
// image's: what is measured is the way from one to the other.
func sequentialDropped(ctx context.Context, dir string) error {
	list, err := largeFiles(dir)
	if err != nil {
		return err
	}
	for _, path := range list {
		if err := dropPages(path); err != nil {
			return err
		}
	}
	return sequential(ctx, dir)
}

// bareSequential reads as many bytes of the image as the large files have.
func bareSequential(ctx context.Context, image string, size int64) error {
	f, err := os.Open(image)
	if err != nil {
		return err
	}
	return errors.Join(consume(ctx, io.LimitReader(f, size), make([]byte, 1<<20)), f.Close())
}

// random has jobs read here and there in the large files, all at once.
func random(jobs int) func(ctx context.Context, dir string) error {
	return func(ctx context.Context, dir string) error {
		list, err := largeFiles(dir)
		if err != nil {
			return err
		}
		return together(jobs, func(j int) error { return randomJob(ctx, list[j%len(list)], uint64(j)) })
	}
}

func bareRandom(jobs int) func(ctx context.Context, image string, _ int64) error {
	return func(ctx context.Context, image string, _ int64) error {
		return together(jobs, func(j int) error { return randomJob(ctx, image, uint64(j)) })
	}
}

// together runs jobs at once, waits for all of them and returns the first error.
func together(jobs int, run func(job int) error) error {
	errs := make([]error, jobs)
	var wg sync.WaitGroup
	for j := range jobs {
		wg.Go(func() { errs[j] = run(j) })
	}
	wg.Wait()
	return cmp.Or(errs...)
}

// What one job of random reads.
const randomReads, randomSize = 4000, 4096

func randomJob(ctx context.Context, path string, seed uint64) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	rnd := rand.New(rand.NewPCG(seed, 1))
	buf := make([]byte, randomSize)
	for range randomReads {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := f.ReadAt(buf, rnd.Int64N(st.Size()/randomSize)*randomSize); err != nil {
			return err
		}
	}
	return nil
}
