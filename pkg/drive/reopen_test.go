package drive

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/isomount/isomount/pkg/fusefs"
)

// broken is a manager without a cache, in which every image that is in order
// makes a reader panic.
func broken() *Manager { return New(Options{PerUser: 2}) }

func imageFile(t *testing.T) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disc.iso")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// A panic while an image is opened is an error of that image, and costs its user
// nothing of what they may have.
func TestPanicWhileAnImageIsOpened(t *testing.T) {
	m := broken()
	spec := Spec{Image: imageFile(t), UID: 1000}
	if _, err := m.Probe(spec); !errors.Is(err, ErrPanic) {
		t.Errorf("probe: got %v, want %v", err, ErrPanic)
	}
	for range 2 * m.o.PerUser {
		if _, err := m.Mount(t.Context(), spec, device(t)); !errors.Is(err, ErrPanic) {
			t.Errorf("mount: got %v, want %v", err, ErrPanic)
		}
	}
	if n, _ := m.Len(); n != 0 || len(m.opens) != 0 {
		t.Errorf("%d drives, %v being opened", n, m.opens)
	}
}

// A panic while an inherited image is opened makes that drive fail, and leaves
// nothing of suspicion behind.
func TestPanicWhileAnInheritedImageIsOpened(t *testing.T) {
	m := broken()
	d := inherited(t, m)
	m.adopt(d)
	<-d.opened
	if d.server == nil || d.state != Failing {
		t.Errorf("server %v, state %s", d.server, d.state)
	}
	if d.journal.SuspectsOpening() || len(m.reopens) != 0 {
		t.Error("it is still being opened")
	}
}

func inherited(t *testing.T, m *Manager) *drive {
	t.Helper()
	d := newDrive(Spec{Image: imageFile(t)})
	d.device = device(t)
	var err error
	if d.journal, err = fusefs.NewJournal(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.journal.Close() })
	m.drives[0] = d
	return d
}

// An image whose opening has ended processes is not opened, and one that is
// being opened when the process leaves has no part in that.
func TestImagesThatAreNotOpenedAgain(t *testing.T) {
	m := newManager(t, nil)
	d := inherited(t, m)
	for range 2 {
		if !d.journal.BeginOpen() {
			t.Fatal("it may not be opened")
		}
		d.journal.Accuse()
	}
	if _, err := m.reopen(d); !errors.Is(err, errRefused) {
		t.Errorf("got %v, want %v", err, errRefused)
	}
	d = inherited(t, m)
	if !m.beginReopen(d) {
		t.Fatal("it may not be opened")
	}
	m.Leave()
	d.journal.Accuse()
	if d.journal.SuspectsOpening() {
		t.Error("opening is suspected though the process left by its own will")
	}
}

// Memory that the process takes while an image is opened is noted.
func TestMemoryIsWatchedWhileImagesAreOpened(t *testing.T) {
	m := newManager(t, nil)
	d := inherited(t, m)
	if !m.beginReopen(d) {
		t.Fatal("it may not be opened")
	}
	done := make(chan struct{})
	go m.watchMemory(done)
	defer close(done)
	big := make([]byte, 2*muchMemory)
	for i := 0; i < len(big); i += os.Getpagesize() {
		big[i] = 1
	}
	suspected := func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return d.journal.SuspectsOpening()
	}
	for end := time.Now().Add(10 * time.Second); !suspected(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("nothing was noted of %d bytes", len(big))
		}
	}
	runtime.KeepAlive(big)
}
