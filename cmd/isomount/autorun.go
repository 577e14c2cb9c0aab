package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"github.com/isomount/isomount/pkg/ipc"
	"github.com/isomount/isomount/pkg/volume"
)

// An autorunMode says what is done about programs that a disc would like to be
// run: the value of --autorun.
type autorunMode string

// Modes. Without --autorun nothing is run, nor looked for.
const (
	autorunNever  autorunMode = "never"
	autorunAsk    autorunMode = "ask"
	autorunAlways autorunMode = "always"
)

// String implements pflag.Value.
func (m *autorunMode) String() string { return string(*m) }

// Type implements pflag.Value.
func (*autorunMode) Type() string { return "WHEN" }

// Set implements pflag.Value.
func (m *autorunMode) Set(s string) error {
	switch mode := autorunMode(s); mode {
	case autorunNever, autorunAsk, autorunAlways:
		*m = mode
		return nil
	}
	return errors.New("not one of ask, never, always")
}

// Variables that say how what a disc offers is run.
const (
	openVariable   = "ISOMOUNT_OPEN"   // opens documents; default xdg-open
	runnerVariable = "ISOMOUNT_RUNNER" // runs open= of an autorun.inf; default: nothing does
)

// An offer is what a disc would like to be done, checked and made absolute.
type offer struct {
	file  string   // that asks for it, in the root of the disc
	what  string   // for people: `run "x"`
	words []string // the command
	dir   string   // root of the disc, where the command is run
}

// autorun does what the disc of a drive offers, if its user agrees.
func (a *app) autorun(ctx context.Context, mode autorunMode, d *ipc.Drive) error {
	if mode == autorunNever || mode == "" {
		return nil
	}
	o, err := findOffer(string(d.Mountpoint), strings.Contains(d.Filesystem, "rockridge") || !strings.HasPrefix(d.Filesystem, "iso9660"))
	if err != nil {
		return fmt.Errorf("autorun: nothing was run: %w", err)
	}
	if o == nil {
		fmt.Fprintln(a.err, "isomount: note: this disc has nothing that is run automatically")
		return nil
	}
	agreed, err := a.agreed(ctx, mode, o, d)
	if err != nil || !agreed {
		return err
	}
	return o.run(ctx)
}

// findOffer looks for what is to be done, in the order of docs/SEMANTICS.md; nil
// if there is nothing. modes tells whether the disc knows which files are
// programs.
func findOffer(dir string, modes bool) (*offer, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }() // it was only read
	f := finder{root: root, dir: dir, modes: modes}
	for _, find := range []func() (*offer, error){f.program, f.document, f.windows} {
		if o, err := find(); o != nil || err != nil {
			return o, err
		}
	}
	return nil, nil //nolint:nilnil // most discs offer nothing
}

// A finder looks for offers. It opens files by root only: a link that leads off
// the disc leads nowhere.
type finder struct {
	root  *os.Root
	dir   string
	modes bool
}

var (
	errOffDisc     = errors.New("it is not a file on this disc")
	errNotProgram  = errors.New("it is not executable")
	errIsProgram   = errors.New("it is a program; only documents are opened")
	errNoRelative  = errors.New("it holds no single relative path, or one with .. in it")
	errNoOpener    = errors.New("there is no xdg-open; set " + openVariable + " to a program that opens documents")
	errLongContent = errors.New("it is too long")
)

// first returns the first of the names that is there.
func (f *finder) first(names []string) string {
	for _, n := range names {
		if _, err := f.root.Lstat(n); err == nil {
			return n
		}
	}
	return ""
}

// locate returns the absolute path of a regular file on the disc, with links
// resolved, and its mode.
func (f *finder) locate(name string) (string, os.FileMode, error) {
	info, err := f.root.Stat(name) // refuses links that lead out
	if err != nil || !info.Mode().IsRegular() {
		return "", 0, errOffDisc
	}
	real, err := filepath.EvalSymlinks(filepath.Join(f.dir, name))
	if err != nil {
		return "", 0, errOffDisc
	}
	base, err := filepath.EvalSymlinks(f.dir)
	if err != nil || !strings.HasPrefix(real, base+"/") {
		return "", 0, errOffDisc
	}
	return real, info.Mode(), nil
}

// program finds .autorun, autorun or autorun.sh.
func (f *finder) program() (*offer, error) {
	name := f.first(volume.AutorunNames)
	if name == "" {
		return nil, nil //nolint:nilnil // there is none
	}
	file, mode, err := f.locate(name)
	if err == nil && mode&0o111 == 0 {
		err = errNotProgram
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &offer{file: name, what: "run its program " + printable(name), words: []string{file}, dir: f.dir}, nil
}

// document finds what .autoopen or autoopen names.
func (f *finder) document() (*offer, error) {
	name := f.first(volume.AutoopenNames)
	if name == "" {
		return nil, nil //nolint:nilnil // there is none
	}
	o, err := f.opens(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return o, nil
}

func (f *finder) opens(name string) (*offer, error) {
	text, err := f.read(name, 4096) // the longest path there is
	if err != nil {
		return nil, err
	}
	target := strings.TrimRight(string(text), "\r\n")
	if target == "" || path.IsAbs(target) || strings.ContainsAny(target, "\r\n\x00") || hasDotDot(target) {
		return nil, errNoRelative
	}
	file, mode, err := f.locate(target)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", printable(target), err)
	}
	if f.modes && mode&0o111 != 0 || strings.EqualFold(path.Ext(file), ".desktop") || f.isCode(target) {
		return nil, fmt.Errorf("%s: %w", printable(target), errIsProgram)
	}
	opener, err := openerWords()
	if err != nil {
		return nil, err
	}
	return &offer{file: name, what: "open its document " + printable(target), words: append(opener, file), dir: f.dir}, nil
}

func hasDotDot(p string) bool {
	for part := range strings.SplitSeq(p, "/") {
		if part == ".." {
			return true
		}
	}
	return false
}

// isCode tells by its first bytes whether a file would be run rather than shown,
// for discs that mark every file as executable.
func (f *finder) isCode(name string) bool {
	file, err := f.root.Open(name)
	if err != nil {
		return true // not shown either
	}
	defer func() { _ = file.Close() }()
	var p [4]byte
	n, _ := io.ReadFull(file, p[:]) // a short file is no program
	for _, magic := range []string{"\x7fELF", "#!", "MZ"} {
		if strings.HasPrefix(string(p[:n]), magic) {
			return true
		}
	}
	return false
}

// read reads a file in the root of at most limit bytes.
func (f *finder) read(name string, limit int64) ([]byte, error) {
	if _, _, err := f.locate(name); err != nil {
		return nil, err
	}
	file, err := f.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // it was only read
	text, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = errLongContent
	}
	return text, err
}

// windows finds what an autorun.inf says, if there is something to run it.
func (f *finder) windows() (*offer, error) {
	runner := strings.Fields(os.Getenv(runnerVariable))
	if len(runner) == 0 {
		return nil, nil //nolint:nilnil // it is only shown by info
	}
	name, err := f.fold("autorun.inf")
	if name == "" || err != nil {
		return nil, err
	}
	text, err := f.read(name, 64<<10)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	open, _, _ := volume.ParseInf(text)
	words := strings.Fields(strings.ReplaceAll(open, `\`, "/"))
	if len(words) == 0 {
		return nil, nil //nolint:nilnil // it only has an icon
	}
	target, err := f.foldPath(strings.Trim(words[0], `"`))
	if err != nil {
		return nil, fmt.Errorf("%s: open=%s: %w", name, printable(open), err)
	}
	file, _, err := f.locate(target)
	if err != nil {
		return nil, fmt.Errorf("%s: open=%s: %w", name, printable(open), err)
	}
	words = append(append(runner, file), words[1:]...)
	return &offer{file: name, what: "run " + printable(open) + " with " + runner[0], words: words, dir: f.dir}, nil
}

// foldPath finds a path whose case is that of Windows, which has none.
func (f *finder) foldPath(p string) (string, error) {
	found := "."
	for part := range strings.SplitSeq(strings.Trim(p, "/"), "/") {
		if part == ".." {
			return "", errNoRelative
		}
		name, err := f.foldIn(found, part)
		if err != nil {
			return "", err
		}
		if name == "" {
			return "", errOffDisc
		}
		found = path.Join(found, name)
	}
	return found, nil
}

func (f *finder) fold(name string) (string, error) { return f.foldIn(".", name) }

// foldIn returns the name in a directory that differs in case only, "" if there
// is none.
func (f *finder) foldIn(dir, name string) (string, error) {
	d, err := f.root.Open(dir)
	if err != nil {
		return "", err
	}
	defer func() { _ = d.Close() }() // it was only read
	names, err := d.Readdirnames(-1)
	for _, n := range names {
		if strings.EqualFold(n, name) {
			return n, nil
		}
	}
	return "", err
}

// openerWords is the command that opens documents.
func openerWords() ([]string, error) {
	if words := strings.Fields(os.Getenv(openVariable)); len(words) > 0 {
		return words, nil
	}
	opener, err := exec.LookPath("xdg-open")
	if err != nil {
		return nil, errNoOpener
	}
	return []string{opener}, nil
}

// run runs the command in the root of the disc and waits for it.
func (o *offer) run(ctx context.Context) error {
	cmd := exec.CommandContext(context.WithoutCancel(ctx), o.words[0], o.words[1:]...)
	cmd.Dir = o.dir
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("autorun: %w", err)
	}
	state, err := awaitCommand(cmd, nil)
	if err == nil && !state.Success() {
		err = fmt.Errorf("autorun: %s: %s", printable(o.file), state)
	}
	return err
}
