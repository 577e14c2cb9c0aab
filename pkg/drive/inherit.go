package drive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/fusefs"
)

// An Inheritance is the drives that the process before left. Call
// [Inheritance.Accuse] if that one failed of itself, then [Inheritance.Serve].
type Inheritance struct {
	m      *Manager
	drives []*drive
}

// kept is what was stored of a drive.
type kept map[string]*os.File

// Inherit takes over the drives whose descriptors the store gave back, named as
// they were stored; they belong to the manager from then on. It must be called
// before Mount. Drives are listed at once and wait for Serve. What is not whole
// is thrown away: its mount was not visible yet. A drive that a program of
// another version left is kept and left alone.
func (m *Manager) Inherit(files []*os.File) *Inheritance {
	found := map[int]kept{}
	for _, f := range files {
		n, part, ok := parseKept(f.Name())
		if !ok || found[n][part] != nil {
			_ = f.Close()
			continue
		}
		if found[n] == nil {
			found[n] = kept{}
		}
		found[n][part] = f
	}
	in := &Inheritance{m: m}
	for n, k := range found {
		if d := m.take(n, k); d != nil {
			in.drives = append(in.drives, d)
		}
	}
	slices.SortFunc(in.drives, func(a, b *drive) int { return a.number - b.number })
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range in.drives {
		m.drives[d.number] = d
	}
	return in
}

// take makes a drive of what was stored of it, or nil.
func (m *Manager) take(number int, k kept) *drive {
	log := m.o.Log.With(zap.Int("drive", number))
	d, err := k.drive(number)
	switch {
	case errors.Is(err, fusefs.ErrJournal):
		log.Error("drive left alone: another version of isomountd served it; start that one again, or unmount it", zap.Error(err))
		m.leave(number, k)
	case err != nil:
		log.Warn("incomplete drive dropped", zap.Error(err))
		m.forget(number)
		k.close()
	}
	return d
}

// drive puts the parts together.
func (k kept) drive(number int) (*drive, error) {
	for _, part := range parts {
		if k[part] == nil {
			return nil, fmt.Errorf("%s is missing", keptName(number, part))
		}
	}
	if err := checkDevice(k[partDevice]); err != nil {
		return nil, err
	}
	if isOver(k[partDevice]) {
		return nil, errors.New("its mount is gone")
	}
	j, err := fusefs.OpenJournal(k[partJournal])
	if err != nil {
		return nil, err
	}
	var n note
	if err := json.Unmarshal(j.Note(), &n); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: note: %w", fusefs.ErrJournal, err), j.Close())
	}
	d := newDrive(Spec{
		Image: k[partImage], Path: string(n.Image), Options: n.Options, MountPoint: string(n.MountPoint), Made: n.Made,
		UID: n.UID, GID: n.GID,
	})
	d.number, d.device, d.journal, d.since = number, k[partDevice], j, n.Since
	return d, nil
}

func (k kept) close() {
	for _, f := range k {
		_ = f.Close()
	}
}

// leave waits for the end of a drive that this program does not understand.
// Meanwhile its number is taken, its device is held and nobody answers.
func (m *Manager) leave(number int, k kept) {
	m.mu.Lock()
	m.strange[number] = true
	m.mu.Unlock()
	go func() { // as long as the process, or the drive
		const pause = time.Second
		for !isOver(k[partDevice]) {
			time.Sleep(pause)
		}
		m.forget(number)
		k.close()
		m.mu.Lock()
		delete(m.strange, number)
		m.mu.Unlock()
	}()
}

// isOver tells whether the mount of a device is gone.
func isOver(device *os.File) bool {
	p := []unix.PollFd{{Fd: int32(device.Fd())}}
	n, err := unix.Poll(p, 0)
	return err == nil && n == 1 && p[0].Revents&unix.POLLERR != 0
}

// Len counts the drives.
func (in *Inheritance) Len() int { return len(in.drives) }

// Accuse notes in every journal that the predecessor failed of itself.
func (in *Inheritance) Accuse() {
	for _, d := range in.drives {
		d.journal.Accuse()
	}
}

// Serve goes on with the drives. It returns when all answer, or ctx ends: an
// image that hangs must not hold up the others, and is waited for in its own
// time.
func (in *Inheritance) Serve(ctx context.Context) {
	done := make(chan struct{})
	go in.m.watchMemory(done)
	tried := in.tryAll()
	var started sync.WaitGroup
	for _, d := range in.drives {
		started.Add(1)
		in.m.wg.Go(func() { //nolint:contextcheck // a drive is not over when the waiting is
			if done := tried[d]; done != nil {
				<-done
			} else {
				in.m.adopt(d)
			}
			started.Done()
			if d.server == nil {
				in.m.remove(d)
				return
			}
			in.m.serve(d)
		})
	}
	go func() { started.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
		in.m.o.Log.Warn("some images do not answer yet; their drives wait for them")
	}
}

// tryTime is how long the trials of one drive keep the others waiting.
const tryTime = 2 * time.Second

// tryAll does again what is suspected of having ended the predecessor, one drive
// after the other. It returns for each drive of which something is suspected
// when its trials are over; those whose image hangs go on alone.
func (in *Inheritance) tryAll() map[*drive]chan struct{} {
	tried := map[*drive]chan struct{}{}
	for _, d := range in.drives {
		if !d.journal.SuspectsOpening() && !d.journal.Suspects() {
			continue
		}
		done := make(chan struct{})
		tried[d] = done
		in.m.wg.Go(func() {
			defer close(done)
			in.m.try(d)
		})
		select {
		case <-done:
		case <-time.After(tryTime):
		}
	}
	return tried
}

func (m *Manager) try(d *drive) {
	m.adopt(d)
	if d.server == nil {
		return
	}
	if err := d.server.Try(); err != nil {
		m.log(d).Error("requests could not be repeated", zap.Error(err))
	}
}

// lateTime is how long an image may take to be opened before its drive answers
// without it.
const lateTime = time.Second

// adopt makes the server of an inherited drive. An image that cannot be read
// any more makes every request fail, and the drive stays until it is unmounted;
// for one that does not answer, requests wait as they do at any other time.
func (m *Manager) adopt(d *drive) {
	opened := make(chan struct{})
	d.opened = opened
	l := &late{opened: opened}
	m.wg.Go(func() {
		l.tree = m.reinsert(d)
		close(opened)
	})
	tree := fsys.FS(l)
	select {
	case <-opened:
		tree = l.tree
	case <-time.After(lateTime):
		m.log(d).Warn("the image does not answer; the drive waits for it")
		m.endTrial(d)
	}
	server, err := m.newServer(d, tree)
	if err != nil {
		m.log(d).Error("drive lost", zap.Error(err))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	d.server = server
}

// reinsert opens the image of an inherited drive and returns its tree.
func (m *Manager) reinsert(d *drive) fsys.FS {
	disc, err := m.reopen(d)
	if err != nil {
		m.log(d).Error("the image cannot be read any more", zap.Error(err))
		m.opened(d, Failing)
		return unreadable{err}
	}
	m.mu.Lock()
	d.insert(disc)
	m.mu.Unlock()
	m.opened(d, Mounted)
	return disc.volume.FS
}

// unreadable is the tree of an image that cannot be read.
type unreadable struct{ err error }

func (u unreadable) Root() fsys.Node                   { return 1 }
func (u unreadable) Attr(fsys.Node) (fsys.Attr, error) { return fsys.Attr{}, u.eio() }
func (u unreadable) Lookup(fsys.Node, []byte) (fsys.Node, fsys.Attr, error) {
	return 0, fsys.Attr{}, u.eio()
}
func (u unreadable) ReadDir(fsys.Node, uint64, func(*fsys.Entry) bool) error { return u.eio() }
func (u unreadable) Readlink(fsys.Node) ([]byte, error)                      { return nil, u.eio() }
func (u unreadable) ReadAt(fsys.Node, []byte, int64) (int, error)            { return 0, u.eio() }
func (u unreadable) Statfs() fsys.Statfs                                     { return fsys.Statfs{} }

// eio hides what kind of error it was: it would say something of a file.
func (u unreadable) eio() error { return fmt.Errorf("%w: %v", io.ErrUnexpectedEOF, u.err) } //nolint:errorlint // see above
