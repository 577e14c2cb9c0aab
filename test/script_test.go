package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// update rewrites what scripts expect.
var update = os.Getenv("UPDATE_SCRIPTS") != ""

// TestScripts runs the command line as a user would. Every script has a
// directory, a socket and a daemon of its own.
func TestScripts(t *testing.T) { runScripts(t, "script") }

// TestScriptsAlone runs those that make mount namespaces, which hold on to the
// mounts of others that they were copied from.
func TestScriptsAlone(t *testing.T) { runScripts(t, "script/alone") }

func runScripts(t *testing.T, dir string) {
	t.Helper()
	need(t, "xorriso", "fusermount3", "bsdtar", "7z", "isoinfo", "zstd", "checkisomd5", "implantisomd5")
	testscript.Run(t, testscript.Params{
		Dir:           dir,
		UpdateScripts: update,
		Setup:         setupScript,
		Condition:     scriptCondition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"image":    scriptImage,
			"exit":     scriptExit,
			"truncate": scriptTruncate,
		},
	})
}

// scriptCondition knows [root], which holds if the tests run as root.
func scriptCondition(name string) (bool, error) {
	if name != "root" {
		return false, fmt.Errorf("unknown condition %q", name)
	}
	return os.Getuid() == 0, nil
}

// setupScript gives a script its environment, and takes care that nothing of it
// is left.
func setupScript(env *testscript.Env) error {
	run := filepath.Join(env.WorkDir, ".run")
	if err := os.Mkdir(run, 0o700); err != nil {
		return err
	}
	// A socket's path is short, and a script's directory is not.
	short, err := os.MkdirTemp("", "is")
	if err != nil {
		return err
	}
	env.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	env.Setenv("ISOMOUNT_SOCKET", filepath.Join(short, "socket"))
	env.Setenv("XDG_RUNTIME_DIR", run)
	env.Setenv("SOURCE_DATE_EPOCH", "1704164645")
	env.Setenv("TZ", "UTC")
	env.Defer(func() {
		stop := exec.Command(filepath.Join(bin, "isomount"), "unmount", "--all", "--lazy")
		stop.Env = env.Vars
		_ = stop.Run() // there may be no daemon
		stopDaemons(short)
		_ = os.RemoveAll(short)
	})
	return nil
}

// stopDaemons ends the daemons whose socket is below dir.
func stopDaemons(dir string) {
	environs, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range environs {
		exe, err := os.Readlink(filepath.Join(filepath.Dir(file), "exe"))
		if err != nil || exe != filepath.Join(bin, "isomountd") {
			continue
		}
		env, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(env), "ISOMOUNT_SOCKET="+dir) {
			continue
		}
		endProcess(filepath.Base(filepath.Dir(file)))
	}
}

// endProcess sends SIGTERM and waits until the process is gone.
func endProcess(pid string) {
	var n int
	for _, c := range pid {
		n = n*10 + int(c-'0')
	}
	_ = syscall.Kill(n, syscall.SIGTERM)
	for range 1000 {
		if syscall.Kill(n, 0) != nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	_ = syscall.Kill(n, syscall.SIGKILL)
}

// scriptImage makes an image of a directory: image FILE DIR [xorriso options].
func scriptImage(ts *testscript.TestScript, neg bool, words []string) {
	if neg || len(words) < 2 {
		ts.Fatalf("usage: image file dir [options]")
	}
	args := append([]string{"-as", "mkisofs", "-quiet", "-o", ts.MkAbs(words[0])}, words[2:]...)
	ts.Check(ts.Exec("xorriso", append(args, ts.MkAbs(words[1]))...))
}

// scriptExit runs a program that must end with a certain code: exit CODE PROGRAM ARG...
func scriptExit(ts *testscript.TestScript, neg bool, words []string) {
	if neg || len(words) < 2 {
		ts.Fatalf("usage: exit code program [argument...]")
	}
	err := ts.Exec(words[1], words[2:]...)
	got := "0"
	if e, ok := err.(*exec.ExitError); ok { //nolint:errorlint // Exec gives it as it is
		got = e.String()[len("exit status "):]
	} else if err != nil {
		ts.Fatalf("%s: %v", words[1], err)
	}
	if got != words[0] {
		ts.Fatalf("%s ended with %s, want %s", words[1], got, words[0])
	}
}

// scriptTruncate cuts a file: truncate FILE SIZE.
func scriptTruncate(ts *testscript.TestScript, neg bool, words []string) {
	if neg || len(words) != 2 {
		ts.Fatalf("usage: truncate file size")
	}
	ts.Check(ts.Exec("truncate", "-s", words[1], ts.MkAbs(words[0])))
}
