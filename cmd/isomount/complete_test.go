package main

import (
	"bytes"
	"context"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/isofs/master"
)

// complete returns what a shell is told to propose.
func complete(t *testing.T, words ...string) (proposed []string, directive string) {
	t.Helper()
	var out bytes.Buffer
	a := &app{out: &out, err: new(bytes.Buffer)}
	if code := a.run(context.Background(), append([]string{"__complete"}, words...)); code != 0 {
		t.Fatalf("%q: exit code %d", words, code)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	for _, l := range lines[:len(lines)-1] {
		word, _, _ := strings.Cut(l, "\t")
		proposed = append(proposed, word)
	}
	return proposed, lines[len(lines)-1]
}

func TestComplete(t *testing.T) {
	t.Setenv("ISOMOUNT_SOCKET", filepath.Join(t.TempDir(), "none"))
	image := filepath.Join(t.TempDir(), "disc.iso")
	tree := master.NewTree(fsys.Attr{})
	dir, err := tree.Add(tree.Root(), "docs", &fsys.Attr{Mode: fsys.TypeDir | 0o755}, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for name, in := range map[string]*master.Node{"disc.txt": tree.Root(), "read me": dir, "evil\x1b": dir} {
		if _, err := tree.Add(in, name, &fsys.Attr{Mode: fsys.TypeFile | 0o644}, content{}, 0); err != nil {
			t.Fatal(err)
		}
	}
	out := outFile{path: image}
	err = out.write(t.Context(), &app{}, func(w io.Writer) error {
		_, err := master.Write(t.Context(), w, tree, master.Options{}, nil)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	// Directives are sums of cobra's bits: 2 no space, 4 no files, 8 by suffix, 16 directories.
	for _, tt := range []struct {
		words     string
		want      string // joined by commas; "*" for the suffixes of images
		directive string
	}{
		{"moun", "mount", ":4"},
		{"mount|", "*", ":8"},
		{"mount|IMAGE|", "", ":16"},
		{"mount|IMAGE|dir|", "", ":4"},
		{"unmount|", "", ":4"},
		{"info|0", "", ":4"},
		{"info|d", "*", ":8"},
		{"verify|IMAGE|--against|", "", ":16"},
		{"verify|--progress|", "auto,bar,json,none", ":4"},
		{"create|--udf=", "1.02,2.01", ":4"},
		{"create|x|", "", ":0"},
		{"cat|IMAGE|d", "disc.txt,docs/", ":6"},
		{"cat|IMAGE|/docs/", "/docs/read me", ":6"},
		{"cat|IMAGE|../../do", "../../docs/", ":6"},
		{"cat|nosuch.iso|", "", ":4"},
		{"completion|", "bash,zsh,fish", ":4"},
	} {
		proposed, directive := complete(t, strings.Split(strings.ReplaceAll(tt.words, "IMAGE", image), "|")...)
		got := strings.Join(proposed, ",")
		if strings.HasPrefix(got, "iso,ISO,img,") {
			got = "*"
		}
		if got != tt.want || directive != tt.directive {
			t.Errorf("%s: got %q %s, want %q %s", tt.words, got, directive, tt.want, tt.directive)
		}
	}
}

// Every command has its words completed, or takes none.
func TestEveryCommandIsCompleted(t *testing.T) {
	root := (&app{}).root()
	names := map[string]bool{}
	for _, c := range root.Commands() {
		names[c.Name()] = true
		if !c.Hidden && c.ValidArgsFunction == nil && c.ValidArgs == nil && c.Args != nil && c.Args(c, nil) != nil {
			t.Errorf("%s: there is no line in completers", c.Name())
		}
	}
	var foreign []string
	for name := range completers() {
		if !names[name] && name != "exec" && name != "rip" {
			foreign = append(foreign, name)
		}
	}
	if diff := cmp.Diff(foreign, []string(nil)); diff != "" {
		t.Errorf("completers of commands that do not exist:\n%s", diff)
	}
}

// The scripts are ones that their shells can read.
func TestCompletionScripts(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		var out bytes.Buffer
		if code := (&app{out: &out, err: new(bytes.Buffer)}).run(context.Background(), []string{"completion", shell}); code != 0 || out.Len() == 0 {
			t.Errorf("%s: exit code %d, %d bytes", shell, code, out.Len())
		}
		path, err := exec.LookPath(shell)
		if err != nil {
			continue // a shell that is not here has nothing to complete
		}
		cmd := exec.Command(path, "-n")
		cmd.Stdin = &out
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", shell, err, text)
		}
	}
	if code := (&app{out: new(bytes.Buffer), err: new(bytes.Buffer)}).run(context.Background(), []string{"completion", "cmd"}); code != exitUsage {
		t.Errorf("unknown shell: exit code %d", code)
	}
}
