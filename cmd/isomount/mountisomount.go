package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"github.com/isomount/isomount/pkg/ipc"
)

// Exit codes of mount(8), which its helpers share.
const (
	mountUsage     = 1
	mountSystem    = 2
	mountInterrupt = 8
	mountFailed    = 32
)

// isMountHelper tells whether the program was called by mount(8), which looks
// for mount.TYPE: "mount -t isomount" and "mount -t fuse.isomount".
func isMountHelper(name string) bool {
	switch filepath.Base(name) {
	case "mount.isomount", "mount.fuse.isomount":
		return true
	}
	return false
}

// mountHelper does what mount(8) asks of its helpers: mount.TYPE SPEC DIR
// [-sfnv] [-N NAMESPACE] [-o OPTIONS] [-t TYPE].
func (a *app) mountHelper(ctx context.Context, args []string) int {
	flags := pflag.NewFlagSet("mount.isomount", pflag.ContinueOnError)
	flags.SetOutput(a.err)
	fake := flags.BoolP("fake", "f", false, "do everything but mount")
	verbose := flags.BoolP("verbose", "v", false, "say what was mounted")
	_ = flags.BoolP("sloppy", "s", false, "")
	_ = flags.BoolP("no-mtab", "n", false, "")
	_ = flags.StringP("type", "t", "", "")
	options := flags.StringArrayP("options", "o", nil, "mount options, separated by commas")
	err := flags.Parse(args)
	if err == nil && flags.NArg() != 2 {
		err = errors.New("usage: mount.isomount image directory [-o options]")
	}
	if err != nil {
		a.complain(err)
		return mountUsage
	}
	j := mountJob{image: flags.Arg(0), point: flags.Arg(1), options: helperOptions(*options), before: a.interrupted.arm}
	if *fake {
		return exitOK
	}
	d, _, err := j.run(ctx)
	if err != nil {
		a.complain(err)
		return mountCode(err)
	}
	if *verbose {
		fmt.Fprintf(a.out, "%s mounted on %s\n", d.Image, d.Mountpoint)
	}
	return exitOK
}

// helperOptions drops what mount(8) adds by itself, or means for others: it
// says "rw" unless it was told otherwise.
func helperOptions(lists []string) string {
	var kept []string
	for o := range strings.SplitSeq(strings.Join(lists, ","), ",") {
		if o != "rw" && o != "" && !strings.HasPrefix(o, "comment=") {
			kept = append(kept, o)
		}
	}
	return strings.Join(kept, ",")
}

// mountCode is the exit code of mount(8) for an error.
func mountCode(err error) int {
	switch exitCode(err) {
	case exitUsage:
		return mountUsage
	case exitInterrupted:
		return mountInterrupt
	case exitNoDaemon, exitLimit:
		return mountSystem
	}
	if errors.Is(err, ipc.ErrUsage) {
		return mountUsage
	}
	return mountFailed
}
