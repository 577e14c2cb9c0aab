package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
)

func TestExecIsCheckedBeforeAnythingStarts(t *testing.T) {
	for _, tt := range []struct {
		args []string
		code int
		text string
	}{
		{[]string{"a.iso"}, exitUsage, "then --, then a command"},
		{[]string{"--", "true"}, exitUsage, "name images"},
		{[]string{"a.iso", "--"}, exitUsage, "then a command"},
		{[]string{"a.iso", "--at", "x", "--at", "y", "--", "true"}, exitUsage, "--at was given 2 times for 1 image"},
		{[]string{"a.iso", "--fallback=x", "--", "true"}, exitUsage, "there is only extract"},
		{[]string{"a.iso", "--", "no-such-command"}, exitNoCommand, "no-such-command: executable file not found"},
		{[]string{"a.iso", "--", "./exec_test.go"}, exitNotRunnable, "permission denied"},
	} {
		var errs bytes.Buffer
		a := &app{out: &bytes.Buffer{}, err: &errs}
		if code := a.run(context.Background(), append([]string{"exec"}, tt.args...)); code != tt.code || !strings.Contains(errs.String(), tt.text) {
			t.Errorf("%q: exit code %d, %q, want %d, %q", tt.args, code, errs.String(), tt.code, tt.text)
		}
	}
}

func TestSetenvSetsBack(t *testing.T) {
	t.Setenv("ISOMOUNT_TEST", "old")
	restore := setenv("ISOMOUNT_TEST", "new")
	if got := os.Getenv("ISOMOUNT_TEST"); got != "new" {
		t.Errorf("got %q", got)
	}
	restore()
	if got := os.Getenv("ISOMOUNT_TEST"); got != "old" {
		t.Errorf("after: got %q", got)
	}
	if err := os.Unsetenv("ISOMOUNT_TEST"); err != nil {
		t.Fatal(err)
	}
	setenv("ISOMOUNT_TEST", "new")()
	if got, there := os.LookupEnv("ISOMOUNT_TEST"); there {
		t.Errorf("unset before, then %q", got)
	}
}

func TestVariables(t *testing.T) {
	i := inside{dirs: []string{"/m/1", "/m/2", "/m/3"}}
	got := strings.Join(i.variables(), " ")
	if want := "ISOMOUNT_DIR=/m/1 ISOMOUNT_DIR_2=/m/2 ISOMOUNT_DIR_3=/m/3"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
