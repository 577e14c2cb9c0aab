package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// dropPages takes a file's pages out of the page cache.
func dropPages(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}
