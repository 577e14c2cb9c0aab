package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/cobra"

	"github.com/isomount/isomount/pkg/ipc"
	"github.com/isomount/isomount/pkg/tomlfile"
)

// A lasting is a drive that comes back at login or boot: a file in drives.d.
type lasting struct {
	Image      string `toml:"image"`
	MountPoint string `toml:"mountpoint,omitempty"` // "": one is made
	Options    string `toml:"options,omitempty"`

	file string
}

// lastingDir is where the files are.
func lastingDir() (string, error) {
	if os.Getuid() == 0 {
		return "/etc/isomount/drives.d", nil
	}
	dir, err := os.UserConfigDir()
	return filepath.Join(dir, "isomount", "drives.d"), err
}

// readLasting reads all files. One that makes no sense does not keep the
// others: it is among the errors.
func readLasting() (all []lasting, errs []error) {
	dir, err := lastingDir()
	if err != nil {
		return nil, []error{err}
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.toml"))
	if err != nil {
		return nil, []error{err}
	}
	for _, file := range files {
		l := lasting{file: file}
		switch err := tomlfile.Read(file, &l, "isomount(1)"); {
		case err != nil:
			errs = append(errs, err)
		case !filepath.IsAbs(l.Image) || l.MountPoint != "" && !filepath.IsAbs(l.MountPoint):
			errs = append(errs, fmt.Errorf("%s: image and mountpoint must be whole paths", file))
		default:
			all = append(all, l)
		}
	}
	return all, errs
}

// persist has a drive come back.
func persist(d *ipc.Drive) error {
	l := lasting{Image: string(d.Image), MountPoint: string(d.Mountpoint), Options: d.Options}
	if d.Made {
		l.MountPoint = ""
	}
	if !utf8.ValidString(l.Image + l.MountPoint + l.Options) {
		return &ipc.Error{Err: ipc.ErrUsage, Image: d.Image, Message: "a file of drives.d is UTF-8, and the path is not"}
	}
	all, _ := readLasting()
	for _, old := range all {
		if old.Image == l.Image && old.MountPoint == l.MountPoint {
			return l.replace(old.file)
		}
	}
	dir, err := lastingDir()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return l.replace(freeName(dir, filepath.Base(l.Image)))
}

// freeName makes a name of a file that is not there.
func freeName(dir, base string) string {
	base = strings.TrimSuffix(base, filepath.Ext(base))
	for n := 1; ; n++ {
		name := filepath.Join(dir, base+".toml")
		if n > 1 {
			name = filepath.Join(dir, base+"-"+strconv.Itoa(n)+".toml")
		}
		if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			return name
		}
	}
}

// replace writes the file in one step.
func (l *lasting) replace(file string) error {
	text, err := toml.Marshal(l)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

func persistCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "persist DRIVE|MOUNTPOINT|IMAGE...",
		Short: "Have drives come back at login or boot",
		Long: `Have drives that are mounted come back: those of a user at login, those of root
at boot. Each becomes a file in ~/.config/isomount/drives.d, or in
/etc/isomount/drives.d. "isomount restore" mounts them; isomount-restore.service
calls it.`,
		Args: args(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, words []string) error {
			var failed error
			for _, w := range words {
				failed = a.first(failed, persistWord(c.Context(), w))
			}
			return failed
		},
	}
}

func persistWord(ctx context.Context, word string) error {
	d, err := findDrive(ctx, word)
	if err != nil {
		return err
	}
	return persist(d)
}

func forgetCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "forget IMAGE|MOUNTPOINT|NAME...",
		Short: "Have drives not come back any more",
		Long: `Undo "isomount persist" for drives named by image, by mount point or by the name
of their file in drives.d. A drive that is mounted stays so.`,
		Args: args(cobra.MinimumNArgs(1)),
		RunE: func(_ *cobra.Command, words []string) error {
			var failed error
			for _, w := range words {
				failed = a.first(failed, forget(w))
			}
			return failed
		},
	}
}

func forget(word string) error {
	path, err := filepath.Abs(word)
	if err != nil {
		return err
	}
	all, errs := readLasting()
	found := false
	for _, l := range all {
		if l.Image == path || l.MountPoint == path || strings.TrimSuffix(filepath.Base(l.file), ".toml") == word {
			found = true
			errs = append(errs, os.Remove(l.file))
		}
	}
	if !found {
		errs = append(errs, &ipc.Error{Err: ipc.ErrNotFound, Message: word + " does not come back"})
	}
	return errors.Join(errs...)
}
