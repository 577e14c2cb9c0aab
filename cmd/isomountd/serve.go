package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/isomount/isomount/pkg/cache"
	"github.com/isomount/isomount/pkg/drive"
	"github.com/isomount/isomount/pkg/ipc"
	"github.com/isomount/isomount/pkg/mount"
	"github.com/isomount/isomount/pkg/notify"
)

// errRunning reports that another daemon has the socket.
var errRunning = ipc.ErrRunning

const (
	drainTime    = 10 * time.Second // for drives to end
	handOverTime = time.Second      // for calls to end when another process goes on
	adoptTime    = 2 * time.Second  // for images to answer before clients are served
)

// threadLimit is how many threads there may be: more than all drives could need whose images
// hang at the same time. Go ends a process that has more than 10,000.
const threadLimit = 20 * maxDrives

// A daemon is this process.
type daemon struct {
	c       config
	log     *zap.Logger
	level   zap.AtomicLevel // of log
	manager *notify.Manager // nil: none
	handler *handler
	server  *ipc.Server
	again   func() (config, error) // reads the configuration
}

// daemonGC has a daemon collect its garbage early: the requests that it answers
// make none, so that this is seldom, and what mounting took is soon free again.
const daemonGC = 40

// serve runs the daemon until ctx ends or it has been idle long enough. SIGHUP
// has it read the configuration with again.
func serve(ctx context.Context, c config, again func() (config, error)) error {
	debug.SetGCPercent(daemonGC)
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	log, level, err := newLog(c.LogLevel, c.LogFormat)
	if err != nil {
		return fmt.Errorf("%w%w", err, hidden{errUsage})
	}
	defer func() { _ = log.Sync() }() // stderr cannot always be synced
	debug.SetMaxThreads(threadLimit)
	old, err := inherit()
	if err != nil {
		return err
	}
	d, err := newDaemon(c, log)
	if err != nil {
		return err
	}
	d.level, d.again = level, again
	if err := standBy(ctx); err != nil {
		return err
	}
	listener := old.listener
	if listener == nil {
		if listener, err = listen(c.Socket); err != nil {
			return err
		}
	}
	if err := d.takeOver(ctx, old); err != nil {
		return err
	}
	return d.run(ctx, listener, hangups)
}

func newDaemon(c config, log *zap.Logger) (*daemon, error) {
	manager, err := notify.Dial()
	if err != nil {
		return nil, err
	}
	sectors, err := cache.New(int64(c.Cache))
	if err != nil {
		return nil, err
	}
	h := &handler{cache: sectors, since: time.Now(), watchers: map[chan<- ipc.Event]struct{}{}}
	o := drive.Options{
		Cache: sectors, Log: log, PerUser: c.PerUser, Total: c.MaxDrives, Deadline: time.Duration(c.Deadline),
		NoResend: c.NoResend, Changed: h.tell, Ahead: isKept(),
	}
	if manager != nil {
		o.Store = manager
	}
	h.drives = drive.New(o)
	server := &ipc.Server{Handler: h, Version: version, Trace: func(call ipc.Call) { trace(log, call) }}
	return &daemon{c: c, log: log, manager: manager, handler: h, server: server}, nil
}

// run answers clients until it is time to end, and ends.
func (d *daemon) run(ctx context.Context, l net.Listener, hangups <-chan os.Signal) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	served := make(chan error, 1)
	go func() { served <- d.server.Serve(context.WithoutCancel(ctx), l) }()
	d.log.Info("ready", zap.Stringer("socket", l.Addr()), zap.String("version", version), zap.Int("pid", os.Getpid()))
	d.tell(notify.Ready)
	if d.c.IdleExit > 0 {
		go whenIdle(ctx, d.handler.drives, d.server, time.Duration(d.c.IdleExit), cancel)
	}
	for ctx.Err() == nil {
		select {
		case err := <-served:
			return err
		case <-hangups:
			d.reload()
		case <-ctx.Done():
		}
	}
	if d.manager != nil && !errors.Is(context.Cause(ctx), errInterrupted) {
		return d.handOver(ctx, served)
	}
	return d.stop(ctx, served)
}

// reload reads the configuration again. What can only be set at the start stays:
// the socket, the cache, the form of the log, and the idle time.
func (d *daemon) reload() {
	d.tell(notify.Reloading())
	defer d.tell(notify.Ready)
	c, err := d.again()
	level, lerr := zapcore.ParseLevel(c.LogLevel)
	if err := errors.Join(err, lerr); err != nil {
		d.log.Error("the configuration stays as it was", zap.Error(err))
		return
	}
	d.level.SetLevel(level)
	d.handler.drives.SetLimits(c.PerUser, c.MaxDrives, time.Duration(c.Deadline))
	d.log.Info("configuration read again", zap.Int("drives", c.MaxDrives), zap.Int("per user", c.PerUser),
		zap.Stringer("deadline", &c.Deadline), zap.Stringer("level", level))
}

// tell tells the service manager a state.
func (d *daemon) tell(state string) {
	if err := d.manager.Tell(state); err != nil {
		d.log.Warn("the service manager was not told", zap.Error(err))
	}
}

// handOver ends the process and not the drives, which are served to the last
// moment. If there are none, nothing is left to keep. The manager is not told
// that the service stops: the service does not, and systemd 252 forgets what it
// keeps of one that fails after it has said so.
func (d *daemon) handOver(ctx context.Context, served <-chan error) error {
	d.endEarly(ctx)
	n, _ := d.handler.drives.Len()
	d.log.Info("handing over", zap.Int("drives", n))
	defer d.handler.drives.Leave()
	ctx, cancel := timeout(ctx, handOverTime)
	defer cancel()
	if err := d.server.Shutdown(ctx); err != nil {
		d.log.Warn("calls were cut off", zap.Error(err))
	}
	if err := <-served; !errors.Is(err, ipc.ErrServerClosed) {
		d.log.Warn("the server ended", zap.Error(err))
	}
	if n, _ := d.handler.drives.Len(); n == 0 {
		return d.manager.Remove(crashName)
	}
	return nil
}

// endEarly ends the drives that the next process could not go on with.
func (d *daemon) endEarly(ctx context.Context) {
	ctx, cancel := timeout(ctx, handOverTime)
	defer cancel()
	for _, info := range d.handler.drives.List(0) {
		if info.EndsEarly {
			d.unmount(ctx, &info)
		}
	}
}

// stop ends the drives and then the server. Drives whose mount this process may
// take away are unmounted; programs that still have files open keep them until
// they close them, or the process has ended.
func (d *daemon) stop(ctx context.Context, served <-chan error) error {
	d.log.Info("ending")
	d.tell(notify.Stopping)
	ctx, cancel := timeout(ctx, drainTime)
	defer cancel()
	for _, info := range d.handler.drives.List(0) {
		d.unmount(ctx, &info)
	}
	err := d.server.Shutdown(ctx)
	if serr := <-served; !errors.Is(serr, ipc.ErrServerClosed) {
		err = errors.Join(err, serr)
	}
	if derr := d.handler.drives.Close(ctx); derr != nil {
		d.log.Warn("ending all the same", zap.Error(derr))
	}
	return errors.Join(err, d.manager.Remove(crashName))
}

func (d *daemon) unmount(ctx context.Context, info *drive.Info) {
	log := d.log.With(zap.Int("drive", info.Number))
	if !isMountOf(info) {
		log.Warn("no mount of this user is where the drive was said to be", zap.String("at", info.MountPoint))
		return
	}
	if err := mount.Unmount(ctx, info.MountPoint, true); err != nil {
		log.Warn("drive could not be unmounted", zap.Error(err))
		return
	}
	if info.Made {
		if err := mount.RemoveMade(info.MountPoint); err != nil {
			log.Warn("mount point could not be removed", zap.Error(err))
		}
	}
}

// isMountOf tells whether the user of a drive has a mount where they said it is:
// they could have named that of somebody else.
func isMountOf(info *drive.Info) bool {
	table, err := mount.ReadTable()
	if err != nil {
		return false
	}
	e := table.At(info.MountPoint)
	if e == nil {
		return false
	}
	uid, ok := e.UserID()
	return ok && uid == info.UID
}

// timeout gives what has to be done even though ctx has ended its time.
func timeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), d)
}

// listen makes the socket.
func listen(path string) (*ipc.Listener, error) {
	if path == "" {
		path = ipc.SocketPath()
	}
	system := os.Getuid() == 0 && os.Getenv("ISOMOUNT_SOCKET") == ""
	return ipc.Listen(path, system)
}

// whenIdle calls end when there has been neither a drive nor a client for a
// while.
func whenIdle(ctx context.Context, drives *drive.Manager, server *ipc.Server, d time.Duration, end func()) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		_, change := drives.Len()
		select {
		case <-ctx.Done():
			return
		case <-change:
			timer.Reset(d)
		case <-timer.C:
			if n, _ := drives.Len(); n == 0 && server.Conns() == 0 {
				end()
				return
			}
			timer.Reset(d)
		}
	}
}

// trace logs what clients asked for.
func trace(log *zap.Logger, c ipc.Call) {
	fields := []zap.Field{zap.Uint32("uid", c.Peer.UID), zap.Int32("pid", c.Peer.PID), zap.String("method", c.Method), zap.Duration("took", c.Took)}
	switch {
	case c.Err == nil:
		log.Debug("call", fields...)
	case errors.Is(c.Err, ipc.ErrNotFound):
		log.Debug("call", append(fields, zap.Error(c.Err))...) // often asked of a drive that has just gone
	case c.Method == "":
		log.Debug("connection ended", append(fields, zap.Error(c.Err))...)
	default:
		log.Info("call refused", append(fields, zap.Error(c.Err))...)
	}
}
