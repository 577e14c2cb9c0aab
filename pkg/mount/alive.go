package mount

import (
	"context"
	"errors"
	"os/exec"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// aliveTimeout is how long a server may take to answer one statfs.
const aliveTimeout = 2 * time.Second

// Alive tells whether a FUSE file system answers: nil, or an [Error] with
// [ErrDead] if its connection has ended, [ErrHung] if there is no answer
// within two seconds.
//
// A process whose request was read but is never answered cannot even be
// killed, so a child asks; only when it has failed at once does this process
// ask too, to learn the error number.
func Alive(ctx context.Context, e *Entry) error {
	if !e.IsFUSE() {
		return nil
	}
	failed, err := ask(ctx, e.Point)
	if err != nil {
		return fail(e.Point, ErrHung, err)
	}
	if failed && isDead(statfs(e.Point)) {
		return fail(e.Point, ErrDead, unix.ENOTCONN)
	}
	return nil
}

// ask tells whether a statfs of one of the paths fails. The error means that
// there was no answer.
func ask(ctx context.Context, paths ...string) (failed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, aliveTimeout)
	defer cancel()
	answer := make(chan bool, 1)
	if err := startStat(paths, answer); err != nil {
		// Without stat(1) ask from here. The goroutine stays if there is no answer.
		go func() {
			for _, path := range paths {
				failed = failed || statfs(path) != nil
			}
			answer <- failed
		}()
	}
	select {
	case failed := <-answer:
		return failed, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

func statfs(path string) error {
	for {
		var st unix.Statfs_t
		if err := unix.Statfs(path, &st); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// isDead tells whether an error means that a FUSE connection has ended: after
// its last device was closed, after it was aborted (with and without
// FUSE_ABORT_ERROR), before it answered INIT (Linux fs/fuse/dev.c,
// fuse_get_req).
func isDead(err error) bool {
	return errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.ECONNABORTED) || errors.Is(err, unix.ECONNREFUSED)
}

// startStat has stat(1) call statfs and, if that ends by itself, sends to
// answer whether it failed. A child that cannot be killed is left to itself.
func startStat(paths []string, answer chan<- bool) error {
	stat, err := exec.LookPath("stat")
	if err != nil {
		return err
	}
	cmd := exec.Command(stat, append([]string{"-f", "-c", "%t", "--"}, paths...)...) //nolint:noctx // killed below
	if err := cmd.Start(); err != nil {
		return err
	}
	kill := time.AfterFunc(aliveTimeout, func() { _ = cmd.Process.Kill() })
	go func() {
		_ = cmd.Wait() // what it gives is in ProcessState too
		kill.Stop()
		if state := cmd.ProcessState; state != nil && state.Exited() {
			answer <- !state.Success()
		}
	}()
	return nil
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
	if derr := detach(ctx, e.Point); derr != nil {
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
	for some := range slices.Chunk(table.Ours(), healBatch) {
		healed = append(healed, healSome(ctx, some)...)
		if ctx.Err() != nil {
			return healed, ctx.Err()
		}
	}
	return healed, nil
}

// healBatch is how many mounts one child asks about: mostly all are well.
const healBatch = 100

func healSome(ctx context.Context, entries []Entry) (healed []string) {
	paths := make([]string, len(entries))
	for i := range entries {
		paths[i] = entries[i].Point
	}
	if failed, err := ask(ctx, paths...); err == nil && !failed {
		return nil
	}
	for _, e := range entries {
		if errors.Is(Alive(ctx, &e), ErrDead) && detach(ctx, e.Point) == nil {
			healed = append(healed, e.Point)
		}
	}
	return healed
}
