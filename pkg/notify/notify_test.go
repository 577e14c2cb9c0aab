package notify

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pair returns both ends.
func pair(t *testing.T) (*Manager, *Listener) {
	t.Helper()
	dir, err := os.MkdirTemp("", "is") //nolint:usetesting // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := Listen(filepath.Join(dir, "notify"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Setenv("NOTIFY_SOCKET", l.Path())
	m, err := Dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m, l
}

func receive(t *testing.T, l *Listener) *Message {
	t.Helper()
	m, err := l.Receive()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestStatesArrive(t *testing.T) {
	m, l := pair(t)
	for _, state := range []string{Ready, Stopping, Reloading()} {
		if err := m.Tell(state); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []string{"READY", "STOPPING", "RELOADING"} {
		got := receive(t, l)
		if !got.Is(key) || got.PID != os.Getpid() || len(got.Files) != 0 {
			t.Errorf("%s: got %v from %d with %d files", key, got.keys, got.PID, len(got.Files))
		}
		if key == "RELOADING" {
			if n, err := strconv.ParseInt(got.Get("MONOTONIC_USEC"), 10, 64); err != nil || n <= 0 {
				t.Errorf("time of reloading: %d, %v", n, err)
			}
		}
	}
}

func TestStoredFileIsTheSame(t *testing.T) {
	m, l := pair(t)
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := m.Store("7.img", f); err != nil {
		t.Fatal(err)
	}
	if err := m.Remove("7.img"); err != nil {
		t.Fatal(err)
	}
	got := receive(t, l)
	defer got.Close()
	if !got.Is("FDSTORE") || got.Get("FDNAME") != "7.img" || got.Get("FDPOLL") != "0" || len(got.Files) != 1 {
		t.Fatalf("got %v with %d files", got.keys, len(got.Files))
	}
	var a, b unix.Stat_t
	if err := errors.Join(unix.Fstat(int(f.Fd()), &a), unix.Fstat(int(got.Files[0].Fd()), &b)); err != nil || a.Ino != b.Ino {
		t.Errorf("another file came: %v", err)
	}
	if flags, err := unix.FcntlInt(got.Files[0].Fd(), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("not closed on exec: %#x, %v", flags, err)
	}
	if gone := receive(t, l); !gone.Is("FDSTOREREMOVE") || gone.Get("FDNAME") != "7.img" {
		t.Errorf("got %v", gone.keys)
	}
	for _, name := range []string{"", "a:b", "a\nb", "é", string(make([]byte, 256))} {
		if m.Store(name, f) == nil {
			t.Errorf("the name %q was taken", name)
		}
	}
}

func TestSyncWaitsForTheManager(t *testing.T) {
	m, l := pair(t)
	done := make(chan error, 1)
	go func() { done <- m.Sync(context.Background()) }()
	barrier := receive(t, l)
	if !barrier.Is("BARRIER") || len(barrier.Files) != 1 {
		t.Fatalf("got %v with %d files", barrier.keys, len(barrier.Files))
	}
	select {
	case err := <-done:
		t.Fatalf("did not wait: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	barrier.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestSyncGivesUp(t *testing.T) {
	m, _ := pair(t)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if err := m.Sync(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want that the time is over", err)
	}
}

func TestWithoutManager(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	m, err := Dial()
	if err != nil || m != nil {
		t.Fatalf("got %v, %v, want nothing", m, err)
	}
	err = errors.Join(m.Tell(Ready), m.Store("x", os.Stdin), m.Remove("x"), m.Sync(context.Background()), m.Close())
	if err != nil {
		t.Error(err)
	}
}

func TestManagerThatIsGone(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "none"))
	m, err := Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := m.Tell(Ready); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// Whatever is sent, the listener lives on and keeps no descriptor.
func FuzzParse(f *testing.F) {
	f.Add([]byte("READY=1\n"), []byte{})
	f.Add([]byte("A=\n=B\n\n==\x00"), unix.UnixCredentials(&unix.Ucred{Pid: 1}))
	f.Fuzz(func(t *testing.T, text, control []byte) {
		parts, _ := unix.ParseSocketControlMessage(control)
		for _, p := range parts {
			if p.Header.Type == unix.SCM_RIGHTS {
				t.Skip("descriptors that the kernel did not pass")
			}
		}
		m, err := parse(text, control)
		if err == nil && m.keys == nil {
			t.Error("no keys")
		}
		m.Close()
	})
}
