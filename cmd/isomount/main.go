// Command isomount mounts disc images through the daemon isomountd, and reads
// them without it. See isomount(1).
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"
)

// version is set by the linker.
var version = "unknown"

func main() {
	ctx, interrupted := newInterruption(context.Background())
	a := &app{in: os.Stdin, out: os.Stdout, err: os.Stderr, interrupted: interrupted}
	if isMountHelper(os.Args[0]) {
		os.Exit(a.mountHelper(ctx, os.Args[1:]))
	}
	interrupted.armFor(os.Args[1:])
	os.Exit(a.run(ctx, os.Args[1:]))
}

// An app is one run of the program.
type app struct {
	in  io.Reader
	out io.Writer
	err io.Writer

	interrupted *interruption // nil: nothing is ended early
}

// commands is the table of everything the program can do, in the order of
// --help. To add a command, write a file with a function like these, and add a
// section to docs/man/isomount.1.
var commands = []struct {
	name  string
	build func(*app) *cobra.Command
}{
	{"mount", mountCommand},
	{"unmount", unmountCommand},
	{"list", listCommand},
	{"info", infoCommand},
	{"create", createCommand},
	{"convert", convertCommand},
	{"verify", verifyCommand},
	{"ls", lsCommand},
	{"tree", treeCommand},
	{"cat", catCommand},
	{"extract", extractCommand},
	{"exec", execCommand},
	{insideName, execInsideCommand},
	{watcherName, execWatchCommand},
	{"rip", ripCommand},
	{"autorun", autorunCommand},
	{"wait", waitCommand},
	{"persist", persistCommand},
	{"forget", forgetCommand},
	{"restore", restoreCommand},
	{"stats", statsCommand},
	{"daemon", daemonCommand},
	{"completion", completionCommand},
}

// run carries out a command line and returns the exit code.
func (a *app) run(ctx context.Context, args []string) int {
	err := a.execute(ctx, args)
	if err == nil {
		return exitOK
	}
	if !errors.Is(err, errQuiet) {
		a.complain(err)
	}
	return exitCode(err)
}

func (a *app) execute(ctx context.Context, args []string) error {
	if len(args) == 1 && isVersion(args[0]) {
		return a.version() // as root does, but sooner
	}
	root := a.root(args...)
	root.SetArgs(args)
	return root.ExecuteContext(ctx)
}

func (a *app) version() error {
	_, err := fmt.Fprintf(a.out, "isomount %s\n", version)
	return err
}

// complain tells the user of an error, in one line.
func (a *app) complain(err error) { fmt.Fprintf(a.err, "isomount: %s\n", explain(err)) }

// root returns the program with its commands, or only the one that the first of
// words names: building the others takes as long as many a command.
func (a *app) root(words ...string) *cobra.Command {
	var showVersion bool
	root := &cobra.Command{
		Use:   "isomount",
		Short: "Mount and read disc images",
		Long: `isomount shows what is on a disc image as a directory tree, without root and
without loop devices. A daemon, isomountd, serves the trees; it is started when
it is needed and ends by itself.`,
		Example: `  isomount mount debian.iso            mount it, say where
  isomount mount debian.iso /mnt/disc  mount it there
  isomount list                        what is mounted
  isomount unmount debian.iso          end it again`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if showVersion {
				return a.version()
			}
			if len(args) > 0 {
				return usagef("there is no command %q; see isomount --help", args[0])
			}
			return c.Help()
		},
	}
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.Flags().BoolVarP(&showVersion, "version", "v", false, "version for isomount")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usagef("%w; see %s --help", err, c.CommandPath())
	})
	root.SuggestionsMinimumDistance = 2
	root.CompletionOptions.DisableDefaultCmd = true // there is one in the table
	list := commands
	if asksVersion(words) {
		list = nil
	}
	for i := range list {
		if len(words) > 0 && list[i].name == words[0] {
			list = list[i : i+1]
			break
		}
	}
	for _, c := range list {
		root.AddCommand(c.build(a))
	}
	if len(list) == len(commands) { // completing does not name one of them first
		addCompletions(root)
	}
	return root
}

// asksVersion tells whether a command line begins with --version, which needs no
// command; help does, as it lists them.
func asksVersion(words []string) bool {
	isHelp := func(w string) bool { return w == "--help" || w == "-h" }
	return len(words) > 0 && isVersion(words[0]) && !slices.ContainsFunc(words, isHelp)
}

func isVersion(word string) bool { return word == "--version" || word == "-v" }

// args wraps a rule about arguments so that breaking it is a usage error.
func args(rule cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, words []string) error {
		if err := rule(c, words); err != nil {
			return usagef("%w; usage: %s", err, c.UseLine())
		}
		return nil
	}
}
