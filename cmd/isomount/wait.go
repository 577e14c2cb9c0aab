package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/isomount/isomount/pkg/ipc"
)

func waitCommand(a *app) *cobra.Command {
	var limit time.Duration
	c := &cobra.Command{
		Use:   "wait DRIVE|MOUNTPOINT|IMAGE [--timeout TIME]",
		Short: "Wait until a drive is mounted",
		Long: `Wait until a drive is mounted, named by number, mount point or image, and print
its mount point. Use it behind what mounts at login or at boot.`,
		Example: `  isomount wait ~/sdk.iso --timeout 30s && make`,
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, words []string) error {
			ctx := c.Context()
			if limit > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, limit)
				defer cancel()
			}
			d, err := waitFor(ctx, words[0])
			if err != nil {
				return err
			}
			fmt.Fprintln(a.out, d.Mountpoint)
			return nil
		},
	}
	c.Flags().DurationVar(&limit, "timeout", 0, "give up after this time, e.g. 30s; 0 never")
	return c
}

// waitFor returns the drive that a word names once it is mounted. No daemon is
// started for it, and one that ends meanwhile is waited for as well.
func waitFor(ctx context.Context, word string) (*ipc.Drive, error) {
	const pause = 50 * time.Millisecond
	for {
		d, err := findDrive(ctx, word)
		if err == nil {
			return d, nil
		}
		if !errors.Is(err, ipc.ErrNotFound) && !errors.Is(err, ipc.ErrNoDaemon) && !errors.Is(err, ipc.ErrHungUp) && !errors.Is(err, ipc.ErrStopping) && ctx.Err() == nil {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%s was not mounted in time: %w", word, context.Cause(ctx))
		case <-time.After(pause):
		}
	}
}

// findDrive returns the drive that a word names if it is mounted.
func findDrive(ctx context.Context, word string) (*ipc.Drive, error) {
	client, err := connect(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = client.Close() }()
	reply, err := client.List(ctx, &ipc.ListRequest{})
	if err != nil {
		return nil, err
	}
	path := word
	if abs, err := filepath.Abs(word); err == nil {
		path = abs
	}
	for i, d := range reply.Drives {
		if d.State != ipc.StateStarting && (d.Name == word || string(d.Mountpoint) == path || string(d.Image) == path) {
			return &reply.Drives[i], nil
		}
	}
	return nil, &ipc.Error{Err: ipc.ErrNotFound, Message: word + " is not mounted"}
}
