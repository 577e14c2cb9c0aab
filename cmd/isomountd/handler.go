package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/isomount/isomount/pkg/cache"
	"github.com/isomount/isomount/pkg/drive"
	"github.com/isomount/isomount/pkg/ipc"
)

// A handler answers clients from the drives. It decides who may see what: a
// user their own drives, root all.
type handler struct {
	drives *drive.Manager
	cache  *cache.Cache
	since  time.Time

	tidying atomic.Bool // free will be called

	mu       sync.Mutex // guards watchers
	watchers map[chan<- ipc.Event]struct{}
}

var _ ipc.Handler = (*handler)(nil)

// Ping tells that the daemon is there.
func (h *handler) Ping(context.Context, ipc.Peer, *ipc.PingRequest) (*ipc.PingReply, error) {
	return &ipc.PingReply{Version: version, PID: os.Getpid()}, nil
}

// Probe tells what is on an image.
func (h *handler) Probe(_ context.Context, p ipc.Peer, q *ipc.ProbeRequest, files []*os.File) (*ipc.ProbeReply, error) {
	spec := drive.Spec{Image: files[0], Path: string(q.Image), Options: q.Options, UID: p.UID, GID: p.GID}
	info, err := h.drives.Probe(spec)
	if err != nil {
		return nil, wireError(err, q.Image)
	}
	report, err := json.Marshal(info.Report)
	if err != nil {
		return nil, err
	}
	_ = files[0].Close() // on success it is ours
	return &ipc.ProbeReply{Label: info.Label, Filesystem: info.FS, Size: info.Size, Report: report}, nil
}

// Mount serves an image on a FUSE device.
func (h *handler) Mount(ctx context.Context, p ipc.Peer, q *ipc.MountRequest, files []*os.File) (*ipc.MountReply, error) {
	spec := drive.Spec{
		Image: files[0], Path: string(q.Image), MountPoint: string(q.Mountpoint), Made: q.Made,
		Options: q.Options, UID: p.UID, GID: p.GID,
	}
	info, err := h.drives.Mount(ctx, spec, files[1])
	if err != nil {
		return nil, wireError(err, q.Image)
	}
	return &ipc.MountReply{Drive: wireDrive(&info), Notes: append([]string{}, info.Report.Notes...)}, nil
}

// Eject waits until a drive is gone that the client has unmounted.
func (h *handler) Eject(ctx context.Context, p ipc.Peer, q *ipc.EjectRequest) (*ipc.EjectReply, error) {
	info, err := h.find(p, q.Drive)
	if err != nil {
		return nil, err
	}
	err = h.drives.Wait(ctx, info.Number, p.UID)
	if err != nil && !errors.Is(err, drive.ErrNotFound) { // gone already
		return nil, wireError(err, "")
	}
	return &ipc.EjectReply{Drive: wireDrive(&info)}, nil
}

// List lists drives.
func (h *handler) List(_ context.Context, p ipc.Peer, _ *ipc.ListRequest) (*ipc.ListReply, error) {
	return &ipc.ListReply{Drives: h.list(p)}, nil
}

func (h *handler) list(p ipc.Peer) []ipc.Drive {
	list := []ipc.Drive{}
	for _, info := range h.drives.List(p.UID) {
		list = append(list, wireDrive(&info))
	}
	return list
}

// Info tells what is on the disc of a drive.
func (h *handler) Info(_ context.Context, p ipc.Peer, q *ipc.InfoRequest) (*ipc.InfoReply, error) {
	info, err := h.find(p, q.Drive)
	if err != nil {
		return nil, err
	}
	report, err := json.Marshal(info.Report)
	if err != nil {
		return nil, err
	}
	return &ipc.InfoReply{Drive: wireDrive(&info), Report: report}, nil
}

func (h *handler) find(p ipc.Peer, name string) (drive.Info, error) {
	n, err := strconv.Atoi(name)
	if err != nil {
		return drive.Info{}, &ipc.Error{Err: ipc.ErrUsage, Message: fmt.Sprintf("drive %q is not a number", name)}
	}
	info, err := h.drives.Find(n, p.UID)
	if err != nil {
		return drive.Info{}, wireError(err, "")
	}
	return info, nil
}

// Stats counts what the daemon does.
func (h *handler) Stats(_ context.Context, p ipc.Peer, _ *ipc.StatsRequest) (*ipc.StatsReply, error) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	c := h.cache.Stats()
	total := wireCounters(nil, &c)
	for _, info := range h.drives.List(0) {
		own := wireCounters(&info, nil)
		total.Requests += own.Requests
		total.Errors += own.Errors
		total.Read += own.Read
		total.Stored += own.Stored
	}
	return &ipc.StatsReply{
		Version: version, PID: os.Getpid(), Since: h.since, Resident: resident(), Heap: int64(m.HeapAlloc),
		Threads: threads(), Goroutines: runtime.NumGoroutine(),
		CacheLimit: c.Budget, CacheSize: c.Held, Counters: total, Drives: h.list(p),
	}, nil
}

// threads counts the threads that the kernel has of this process.
func threads() int {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return 0
	}
	return len(tasks)
}

// resident is how much memory the process holds, in bytes.
func resident() int64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(b))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

// Monitor tells what happens to drives.
func (h *handler) Monitor(ctx context.Context, p ipc.Peer, _ *ipc.MonitorRequest, send func(*ipc.MonitorReply) error) error {
	const behind = 64 // events that a client may be slow by
	events := make(chan ipc.Event, behind)
	h.mu.Lock()
	h.watchers[events] = struct{}{}
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		delete(h.watchers, events)
		h.mu.Unlock()
	}()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e := <-events:
			if !p.IsRoot() && p.UID != e.Drive.UID {
				continue
			}
			if err := send(&ipc.MonitorReply{Event: e}); err != nil {
				return err
			}
		}
	}
}

// tell passes on what happened to a drive. A client that does not keep up
// misses events rather than holding up the drives.
func (h *handler) tell(info drive.Info, change drive.Change) {
	h.tidy()
	e := ipc.Event{Time: time.Now(), Kind: ipc.EventKind(change), Drive: wireDrive(&info)}
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.watchers {
		select {
		case w <- e:
		default:
		}
	}
}

// tidyDelay is how long drives may come and go before what they left behind is
// looked for.
const tidyDelay = time.Second

// tidy gives the memory back, a little later, that surveying discs has taken and
// that idle drives do not need. It would stay until that much is used again,
// which a daemon that serves reads never does.
func (h *handler) tidy() {
	if h.tidying.CompareAndSwap(false, true) {
		time.AfterFunc(tidyDelay, func() {
			h.tidying.Store(false)
			debug.FreeOSMemory()
		})
	}
}
