package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// A workload is something that people do with a mounted disc.
type workload struct {
	name string
	cold bool // caches are dropped before
	run  func(dir string) error
}

var workloads = []workload{
	{"walk with stat, cold", true, walk},
	{"walk with stat, warm", false, walk},
	{"read every small file, cold", true, readSmall},
	{"read every small file, warm", false, readSmall},
	{"grep -r, cold", true, func(dir string) error { return pipeline("grep -r nothing-like-this . || [ $? = 1 ]", dir) }},
	{"tar, cold", true, func(dir string) error { return pipeline("tar cf - small | cat >/dev/null", dir) }},
	{"sequential 1 MiB, image in the page cache", false, sequentialCold},
	{"sequential 1 MiB, warm", false, sequential},
	{"random 4 KiB, 1 job, cold", true, func(dir string) error { return random(dir, 1) }},
	{"random 4 KiB, 4 jobs, cold", true, func(dir string) error { return random(dir, 4) }},
}

func walk(dir string) error {
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		_, err = os.Lstat(path)
		return err
	})
}

func readSmall(dir string) error {
	buf := make([]byte, 64<<10)
	return filepath.WalkDir(filepath.Join(dir, "small"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		for {
			if _, err := f.Read(buf); err != nil {
				if errors.Is(err, io.EOF) {
					return nil
				}
				return err
			}
		}
	})
}

func pipeline(line, dir string) error {
	cmd := exec.Command("bash", "-o", "pipefail", "-c", line) //nolint:noctx // bounded by what it reads
	cmd.Dir = dir
	return cmd.Run()
}

func largeFiles(dir string) ([]string, error) {
	list, err := filepath.Glob(filepath.Join(dir, "large", "*.bin"))
	if err == nil && len(list) == 0 {
		err = errors.New("no large files")
	}
	return list, err
}

func sequential(dir string) error {
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
		_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{f}, buf)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// sequentialCold drops the pages of the mount's files and leaves the image's:
// what is measured is the way from one to the other.
func sequentialCold(dir string) error {
	list, err := largeFiles(dir)
	if err != nil {
		return err
	}
	for _, path := range list {
		if err := dropPages(path); err != nil {
			return err
		}
	}
	return sequential(dir)
}

func random(dir string, jobs int) error {
	list, err := largeFiles(dir)
	if err != nil {
		return err
	}
	errs := make([]error, jobs)
	var wg sync.WaitGroup
	for j := range jobs {
		wg.Go(func() { errs[j] = randomJob(list[j%len(list)], uint64(j)) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func randomJob(path string, seed uint64) error {
	const reads, size = 4000, 4096
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
	buf := make([]byte, size)
	for range reads {
		if _, err := f.ReadAt(buf, rnd.Int64N(st.Size()/size)*size); err != nil {
			return err
		}
	}
	return nil
}

func dropCaches() error {
	return os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0o200)
}

// anonymous is how much memory a process has to itself.
func anonymous(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return "?"
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			return strings.TrimSpace(v)
		}
	}
	return "?"
}
