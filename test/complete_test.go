package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Scripts that have a shell complete the lines that are their arguments, as if
// somebody pressed the tabulator key behind each. They print what the line has
// become, or for fish what is proposed, between << and >>.
var shells = map[string]string{
	"bash": `
source /usr/share/bash-completion/bash_completion
source <(isomount completion bash)
for line; do
	COMP_LINE=$line COMP_POINT=${#line} COMP_TYPE=9 COMP_KEY=9
	read -ra COMP_WORDS <<<"$line"
	[[ $line = *' ' ]] && COMP_WORDS+=('')
	COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMPREPLY=()
	__start_isomount 2>/dev/null # outside of a completion there is no compopt
	if [ ${#COMPREPLY[@]} = 0 ]; then # the file names that bash itself proposes
		COMPREPLY=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]}"))
	fi
	unset 'COMP_WORDS[COMP_CWORD]'
	echo "<<${COMP_WORDS[*]} ${COMPREPLY[0]}>>"
done`,
	"fish": `
isomount completion fish | source
for line in $argv
	set -l words (string split ' ' -- $line)
	set -l found (complete -C $line | string split -f 1 \t)
	echo "<<$words[1..-2] $found[1]>>"
end`,
	// The line editor works at a terminal only, which zpty is.
	"zsh": `
zmodload zsh/zpty
mkdir -p functions
isomount completion zsh >functions/_isomount
zpty inner 'TERM=dumb zsh -f -i'
zpty -w inner 'PROMPT= fpath=($PWD/functions $fpath); autoload -Uz compinit; compinit -u -D;' \
	'show() { print -r -- "<<${BUFFER%% }>>"; BUFFER=; zle accept-line }; zle -N show; bindkey "^Xs" show; print begin-now'
while zpty -r inner line; do [[ $line == *begin-now* && $line != *print* ]] && break; done
answer() {
	while zpty -r inner line; do
		[[ $line == *'<<'*'>>'* ]] && { print -r -- "${line#*${line%%<<*}}"; break }
	done
}
for words; do
	zpty -w -n inner "$words"$'\t\x18s'
	answer
done
zpty -d inner`,
}

// TestCompletionInShells has the shells themselves complete commands, images,
// drives and paths in images.
func TestCompletionInShells(t *testing.T) {
	need(t, "bash", "zsh", "fish", "xorriso")
	if _, err := os.Stat("/usr/share/bash-completion/bash_completion"); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, sub := range []string{"tree/docs", "point"} {
		must(os.MkdirAll(filepath.Join(dir, sub), 0o755))
	}
	writeFile(t, filepath.Join(dir, "tree", "docs", "manual.txt"), []byte("x"))
	writeFile(t, filepath.Join(dir, "disc.txt"), []byte("no image"))
	outputOf(t, "xorriso", "-as", "mkisofs", "-quiet", "-R", "-o", filepath.Join(dir, "disc.iso"), filepath.Join(dir, "tree"))
	socket := filepath.Join(bin, "complete")
	must(os.Mkdir(socket, 0o700))
	env := append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "HOME="+dir, "ISOMOUNT_SOCKET="+socket+"/s", "XDG_RUNTIME_DIR=", "ZDOTDIR="+dir)
	inDir := func(name string, args ...string) string {
		cmd := exec.Command(name, args...)
		cmd.Dir, cmd.Env = dir, env
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		return string(out)
	}
	isomount := filepath.Join(bin, "isomount")
	inDir(isomount, "mount", "disc.iso", "point")
	defer func() {
		inDir(isomount, "unmount", "--all")
		stopDaemons(socket)
	}()
	point := filepath.Join(dir, "point")
	lines := [][2]string{
		{"isomount unm", "isomount unmount"},
		{"isomount create --boot-em", "isomount create --boot-emulation"},
		{"isomount info dis", "isomount info disc.iso"},
		{"isomount unmount " + dir + "/po", "isomount unmount " + point},
		{"isomount unmount ", "isomount unmount 0"},
		{"isomount cat disc.iso do", "isomount cat disc.iso docs/"},
		{"isomount cat disc.iso docs/m", "isomount cat disc.iso docs/manual.txt"},
	}
	for shell, script := range shells {
		t.Run(shell, func(t *testing.T) {
			args := []string{"-c", script}
			if shell != "fish" {
				args = append(args, shell)
			}
			for _, l := range lines {
				args = append(args, l[0])
			}
			out := inDir(shell, args...)
			for _, l := range lines {
				if !strings.Contains(out, "<<"+l[1]+">>") {
					t.Errorf("%q: not completed to %q", l[0], l[1])
				}
			}
			if t.Failed() {
				t.Logf("%s printed:\n%s", shell, out)
			}
		})
	}
}
