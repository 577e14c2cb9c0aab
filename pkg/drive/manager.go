package drive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/isomount/isomount/pkg/cache"
	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/fusefs"
)

// Options of a [Manager]. The zero value is ready but for the cache.
type Options struct {
	Cache    *cache.Cache
	Log      *zap.Logger   // nil: none
	PerUser  int           // drives a user other than root may have; 0: 64
	Total    int           // drives in all; 0: 4096
	Deadline time.Duration // for one request, see fusefs.Options
	NoResend bool          // see fusefs.Options
	Ahead    bool          // see fusefs.Options
	Store    Store         // nil: drives end with the process

	// Changed, if not nil, is called when a drive has come or gone.
	Changed func(Info, Change)
}

// A Change is what happened to a drive.
type Change string

// Changes of a drive.
const (
	Came   Change = "mounted"
	Went   Change = "unmounted"
	Failed Change = "failed" // it ended by an error of its own
)

const (
	defaultPerUser = 64
	defaultTotal   = 4096
)

// A Manager owns all drives of a daemon.
type Manager struct {
	o       Options
	buffers fusefs.Buffers
	lobby   fusefs.Lobby
	wg      sync.WaitGroup // of the drives that are served

	mu      sync.Mutex // guards the fields below, the limits in o, and what drive says; not held over I/O
	drives  map[int]*drive
	strange map[int]bool      // numbers of drives of another version, see Inherit
	opens   map[uint32]int    // drives of a user that are being opened
	reopens map[*drive]uint64 // inherited drives that are being opened, and memory held before
	closed  bool
	change  chan struct{} // closed and renewed when a drive comes or goes
}

// New returns a manager without drives.
func New(o Options) *Manager {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Changed == nil {
		o.Changed = func(Info, Change) {}
	}
	o.PerUser = cmp.Or(o.PerUser, defaultPerUser)
	o.Total = cmp.Or(o.Total, defaultTotal)
	return &Manager{
		o: o, drives: map[int]*drive{}, strange: map[int]bool{}, opens: map[uint32]int{},
		reopens: map[*drive]uint64{}, change: make(chan struct{}),
	}
}

// SetLimits changes the limits for drives to come; zero means the default.
func (m *Manager) SetLimits(perUser, total int, deadline time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.o.PerUser, m.o.Total, m.o.Deadline = cmp.Or(perUser, defaultPerUser), cmp.Or(total, defaultTotal), deadline
}

// Probe reads the disc of an image and tells what Mount would show. The image
// stays the caller's.
func (m *Manager) Probe(spec Spec) (Info, error) {
	disc, err := m.open(spec)
	if err != nil {
		return Info{}, err
	}
	d := newDrive(spec)
	d.insert(disc)
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.info(d), d.close()
}

// Mount serves the disc of an image on the FUSE device of its mount and returns
// when the kernel and the drive understand each other, and a successor could go
// on. Image and device belong to the manager unless Mount fails.
func (m *Manager) Mount(ctx context.Context, spec Spec, device *os.File) (Info, error) {
	if err := checkDevice(device); err != nil {
		return Info{}, err
	}
	d, err := newDriveOf(spec, device)
	if err != nil {
		return Info{}, err
	}
	if err := m.admit(spec.UID); err != nil {
		d.closeFiles()
		return Info{}, err
	}
	if err := m.place(d); err != nil {
		d.closeFiles()
		return Info{}, err
	}
	if err := m.start(ctx, d); err != nil {
		m.remove(d)
		return Info{}, err
	}
	m.wg.Go(func() { m.serve(d) }) //nolint:contextcheck // a drive outlives the call that made it
	if err := d.server.Ready(ctx); err != nil {
		// The drive ends with the mount, which the client now takes back, and
		// serves it until then: it must not see its descriptors closed.
		return Info{}, fmt.Errorf("drive %d: %w", d.number, err)
	}
	info := m.mounted(d)
	m.log(d).Info("drive mounted", zap.String("at", spec.MountPoint), zap.Uint32("uid", spec.UID))
	m.o.Changed(info, Came)
	_, _ = device.Close(), spec.Image.Close() // the drive has copies
	return info, nil
}

// open reads the disc of an image. A panic in a parser is an error of this image
// alone, [ErrPanic].
func (m *Manager) open(spec Spec) (d *disc, err error) {
	defer func() {
		if v := recover(); v != nil {
			m.o.Log.Error("panic while an image was read", zap.String("image", spec.Path), zap.Any("panic", v), zap.ByteString("stack", debug.Stack()))
			d, err = nil, fmt.Errorf("%w: %v", ErrPanic, v)
		}
	}()
	return open(spec, m.o.Cache)
}

// mounted notes that a drive works, and describes it.
func (m *Manager) mounted(d *drive) Info {
	m.opened(d, Mounted)
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.info(d)
}

// opened notes how a drive came up, unless it has ended meanwhile.
func (m *Manager) opened(d *drive, s State) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if d.state == Starting {
		d.state = s
	}
}

// place reads the disc of a drive that was admitted and gives it a number.
func (m *Manager) place(d *drive) error {
	disc, err := m.open(d.spec)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.opens[d.spec.UID]--; m.opens[d.spec.UID] == 0 {
		delete(m.opens, d.spec.UID)
	}
	if err != nil {
		return err
	}
	if disc.uring {
		if err := m.admitRings(); err != nil {
			return errors.Join(err, disc.close())
		}
	}
	d.insert(disc)
	for m.drives[d.number] != nil || m.strange[d.number] {
		d.number++
	}
	m.drives[d.number] = d
	m.changed()
	return nil
}

// start stores what a successor needs and makes the server.
func (m *Manager) start(ctx context.Context, d *drive) error {
	if m.o.Store != nil && !d.uring {
		if err := m.keep(ctx, d); err != nil {
			return fmt.Errorf("drive %d: %w", d.number, err)
		}
	}
	server, err := m.newServer(d, d.volume.FS)
	if err != nil {
		return err
	}
	m.mu.Lock()
	d.server = server
	m.mu.Unlock()
	return nil
}

func (m *Manager) newServer(d *drive, fs fsys.FS) (*fusefs.Server, error) {
	m.mu.Lock()
	deadline := m.o.Deadline
	m.mu.Unlock()
	return fusefs.New(fs, d.device, fusefs.Options{
		Log: m.log(d), Buffers: &m.buffers, Lobby: &m.lobby, Journal: d.journal, Deadline: deadline, NoResend: m.o.NoResend,
		Ahead:     m.o.Ahead && d.journal != nil,
		LocalFile: d.localFile, URing: d.uring,
	})
}

// log returns a logger that names the drive.
func (m *Manager) log(d *drive) *zap.Logger {
	return m.o.Log.With(zap.Int("drive", d.number), zap.String("image", d.spec.Path))
}

// remove takes a drive away. What it holds is released before its number is
// free.
func (m *Manager) remove(d *drive) Info {
	if d.opened != nil {
		<-d.opened
	}
	m.forget(d.number)
	d.release()
	d.closeFiles()
	m.mu.Lock()
	info := m.info(d)
	delete(m.drives, d.number)
	m.changed()
	m.mu.Unlock()
	close(d.ended)
	return info
}

// admit counts a drive that is being opened against the limits.
func (m *Manager) admit(uid uint32) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return ErrClosed
	}
	total, own := len(m.drives), m.opens[uid]
	for _, n := range m.opens {
		total += n
	}
	for _, d := range m.drives {
		if d.spec.UID == uid {
			own++
		}
	}
	if uid != 0 && own >= m.o.PerUser {
		return fmt.Errorf("%w: user %d has %d and may have no more", ErrLimit, uid, own)
	}
	if total >= m.o.Total {
		return fmt.Errorf("%w: the daemon has %d and may have no more", ErrLimit, total)
	}
	m.opens[uid]++
	return nil
}

// serve runs a drive until its mount is gone, and lets its number free.
func (m *Manager) serve(d *drive) {
	stop := context.AfterFunc(d.server.Ended(), func() { m.setState(d, Ending) })
	err := d.server.Serve()
	stop()
	change := Went
	if err != nil {
		change = Failed
		m.log(d).Error("drive ended", zap.Error(err))
	} else {
		m.log(d).Info("drive ended")
	}
	m.o.Changed(m.remove(d), change)
}

func (m *Manager) setState(d *drive, s State) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d.state = s
}

// changed wakes whoever waits for a change. The caller holds mu.
func (m *Manager) changed() {
	close(m.change)
	m.change = make(chan struct{})
}

// List describes the drives of a user, or all of them for root, by number.
func (m *Manager) List(uid uint32) []Info {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []Info
	for _, d := range m.drives {
		if uid == 0 || d.spec.UID == uid {
			list = append(list, m.info(d))
		}
	}
	slices.SortFunc(list, func(a, b Info) int { return cmp.Compare(a.Number, b.Number) })
	return list
}

// Find describes a drive of a user, or any for root; it fails with
// [ErrNotFound].
func (m *Manager) Find(number int, uid uint32) (Info, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.drives[number]
	if d == nil || (uid != 0 && d.spec.UID != uid) {
		return Info{}, fmt.Errorf("%w: %d", ErrNotFound, number)
	}
	return m.info(d), nil
}

// Wait returns when a drive has ended; it fails with [ErrNotFound] if it is not
// there or not the user's.
func (m *Manager) Wait(ctx context.Context, number int, uid uint32) error {
	m.mu.Lock()
	d := m.drives[number]
	m.mu.Unlock()
	if d == nil || (uid != 0 && d.spec.UID != uid) {
		return fmt.Errorf("%w: %d", ErrNotFound, number)
	}
	select {
	case <-d.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Len counts all drives, and tells with a channel when that changes.
func (m *Manager) Len() (int, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.drives) + len(m.opens), m.change
}

// Close takes no new drives and waits until ctx ends for those there are to be
// unmounted.
func (m *Manager) Close(ctx context.Context) error {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	for {
		n, change := m.Len()
		if n == 0 {
			m.wg.Wait()
			return nil
		}
		select {
		case <-change:
		case <-ctx.Done():
			return fmt.Errorf("%d drives are still mounted: %w", n, ctx.Err())
		}
	}
}

// info describes a drive. The caller holds mu.
func (m *Manager) info(d *drive) Info {
	i := Info{
		Number: d.number, Image: d.spec.Path, Size: d.size, MountPoint: d.spec.MountPoint, Made: d.spec.Made,
		UID: d.spec.UID, State: d.state, Since: d.since, Options: d.spec.Options,
	}
	if d.volume != nil {
		i.Label, i.FS, i.Report = d.volume.Report.Label, d.volume.Report.Shown(), d.volume.Report
		i.Cache = d.meta.Stats()
	}
	if d.server != nil {
		i.Requests = d.server.Stats()
		if i.Requests.Errors > 0 && i.State == Mounted {
			i.State = Failing
		}
	}
	d.describeRings(&i)
	return i
}

// fuseDevice is the device number of /dev/fuse: major 10 (misc), minor 229
// (FUSE_MINOR of include/linux/miscdevice.h).
const fuseDevice = 10<<8 | 229

// checkDevice makes sure that a descriptor which a client passed is a FUSE
// device open for reading and writing, in blocking mode.
func checkDevice(f *os.File) error {
	var st unix.Stat_t
	fd := int(f.Fd())
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != fuseDevice || flags&unix.O_ACCMODE != unix.O_RDWR {
		return ErrDevice
	}
	return unix.SetNonblock(fd, false)
}
