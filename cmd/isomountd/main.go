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
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "isomountd: %v\n", err)
		os.Exit(exitCode(err))
	}
}

// Exit codes, as in isomountd(8).
const (
	exitFailed  = 1
	exitUsage   = 2
	exitRunning = 3
)

// errUsage marks what is wrong with flags or the configuration.
var errUsage = errors.New("usage")

func exitCode(err error) int {
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
nothing and needs no privileges. SIGTERM ends it cleanly.

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
	if err != nil {
		return fmt.Errorf("%w%w", err, hidden{errUsage})
	}
	return serve(ctx, c)
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
	if err := again.Parse(args); err != nil {
		return c, err
	}
	return c, c.check()
}

// hidden gives an error a kind that its text does not show.
type hidden struct{ kind error }

func (h hidden) Error() string { return "" }
func (h hidden) Unwrap() error { return h.kind }
