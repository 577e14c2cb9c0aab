package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// A mounted is one way to look into the image.
type mounted struct {
	name  string
	dir   string
	pid   int             // of the process that serves it, 0 for the kernel
	bound time.Duration   // longer than this no workload may take
	fails map[string]bool // workloads that it does not cope with
}

// A daemon is an isomountd of this run's own.
type daemon struct {
	b   *bench
	env []string
	pid int
}

// startDaemon starts a daemon that ends with the scope, and waits until it
// answers.
func (b *bench) startDaemon(name string) (*daemon, error) {
	socket := b.path(name + ".socket")
	d := &daemon{b: b, env: append(os.Environ(), "ISOMOUNT_SOCKET="+socket)}
	cmd := exec.Command(filepath.Join(b.bin, "isomountd"), "--keep", "--log-level=warn") //nolint:noctx // it is ended when its drives are
	cmd.Env, cmd.Stderr = d.env, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt at the terminal comes before its drives are unmounted
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	b.later(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		_ = os.Remove(socket)
	})
	for range 1000 {
		if s, err := d.stats(); err == nil {
			d.pid = s.PID // of the process that serves; the other keeps what it needs
			return d, nil
		}
		if err := b.ctx.Err(); err != nil {
			return nil, err
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil, fmt.Errorf("isomountd does not answer on %s", socket)
}

// client prepares a command of the client.
func (d *daemon) client(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(d.b.ctx, filepath.Join(d.b.bin, "isomount"), args...)
	cmd.Env = d.env
	return cmd
}

// detached is a command of the client that clearing up after an interrupt needs.
func (d *daemon) detached(args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(d.b.bin, "isomount"), args...) //nolint:noctx // also after ctx has ended
	cmd.Env = d.env
	return cmd
}

func (d *daemon) run(args ...string) error {
	if out, err := d.client(args...).CombinedOutput(); err != nil {
		return fmt.Errorf("isomount %s: %w: %s", args[0], err, strings.TrimSpace(string(out)))
	}
	return nil
}

// A daemonStats is a part of what "isomount stats --json" prints.
type daemonStats struct {
	PID, CacheSize, Heap int
	Counters             struct{ Hits, Misses int64 }
}

func (d *daemon) stats() (s daemonStats, err error) {
	out, err := d.client("stats", "--json").Output()
	if err != nil {
		return s, fmt.Errorf("isomount stats: %w", err)
	}
	return s, json.Unmarshal(out, &s)
}

// mount mounts an image until the end of the scope.
func (d *daemon) mount(name, image string, options ...string) (*mounted, error) {
	m, err := d.b.point(name)
	if err != nil {
		return nil, err
	}
	args := []string{"mount", image, m.dir}
	for _, o := range options {
		args = append(args, "-o", o)
	}
	if err := d.run(args...); err != nil {
		return nil, err
	}
	m.pid = d.pid
	d.b.later(func() {
		if d.detached("unmount", m.dir).Run() != nil { // what was interrupted may still be in there
			_ = d.detached("unmount", "--lazy", m.dir).Run()
		}
	})
	return m, nil
}

// point makes a mount point.
func (b *bench) point(name string) (*mounted, error) {
	m := &mounted{name: name, dir: b.path("mnt-" + strings.ReplaceAll(name, " ", "-")), bound: 2 * time.Minute, fails: map[string]bool{}}
	if err := os.Mkdir(m.dir, 0o755); err != nil {
		return nil, err
	}
	b.later(func() { _ = os.Remove(m.dir) })
	return m, nil
}

func (b *bench) unmountLater(m *mounted) {
	b.later(func() { _ = exec.Command("umount", "-l", m.dir).Run() }) //nolint:noctx // also after ctx has ended
}

// fuse mounts with a program that is called PROGRAM [FLAG]... IMAGE DIR and
// serves in the background. It returns nil if that does not work.
func (b *bench) fuse(program, image string, flags ...string) *mounted {
	m := b.other(program, image, program, flags...)
	if m != nil {
		m.pid = servedBy(m.dir)
	}
	return m
}

// nodes mounts with our readers served by go-fuse's own nodes: test/bench/nodes,
// which lies beside this program. It returns nil if that does not work.
func (b *bench) nodes(image string) *mounted {
	m, err := b.serveNodes(image)
	if err != nil {
		b.say("left out: %v", err)
		return nil
	}
	return m
}

func (b *bench) serveNodes(image string) (*mounted, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	m, err := b.point(objects)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(b.ctx, filepath.Join(filepath.Dir(self), "nodes"), image, m.dir)
	cmd.Stderr = os.Stderr
	served, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	b.later(func() {
		_ = cmd.Process.Kill() // somebody may still be in there
		_ = cmd.Wait()
	})
	b.unmountLater(m)
	m.pid = cmd.Process.Pid
	if _, err := io.Copy(io.Discard, served); err != nil {
		return nil, err
	}
	return m, b.sh("mountpoint", "-q", m.dir)
}

// kernel mounts with a file system of the kernel's own, on a loop device.
func (b *bench) kernel(kind string) *mounted {
	return b.other(kind, b.image(kind), "mount", "-t", kind, "-o", "ro,loop")
}

func (b *bench) other(name, image, program string, flags ...string) *mounted {
	if _, err := os.Stat(image); err != nil {
		return nil // there was no tool to make it
	}
	m, err := b.point(name)
	if err != nil {
		b.say("left out: %v", err)
		return nil
	}
	b.unmountLater(m) // also a mount that came too late
	if !b.try(program, append(flags, image, m.dir)...) {
		return nil
	}
	return m
}

// servedBy finds the process that was given a mount point as its last argument.
func servedBy(dir string) int {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range lines {
		if b, err := os.ReadFile(path); err == nil && strings.HasSuffix(string(b), "\x00"+dir+"\x00") {
			var pid int
			_, _ = fmt.Sscanf(path, "/proc/%d/", &pid)
			return pid
		}
	}
	return 0
}

// try runs a program that may be missing or fail, and tells whether it worked.
func (b *bench) try(program string, args ...string) bool {
	err := b.sh(program, args...)
	if err != nil {
		b.say("left out: %v", err)
	}
	return err == nil
}

// sh runs a program; one that does not end is ended.
func (b *bench) sh(program string, args ...string) error {
	ctx, cancel := context.WithTimeout(b.ctx, 5*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %.300s", program, err, strings.TrimSpace(string(out)))
	}
	return nil
}
