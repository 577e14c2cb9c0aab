package drive

import (
	"errors"
	"runtime/metrics"
	"time"
)

// errRefused reports an image that is not opened again.
var errRefused = errors.New("opening it has ended the daemon before; unmount it, and mount it again when it is mended")

// reopen reads the disc of an inherited drive, unless that has ended processes
// before. The journal knows meanwhile what goes on.
func (m *Manager) reopen(d *drive) (*disc, error) {
	if !m.beginReopen(d) {
		return nil, errRefused
	}
	defer m.endReopen(d)
	return m.open(d.spec)
}

func (m *Manager) beginReopen(d *drive) bool {
	before := held()
	m.mu.Lock()
	defer m.mu.Unlock()
	if !d.journal.BeginOpen() {
		return false
	}
	m.reopens[d] = before
	return true
}

func (m *Manager) endReopen(d *drive) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.reopens, d)
	d.journal.EndOpen()
}

// endTrial notes that others are served again while an image is being opened.
func (m *Manager) endTrial(d *drive) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d.journal.EndTrial()
}

// Leave notes that the process ends by its own will: images that are still being
// opened have no part in it.
func (m *Manager) Leave() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for d := range m.reopens {
		d.journal.EndOpen()
	}
}

// muchMemory is what no image that is in order needs to be opened.
const muchMemory = 64 << 20

// watchMemory notes in the journals of drives that are being opened when the
// process grows much at that time: the kernel may be about to kill it. It
// returns when done is closed.
func (m *Manager) watchMemory(done <-chan struct{}) {
	const pause = 20 * time.Millisecond
	t := time.NewTicker(pause)
	defer t.Stop()
	for {
		select {
		case <-done:
			return
		case <-t.C:
		}
		now := held()
		m.mu.Lock()
		for d, before := range m.reopens {
			if now > before+muchMemory {
				d.journal.Grew()
			}
		}
		m.mu.Unlock()
	}
}

// held is the memory that the Go runtime holds, in bytes.
func held() uint64 {
	s := []metrics.Sample{
		{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"},
	}
	metrics.Read(s)
	return s[0].Value.Uint64() - s[1].Value.Uint64()
}
