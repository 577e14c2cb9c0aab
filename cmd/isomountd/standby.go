package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// A standby is a daemon that a keeper starts before the one that serves is told
// to end. It has everything it needs but the word to go on, so that whoever
// reads from a drive does not wait for a process to start; and one that cannot
// start ends nothing.
type standby struct {
	child   *child
	line    *os.File     // it writes a byte when it is ready, and goes on when it reads one
	ready   <-chan error // nil, or why it is not
	isReady bool
	changes int // of the store when it got its copies
}

// A child is a daemon that a keeper has started.
type child struct {
	*exec.Cmd
	ended chan struct{} // closed when it has; then its state says how
}

// standbyVariable is the descriptor of a standby's end of the line.
const standbyVariable = "ISOMOUNT_STANDBY"

// standbyTime is how long a daemon may take to be ready.
const standbyTime = 10 * time.Second

// prepare starts a standby, unless there is one.
func (k *keeper) prepare(ctx context.Context) error {
	if k.standby != nil {
		return nil
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("socketpair: %w", err)
	}
	line, theirs := os.NewFile(uintptr(fds[0]), "line"), os.NewFile(uintptr(fds[1]), "line")
	c, err := k.spawn(ctx, theirs)
	_ = theirs.Close() // the child has a copy
	if err != nil {
		return errors.Join(err, line.Close())
	}
	ready := make(chan error, 1)
	go func() { // until the standby is dropped or taken, which close the line
		err := line.SetReadDeadline(time.Now().Add(standbyTime))
		if err == nil {
			_, err = io.ReadFull(line, make([]byte, 1))
		}
		ready <- err
	}()
	k.standby = &standby{child: c, line: line, ready: ready, changes: k.changes}
	return nil
}

// standbyReady tells when a standby is ready, or why it is not.
func (k *keeper) standbyReady() <-chan error {
	if k.standby == nil {
		return nil
	}
	return k.standby.ready
}

// takeStandby makes a standby that is ready the child that serves, and tells
// whether there was one. If the store has changed meanwhile its copies are old.
func (k *keeper) takeStandby() bool {
	s := k.standby
	if s == nil || !s.isReady || s.changes != k.changes {
		k.dropStandby()
		return false
	}
	if _, err := s.line.Write([]byte{1}); err != nil {
		k.dropStandby()
		return false
	}
	_ = s.line.Close() // it was told
	k.child, k.standby = s.child, nil
	return true
}

// dropStandby ends a standby.
func (k *keeper) dropStandby() {
	s := k.standby
	if s == nil {
		return
	}
	k.standby = nil
	_ = s.child.Process.Kill() // it may have ended
	<-s.child.ended
	_ = s.line.Close() // nothing is lost
}

// replace has the child end when its successor is ready. One that is not leaves
// everything as it is.
func (k *keeper) replace(err error) (begun bool) {
	if err != nil {
		k.dropStandby()
		k.log.Error("the new daemon does not start; the old one goes on", zap.Error(err))
		return false
	}
	k.standby.isReady = true
	return true
}

// standBy tells the keeper that this process is ready, if it is a standby, and
// waits for its word. It fails if that does not come.
func standBy(ctx context.Context) error {
	word := os.Getenv(standbyVariable)
	if word == "" || !isKept() {
		return nil
	}
	if err := os.Unsetenv(standbyVariable); err != nil {
		return err
	}
	fd, err := strconv.Atoi(word)
	if err != nil {
		return fmt.Errorf("%s=%s: not a descriptor", standbyVariable, word)
	}
	unix.CloseOnExec(fd)
	if err := unix.SetNonblock(fd, true); err != nil { // so that it can be waited for
		return fmt.Errorf("%s=%s: %w", standbyVariable, word, err)
	}
	line := os.NewFile(uintptr(fd), "line")
	defer func() { _ = line.Close() }() // nothing is lost
	stop := context.AfterFunc(ctx, func() { _ = line.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := line.Write([]byte{1}); err != nil {
		return err
	}
	if _, err := io.ReadFull(line, make([]byte, 1)); err != nil {
		return fmt.Errorf("not needed: %w", err)
	}
	return nil
}
