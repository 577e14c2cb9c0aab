package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/isomount/isomount/pkg/ipc"
	"github.com/isomount/isomount/pkg/mount"
)

func unmountCommand(a *app) *cobra.Command {
	var all, lazy bool
	c := &cobra.Command{
		Use:     "unmount DRIVE|MOUNTPOINT|IMAGE... [--all] [--lazy]",
		Aliases: []string{"umount", "eject"},
		Short:   "End drives",
		Long: `End drives, named by number, by mount point or by image. A drive that is in use
stays, and the programs that use it are named; --lazy takes it out of sight at
once and ends it when the last of them is done.`,
		Example: `  isomount unmount debian.iso
  isomount unmount 0 1
  isomount unmount --all`,
		RunE: func(c *cobra.Command, words []string) error {
			if all == (len(words) > 0) {
				return usagef("name drives, mount points or images, or --all")
			}
			return a.unmount(c.Context(), words, lazy)
		},
	}
	c.Flags().BoolVarP(&all, "all", "a", false, "all drives of yours (as root: all there are)")
	c.Flags().BoolVarP(&lazy, "lazy", "z", false, "out of sight now, gone when nobody uses it any more")
	return c
}

// unmount ends the drives that words name, or all; one that cannot be ended
// does not keep the others.
func (a *app) unmount(ctx context.Context, words []string, lazy bool) error {
	client, drives, err := a.drives(ctx)
	if err != nil && (!errors.Is(err, ipc.ErrNoDaemon) || len(words) > 0 && !anyMounted(words)) {
		return err
	}
	if client != nil {
		defer func() { _ = client.Close() }()
	}
	var targets []ipc.Drive
	var failed error
	for _, w := range words {
		found, err := match(drives, w)
		targets = append(targets, found...)
		failed = a.first(failed, err)
	}
	if len(words) == 0 {
		targets = drives
	}
	for i := range targets {
		failed = a.first(failed, a.end(ctx, client, &targets[i], lazy))
	}
	return failed
}

// first prints all errors but the first, which the program ends with.
func (a *app) first(before, err error) error {
	if err == nil {
		return before
	}
	if before == nil {
		return err
	}
	a.complain(err)
	return before
}

// drives lists the caller's drives.
func (a *app) drives(ctx context.Context) (*ipc.Client, []ipc.Drive, error) {
	client, err := connect(ctx)
	if err != nil {
		return nil, nil, err
	}
	reply, err := client.List(ctx, &ipc.ListRequest{})
	if err != nil {
		return nil, nil, errors.Join(err, client.Close())
	}
	return client, reply.Drives, nil
}

// match finds the drives that a word names: a number, a mount point, or an
// image, which can be mounted several times. A mount point of ours that no
// daemon knows, because it is dead, is found as well.
func match(drives []ipc.Drive, word string) ([]ipc.Drive, error) {
	path := word
	if abs, err := filepath.Abs(word); err == nil {
		path = abs
	}
	var found []ipc.Drive
	for _, d := range drives {
		if d.Name == word || string(d.Mountpoint) == path || string(d.Image) == path {
			found = append(found, d)
		}
	}
	if len(found) > 0 {
		return found, nil
	}
	if point, ok := orphan(path); ok {
		return []ipc.Drive{{Mountpoint: ipc.Path(point)}}, nil
	}
	return nil, &ipc.Error{Err: ipc.ErrNotFound, Message: word + " is no drive, mount point or mounted image", Hint: `"isomount list" shows the drives there are`}
}

// orphan tells whether a mount of ours is at path, whoever serves it.
func orphan(path string) (string, bool) {
	table, err := mount.ReadTable()
	if err != nil {
		return "", false
	}
	if e := table.At(path); e != nil && e.IsOurs() {
		return e.Point, true
	}
	return "", false
}

func anyMounted(words []string) bool {
	for _, w := range words {
		if abs, err := filepath.Abs(w); err == nil {
			if _, ok := orphan(abs); ok {
				return true
			}
		}
	}
	return false
}

// end unmounts one drive and waits until the daemon has let it go.
func (a *app) end(ctx context.Context, client *ipc.Client, d *ipc.Drive, lazy bool) error {
	remains, err := remove(ctx, string(d.Mountpoint), lazy)
	if err != nil {
		return err
	}
	if remains != nil {
		defer remains.Close()
	}
	if d.Made {
		if err := mount.RemoveMade(string(d.Mountpoint)); err != nil {
			return err
		}
	}
	if remains == nil || client == nil || d.Name == "" {
		return nil
	}
	return a.letGo(ctx, client.Path(), d, remains)
}

// remove unmounts; of what is unmounted lazily nothing more is asked.
func remove(ctx context.Context, point string, lazy bool) (*mount.Remains, error) {
	if lazy {
		return nil, mount.Unmount(ctx, point, true)
	}
	return mount.Remove(ctx, point)
}

const (
	// letGoTime is how long the daemon may take to let go of a drive whose mount
	// is gone: a read of its image may still hang.
	letGoTime = 30 * time.Second
	// settleTime is how long it takes at most when nothing keeps it.
	settleTime = 200 * time.Millisecond
)

// letGo waits until the daemon has let go of a drive. A daemon that goes away
// meanwhile has nothing left to let go of. The connection is of its own, since a
// call that is given up leaves it unusable.
func (a *app) letGo(ctx context.Context, socket string, d *ipc.Drive, remains *mount.Remains) error {
	ctx, cancel := context.WithTimeout(ctx, letGoTime)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- awaitEnd(ctx, socket, d) }()
	select {
	case err := <-ended:
		return err
	case <-time.After(settleTime):
	}
	if why := kept(ctx, remains); why != "" {
		fmt.Fprintf(a.err, "isomount: note: %s is unmounted, but drive %s goes on for %s\n", d.Mountpoint, d.Name, why)
		return nil
	}
	return <-ended
}

func awaitEnd(ctx context.Context, socket string, d *ipc.Drive) error {
	client, err := ipc.Dial(ctx, socket)
	if err == nil {
		defer func() { _ = client.Close() }()
		_, err = client.Eject(ctx, &ipc.EjectRequest{Drive: d.Name})
	}
	switch {
	case errors.Is(err, ipc.ErrNotFound), errors.Is(err, ipc.ErrHungUp), errors.Is(err, ipc.ErrNoDaemon):
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		return &ipc.Error{
			Err: ipc.ErrTimedOut, Message: fmt.Sprintf("%s is unmounted, but drive %s still waits for its image", d.Mountpoint, d.Name),
			Hint: "see whether the disk or network that the image is on answers",
		}
	}
	return err
}

// kept tells who keeps a file system that was unmounted. If nobody uses it, but
// mount namespaces have copies, it is ended there too; see docs/adr/0008.
func kept(ctx context.Context, remains *mount.Remains) string {
	users := remains.Users(ctx)
	if len(users) == 0 && remains.Abort() != nil {
		users = remains.Namespaces(ctx)
	}
	names := make([]string, len(users))
	for i, u := range users {
		names[i] = u.String()
	}
	return strings.Join(names, ", ")
}
