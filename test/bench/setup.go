package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// makeImages makes the tree and an image of it in every format that there is a
// tool for. Content is not compressed: what is compared is the file system.
func (b *bench) makeImages(files, large int) error {
	tree := filepath.Join(b.work, "tree")
	if err := makeTree(tree, files, large); err != nil {
		return err
	}
	if err := b.sh(filepath.Join(b.bin, "isomount"), "create", tree, "-o", b.image("iso"), "--progress=none"); err != nil {
		return err
	}
	b.try("mksquashfs", tree, b.image("squashfs"), "-noI", "-noD", "-noF", "-noX", "-no-progress", "-quiet")
	b.try("mkfs.erofs", b.image("erofs"), tree)
	return os.RemoveAll(tree)
}

func (b *bench) image(kind string) string { return filepath.Join(b.work, "disc."+kind) }

// makeTree makes directories of 100 small files, one of many, and large files.
func makeTree(tree string, files, large int) error {
	for i := range files {
		dir := filepath.Join(tree, fmt.Sprintf("small/%03d/%03d", i/10_000, i/100))
		if i%100 == 0 {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
		}
		content := bytes.Repeat([]byte(fmt.Sprintf("line %d of a small file\n", i)), 1+i%150)
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("file-%06d.txt", i)), content, 0o644); err != nil {
			return err
		}
	}
	block := make([]byte, 1<<20)
	for i := range block {
		block[i] = byte(i * 7 >> 3)
	}
	if err := os.MkdirAll(filepath.Join(tree, "large"), 0o755); err != nil {
		return err
	}
	const mib = 256
	for i := 0; i*mib < large; i++ {
		f, err := os.Create(filepath.Join(tree, "large", fmt.Sprintf("%d.bin", i)))
		if err != nil {
			return err
		}
		for range min(mib, large-i*mib) {
			if _, err := f.Write(block); err != nil {
				return err
			}
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

// mountAll mounts what there is. isomount must work, a peer that does not is
// left out.
func (b *bench) mountAll() error {
	if err := b.mountOurs(); err != nil {
		return err
	}
	b.fuse("fuseiso", b.image("iso"))
	b.fuse("squashfuse", b.image("squashfs"))
	b.kernel("squashfs")
	b.kernel("erofs")
	return nil
}

func (b *bench) mountOurs() error {
	socket := filepath.Join(b.work, "socket")
	env := append(os.Environ(), "ISOMOUNT_SOCKET="+socket)
	daemon := exec.CommandContext(b.ctx, filepath.Join(b.bin, "isomountd"), "--log-level=warn")
	daemon.Env, daemon.Stderr = env, os.Stderr
	if err := daemon.Start(); err != nil {
		return err
	}
	b.undo = append(b.undo, func() { _ = daemon.Process.Signal(os.Interrupt); _ = daemon.Wait() })
	for range 500 {
		if _, err := os.Stat(socket); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	m, err := b.point("isomount")
	if err != nil {
		return err
	}
	m.pid = daemon.Process.Pid
	client := exec.CommandContext(b.ctx, filepath.Join(b.bin, "isomount"), "mount", b.image("iso"), m.dir)
	client.Env = env
	if out, err := client.CombinedOutput(); err != nil {
		return fmt.Errorf("isomount: %w: %s", err, out)
	}
	b.mounted(m)
	return nil
}

// fuse mounts with a program that is called PROGRAM IMAGE DIR and serves in the
// background.
func (b *bench) fuse(program, image string) {
	m, err := b.point(program)
	if err != nil || !exists(image) {
		return
	}
	if !b.try(program, image, m.dir) {
		return
	}
	if out, err := exec.CommandContext(b.ctx, "pgrep", "-n", "-x", program).Output(); err == nil {
		_, _ = fmt.Sscan(string(out), &m.pid)
	}
	b.mounted(m)
}

// kernel mounts with a file system of the kernel's own, on a loop device.
func (b *bench) kernel(kind string) {
	m, err := b.point(kind)
	if err != nil || !exists(b.image(kind)) {
		return
	}
	if b.try("mount", "-t", kind, "-o", "ro,loop", b.image(kind), m.dir) {
		b.mounted(m)
	}
}

func (b *bench) point(name string) (*mounted, error) {
	m := &mounted{name: name, dir: filepath.Join(b.work, "mnt-"+name)}
	return m, os.Mkdir(m.dir, 0o755)
}

func (b *bench) mounted(m *mounted) {
	b.mounts = append(b.mounts, m)
	b.undo = append(b.undo, func() { _ = exec.Command("umount", "-l", m.dir).Run() }) //nolint:noctx // also after ctx has ended
}

// try runs a program that may be missing or fail, and tells whether it worked.
func (b *bench) try(program string, args ...string) bool {
	if err := b.sh(program, args...); err != nil {
		fmt.Fprintf(os.Stderr, "left out: %v\n", err)
		return false
	}
	return true
}

func (b *bench) sh(program string, args ...string) error {
	out, err := exec.CommandContext(b.ctx, program, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", program, err, strings.TrimSpace(string(out)))
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
