package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/isomount/isomount/pkg/ipc"
)

// startTime is how long a daemon that was started may take to listen.
const startTime = 10 * time.Second

// idleExit is what a daemon started by the client gets as --idle-exit.
const idleExit = "1m"

// connect finds the user's daemon, or the system's.
func connect(ctx context.Context) (*ipc.Client, error) {
	return ipc.DialAny(ctx, ipc.Candidates(os.Getuid()))
}

// connectOrStart finds a daemon, or starts one for this user.
func connectOrStart(ctx context.Context) (*ipc.Client, error) {
	c, err := connect(ctx)
	if !errors.Is(err, ipc.ErrNoDaemon) {
		return c, err
	}
	return startDaemon(ctx)
}

// startDaemon starts isomountd in the background and connects to it. When two
// clients do so at once, one daemon finds the socket taken and ends, and both
// are served by the other.
func startDaemon(ctx context.Context) (*ipc.Client, error) {
	path := ipc.SocketPath()
	binary, err := findDaemon()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(filepath.Join(filepath.Dir(path), "isomountd.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	// The daemon outlives this process, so ctx must not end it.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), binary, "--keep", "--idle-exit="+idleExit)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, &ipc.Error{Err: ipc.ErrNoDaemon, Message: "start " + binary + ": " + err.Error()}
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	return awaitDaemon(ctx, path, log.Name(), ended)
}

// awaitDaemon waits until somebody listens on the socket.
func awaitDaemon(ctx context.Context, path, log string, ended <-chan error) (*ipc.Client, error) {
	const pause = 2 * time.Millisecond
	for deadline := time.Now().Add(startTime); time.Now().Before(deadline); {
		c, err := ipc.Dial(ctx, path)
		if !errors.Is(err, ipc.ErrNoDaemon) {
			return c, err
		}
		select {
		case err := <-ended:
			if c, derr := ipc.Dial(ctx, path); derr == nil {
				return c, nil // another client's daemon was quicker
			}
			return nil, &ipc.Error{
				Err: ipc.ErrNoDaemon, Message: fmt.Sprintf("the daemon ended at once: %v", err), Hint: "its log is " + log,
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pause):
		}
	}
	return nil, &ipc.Error{Err: ipc.ErrNoDaemon, Message: "the daemon does not answer at " + path, Hint: "its log is " + log}
}

// findDaemon looks for isomountd beside this program, then in PATH.
func findDaemon() (string, error) {
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), "isomountd")
		if _, err := os.Stat(beside); err == nil {
			return beside, nil
		}
	}
	path, err := exec.LookPath("isomountd")
	if err != nil {
		return "", &ipc.Error{Err: ipc.ErrNoDaemon, Message: "no daemon is running and isomountd is not installed", Hint: "install it beside isomount, or in PATH"}
	}
	return path, nil
}
