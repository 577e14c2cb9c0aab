package main

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/isomount/isomount/pkg/fsys"
)

func completionCommand(a *app) *cobra.Command {
	shells := []string{"bash", "zsh", "fish"}
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print a script that completes command lines",
		Long: `Print a script that makes a shell complete command lines of isomount: commands,
flags, drives, images, and the paths in an image. "make install" puts it where
shells find it.`,
		Example: `  source <(isomount completion bash)
  isomount completion zsh >~/.zsh/completions/_isomount
  isomount completion fish >~/.config/fish/completions/isomount.fish`,
		Args:      args(cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs)),
		ValidArgs: shells,
		RunE: func(c *cobra.Command, words []string) error {
			switch words[0] {
			case "bash":
				return c.Root().GenBashCompletionV2(a.out, true)
			case "zsh":
				return c.Root().GenZshCompletion(a.out)
			}
			return c.Root().GenFishCompletion(a.out, true)
		},
	}
}

// A completer proposes words for the place behind the words that are there.
type completer = cobra.CompletionFunc

// completers says what the words of each command are. To complete a new command,
// add a line.
func completers() map[string]completer {
	return map[string]completer{
		"mount":   inOrder(images, directories),
		"unmount": drives,
		"wait":    inOrder(imagesAndDrives),
		"persist": drives,
		"forget":  images,
		"info":    inOrder(imagesAndDrives),
		"ls":      thenAll(images, pathsInside),
		"tree":    thenAll(images, pathsInside),
		"cat":     thenAll(images, pathsInside),
		"extract": thenAll(images, pathsInside),
		"create":  files,
		"convert": inOrder(images),
		"verify":  inOrder(images),
		"exec":    images,
		"rip":     files,
	}
}

// flagCompleters says what the values of flags are, where that is not a file.
func flagCompleters() map[string]completer {
	return map[string]completer{
		"progress":       cobra.FixedCompletions([]string{"auto", "bar", "json", "none"}, cobra.ShellCompDirectiveNoFileComp),
		"udf":            cobra.FixedCompletions([]string{"1.02", "2.01"}, cobra.ShellCompDirectiveNoFileComp),
		"boot-emulation": cobra.FixedCompletions([]string{"none", "1.2", "1.44", "2.88", "hd"}, cobra.ShellCompDirectiveNoFileComp),
		"against":        directories,
		"forget":         answers,
	}
}

// addCompletions puts the completers to the commands.
func addCompletions(root *cobra.Command) {
	words, flags := completers(), flagCompleters()
	for _, c := range root.Commands() {
		if f := words[c.Name()]; f != nil {
			c.ValidArgsFunction = f
		}
		for name, f := range flags {
			if c.Flags().Lookup(name) != nil {
				_ = c.RegisterFlagCompletionFunc(name, f) // fails only for a flag that is not there
			}
		}
	}
}

// inOrder proposes for the first word what the first completer does, and so on;
// nothing for further words.
func inOrder(list ...completer) completer {
	return func(c *cobra.Command, words []string, start string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(words) >= len(list) {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return list[len(words)](c, words, start)
	}
}

// thenAll proposes for the first word what first does, for all others what rest does.
func thenAll(first, rest completer) completer {
	return func(c *cobra.Command, words []string, start string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(words) == 0 {
			return first(c, words, start)
		}
		return rest(c, words, start)
	}
}

func files(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveDefault
}

func directories(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveFilterDirs
}

// imageSuffixes are those by which files are taken for images.
var imageSuffixes = []string{
	"iso", "ISO", "img", "IMG", "bin", "BIN", "cue", "CUE", "mdf", "MDF", "mds", "MDS", "nrg", "NRG", "ccd", "CCD",
	"toc", "cdi", "CDI", "b5t", "b6t", "cso", "ciso", "zso", "dax", "chd", "CHD", "ecm", "isz", "ISZ", "dmg", "DMG", "udf", "UDF",
	"toast", "cdr", "zst", "gz", "xz", "bz2", "lz4", "raw",
}

func images(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return imageSuffixes, cobra.ShellCompDirectiveFilterFileExt
}

// imagesAndDrives proposes drives where a number is being written, else images.
func imagesAndDrives(c *cobra.Command, words []string, start string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if _, err := strconv.Atoi(start); err == nil {
		return drives(c, words, start)
	}
	return images(c, words, start)
}

// answers proposes the discs about which autorun remembers an answer.
func answers(_ *cobra.Command, _ []string, start string) ([]cobra.Completion, cobra.ShellCompDirective) {
	found := []cobra.Completion{"all"}
	store, err := openConsents()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	for _, l := range store.list() {
		if strings.HasPrefix(l.ID, start) {
			found = append(found, cobra.CompletionWithDesc(l.ID[:min(shownID, len(l.ID))], printable(l.Label)+", "+printable(string(l.Image))))
		}
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}

// completeTime is how long somebody who presses a key may have to wait.
const completeTime = 500 * time.Millisecond

// drives proposes the numbers of drives, and their mount points once the start
// of a path is there.
func drives(_ *cobra.Command, words []string, start string) ([]cobra.Completion, cobra.ShellCompDirective) {
	ctx, stop := context.WithTimeout(context.Background(), completeTime)
	defer stop()
	client, list, err := new(app).drives(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp // without a daemon there are none
	}
	defer func() { _ = client.Close() }()
	var found []cobra.Completion
	for i := range list {
		d := &list[i]
		text := fmt.Sprintf("%s at %s", printable(d.Label), printable(string(d.Mountpoint)))
		for _, name := range []string{d.Name, string(d.Mountpoint)} {
			if strings.HasPrefix(name, start) && (start != "" || name == d.Name) && !slices.Contains(words, name) {
				found = append(found, cobra.CompletionWithDesc(name, text))
			}
		}
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}

// maxProposed is how many names of a directory are proposed.
const maxProposed = 1000

// pathsInside proposes paths in the image that the first word names.
func pathsInside(c *cobra.Command, words []string, start string) ([]cobra.Completion, cobra.ShellCompDirective) {
	options := ""
	if f := c.Flags().Lookup("options"); f != nil {
		options = f.Value.String()
	}
	d, err := openDisc(words[0], options)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer func() { _ = d.Close() }()
	dir, name := path.Split(start)
	entries, err := fs.ReadDir(fsys.IOFS(d.volume.FS), fsPath(dir))
	if err != nil && len(entries) == 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var found []cobra.Completion
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), name) || printable(e.Name()) != e.Name() {
			continue
		}
		if len(found) == maxProposed {
			break
		}
		word := dir + e.Name()
		if e.IsDir() {
			word += "/"
		}
		found = append(found, word)
	}
	return found, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

// fsPath makes a path of the disc one that io/fs takes.
func fsPath(dir string) string {
	if p := strings.Trim(path.Clean("/"+dir), "/"); p != "" {
		return p
	}
	return "."
}
