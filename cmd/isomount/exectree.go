package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// A tempTree is the temporary directory of exec --fallback=extract. A watcher, in
// a session of its own, removes it when the process that made it ends, however
// that ends. Both hold a lock on it, by which the next exec sees that one was left
// by processes that were all killed.
type tempTree struct {
	dir     string
	lock    *os.File
	alive   *os.File // closed when this process ends
	watcher *exec.Cmd
}

const (
	treePrefix  = "isomount-exec-"
	watcherName = "exec-watch"
)

// newTempTree makes a directory and starts its watcher.
func newTempTree(ctx context.Context) (*tempTree, error) {
	t := &tempTree{}
	if err := t.make(); err != nil {
		return nil, err
	}
	if err := t.watch(ctx); err != nil {
		return nil, errors.Join(err, t.remove())
	}
	return t, nil
}

// make makes a directory and locks it, before anybody thinks that it was left.
func (t *tempTree) make() error {
	for {
		dir, err := os.MkdirTemp("", treePrefix)
		if err != nil {
			return err
		}
		lock, err := lockTree(dir)
		switch {
		case err == nil:
			t.dir, t.lock = dir, lock
			return nil
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.EWOULDBLOCK):
			continue // another exec was quicker to clean up
		}
		return errors.Join(err, os.Remove(dir))
	}
}

// lockTree locks a directory of this user's, unless somebody has.
func lockTree(dir string) (*os.File, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if err := checkTree(f, dir); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func checkTree(f *os.File, dir string) error {
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return err
	}
	return isTree(f, dir)
}

// isTree makes sure that f is the directory of that name, and this user's.
func isTree(f *os.File, dir string) error {
	opened, err := f.Stat()
	if err != nil {
		return err
	}
	named, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	st, ok := opened.Sys().(*syscall.Stat_t)
	if !ok || int(st.Uid) != os.Geteuid() || !os.SameFile(opened, named) {
		return fs.ErrNotExist
	}
	return nil
}

// watch starts the watcher.
func (t *tempTree) watch(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	ended, alive, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = ended.Close() }() // the watcher has it
	t.alive = alive
	cmd := exec.CommandContext(context.WithoutCancel(ctx), self, watcherName, t.dir)
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{ended, t.lock} // 3 and 4
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	t.watcher = cmd
	return nil
}

// remove removes the directory and lets the watcher go.
func (t *tempTree) remove() error {
	err := removeTree(t.dir)
	if t.alive != nil {
		_ = t.alive.Close() // what the watcher waits for
	}
	if t.watcher != nil {
		_ = t.watcher.Wait() // it has nothing to tell
	}
	return errors.Join(err, t.lock.Close())
}

func execWatchCommand(*app) *cobra.Command {
	return &cobra.Command{
		Use:    watcherName + " DIR",
		Short:  "Remove the directory of exec when that ends",
		Hidden: true,
		Args:   args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, words []string) error {
			dir := words[0]
			ended, lock := os.NewFile(3, "pipe"), os.NewFile(4, dir)
			if !strings.HasPrefix(filepath.Base(dir), treePrefix) || isTree(lock, dir) != nil {
				return usagef("%s is called by exec only", watcherName)
			}
			signal.Ignore(passed...) // it ends when it is done
			_, err := io.Copy(io.Discard, ended)
			return errors.Join(err, removeAtLast(dir))
		},
	}
}

// removeAtLast removes a directory in which a command that is being killed may
// still be writing.
func removeAtLast(dir string) error {
	const tries, pause = 100, 50 * time.Millisecond
	var err error
	for range tries {
		if err = removeTree(dir); err == nil {
			return nil
		}
		time.Sleep(pause)
	}
	return err
}

// removeLeftTrees removes the directories of execs that were killed together with
// their watchers.
func removeLeftTrees() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), treePrefix+"*")) // a strange $TMPDIR has none
	for _, dir := range dirs {
		lock, err := lockTree(dir)
		if err != nil {
			continue // somebody's, who lives
		}
		_ = removeTree(dir) // the next one will try again
		_ = lock.Close()
	}
}

// removeTree removes a directory, also what may not be written to; nothing to
// remove is no error.
func removeTree(dir string) error {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			err = os.Chmod(path, 0o700) //nolint:gosec // a directory
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	return errors.Join(err, os.RemoveAll(dir))
}
