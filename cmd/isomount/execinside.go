package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/isomount/isomount/pkg/mount"
)

// insideName is how exec calls itself for the process in the namespace.
const insideName = "exec-inside"

func execInsideCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:    insideName + " JOB",
		Short:  "Do the part of exec that is done in a namespace",
		Hidden: true,
		Args:   args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, words []string) error {
			i := &inside{app: a}
			if err := json.Unmarshal([]byte(words[0]), &i.execJob); err != nil {
				return usagef("%s is called by exec only: %w", insideName, err)
			}
			return i.run(c.Context())
		},
	}
}

// An inside is the process in the namespace: it mounts, runs the command, and
// is the parent of all that must end with it.
type inside struct {
	execJob

	app    *app
	daemon *exec.Cmd
	dirs   []string // where the images are
}

// run does the whole. The thread stays: children die with the thread that made
// them, and only this one has given its rights away.
func (i *inside) run(ctx context.Context) error {
	runtime.LockOSThread()
	parent := os.Getppid()
	if i.Bare != "" {
		return i.extracted(ctx, parent, errors.New(i.Bare))
	}
	err := i.mountAll(ctx)
	defer i.endDaemon()
	switch {
	case err == nil:
	case i.Fallback != "" && cannotMount(err):
		i.endDaemon()
		return i.extracted(ctx, parent, err)
	case cannotMount(err):
		return fmt.Errorf("%w; or add --fallback=extract", err)
	default:
		return err
	}
	// From here on there is nothing to clean up.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("prctl: %w", err)
	}
	return i.command(ctx, nil)
}

// A mountingError is one of what has to be done before an image is mounted.
type mountingError struct{ err error }

func (e *mountingError) Error() string { return e.err.Error() }
func (e *mountingError) Unwrap() error { return e.err }

// cannotMount tells errors of this system, where another way may do, from those
// of images.
func cannotMount(err error) bool {
	if _, ok := errors.AsType[*mountingError](err); ok {
		return true
	}
	if e, ok := errors.AsType[*mount.Error](err); ok && e.Path == "/dev/fuse" {
		return true
	}
	return errors.Is(err, mount.ErrNoFuse) || errors.Is(err, mount.ErrNoHelper)
}

// mountAll mounts the images, each at its place.
func (i *inside) mountAll(ctx context.Context) error {
	for _, image := range i.Images { // before anything else, for the best error
		f, err := os.Open(string(image))
		if err != nil {
			return openError(string(image), err)
		}
		_ = f.Close() // it was only looked at
	}
	scratch, err := newScratch()
	if err != nil {
		return &mountingError{err}
	}
	restore, err := i.startDaemon(ctx, filepath.Join(scratch, "daemon"))
	if err != nil {
		return &mountingError{err}
	}
	defer restore()
	for n, image := range i.Images {
		point := filepath.Join(scratch, strconv.Itoa(n+1))
		if n < len(i.At) {
			point = string(i.At[n])
		} else if err := os.Mkdir(point, 0o755); err != nil {
			return &mountingError{err}
		}
		job := mountJob{image: string(image), point: point, options: i.Options}
		d, notes, err := job.run(ctx)
		if err != nil {
			return err
		}
		for _, n := range notes {
			fmt.Fprintf(i.app.err, "isomount: note: %s\n", n)
		}
		i.dirs = append(i.dirs, string(d.Mountpoint))
	}
	return sealScratch(scratch)
}

// scratchPlaces are directories over which a file system can be laid that only
// the namespace sees, without anybody missing them: one that is empty, or the
// place for the control files of FUSE, which is there wherever FUSE is.
var scratchPlaces = []string{"/mnt", "/media", "/sys/fs/fuse/connections"}

// newScratch makes a small file system for mount points and the daemon's
// socket. It is nowhere but in the namespace, so nothing of it can be left.
func newScratch() (string, error) {
	// Mounts made outside come in, none of ours go out.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return "", fmt.Errorf("mount namespace: %w", err)
	}
	if err := keepRights(); err != nil {
		return "", err
	}
	for n, dir := range scratchPlaces {
		last := n == len(scratchPlaces)-1
		if list, err := os.ReadDir(dir); err != nil || !last && len(list) > 0 {
			continue
		}
		const flags = unix.MS_NOSUID | unix.MS_NODEV
		if err := unix.Mount("isomount", dir, "tmpfs", flags, "mode=0755,size=1m"); err != nil {
			return "", fmt.Errorf("mount tmpfs at %s: %w", dir, err)
		}
		return dir, nil
	}
	return "", fmt.Errorf("none of %s is there to mount at", strings.Join(scratchPlaces, ", "))
}

// keepRights makes that what this thread starts does not get the right to mount
// that exec has handed down.
func keepRights() error {
	if os.Geteuid() == 0 {
		return nil // it has all rights anyway
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("prctl: %w", err)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("capget: %w", err)
	}
	data[0].Inheritable, data[1].Inheritable = 0, 0
	if err := unix.Capset(&header, &data[0]); err != nil {
		return fmt.Errorf("capset: %w", err)
	}
	return nil
}

// sealScratch takes the daemon's socket away, which nobody needs any more, and
// makes the rest look as read-only as it is meant to be.
func sealScratch(dir string) error {
	if err := os.RemoveAll(filepath.Join(dir, "daemon")); err != nil {
		return err
	}
	return os.Chmod(dir, 0o555) //nolint:gosec // everybody may look
}

// ownManager are variables by which a service manager speaks to a service; our
// daemon is none of its.
var ownManager = []string{"NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_USEC", "WATCHDOG_PID"}

// startDaemon starts a daemon for this namespace and makes it the one that is
// connected to, until restore is called.
func (i *inside) startDaemon(ctx context.Context, dir string) (restore func(), err error) {
	binary, err := findDaemon()
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	socket := filepath.Join(dir, "socket")
	restore = setenv("ISOMOUNT_SOCKET", socket)
	i.daemon = exec.CommandContext(context.WithoutCancel(ctx), binary, "--log-level=error")
	i.daemon.Env = slices.DeleteFunc(os.Environ(), func(s string) bool {
		name, _, _ := strings.Cut(s, "=")
		return slices.Contains(ownManager, name)
	})
	i.daemon.Dir, i.daemon.Stderr = "/", os.Stderr
	// Not in the foreground: Ctrl-C is for the command.
	i.daemon.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := i.daemon.Start(); err != nil {
		i.daemon = nil
		restore()
		return nil, err
	}
	ended := make(chan error, 1)
	process := i.daemon
	go func() { ended <- process.Wait() }()
	client, err := awaitDaemon(ctx, socket, "what it printed", ended)
	if err != nil {
		restore()
		return nil, err
	}
	return restore, client.Close()
}

// setenv sets a variable and returns what sets it back.
func setenv(name, value string) func() {
	old, was := os.LookupEnv(name)
	_ = os.Setenv(name, value) // the name is right
	return func() {
		if was {
			_ = os.Setenv(name, old)
		} else {
			_ = os.Unsetenv(name)
		}
	}
}

// endDaemon ends the daemon, whose mounts nobody sees any more. What the command
// has left running gets errors from them.
func (i *inside) endDaemon() {
	if i.daemon != nil {
		_ = i.daemon.Process.Kill() // it may have ended
		i.daemon = nil
	}
}

// command runs the command, which is told where the images are.
func (i *inside) command(ctx context.Context, told func(os.Signal)) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	name := string(i.Command[0])
	words := make([]string, 0, len(i.Command))
	for _, w := range i.Command[1:] {
		words = append(words, string(w))
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), name, words...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), i.variables()...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return commandError(err)
	}
	return exitOf(awaitCommand(cmd, told))
}

func (i *inside) variables() []string {
	var list []string
	for n, dir := range i.dirs {
		name := "ISOMOUNT_DIR"
		if n > 0 {
			name += "_" + strconv.Itoa(n+1)
		}
		list = append(list, name+"="+dir)
	}
	return list
}

// graceTime is what a command gets to end when isomount was killed and there is
// a directory to remove.
const graceTime = 5 * time.Second

// extracted runs the command with the files of the images in a temporary
// directory.
func (i *inside) extracted(ctx context.Context, parent int, why error) error {
	if len(i.At) > 0 {
		return fmt.Errorf("%w; --at has no place where nothing can be mounted", why)
	}
	fmt.Fprintf(i.app.err, "isomount: note: nothing can be mounted here: %s; extracting to a temporary directory\n", explain(why))
	tree, err := newTempTree(ctx)
	if err != nil {
		return err
	}
	err = i.extractAll(ctx, tree.dir)
	if err == nil {
		err = i.command(ctx, func(os.Signal) {
			if os.Getppid() != parent { // it was killed; the command dies with us, after the directory
				time.AfterFunc(graceTime, func() { i.give(tree) })
			}
		})
	}
	return errors.Join(err, tree.remove())
}

// give removes the directory and ends this process, and so its children, when
// the command does not end.
func (i *inside) give(tree *tempTree) {
	_ = tree.remove() // nobody is left to be told
	_ = unix.Kill(os.Getpid(), unix.SIGKILL)
}

func (i *inside) extractAll(ctx context.Context, dir string) error {
	for n, image := range i.Images {
		mode := progressNone
		to := filepath.Join(dir, strconv.Itoa(n+1))
		j := extractJob{app: i.app, dir: to, options: i.Options, progress: &mode, silent: true}
		if err := j.run(ctx, string(image), nil); err != nil && !errors.Is(err, errPartial) {
			return err
		}
		i.dirs = append(i.dirs, to)
	}
	return nil
}
