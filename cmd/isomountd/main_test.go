package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"go.uber.org/zap/zapcore"
)

// Every flag is in --help and in the man page, and is a key of the file.
func TestFlagsAreDocumented(t *testing.T) {
	man, err := os.ReadFile("../../docs/man/isomountd.8")
	if err != nil {
		t.Fatal(err)
	}
	var help bytes.Buffer
	if err := run(context.Background(), []string{"--help"}, &help); err != nil {
		t.Fatal(err)
	}
	c := defaults()
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	c.flags(flags)
	flags.Bool("keep", false, "")
	flags.VisitAll(func(f *pflag.Flag) {
		if !strings.Contains(string(man)+" ", ".It Fl \\-"+f.Name+" ") && !strings.Contains(string(man), ".It Fl \\-"+f.Name+"\n") {
			t.Errorf("isomountd(8) does not tell of --%s", f.Name)
		}
		if !strings.Contains(help.String(), "--"+f.Name) {
			t.Errorf("--help does not tell of --%s", f.Name)
		}
	})
}

func TestConfigurationFileAndFlags(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.toml")
	text := "cache = \"128M\"\nmax-drives = 7\ndeadline = \"5s\"\nlog-level = \"warn\"\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := configure([]string{"--config", file, "--max-drives=9"}, file)
	if err != nil {
		t.Fatal(err)
	}
	want := defaults()
	want.Cache, want.MaxDrives, want.Deadline, want.LogLevel = 128<<20, 9, duration(5*time.Second), "warn"
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestConfigurationSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	for text, want := range map[string]string{
		"colour = \"blue\"":      `key "colour" is not known`,
		"cache = \"12 apples\"":  "not a size such as 64M",
		"deadline = \"soon\"":    "not a duration such as 30s",
		"deadline = \"-1s\"":     "deadline must be more than 0",
		"max-drives = 0":         "at least 1",
		"max-drives = 5000":      "4096 at most",
		"cache = \"1K\"":         "at least 1M",
		"this is not toml at al": "c.toml",
	} {
		file := filepath.Join(dir, "c.toml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		err := run(context.Background(), []string{"--config", file}, nil)
		if !errors.Is(err, errUsage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
	if err := run(context.Background(), []string{"--config", filepath.Join(dir, "missing")}, nil); !errors.Is(err, errUsage) {
		t.Errorf("a missing file that was asked for: %v", err)
	}
}

func TestByteSize(t *testing.T) {
	for text, want := range map[string]byteSize{"0": 0, "512": 512, "4k": 4096, "64M": 64 << 20, "1G": 1 << 30, "2T": 2 << 40} {
		var got byteSize
		if err := got.Set(text); err != nil || got != want {
			t.Errorf("%s: %d, %v, want %d", text, got, err, want)
		}
		var again byteSize
		if err := again.Set(got.String()); err != nil || again != want {
			t.Errorf("%s is written as %s, which is %d", text, got.String(), again)
		}
	}
	for _, text := range []string{"", "M", "-1", "1X", "99999999T"} {
		var b byteSize
		if b.Set(text) == nil {
			t.Errorf("%q was taken for %d bytes", text, b)
		}
	}
}

func TestJournalLinesBeginWithTheirPriority(t *testing.T) {
	enc, err := newEncoder(logJournal)
	if err != nil {
		t.Fatal(err)
	}
	for level, want := range map[zapcore.Level]string{
		zapcore.DebugLevel: "<7>", zapcore.InfoLevel: "<6>", zapcore.WarnLevel: "<4>", zapcore.ErrorLevel: "<3>",
	} {
		b, err := enc.EncodeEntry(zapcore.Entry{Level: level, Message: "text", Time: time.Now()}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := b.String(); got != want+"text\n" {
			t.Errorf("%v: got %q", level, got)
		}
	}
}
