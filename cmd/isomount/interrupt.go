package main

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// An interruption ends a context with the first SIGINT or SIGTERM, once it is
// armed; until then these signals end the process, as the second does. To wait
// for signals takes the runtime more threads, and a fifth of the time of a short
// command, see [interruption.armFor].
type interruption struct {
	once   sync.Once
	cancel context.CancelFunc
}

func newInterruption(ctx context.Context) (context.Context, *interruption) {
	ctx, cancel := context.WithCancel(ctx)
	return ctx, &interruption{cancel: cancel}
}

// arm returns when signals end the context.
func (i *interruption) arm() {
	if i == nil {
		return
	}
	i.once.Do(func() {
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
		go func() {
			<-signals
			i.cancel()
			signal.Stop(signals)
		}()
	})
}

// patience is after what time somebody may think that a command hangs.
const patience = 100 * time.Millisecond

// armFor arms for a command line. One that only asks leaves nothing behind when
// it is killed; it need not say that it was interrupted before somebody can
// have done that. A mount arms when it is about to make something.
func (i *interruption) armFor(words []string) {
	if len(words) == 0 {
		return
	}
	switch words[0] {
	case "--version", "-v":
	case "list", "stats":
		time.AfterFunc(patience, i.arm)
	case "mount":
		go i.arm() // while the image is opened
	default:
		i.arm()
	}
}
