package mount

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRealDead(t *testing.T) {
	tests := []struct {
		name string
		kill func(t *testing.T, dir string) // leaves a dead mount
	}{
		{"server ended", func(t *testing.T, dir string) {
			t.Helper()
			s := mustMount(t, dir, Options{})
			if _, err := os.Stat(dir); err != nil {
				t.Fatal(err)
			}
			s.close()
		}},
		{"never served", func(t *testing.T, dir string) {
			t.Helper()
			if err := mustPrepare(t, dir, Options{}).Attach(); err != nil {
				t.Fatal(err)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := tempPoint(t)
			tt.kill(t, dir)
			soon(t, func() {
				if err := Alive(t.Context(), mustEntry(t, dir)); !errors.Is(err, ErrDead) {
					t.Errorf("got %v, want %v", err, ErrDead)
				}
				if _, err := CheckPoint(t.Context(), dir+"/below"); !errors.Is(err, ErrDead) {
					t.Errorf("below: got %v, want %v", err, ErrDead)
				}
				mustMount(t, dir, Options{})
			})
			if got := mountsBelow(dir); len(got) != 1 {
				t.Errorf("got %d mounts, want the new one only", len(got))
			}
		})
	}
}

// TestRealDeadWithoutStat has no stat(1) to ask.
func TestRealDeadWithoutStat(t *testing.T) {
	dir := tempPoint(t)
	s := mustMount(t, dir, Options{})
	e := mustEntry(t, dir)
	t.Setenv("PATH", "")
	if err := Alive(t.Context(), e); err != nil {
		t.Errorf("alive: got %v", err)
	}
	s.close()
	if err := Alive(t.Context(), e); !errors.Is(err, ErrDead) {
		t.Errorf("got %v, want %v", err, ErrDead)
	}
}

func TestRealHealAll(t *testing.T) {
	dead, alive := tempPoint(t), tempPoint(t)
	mustMount(t, dead, Options{}).close()
	mustMount(t, alive, Options{})
	healed, err := HealAll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, path := range healed {
		found = found || path == dead
	}
	if !found || isMounted(t, dead) || !isMounted(t, alive) {
		t.Errorf("got %v healed, dead still mounted %v, alive %v", healed, isMounted(t, dead), isMounted(t, alive))
	}
}

// TestRealHung has a mount whose server does not answer, once without having
// read the request, once after.
func TestRealHung(t *testing.T) {
	t.Parallel()
	for _, read := range []bool{false, true} {
		t.Run(fmt.Sprint("read=", read), func(t *testing.T) {
			t.Parallel()
			dir := tempPoint(t)
			m := mustPrepare(t, dir, Options{})
			if read {
				serveBy(t, m.Device(), answerInit)
			} else {
				keepOpen(t, m.Device())
			}
			if err := m.Attach(); err != nil {
				t.Fatal(err)
			}
			soon(t, func() {
				if _, err := Prepare(t.Context(), dir, Options{}); !errors.Is(err, ErrBusy) || !errors.Is(err, ErrHung) {
					t.Errorf("got %v, want busy and hung", err)
				}
			})
			soon(t, func() {
				if _, err := CheckPoint(t.Context(), dir+"/below"); !errors.Is(err, ErrHung) {
					t.Errorf("below: got %v, want %v", err, ErrHung)
				}
			})
			soon(t, func() {
				err := Unmount(t.Context(), dir, false)
				if _, busy := errors.AsType[*BusyError](err); err != nil && !busy {
					t.Errorf("unmount: got %v", err)
				}
				if err != nil {
					if err := Unmount(t.Context(), dir, true); err != nil {
						t.Errorf("lazy: got %v", err)
					}
				}
			})
		})
	}
}

// keepOpen keeps a device alive until the test ends.
func keepOpen(t *testing.T, f *os.File) {
	t.Helper()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
}
