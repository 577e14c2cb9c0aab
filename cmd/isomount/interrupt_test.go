package main

import (
	"context"
	"os"
	"syscall"
	"testing"
)

// Every command that could leave something behind ends its context with the
// first signal, and does not end at once.
func TestCommandsAreInterrupted(t *testing.T) {
	for _, c := range commands {
		for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
			ctx, interrupted := newInterruption(context.Background())
			interrupted.armFor([]string{c.name})
			switch c.name {
			case "list", "stats": // later, as they leave nothing
				interrupted.arm()
			case "mount": // at the same time, and it asks before it makes something
				interrupted.arm()
			}
			if err := syscall.Kill(syscall.Getpid(), s); err != nil {
				t.Fatal(err)
			}
			<-ctx.Done() // the test would have been killed
		}
	}
}

// A mount arms before it makes anything.
func TestMountAsksBeforeItMakes(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("other users ask the daemon first")
	}
	ctx, cancel := context.WithCancel(context.Background())
	j := mountJob{point: "/nonexistent", before: cancel}
	if err := j.makePoint(ctx, nil); err == nil || ctx.Err() == nil {
		t.Errorf("error %v, context %v; want both to have ended", err, ctx.Err())
	}
}
