package drive

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isomount/isomount/pkg/cache"
	"github.com/isomount/isomount/pkg/fusefs"
	"github.com/isomount/isomount/pkg/mount"
)

// A memory is a store that notes what it was asked to keep.
type memory struct {
	t     *testing.T
	syncs int
	fail  error

	mu    sync.Mutex // guards files: a manager removes them when it likes
	files map[string]*os.File
}

func newMemory(t *testing.T) *memory {
	t.Helper()
	return &memory{t: t, files: map[string]*os.File{}}
}

func (m *memory) Store(name string, f *os.File) error {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files[name] = os.NewFile(uintptr(fd), name)
	return nil
}

func (m *memory) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if f := m.files[name]; f != nil {
		_ = f.Close()
	}
	delete(m.files, name)
	return nil
}

func (m *memory) Sync(context.Context) error { m.syncs++; return m.fail }

// names lists what is kept.
func (m *memory) names() (names []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for n := range m.files {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

func newManager(t *testing.T, store Store) *Manager {
	t.Helper()
	c, err := cache.New(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	return New(Options{Cache: c, Store: store})
}

func TestNamesOfWhatIsKept(t *testing.T) {
	for name, want := range map[string]bool{
		"0.dev": true, "4095.jnl": true, "7.img": true,
		"4096.dev": false, "-1.dev": false, "7.xyz": false, "7": false, "crash": false, "isomountd.socket": false, "": false,
	} {
		if got := IsKept(name); got != want {
			t.Errorf("%q: got %v, want %v", name, got, want)
		}
	}
	total := 0
	for n := range maxKept {
		for _, p := range parts {
			total += len(keptName(n, p)) + 1
		}
	}
	if total > 128<<10-100 { // and the name of the variable, and the socket's
		t.Errorf("all names together have %d bytes: more than a variable of the environment can have", total)
	}
}

// device makes a mount that nobody sees, and returns its device.
func device(t *testing.T) *os.File {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can mount out of sight")
	}
	m, err := mount.Prepare(t.Context(), t.TempDir(), mount.Options{})
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = m.Abort() })
	fd, err := unix.FcntlInt(m.Device().Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fd), "0.dev")
}

func named(f *os.File, name string) *os.File {
	fd, _ := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	return os.NewFile(uintptr(fd), name)
}

// What is not whole was never seen by anybody, and is dropped.
func TestIncompleteDrivesAreDropped(t *testing.T) {
	store := newMemory(t)
	m := newManager(t, store)
	dev := device(t)
	if err := store.Store("0.dev", dev); err != nil {
		t.Fatal(err)
	}
	in := m.Inherit([]*os.File{dev})
	if in.Len() != 0 || len(store.names()) != 0 {
		t.Errorf("%d drives, %q kept", in.Len(), store.names())
	}
	if n, _ := m.Len(); n != 0 {
		t.Errorf("%d drives are listed", n)
	}
}

// A drive of another version keeps its number and its descriptors until its
// mount is gone.
func TestDrivesOfAnotherVersionAreLeftAlone(t *testing.T) {
	store := newMemory(t)
	m := newManager(t, store)
	image, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	j, err := fusefs.NewJournal()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := j.File().WriteAt([]byte{0xff}, 8); err != nil { // the version of its layout
		t.Fatal(err)
	}
	files := []*os.File{device(t), named(image, "0.img"), named(j.File(), "0.jnl")}
	for _, f := range files {
		if err := store.Store(f.Name(), f); err != nil {
			t.Fatal(err)
		}
	}
	if in := m.Inherit(files); in.Len() != 0 {
		t.Errorf("%d drives were taken", in.Len())
	}
	if got := store.names(); !slices.Equal(got, []string{"0.dev", "0.img", "0.jnl"}) {
		t.Errorf("kept are %q", got)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.strange[0] {
		t.Error("its number is free")
	}
}

// A store that does not answer keeps a drive from being mounted: nobody could
// go on with it.
func TestMountWithoutAStoreThatAnswers(t *testing.T) {
	store := newMemory(t)
	store.fail = errors.New("no answer")
	m := newManager(t, store)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	d := newDrive(Spec{Image: os.Stdin})
	d.device = os.Stdin
	if err := m.keep(ctx, d); !errors.Is(err, store.fail) {
		t.Errorf("got %v", err)
	}
	_ = d.journal.Close()
}
