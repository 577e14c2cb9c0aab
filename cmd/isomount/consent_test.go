package main

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// A consent holds for the same files wherever they are mounted, and for nothing
// else.
func TestDiscHash(t *testing.T) {
	when := time.Unix(1e9, 0)
	disc := func(t *testing.T, change func(dir string) error) (string, *offer) {
		t.Helper()
		dir := t.TempDir()
		files := map[string]string{"autorun.sh": "#!/bin/sh\n", "lib/setup": "setup", "lib/data": "data"}
		for name, text := range files {
			path := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := change(dir); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"autorun.sh", "lib/setup", "lib/data", "lib", "."} {
			_ = os.Chtimes(filepath.Join(dir, name), when, when) // one may have been removed
		}
		return dir, &offer{file: "autorun.sh", words: []string{filepath.Join(dir, "autorun.sh")}, dir: dir}
	}
	hash := func(dir string, o *offer) string {
		got, err := discHash(t.Context(), dir, o)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	same := func(string) error { return nil }
	want := hash(disc(t, same))
	if got := hash(disc(t, same)); got != want {
		t.Error("the same files elsewhere have another hash")
	}
	for name, change := range map[string]func(dir string) error{
		"program":  func(dir string) error { return os.WriteFile(dir+"/autorun.sh", []byte("#!/bin/zz\n"), 0o755) },
		"content":  func(dir string) error { return os.WriteFile(dir+"/lib/data", []byte("DATA"), 0o755) },
		"mode":     func(dir string) error { return os.Chmod(dir+"/lib/data", 0o644) },
		"name":     func(dir string) error { return os.Rename(dir+"/lib/data", dir+"/lib/date") },
		"new file": func(dir string) error { return os.WriteFile(dir+"/lib/new", nil, 0o755) },
		"fewer":    func(dir string) error { return os.Remove(dir + "/lib/data") },
		"link":     func(dir string) error { return os.Symlink("data", dir+"/lib/more") },
	} {
		if got := hash(disc(t, change)); got == want {
			t.Errorf("%s: changed, with the same hash", name)
		}
	}
	dir, o := disc(t, same)
	o.words = append(o.words, "argument")
	if hash(dir, o) == want {
		t.Error("another command has the same hash")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := discHash(ctx, dir, o); err == nil {
		t.Error("a hash after the end of the context")
	}
}

// Several programs that record at once lose nothing.
func TestConsentsAtOnce(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	var wg sync.WaitGroup
	names := []string{"a", "b", "c", "d", "e", "f", "g", "h"}
	for _, name := range names {
		wg.Go(func() {
			c, err := openConsents()
			if err == nil {
				err = c.record(t.Context(), name, consent{Decision: consentAllow})
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	c, err := openConsents()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if got := c.decision(name); got != consentAllow {
			t.Errorf("%s: got %q, want %q", name, got, consentAllow)
		}
	}
	if got := c.decision("z"); got != "" {
		t.Errorf("z: got %q", got)
	}
}

func TestConsentsThatCannotBeTrusted(t *testing.T) {
	for name, text := range map[string]string{
		"not JSON":        "{",
		"another version": `{"version": 2}`,
	} {
		dir := t.TempDir()
		t.Setenv("XDG_STATE_HOME", dir)
		if err := os.Mkdir(dir+"/isomount", 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir+"/isomount/consent.json", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := openConsents(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
