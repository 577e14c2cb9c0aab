package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

func (b *bench) image(kind string) string { return b.path("disc." + kind) }

// makeImages makes a tree and an image of it in every format that there is a
// tool for. Content is not compressed: what is compared is the file system.
func (b *bench) makeImages() error {
	tree := b.path("tree")
	b.later(func() { _ = os.RemoveAll(tree) })
	b.say("making a tree of %d small files and %d MiB of large ones", b.sizes.files, b.sizes.large)
	if err := b.makeTree(tree); err != nil {
		return err
	}
	b.say("making images of it")
	for _, kind := range []string{"iso", "squashfs", "erofs"} {
		b.later(func() { _ = os.Remove(b.image(kind)) })
	}
	if err := b.create(tree, b.image("iso")); err != nil {
		return err
	}
	b.try("mksquashfs", tree, b.image("squashfs"), "-noI", "-noD", "-noF", "-noX", "-no-progress", "-quiet")
	b.try("mkfs.erofs", b.image("erofs"), tree)
	unix.Sync() // what is still to be written cannot be dropped from the cache
	return nil
}

// create makes an ISO 9660 image of a tree.
func (b *bench) create(tree, image string) error {
	return b.sh(filepath.Join(b.bin, "isomount"), "create", tree, "-o", image, "--progress=none")
}

// makeTree makes directories of a few small files, one of many that are empty,
// and large files.
func (b *bench) makeTree(tree string) error {
	for i := range b.sizes.files {
		name := filepath.Join(tree, smallDir(i), smallName(i))
		if err := b.putFile(name, fmt.Appendf(nil, "line %d of a small file\n", i), 1+i%150); err != nil {
			return err
		}
	}
	for i := range b.sizes.files / 2 {
		if err := b.putFile(filepath.Join(tree, "many", fmt.Sprintf("empty-%06d", i)), nil, 0); err != nil {
			return err
		}
	}
	block := make([]byte, 1<<20)
	for i := range block {
		block[i] = byte(i * 7 >> 3)
	}
	const mib = 256
	for i := 0; i*mib < b.sizes.large; i++ {
		name := filepath.Join(tree, "large", fmt.Sprintf("%d.bin", i))
		if err := b.putFile(name, block, min(mib, b.sizes.large-i*mib)); err != nil {
			return err
		}
	}
	return nil
}

const smallPerDir = 100

// smallDir and smallName say where small file i lies in the tree. No directory
// has its parent's name: archivemount takes the two for one.
func smallDir(i int) string  { return fmt.Sprintf("small/part-%03d/dir-%05d", i/10_000, i/smallPerDir) }
func smallName(i int) string { return fmt.Sprintf("file-%06d.txt", i) }

// putFile writes a file of a piece that comes several times.
func (b *bench) putFile(path string, piece []byte, times int) error {
	if err := b.ctx.Err(); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if len(piece)*times < 1<<20 {
		return os.WriteFile(path, bytes.Repeat(piece, times), 0o644)
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	for range times {
		if _, err := f.Write(piece); err != nil {
			_ = f.Close()
			return err
		}
	}
	return f.Close()
}
