// Command isomountd shows disc images as read-only file systems. See
// isomountd(8); the client is isomount(1).
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/pflag"
)

// version is set by the linker.
var version = "unknown"

func main() {
	ctx, stop := untilSignal()
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err == nil {
		return
	}
	if _, said := errors.AsType[exitError](err); !said {
		fmt.Fprintf(os.Stderr, "isomountd: %v\n", err)
	}
	os.Exit(exitCode(err))
}

// errInterrupted is the cause of a context that SIGINT has ended: it ends the
// drives as well, where SIGTERM lets the next process go on with them.
var errInterrupted = errors.New("interrupted")

// untilSignal returns a context that ends with SIGINT or SIGTERM.
func untilSignal() (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		if s := <-signals; s == syscall.SIGINT {
			cancel(errInterrupted)
		}
		cancel(nil)
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel(nil)
	}
}

// Exit codes, as in isomountd(8). 2 is what the Go runtime ends a process with
// that has failed of itself; systemd must not take that for wrong settings,
// with which it makes no sense to start another.
const (
	exitFailed  = 1
	exitRunning = 3
	exitUsage   = 64 // EX_USAGE of sysexits.h
)

// errUsage marks what is wrong with flags or the configuration.
var errUsage = errors.New("usage")

func exitCode(err error) int {
	if code, ok := errors.AsType[exitError](err); ok && code > 0 {
		return int(code)
	}
	switch {
	case errors.Is(err, errUsage):
		return exitUsage
	case errors.Is(err, errRunning):
		return exitRunning
	}
	return exitFailed
}

const usage = `Usage: isomountd [FLAG]...

Show disc images as read-only file systems. The client is isomount; it starts
this daemon by itself when none is running, so there is seldom a reason to call
it by hand.

The daemon stays in the foreground. It listens on the socket that systemd
passed to it, else on $ISOMOUNT_SOCKET, else on $XDG_RUNTIME_DIR/isomount/socket
(root: /run/isomountd/socket). It opens no files that clients name, mounts
nothing and needs no privileges. SIGINT ends it and its drives; SIGTERM too, unless
systemd or a keeper (--keep) will start another that goes on with the drives.

Flags, each also a key of the configuration file (see isomountd(8)):
`

// run is the program.
func run(ctx context.Context, args []string, out io.Writer) error {
	c := defaults()
	flags := pflag.NewFlagSet("isomountd", pflag.ContinueOnError)
	flags.SortFlags = false
	flags.Usage = func() {}
	c.flags(flags)
	file := flags.String("config", "", "read this file instead of "+defaultFile())
	keep := flags.Bool("keep", false, "serve from a child process, and start another when it ends")
	showVersion := flags.Bool("version", false, "print the version and exit")
	help := flags.BoolP("help", "h", false, "print this text and exit")
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("%w; see isomountd --help%w", err, hidden{errUsage})
	}
	switch {
	case *help:
		fmt.Fprint(out, usage, flags.FlagUsages())
		return nil
	case *showVersion:
		fmt.Fprintln(out, "isomountd", version)
		return nil
	case flags.NArg() > 0:
		return fmt.Errorf("no argument is expected, got %q; see isomountd --help%w", flags.Arg(0), hidden{errUsage})
	}
	c, err := configure(args, *file)
	if err != nil && !inheritsDrives() {
		return fmt.Errorf("%w%w", err, hidden{errUsage})
	}
	if err != nil { // whoever reads from a drive needs it more than the settings
		fmt.Fprintf(os.Stderr, "isomountd: %v; going on without, since there are drives\n", err)
		c = defaults()
	}
	if *keep && !isKept() {
		return runKeeper(ctx, c)
	}
	return serve(ctx, c, func() (config, error) { return configure(args, *file) })
}

// configure lets the configuration file say what the flags do not.
func configure(args []string, file string) (config, error) {
	c := defaults()
	path, asked := file, file != ""
	if !asked {
		path = defaultFile()
	}
	if path != "" {
		if err := c.loadFile(path, asked); err != nil {
			return c, err
		}
	}
	again := pflag.NewFlagSet("isomountd", pflag.ContinueOnError)
	c.flags(again)
	again.String("config", "", "")
	again.Bool("keep", false, "")
	if err := again.Parse(args); err != nil {
		return c, err
	}
	return c, c.check()
}

// hidden gives an error a kind that its text does not show.
type hidden struct{ kind error }

func (h hidden) Error() string { return "" }
func (h hidden) Unwrap() error { return h.kind }
