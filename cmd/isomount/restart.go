package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/isomount/isomount/pkg/ipc"
)

// restartTime is how long the next daemon may take to answer.
const restartTime = 15 * time.Second

// restartDaemon has the daemon replaced by the program that is installed now,
// and returns a connection to the new one. The drives stay.
func restartDaemon(ctx context.Context, c *ipc.Client) (*ipc.Client, error) {
	old, err := c.Ping(ctx)
	if err != nil {
		return nil, err
	}
	// Whoever made the socket keeps the daemon: systemd, or a keeper.
	if err := askForRestart(ctx, c.Server(), old.PID); err != nil {
		return nil, err
	}
	path := c.Path()
	_ = c.Close() // a connection to the old one
	return awaitOther(ctx, path, old.PID)
}

func askForRestart(ctx context.Context, listener ipc.Peer, pid int) error {
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", listener.PID))
	if err != nil {
		return err
	}
	switch name := strings.TrimSpace(string(comm)); {
	case int(listener.PID) == pid:
		return &ipc.Error{
			Err: ipc.ErrUsage, Message: "nobody keeps this daemon, so that its drives would end with it",
			Hint: "unmount them and end it; the next command starts one that is kept",
		}
	case name == "isomountd":
		return syscall.Kill(int(listener.PID), syscall.SIGHUP)
	case name == "systemd" || listener.PID == 1:
		words := []string{"restart", "isomountd.service"}
		if listener.PID != 1 {
			words = append([]string{"--user"}, words...)
		}
		out, err := exec.CommandContext(ctx, "systemctl", words...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("systemctl %s: %w: %s", strings.Join(words, " "), err, strings.TrimSpace(string(out)))
		}
		return nil
	default:
		return fmt.Errorf("the daemon is kept by process %d, %s, which this program does not know how to ask", listener.PID, name)
	}
}

// awaitOther waits for a daemon that is not process pid.
func awaitOther(ctx context.Context, path string, pid int) (*ipc.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, restartTime)
	defer cancel()
	for {
		c, err := ipc.Dial(ctx, path)
		if err == nil {
			var p *ipc.PingReply
			if p, err = c.Ping(ctx); err == nil && p.PID != pid {
				return c, nil
			}
			err = errors.Join(err, c.Close())
		}
		const pause = 5 * time.Millisecond
		select {
		case <-ctx.Done():
			return nil, errors.Join(&ipc.Error{Err: ipc.ErrNoDaemon, Message: "no other daemon answers at " + path, Hint: "its log tells why"}, err)
		case <-time.After(pause):
		}
	}
}
