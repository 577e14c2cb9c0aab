package mount

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The tests named TestReal mount. They run as whoever runs the tests and, if
// that is root, once more as an ordinary user and in a user namespace.

func mustPrepare(t *testing.T, dir string, o Options) *Mount {
	t.Helper()
	m, err := Prepare(t.Context(), dir, o)
	if errors.Is(err, ErrNoFuse) || errors.Is(err, ErrNoHelper) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = m.Abort()
		if table, err := ReadTable(); err == nil && table.At(dir) != nil {
			_ = detach(context.Background(), dir)
		}
	})
	return m
}

func mustMount(t *testing.T, dir string, o Options) *testServer {
	t.Helper()
	m := mustPrepare(t, dir, o)
	s := serve(t, m.Device())
	if err := m.Attach(); err != nil {
		t.Fatal(err)
	}
	return s
}

func mustEntry(t *testing.T, dir string) *Entry {
	t.Helper()
	table, err := ReadTable()
	if err != nil {
		t.Fatal(err)
	}
	e := table.At(dir)
	if e == nil {
		t.Fatalf("nothing is mounted at %s", dir)
	}
	return e
}

func isMounted(t *testing.T, dir string) bool {
	t.Helper()
	table, err := ReadTable()
	if err != nil {
		t.Fatal(err)
	}
	return table.At(dir) != nil
}

// soon fails the test if f takes so long that something in it must have hung.
func soon(t *testing.T, f func()) {
	t.Helper()
	start := time.Now()
	f()
	if d := time.Since(start); d > aliveTimeout+30*time.Second { // the machine may be busy
		t.Errorf("took %v", d)
	}
}

func TestRealMount(t *testing.T) {
	tests := []struct {
		name   string
		source string
	}{
		{"path", "/srv/disc.iso"},
		{"odd characters", "/srv/a b,c\\d\te=f#.iso"},
		{"longer than fsconfig takes", "/srv/" + strings.Repeat("x", 300) + ".iso"},
		{"none", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := tempPoint(t)
			mustMount(t, dir, Options{Source: tt.source, MaxRead: 65536})
			b, err := readFile(filepath.Join(dir, "file"))
			if err != nil || b != fileContent {
				t.Errorf("got %q, %v, want %q", b, err, fileContent)
			}
			checkEntry(t, mustEntry(t, dir), tt.source)
			if err := Unmount(t.Context(), dir, false); err != nil {
				t.Error(err)
			}
			if isMounted(t, dir) {
				t.Error("still mounted")
			}
		})
	}
}

func checkEntry(t *testing.T, e *Entry, source string) {
	t.Helper()
	if source == "" {
		source = Subtype
	}
	if e.Source != source || e.Type != "fuse.isomount" {
		t.Errorf("got source %q, type %q, want %q", e.Source, e.Type, source)
	}
	for _, want := range []string{"ro", "nosuid", "nodev"} {
		if !strings.Contains(","+e.Options+",", ","+want+",") {
			t.Errorf("got options %q, want %s", e.Options, want)
		}
	}
	for _, want := range []string{"ro", "default_permissions", "max_read=65536"} {
		if !strings.Contains(","+e.Super+",", ","+want+",") {
			t.Errorf("got options %q, want %s", e.Super, want)
		}
	}
	if uid, ok := e.UserID(); !ok || int(uid) != os.Getuid() {
		t.Errorf("got user %d, %v", uid, ok)
	}
}

// TestRealWays forces each way that this process can go.
func TestRealWays(t *testing.T) {
	ways := []struct {
		name    string
		prepare func(*Mount, *Options) error
		needCap bool
	}{
		{"detached", func(m *Mount, o *Options) (err error) {
			if m.device, err = openDevice(); err != nil {
				return err
			}
			return m.detached(o)
		}, true},
		{"mount(2)", func(m *Mount, o *Options) (err error) {
			if m.device, err = openDevice(); err != nil {
				return err
			}
			return m.direct(o)
		}, true},
		{"fusermount3", func(m *Mount, o *Options) error { return m.fusermount(context.Background(), o) }, false},
	}
	for _, tt := range ways {
		t.Run(tt.name, func(t *testing.T) {
			if tt.needCap && !capable() {
				t.Skip("needs CAP_SYS_ADMIN")
			}
			for _, end := range []string{"attach", "abort"} {
				dir := tempPoint(t)
				p, err := openFreePoint(t.Context(), dir)
				if err != nil {
					t.Fatal(err)
				}
				m := &Mount{point: p}
				if err := tt.prepare(m, &Options{Source: "x"}); err != nil {
					p.close()
					if errors.Is(err, ErrNoHelper) || inUserNamespace() {
						t.Skip(err) // the set-uid helper has no rights there
					}
					t.Fatal(err)
				}
				tryEnd(t, m, dir, end)
			}
		})
	}
}

func inUserNamespace() bool {
	b, _ := os.ReadFile("/proc/self/uid_map")
	return len(strings.Fields(string(b))) == 3 && strings.Fields(string(b))[2] != "4294967295"
}

func tryEnd(t *testing.T, m *Mount, dir, end string) {
	t.Helper()
	s := serve(t, m.Device())
	defer s.close()
	if end == "abort" {
		if err := m.Abort(); err != nil {
			t.Error(err)
		}
		if isMounted(t, dir) {
			t.Error("still mounted after Abort")
		}
		return
	}
	if err := m.Attach(); err != nil {
		t.Fatal(err)
	}
	if err := m.Abort(); err != nil || !isMounted(t, dir) {
		t.Errorf("Abort after Attach: got %v, mounted %v", err, isMounted(t, dir))
	}
	if _, err := os.Stat(filepath.Join(dir, "file")); err != nil {
		t.Error(err)
	}
	if err := Unmount(t.Context(), dir, false); err != nil {
		t.Error(err)
	}
}

// TestRealNotVisibleBeforeAttach is the promise of the package comment.
func TestRealNotVisibleBeforeAttach(t *testing.T) {
	dir := tempPoint(t)
	m := mustPrepare(t, dir, Options{})
	if m.way != wayDetached {
		t.Skip("only with fsmount(2)")
	}
	if isMounted(t, dir) {
		t.Error("mounted before Attach")
	}
	if err := m.Abort(); err != nil {
		t.Error(err)
	}
	if err := m.Attach(); !errors.Is(err, os.ErrClosed) || isMounted(t, dir) {
		t.Errorf("Attach after Abort: got %v", err)
	}
}

// TestRealKilledWhilePreparing kills a process between the two steps.
func TestRealKilledWhilePreparing(t *testing.T) {
	dir := tempPoint(t)
	cmd := startHelper(t, "prepare", dir)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if isMounted(t, dir) && capable() {
		t.Error("a mount was left")
	}
	mustMount(t, dir, Options{}) // whatever was left is healed
}

func TestRealBadPoints(t *testing.T) {
	base := tempPoint(t)
	file := filepath.Join(base, "file")
	image := filepath.Join(base, "images", "deep", "disc.iso")
	for _, err := range []error{
		os.WriteFile(file, nil, 0o600),
		os.MkdirAll(filepath.Dir(image), 0o700),
		os.WriteFile(image, nil, 0o600),
		os.Symlink("loop", filepath.Join(base, "loop")),
		os.Symlink("images", filepath.Join(base, "link")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tests := []struct {
		name, path string
		want       error
		hint       bool
	}{
		{"empty", "", ErrMissing, true},
		{"missing", base + "/no", ErrMissing, true},
		{"missing parent", base + "/no/no", ErrMissing, true},
		{"file", file, ErrNotDir, true},
		{"below a file", file + "/x", ErrNotDir, true},
		{"link to itself", base + "/loop", unix.ELOOP, false},
		{"root", "/", ErrBusy, true},
		{"another file system", "/proc", ErrBusy, true},
		{"over the image", filepath.Dir(image), ErrHidesImage, true},
		{"above the image", filepath.Dir(filepath.Dir(image)), ErrHidesImage, true},
		{"above the image, by a link", base + "/link", ErrHidesImage, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, err := Prepare(t.Context(), tt.path, Options{Image: f})
			if err == nil {
				_ = m.Abort()
			}
			if !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if e, ok := errors.AsType[*Error](err); !ok || (tt.hint && e.Hint == "") {
				t.Errorf("got %#v, want an Error with a hint", err)
			}
		})
	}
	if left := mountsBelow(base); len(left) > 0 {
		t.Errorf("got mounts %v", left)
	}
}

func TestRealForeignDirectory(t *testing.T) {
	if capable() {
		t.Skip("root may mount anywhere")
	}
	for _, dir := range []string{"/usr", "/tmp"} { // not writable; writable but sticky
		m, err := Prepare(t.Context(), dir, Options{})
		if err == nil {
			_ = m.Abort()
		}
		if !errors.Is(err, ErrPermission) {
			t.Errorf("%s: got %v, want %v", dir, err, ErrPermission)
		}
	}
	m, err := Prepare(t.Context(), tempPoint(t), Options{AllowOther: true})
	if err == nil {
		_ = m.Abort()
		t.Skip("/etc/fuse.conf has user_allow_other")
	}
	if !errors.Is(err, ErrAllowOther) {
		t.Errorf("allow_other: got %v, want %v", err, ErrAllowOther)
	}
}

// TestRealPathForms mounts and unmounts by paths that are not canonical.
func TestRealPathForms(t *testing.T) {
	base := tempPoint(t)
	dir := filepath.Join(base, "dir")
	for _, err := range []error{os.Mkdir(dir, 0o700), os.Symlink("dir", base+"/rel"), os.Symlink(dir, base+"/abs")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(base)
	for _, path := range []string{"dir", "./dir/", "dir/../dir", base + "//dir/.", "rel", "abs", base + "/rel/../abs"} {
		m := mustPrepare(t, path, Options{})
		if m.Point() != dir {
			t.Errorf("%s: got %s, want %s", path, m.Point(), dir)
		}
		s := serve(t, m.Device())
		if err := m.Attach(); err != nil {
			t.Fatal(err)
		}
		if err := Unmount(t.Context(), path, false); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		s.close()
	}
}

func TestRealBusyPoint(t *testing.T) {
	dir := tempPoint(t)
	mustMount(t, dir, Options{})
	soon(t, func() {
		if _, err := Prepare(t.Context(), dir, Options{}); !errors.Is(err, ErrBusy) {
			t.Errorf("got %v, want %v", err, ErrBusy)
		}
		if _, err := CheckPoint(t.Context(), dir); !errors.Is(err, ErrBusy) {
			t.Errorf("got %v, want %v", err, ErrBusy)
		}
	})
	// A file below is a file of ours: not a directory, but not a hang either.
	if _, err := CheckPoint(t.Context(), dir+"/file"); !errors.Is(err, ErrNotDir) {
		t.Errorf("got %v, want %v", err, ErrNotDir)
	}
}

// TestRealTwoAtOnce has many callers mount at one place: exactly one wins.
func TestRealTwoAtOnce(t *testing.T) {
	dir := tempPoint(t)
	mustPrepare(t, tempPoint(t), Options{}) // or skip
	const callers = 8
	errs := make([]error, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			m, err := Prepare(t.Context(), dir, Options{Source: fmt.Sprint(i)})
			if err == nil {
				serve(t, m.Device())
				err = m.Attach()
			}
			errs[i] = err
		})
	}
	wg.Wait()
	t.Cleanup(func() { _ = detach(context.Background(), dir) })
	won := 0
	for _, err := range errs {
		switch {
		case err == nil:
			won++
		case !errors.Is(err, ErrBusy):
			t.Errorf("got %v, want %v", err, ErrBusy)
		}
	}
	if layers := mountsBelow(dir); won != 1 || len(layers) != 1 {
		t.Errorf("got %d winners and %d layers, want one of each", won, len(layers))
	}
}

// TestRealAbortLetsNextIn has a second caller wait for the first, which gives up.
func TestRealAbortLetsNextIn(t *testing.T) {
	dir := tempPoint(t)
	first := mustPrepare(t, dir, Options{})
	if first.way != wayDetached {
		t.Skip("the first is visible at once")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := Prepare(ctx, dir, Options{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want to have waited", err)
	}
	next := make(chan error, 1)
	go func() {
		m, err := Prepare(t.Context(), dir, Options{})
		if err == nil {
			err = m.Abort()
		}
		next <- err
	}()
	if err := first.Abort(); err != nil {
		t.Fatal(err)
	}
	if err := <-next; err != nil {
		t.Errorf("the next got %v", err)
	}
}

// BenchmarkMount mounts and unmounts; the time of the hand-over is not in it.
func BenchmarkMount(b *testing.B) {
	dir := b.TempDir()
	b.ReportAllocs()
	for b.Loop() {
		m, err := Prepare(b.Context(), dir, Options{})
		if err != nil {
			b.Fatal(err)
		}
		s := serve(b, m.Device())
		if err := m.Attach(); err != nil {
			b.Fatal(err)
		}
		if err := Unmount(b.Context(), dir, false); err != nil {
			b.Fatal(err)
		}
		s.close()
	}
}
