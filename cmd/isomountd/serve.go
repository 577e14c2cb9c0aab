package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"go.uber.org/zap"

	"github.com/isomount/isomount/pkg/cache"
	"github.com/isomount/isomount/pkg/drive"
	"github.com/isomount/isomount/pkg/ipc"
	"github.com/isomount/isomount/pkg/mount"
)

// errRunning reports that another daemon has the socket.
var errRunning = ipc.ErrRunning

// drainTime is how long a daemon that ends waits for its drives.
const drainTime = 10 * time.Second

// serve runs the daemon until ctx ends or it has been idle long enough.
func serve(ctx context.Context, c config) error {
	log, err := newLog(c.LogLevel, c.LogFormat)
	if err != nil {
		return fmt.Errorf("%w%w", err, hidden{errUsage})
	}
	defer func() { _ = log.Sync() }() // stderr cannot always be synced
	sectors, err := cache.New(int64(c.Cache))
	if err != nil {
		return err
	}
	h := &handler{cache: sectors, since: time.Now(), watchers: map[chan<- ipc.Event]struct{}{}}
	h.drives = drive.New(drive.Options{
		Cache: sectors, Log: log, PerUser: c.PerUser, Total: c.MaxDrives, Deadline: time.Duration(c.Deadline), Changed: h.tell,
	})
	listener, err := listen(c.Socket)
	if err != nil {
		return err
	}
	server := &ipc.Server{Handler: h, Version: version, Trace: func(call ipc.Call) { trace(log, call) }}
	return runServer(ctx, log, c, h, server, listener)
}

// runServer answers clients until it is time to end, and ends.
func runServer(ctx context.Context, log *zap.Logger, c config, h *handler, server *ipc.Server, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	served := make(chan error, 1)
	go func() { served <- server.Serve(context.WithoutCancel(ctx), l) }()
	log.Info("ready", zap.Stringer("socket", l.Addr()), zap.String("version", version), zap.Int("pid", os.Getpid()))
	if err := notify(notifyReady); err != nil {
		log.Warn("the service manager was not told", zap.Error(err))
	}
	if c.IdleExit > 0 {
		go whenIdle(ctx, h.drives, server, time.Duration(c.IdleExit), cancel)
	}
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	return stop(log, h.drives, server, served)
}

// stop ends the drives and then the server. Drives whose mount this process may
// take away are unmounted; programs that still have files open keep them until
// they close them, or the process has ended.
func stop(log *zap.Logger, drives *drive.Manager, server *ipc.Server, served <-chan error) error {
	log.Info("ending")
	if err := notify(notifyStopping); err != nil {
		log.Warn("the service manager was not told", zap.Error(err))
	}
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	for _, d := range drives.List(0) {
		if err := mount.Unmount(ctx, d.MountPoint, true); err != nil {
			log.Warn("drive could not be unmounted", zap.Int("drive", d.Number), zap.Error(err))
			continue
		}
		if d.Made {
			if err := mount.RemoveMade(d.MountPoint); err != nil {
				log.Warn("mount point could not be removed", zap.Int("drive", d.Number), zap.Error(err))
			}
		}
	}
	err := server.Shutdown(ctx)
	if serr := <-served; !errors.Is(serr, ipc.ErrServerClosed) {
		err = errors.Join(err, serr)
	}
	if derr := drives.Close(ctx); derr != nil {
		log.Warn("ending all the same", zap.Error(derr))
	}
	return err
}

// listen takes the socket that the service manager passed, or makes one.
func listen(path string) (net.Listener, error) {
	files, err := ipc.Inherited()
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		if l, err := ipc.FileListener(f); err == nil {
			return l, nil
		}
	}
	if len(files) > 0 {
		return nil, errors.New("the service manager passed descriptors, and none is a socket to listen on")
	}
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
