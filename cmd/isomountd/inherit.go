package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/isomount/isomount/pkg/drive"
	"github.com/isomount/isomount/pkg/ipc"
	"github.com/isomount/isomount/pkg/notify"
)

// passed is what the service manager passed to this process.
type passed struct {
	listener net.Listener // nil: none
	drives   []*os.File   // what the process before stored
	crash    *os.File     // what it said when it failed, see crashLog
}

// keeperVariable tells a daemon which process keeps it. systemd sets LISTEN_PID
// between fork and exec, which a keeper cannot.
const keeperVariable = "ISOMOUNT_KEEPER"

// isKept tells whether this process was started by a keeper.
func isKept() bool { return os.Getenv(keeperVariable) == strconv.Itoa(os.Getppid()) }

// inheritsDrives tells whether the process before left drives.
func inheritsDrives() bool {
	return slices.ContainsFunc(strings.Split(os.Getenv("LISTEN_FDNAMES"), ":"), drive.IsKept)
}

// inherit sorts the descriptors that came with the process.
func inherit() (passed, error) {
	if isKept() {
		if err := os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid())); err != nil {
			return passed{}, err
		}
	}
	files, err := ipc.Inherited()
	if err != nil {
		return passed{}, err
	}
	var p passed
	sockets := 0
	for _, f := range files {
		switch {
		case drive.IsKept(f.Name()):
			p.drives = append(p.drives, f)
		case f.Name() == crashName && p.crash == nil:
			p.crash = f
		case p.listener == nil:
			sockets++
			if p.listener, err = ipc.FileListener(f); err != nil {
				_ = f.Close()
			}
		default:
			_ = f.Close()
		}
	}
	if sockets > 0 && p.listener == nil {
		return p, errors.New("the service manager passed descriptors, and none is a socket to listen on")
	}
	return p, nil
}

// crashName is the name under which the crash log is stored.
const crashName = "crash"

// A crashLog is a file in memory into which the Go runtime writes what it says
// when the process fails of itself, and that outlives it. So the next process
// knows that something in here failed, and not somebody outside killed it.
type crashLog struct{ file *os.File }

// openCrashLog takes the log of the process before, or makes one and has it
// stored.
func openCrashLog(m *notify.Manager, old *os.File) (crashLog, error) {
	l := crashLog{old}
	if old == nil {
		fd, err := unix.MemfdCreate("isomount-crash", unix.MFD_CLOEXEC)
		if err != nil {
			return l, fmt.Errorf("memfd_create: %w", err)
		}
		l.file = os.NewFile(uintptr(fd), crashName)
		if err := m.Store(crashName, l.file); err != nil {
			return l, errors.Join(err, l.file.Close())
		}
	}
	return l, debug.SetCrashOutput(l.file, debug.CrashOptions{})
}

// text returns the beginning of what the process before said, if it failed.
func (l crashLog) text() string {
	const enough = 16 << 10
	b, _ := io.ReadAll(io.NewSectionReader(l.file, 0, enough))
	return string(b)
}

// clear forgets it.
func (l crashLog) clear() error {
	if err := l.file.Truncate(0); err != nil {
		return err
	}
	_, err := l.file.Seek(0, io.SeekStart)
	return err
}

// takeOver goes on with the drives of the process before.
func (d *daemon) takeOver(ctx context.Context, old passed) error {
	if d.manager == nil {
		return nil
	}
	crash, err := openCrashLog(d.manager, old.crash)
	if err != nil {
		return err
	}
	drives := d.handler.drives.Inherit(old.drives)
	if text := crash.text(); text != "" {
		d.log.Error("the process before this failed; what it was asked last is tried again, one by one", zap.String("text", text))
		drives.Accuse()
		if err := crash.clear(); err != nil {
			return err
		}
	}
	if drives.Len() == 0 {
		return nil
	}
	ctx, cancel := timeout(ctx, adoptTime)
	defer cancel()
	drives.Serve(ctx)
	d.log.Info("drives taken over", zap.Int("drives", drives.Len()))
	return nil
}
