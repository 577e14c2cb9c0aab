package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/isomount/isomount/pkg/ipc"
)

func execCommand(a *app) *cobra.Command {
	var j execJob
	var options, at []string
	c := &cobra.Command{
		Use:   "exec IMAGE [IMAGE...] [--at PATH]... -- COMMAND [ARG...]",
		Short: "Run a command with disc images mounted for it alone",
		Long: `Run a command that sees disc images mounted, and nobody else does. $ISOMOUNT_DIR is
where the first is, $ISOMOUNT_DIR_2 where the second is and so on; with --at they
are at directories of your choice. The exit code is the command's.

The mounts are in a namespace of their own, served by a daemon of their own, and
all of it is gone when the command ends, or when isomount ends, even if it is
killed. Users other than root get it in a user namespace, in which they keep
their name and have no more rights than before.`,
		Example: `  isomount exec sdk.iso -- sh -c 'cp -r "$ISOMOUNT_DIR"/include build/'
  isomount exec game.iso --at /mnt/cd -- ./game
  isomount exec data.iso --fallback=extract -- make test`,
		RunE: func(c *cobra.Command, words []string) error {
			dash := c.ArgsLenAtDash()
			if dash < 1 || dash == len(words) {
				return usagef("name images, then --, then a command; usage: %s", c.UseLine())
			}
			j.Images, j.Command = ipcPaths(words[:dash]), ipcPaths(words[dash:])
			j.Options, j.At = strings.Join(options, ","), ipcPaths(at)
			return j.run(c.Context())
		},
	}
	f := c.Flags()
	f.StringArrayVar(&at, "at", nil, "mount the first image at `PATH`, a directory; the next --at is for the second, and so on")
	f.StringArrayVarP(&options, "options", "o", nil, "mount options, separated by commas, for all images")
	f.StringVar(&j.Fallback, "fallback", "", "where nothing can be mounted: `extract` to a temporary directory, which is removed again")
	return c
}

// An execJob is one run of the command, as it is handed to the process that
// does it inside of the namespace.
type execJob struct {
	Images   []ipc.Path
	At       []ipc.Path
	Command  []ipc.Path
	Options  string
	Fallback string
	Bare     string // why there is no namespace; "" if there is one
}

const fallbackExtract = "extract"

func ipcPaths(words []string) []ipc.Path {
	paths := make([]ipc.Path, len(words))
	for i, w := range words {
		paths[i] = ipc.Path(w)
	}
	return paths
}

// An statusError is how a command ended that was run for the user.
type statusError struct{ code int }

func (e *statusError) Error() string { return fmt.Sprintf("exit status %d", e.code) }
func (e *statusError) Unwrap() error { return errQuiet }

// Exit codes of a command that could not be run, as shells have them.
const (
	exitNotRunnable = 126
	exitNoCommand   = 127
	exitSignal      = 128 // and the number of the signal that ended it
)

// run starts this program again in a namespace and passes on signals and the
// exit code. It has to be another process: a namespace of mounts cannot be
// entered by one that has several threads already.
func (j *execJob) run(ctx context.Context) error {
	if err := j.check(); err != nil {
		return err
	}
	removeLeftTrees()
	cmd, err := j.start(ctx)
	if err != nil {
		return err
	}
	return exitOf(awaitCommand(cmd, nil))
}

func (j *execJob) check() error {
	if j.Fallback != "" && j.Fallback != fallbackExtract {
		return usagef("--fallback=%s: there is only extract", j.Fallback)
	}
	if len(j.At) > len(j.Images) {
		return usagef("--at was given %d times for %s", len(j.At), counted(len(j.Images), "image", "images"))
	}
	for i := range j.Images {
		abs, err := filepath.Abs(string(j.Images[i]))
		if err != nil {
			return err
		}
		j.Images[i] = ipc.Path(abs)
	}
	if _, err := exec.LookPath(string(j.Command[0])); err != nil {
		return commandError(err)
	}
	return nil
}

// commandError tells why a command cannot be run, with the exit code that
// shells have for it.
func commandError(err error) error {
	code := exitNotRunnable
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
		code = exitNoCommand
	}
	if e, ok := errors.AsType[*exec.Error](err); ok {
		err = fmt.Errorf("%s: %w", e.Name, e.Err)
	}
	return &codedError{err, code}
}

// A codedError is an error with an exit code of its own.
type codedError struct {
	err  error
	code int
}

func (e *codedError) Error() string { return e.err.Error() }
func (e *codedError) Unwrap() error { return e.err }

// start starts the process inside: as root in a namespace of mounts; else, and
// where root may not do that, in a user namespace too.
func (j *execJob) start(ctx context.Context) (*exec.Cmd, error) {
	death := syscall.SIGKILL
	if j.Fallback != "" {
		death = syscall.SIGTERM // there may be a directory to remove
	}
	ways := []*syscall.SysProcAttr{userNamespace()}
	if os.Geteuid() == 0 {
		ways = append([]*syscall.SysProcAttr{{Cloneflags: syscall.CLONE_NEWNS}}, ways...)
	}
	runtime.LockOSThread() // the child dies with the thread that made it
	var err error
	for _, way := range ways {
		way.Pdeathsig = death
		var cmd *exec.Cmd
		if cmd, err = j.inside(ctx, way); err == nil {
			return cmd, nil
		}
	}
	if e, ok := errors.AsType[*os.PathError](err); ok {
		err = e.Err
	}
	if j.Fallback == "" {
		return nil, fmt.Errorf("this system does not let you have a namespace of mounts: %w; run it as root, use isomount mount, or add --fallback=extract%w",
			err, quiet{errors.ErrUnsupported})
	}
	j.Bare = "no namespace of mounts: " + err.Error()
	return j.inside(ctx, &syscall.SysProcAttr{Pdeathsig: death})
}

// userNamespace is one in which the user is who they are. To mount, the process
// keeps that one right when it is started; what it starts loses it.
func userNamespace() *syscall.SysProcAttr {
	uid, gid := os.Geteuid(), os.Getegid()
	return &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}},
		AmbientCaps: []uintptr{unix.CAP_SYS_ADMIN},
	}
}

func (j *execJob) inside(ctx context.Context, attr *syscall.SysProcAttr) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	// Signals are passed on; ctx must not kill what has to clean up.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), self, insideName, string(text))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = attr
	return cmd, cmd.Start()
}

// passed are the signals that are passed on to a command.
var passed = []os.Signal{
	syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGCONT, syscall.SIGALRM,
}

// awaitCommand waits for a child and passes signals on to it. Those that a terminal
// sends go to the child anyway. told, unless nil, hears of each.
func awaitCommand(cmd *exec.Cmd, told func(os.Signal)) (*os.ProcessState, error) {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, passed...)
	defer signal.Stop(signals)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case err := <-ended:
			if _, exited := errors.AsType[*exec.ExitError](err); exited {
				err = nil
			}
			return cmd.ProcessState, err
		case s := <-signals:
			if told != nil {
				told(s)
			}
			if fromTerminal(s) {
				continue
			}
			_ = cmd.Process.Signal(s) // it may just have ended
		}
	}
}

// fromTerminal tells whether a signal may come from the keyboard, which sends it
// to all processes in the foreground.
func fromTerminal(s os.Signal) bool {
	if s != syscall.SIGINT && s != syscall.SIGQUIT {
		return false
	}
	tty, err := os.OpenFile("/dev/tty", os.O_RDONLY, 0)
	if err != nil {
		return false
	}
	defer func() { _ = tty.Close() }()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// exitOf turns the end of a command into ours.
func exitOf(state *os.ProcessState, err error) error {
	if err != nil {
		return err
	}
	status, ok := state.Sys().(syscall.WaitStatus)
	switch {
	case ok && status.Signaled():
		return &statusError{exitSignal + int(status.Signal())}
	case state.ExitCode() != 0:
		return &statusError{state.ExitCode()}
	}
	return nil
}
