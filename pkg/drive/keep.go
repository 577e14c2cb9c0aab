package drive

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/isomount/isomount/pkg/fusefs"
)

// A Store keeps descriptors for the process that comes after this one.
type Store interface {
	Store(name string, f *os.File) error
	Remove(name string) error
	Sync(ctx context.Context) error // returns when all that came before is done
}

// The three descriptors of drive 7 are stored as 7.dev, 7.img and 7.jnl. The
// names are short because systemd passes all of them in one variable of the
// environment, which can have 128 KiB (MAX_ARG_STRLEN of execve(2)): that is
// room for maxKept drives.
const (
	partDevice  = "dev"
	partImage   = "img"
	partJournal = "jnl"
)

var parts = []string{partDevice, partImage, partJournal}

// maxKept is how many drives a store has room for.
const maxKept = 4096

func keptName(number int, part string) string { return strconv.Itoa(number) + "." + part }

// IsKept tells whether a descriptor that was passed under this name is one that
// a drive stored.
func IsKept(name string) bool {
	_, _, ok := parseKept(name)
	return ok
}

func parseKept(name string) (number int, part string, ok bool) {
	digits, part, ok := strings.Cut(name, ".")
	n, err := strconv.ParseUint(digits, 10, 16)
	if !ok || err != nil || n >= maxKept || !slices.Contains(parts, part) {
		return 0, "", false
	}
	return int(n), part, true
}

// A note is what the journal of a drive says about it. Paths are bytes: a file
// name need not be UTF-8.
type note struct {
	Image      []byte    `json:"image"`
	MountPoint []byte    `json:"mountpoint"`
	Made       bool      `json:"made,omitempty"`
	Options    string    `json:"options,omitempty"`
	UID        uint32    `json:"uid"`
	GID        uint32    `json:"gid"`
	Since      time.Time `json:"since"`
}

// keep stores a drive. It returns when no kill of this process could lose it.
func (m *Manager) keep(ctx context.Context, d *drive) error {
	if d.number >= maxKept {
		return fmt.Errorf("%w: %d can be kept", ErrLimit, maxKept)
	}
	s := &d.spec
	text, err := json.Marshal(note{
		Image: []byte(s.Path), MountPoint: []byte(s.MountPoint), Made: s.Made, Options: s.Options,
		UID: s.UID, GID: s.GID, Since: d.since,
	})
	if err != nil {
		return err
	}
	if d.journal, err = fusefs.NewJournal(); err != nil {
		return err
	}
	if err := d.journal.SetNote(text); err != nil {
		return err
	}
	files := map[string]*os.File{partDevice: d.device, partImage: s.Image, partJournal: d.journal.File()}
	for _, part := range parts {
		if err := m.o.Store.Store(keptName(d.number, part), files[part]); err != nil {
			return err
		}
	}
	return m.o.Store.Sync(ctx)
}

// forget removes what is stored of a drive.
func (m *Manager) forget(number int) {
	if m.o.Store == nil {
		return
	}
	for _, part := range parts {
		// A manager that is gone keeps nothing.
		_ = m.o.Store.Remove(keptName(number, part))
	}
}
