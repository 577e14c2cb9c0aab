package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/isomount/isomount/pkg/binfmt"
	"github.com/isomount/isomount/pkg/ipc"
	"github.com/isomount/isomount/pkg/mount"
)

// Every command and flag is in the man page, and so is every exit code.
func TestManPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/man/isomount.1")
	if err != nil {
		t.Fatal(err)
	}
	man := string(page)
	root := (&app{}).root()
	for _, c := range root.Commands() {
		if c.Hidden || c.Name() == "help" {
			continue
		}
		if !strings.Contains(man, "\n.Ss "+c.Name()) {
			t.Errorf("no section on %s", c.Name())
		}
		for _, alias := range c.Aliases {
			if !strings.Contains(man, "\n.Cm "+alias+"\n") {
				t.Errorf("%s: the name %s is missing", c.Name(), alias)
			}
		}
		checkFlags(t, man, c)
	}
	for _, e := range exits {
		if !strings.Contains(man, fmt.Sprintf("\n.It %d\n", e.code)) {
			t.Errorf("exit code %d is missing", e.code)
		}
	}
}

func checkFlags(t *testing.T, man string, c *cobra.Command) {
	t.Helper()
	section := man[strings.Index(man, "\n.Ss "+c.Name())+1:]
	for _, next := range []string{"\n.Ss ", "\n.Sh "} {
		section, _, _ = strings.Cut(section, next)
	}
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Name != "help" && !strings.Contains(section, `Fl \-`+f.Name) {
			t.Errorf("%s: --%s is missing", c.Name(), f.Name)
		}
	})
}

// The command that is named is built alone, and no other under its name.
func TestOneCommandIsBuilt(t *testing.T) {
	for _, c := range commands {
		got := (&app{}).root(c.name, "word").Commands()
		if len(got) != 1 || got[0].Name() != c.name {
			t.Errorf("%s: got %v", c.name, got)
		}
	}
	all := len((&app{}).root("umount").Commands()) // by another name
	if all != len(commands) {
		t.Errorf("%d of %d commands are there", all, len(commands))
	}
}

func TestEveryCommandHelps(t *testing.T) {
	for _, c := range (&app{}).root().Commands() {
		if c.Name() == "help" {
			continue
		}
		var out, errs bytes.Buffer
		a := &app{out: &out, err: &errs}
		if code := a.run(context.Background(), []string{c.Name(), "--help"}); code != 0 || errs.Len() > 0 {
			t.Errorf("%s --help: exit code %d, %q", c.Name(), code, errs.String())
		}
		if !strings.Contains(out.String(), "Usage:") || len(c.Short) == 0 || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: %q; %s", c.Name(), c.Short, out.String())
		}
	}
}

func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{usagef("no"), exitUsage},
		{&ipc.Error{Err: ipc.ErrNoDaemon}, exitNoDaemon},
		{&ipc.Error{Err: ipc.ErrLimitReached}, exitLimit},
		{fmt.Errorf("x: %w", binfmt.Corrupt(5, "bad")), exitDamaged},
		{fmt.Errorf("x: %w", binfmt.ErrMagic), exitNotImage},
		{&mount.Error{Path: "/x", Err: mount.ErrMissing, Cause: fs.ErrNotExist}, exitMountPoint},
		{&mount.BusyError{Point: "/x"}, exitBusy},
		{errors.Join(errors.New("first"), fs.ErrPermission), exitPermission},
		{context.Canceled, exitInterrupted},
		{errors.New("anything"), exitFailed},
	} {
		if got := exitCode(c.err); got != c.want {
			t.Errorf("%v: got %d, want %d", c.err, got, c.want)
		}
	}
}

func TestErrorsAreOneLineWithWhatToDo(t *testing.T) {
	off := int64(32768)
	err := &ipc.Error{Err: ipc.ErrDamaged, Image: "/x/disc.iso", Message: "offset 32768: bad", Offset: &off, Hint: "copy it again"}
	if got, want := explain(fmt.Errorf("wrapped: %w", err)), "/x/disc.iso: offset 32768: bad; copy it again"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestBytesText(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0B", 1023: "1023B", 1024: "1.0K", 1536: "1.5K", 10 << 10: "10K", 999 << 10: "999K", 1023 << 10: "1.0M", 5 << 30: "5.0G", 700 << 20: "700M",
	} {
		if got := bytesText(n); got != want {
			t.Errorf("%d: got %s, want %s", n, got, want)
		}
	}
}

func TestPrintableKeepsTheTerminalSafe(t *testing.T) {
	for in, want := range map[string]string{"": "-", "DISC": "DISC", "MY DISC": "MY DISC", "a\x1b[31m": `"a\x1b[31m"`, "é": "é", "\xff": `"\xff"`} {
		if got := printable(in); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
}
