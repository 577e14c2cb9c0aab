package test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// A daemon is an isomountd of a test's own, in the foreground.
type daemon struct {
	t   *testing.T
	dir string // of its socket
	cmd *exec.Cmd
	log *bytes.Buffer
	uid int
	env []string

	program string // "": the one under test
}

// startDaemon starts a daemon as a user (0: as this one) with flags.
func startDaemon(t *testing.T, uid int, flags ...string) *daemon {
	t.Helper()
	d := &daemon{t: t, uid: uid, log: new(bytes.Buffer), dir: shortDir(t, uid)}
	d.env = append(os.Environ(), "ISOMOUNT_SOCKET="+d.dir+"/socket", "XDG_RUNTIME_DIR="+d.dir, "HOME="+d.dir)
	d.start(flags...)
	t.Cleanup(d.stop)
	return d
}

// start starts the daemon's process and waits until it answers.
func (d *daemon) start(flags ...string) {
	d.t.Helper()
	d.cmd = d.command(context.Background(), "isomountd", flags...)
	if d.program != "" {
		d.cmd.Path = d.program
	}
	d.cmd.Stdout, d.cmd.Stderr = d.log, d.log
	if err := d.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	within(d.t, 10*time.Second, "the daemon answers", func() bool {
		_, code := d.client("stats")
		return code == 0
	})
}

// shortDir makes a directory whose path leaves room for a socket's name.
func shortDir(t *testing.T, uid int) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "is") //nolint:usetesting // its path must be short, and other users must get there
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if uid != 0 {
		if err := os.Chown(dir, uid, uid); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// command prepares a program of ours, as the daemon's user and with its socket.
func (d *daemon) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(bin, program), args...)
	cmd.Env = d.env
	cmd.Dir = d.dir
	if d.uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(d.uid), Gid: uint32(d.uid)}}
	}
	return cmd
}

// stop ends the daemon as a service manager does; it must end cleanly.
func (d *daemon) stop() {
	_ = d.command(context.Background(), "isomount", "unmount", "--all", "--lazy").Run()
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	if err := d.cmd.Wait(); err != nil {
		d.t.Errorf("the daemon ended with %v; its log:\n%s", err, d.log)
	}
	if d.t.Failed() {
		d.t.Logf("log of the daemon:\n%s", d.log)
	}
}

// client runs isomount and returns what it printed and its exit code.
func (d *daemon) client(args ...string) (out string, code int) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	b, err := d.command(ctx, "isomount", args...).CombinedOutput()
	if ctx.Err() != nil {
		d.t.Fatalf("isomount %v does not end", args)
	}
	if ee, ok := errors.AsType[*exec.ExitError](err); ok {
		return string(b), ee.ExitCode()
	}
	if err != nil {
		d.t.Fatal(err)
	}
	return string(b), 0
}

// must runs isomount, which must succeed.
func (d *daemon) must(args ...string) string {
	d.t.Helper()
	out, code := d.client(args...)
	if code != 0 {
		d.t.Fatalf("isomount %v: exit code %d: %s", args, code, out)
	}
	return out
}

// mount mounts an image on a new directory and returns that.
func (d *daemon) mount(image string) string {
	d.t.Helper()
	point, err := os.MkdirTemp(d.dir, "mnt")
	if err != nil {
		d.t.Fatal(err)
	}
	if d.uid != 0 {
		if err := os.Chown(point, d.uid, d.uid); err != nil {
			d.t.Fatal(err)
		}
	}
	d.must("mount", image, point)
	return point
}

// statusKiB reads a line of /proc/PID/status of the daemon.
func (d *daemon) statusKiB(key string) int {
	d.t.Helper()
	b, err := os.ReadFile("/proc/" + strconv.Itoa(d.cmd.Process.Pid) + "/status")
	if err != nil {
		d.t.Fatal(err)
	}
	for line := range bytes.Lines(b) {
		if f := bytes.Fields(line); len(f) > 1 && string(f[0]) == key+":" {
			n, err := strconv.Atoi(string(f[1]))
			if err != nil {
				d.t.Fatal(err)
			}
			return n
		}
	}
	d.t.Fatalf("no %s in the status of the daemon", key)
	return 0
}

// stats returns what isomount stats --json prints.
func (d *daemon) stats() (s struct {
	Counters struct{ Requests, Errors, Read, Stored, Hits, Misses int64 }
	Drives   []struct{ State string }

	Goroutines int
},
) {
	d.t.Helper()
	if err := json.Unmarshal([]byte(d.must("stats", "--json")), &s); err != nil {
		d.t.Fatal(err)
	}
	return s
}

// within fails the test unless ok becomes true.
func within(t *testing.T, d time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(d); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, d)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// makeImage makes an image of files, path to content, and returns its path.
func makeImage(t *testing.T, files map[string]string, options ...string) string {
	t.Helper()
	need(t, "xorriso")
	tree := filepath.Join(t.TempDir(), "tree")
	for name, content := range files {
		path := filepath.Join(tree, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return imageOf(t, tree, options...)
}

// imageOf makes an image of a directory.
func imageOf(t *testing.T, tree string, options ...string) string {
	t.Helper()
	need(t, "xorriso")
	image := filepath.Join(openDir(t), "disc.iso")
	args := append([]string{"-as", "mkisofs", "-quiet", "-R", "-V", "DISC", "-o", image}, options...)
	if out, err := exec.Command("xorriso", append(args, tree)...).CombinedOutput(); err != nil {
		t.Fatalf("xorriso: %v\n%s", err, out)
	}
	return image
}

// openDir makes a directory that every user can read.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "is") //nolint:usetesting // its path must be short, and other users must get there
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// asUser runs a program as a user.
func asUser(uid int, program string, args ...string) (string, error) {
	cmd := exec.Command(program, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	cmd.Dir = "/"
	out, err := cmd.CombinedOutput()
	return string(out), err
}
