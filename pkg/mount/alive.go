package mount

import (
	"context"
	"errors"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"
)

// aliveTimeout is how long a server may take to answer one statfs.
const aliveTimeout = time.Second

// Alive tells whether a FUSE file system answers: nil, or an [Error] with
// [ErrDead] if its connection has ended, [ErrHung] if there is no answer
// within a second.
//
// A process whose request was read but is never answered cannot even be
// killed, so a child asks first; only when it was answered does this process
// ask for the error number.
func Alive(ctx context.Context, e *Entry) error {
	if !e.IsFUSE() {
		return nil
	}
	if err := askByChild(ctx, e.Point); err != nil {
		return err
	}
	var st unix.Statfs_t
	err := ignoringEINTR(func() error { return unix.Statfs(e.Point, &st) })
	if errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.ECONNABORTED) {
		return fail(e.Point, ErrDead, err)
	}
	return nil
}

// askByChild has stat(1) call statfs. What it answers does not matter, only
// that it ends.
func askByChild(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, aliveTimeout)
	defer cancel()
	done := make(chan error, 1)
	if err := startStat(path, done); err != nil {
		// Without stat(1) ask from here. The goroutine stays if there is no answer.
		go func() {
			var st unix.Statfs_t
			done <- unix.Statfs(path, &st)
		}()
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fail(path, ErrHung, ctx.Err())
	}
}

// startStat starts stat(1) and sends to done when it has ended. A child that
// cannot be killed is left to itself.
func startStat(path string, done chan<- error) error {
	stat, err := exec.LookPath("stat")
	if err != nil {
		return err
	}
	cmd := exec.Command(stat, "-f", "-c", "%t", "--", path) //nolint:noctx // killed below
	if err := cmd.Start(); err != nil {
		return err
	}
	kill := time.AfterFunc(aliveTimeout, func() { _ = cmd.Process.Kill() })
	go func() {
		done <- cmd.Wait()
		kill.Stop()
	}()
	return nil
}

func ignoringEINTR(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// heal makes place for a mount where one is already: it detaches a dead one of
// ours and reports anything else as busy.
func heal(ctx context.Context, e *Entry) error {
	if !e.IsOurs() {
		return fail(e.Point, ErrBusy, nil)
	}
	err := Alive(ctx, e)
	if !errors.Is(err, ErrDead) {
		return fail(e.Point, ErrBusy, err)
	}
	if derr := detach(e.Point); derr != nil {
		return fail(e.Point, ErrDead, derr)
	}
	return nil
}

// HealAll detaches the dead mounts of ours that this process may detach, and
// returns their mount points. The directories stay; see [RemoveMade].
func HealAll(ctx context.Context) ([]string, error) {
	table, err := ReadTable()
	if err != nil {
		return nil, err
	}
	var healed []string
	for _, e := range table.Ours() {
		err := Alive(ctx, &e)
		if errors.Is(err, ErrDead) && detach(e.Point) == nil {
			healed = append(healed, e.Point)
		}
		if ctx.Err() != nil {
			return healed, ctx.Err()
		}
	}
	return healed, nil
}
