package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/isomount/isomount/pkg/ipc"
	"github.com/isomount/isomount/pkg/mount"
	"github.com/isomount/isomount/pkg/notify"
)

func restoreCommand(a *app) *cobra.Command {
	var retry time.Duration
	c := &cobra.Command{
		Use:   "restore [--retry TIME]",
		Short: "Mount the drives that come back",
		Long: `Mount every drive that "isomount persist" or --persist noted and that is not
mounted. One that cannot be mounted is reported and does not keep the others;
--retry tries it again for a while, because its disk may come late. Mounts of
ours whose daemon is dead are taken away first.`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error { return a.restore(c.Context(), retry) },
	}
	c.Flags().DurationVar(&retry, "retry", 0, "go on trying for this time, e.g. 5m")
	return c
}

// restore mounts what comes back. The service manager is told when all was
// tried once.
func (a *app) restore(ctx context.Context, retry time.Duration) error {
	const pause = 2 * time.Second
	manager, err := notify.Dial()
	if err != nil {
		return err
	}
	if _, err := mount.HealAll(ctx); err != nil {
		return err
	}
	all, failed := readLasting()
	left, errs := restoreSome(ctx, all)
	if err := manager.Tell(notify.Ready); err != nil {
		return err
	}
	for end := time.Now().Add(retry); len(left) > 0 && time.Now().Before(end) && ctx.Err() == nil; {
		select {
		case <-ctx.Done():
		case <-time.After(pause):
			left, errs = restoreSome(ctx, left)
		}
		var lost []error
		left, errs, lost = giveUp(left, errs)
		failed = append(failed, lost...)
	}
	var first error
	for _, err := range append(failed, errs...) {
		first = a.first(first, err)
	}
	return first
}

// giveUp sorts out the drives whose image has ended the daemon, twice by now: it
// ends every daemon that reads it.
func giveUp(all []lasting, why []error) (left []lasting, errs, lost []error) {
	for i, err := range why {
		if errors.Is(err, ipc.ErrHungUp) {
			lost = append(lost, err)
			continue
		}
		left, errs = append(left, all[i]), append(errs, err)
	}
	return left, errs, lost
}

// restoreSome mounts drives and returns those that could not be, with the
// reasons.
func restoreSome(ctx context.Context, all []lasting) (left []lasting, errs []error) {
	for _, l := range all {
		if err := l.restoreSoon(ctx); err != nil {
			left, errs = append(left, l), append(errs, err)
		}
	}
	return left, errs
}

// restoreTime is how long one image may keep the others waiting.
const restoreTime = 5 * time.Second

// restoreSoon gives up when the image does not answer. Opening a file cannot be
// interrupted, so it may go on for as long as the program does.
func (l *lasting) restoreSoon(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, restoreTime)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- l.restore(ctx) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return &ipc.Error{
			Err: ipc.ErrTimedOut, Image: ipc.Path(l.Image), Message: "the image does not answer",
			Hint: "see whether the disk or network that it is on is there",
		}
	}
}

func (l *lasting) restore(ctx context.Context) error {
	word := l.MountPoint
	if word == "" {
		word = l.Image
	}
	d, err := findDrive(ctx, word)
	if err == nil && string(d.Image) == l.Image {
		return nil
	}
	if err != nil && !errors.Is(err, ipc.ErrNotFound) && !errors.Is(err, ipc.ErrNoDaemon) && !errors.Is(err, ipc.ErrHungUp) {
		return err
	}
	j := mountJob{image: l.Image, point: l.MountPoint, options: l.Options}
	_, _, err = j.run(ctx)
	return err
}
