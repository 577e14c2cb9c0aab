package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/isomount/isomount/pkg/ipc"
	"github.com/isomount/isomount/pkg/notify"
)

// A keeper does for one daemon, its child, what systemd does for a service: it
// listens on the socket, keeps the descriptors that the child stores, and
// starts another child when this one ends, which then goes on. It reads nothing
// but notify messages, so that nothing a disc or a client says can end it.
//
// SIGHUP replaces the child, by whatever program is installed now, which is
// started before the old one ends; see standby. SIGTERM ends
// the drives, the child and the keeper. The keeper ends as well when the child
// has ended cleanly and left nothing to keep.
type keeper struct {
	log      *zap.Logger
	socket   *ipc.Listener
	file     *os.File // of socket
	notes    *notify.Listener
	messages chan *notify.Message
	program  string
	store    []*os.File // in the order in which they came; Name is the name
	changes  int        // of the store

	child    *child
	standby  *standby // nil: none
	started  time.Time
	ready    bool // the child has told so
	everUp   bool // a child has
	stopping bool
	stops    int // children that were told to stop
	failures int // in a row, see delay
}

// maxStored is how many descriptors are kept: three a drive, and the crash log.
const maxStored = 3*maxDrives + 1

// keeperGC has a keeper collect its garbage after some 400 KiB instead of 4 MiB:
// it lives as long as its user, and does little.
const keeperGC = 10

// runKeeper keeps a daemon with the same arguments as this process.
func runKeeper(ctx context.Context, c config) error {
	debug.SetGCPercent(keeperGC)
	log, _, err := newLog(c.LogLevel, c.LogFormat)
	if err != nil {
		return fmt.Errorf("%w%w", err, hidden{errUsage})
	}
	k := &keeper{log: log, messages: make(chan *notify.Message)}
	if k.program, err = os.Executable(); err != nil {
		return err
	}
	if k.socket, err = listen(c.Socket); err != nil {
		return err
	}
	defer func() { _ = k.socket.Close() }() // it is the end
	if k.file, err = k.socket.File(); err != nil {
		return err
	}
	if k.notes, err = notify.Listen(k.socket.Addr().String() + ".notify"); err != nil {
		return err
	}
	received := make(chan struct{})
	go func() { k.receive(); close(received) }()
	err = k.loop(ctx)
	_ = k.notes.Close() // it is the end
	for range k.messages {
		continue // of nobody
	}
	<-received
	return err
}

// receive passes messages on until the socket is closed.
func (k *keeper) receive() {
	defer close(k.messages)
	for {
		m, err := k.notes.Receive()
		if err != nil {
			return
		}
		k.messages <- m
	}
}

// loop keeps a child running.
func (k *keeper) loop(ctx context.Context) error {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	defer k.dropStandby()
	for {
		if err := k.start(ctx); err != nil {
			return err
		}
		k.watch(ctx, hangups)
		k.drain()
		if done, err := k.verdict(); done {
			return err
		}
	}
}

// watch serves the child until it has ended.
func (k *keeper) watch(ctx context.Context, hangups <-chan os.Signal) {
	var kill <-chan time.Time
	interrupted := ctx.Done()
	pulse := time.NewTicker(corpsePulse)
	defer pulse.Stop()
	for {
		select {
		case m := <-k.messages:
			k.hear(m)
		case <-hangups:
			k.log.Info("replacing the daemon", zap.Int("pid", k.child.Process.Pid))
			if err := k.prepare(ctx); err != nil {
				k.log.Error("no other daemon can be started; this one goes on", zap.Error(err))
			}
		case err := <-k.standbyReady():
			if k.replace(err) {
				k.signal(syscall.SIGTERM)
				kill = time.After(3 * handOverTime)
			}
		case <-interrupted:
			interrupted = nil
			k.stopping = true
			if k.ready { // before, it would not listen
				k.signal(syscall.SIGINT)
			}
			kill = time.After(drainTime + handOverTime)
		case <-kill:
			k.signal(syscall.SIGKILL)
		case <-pulse.C:
			if k.child.isCorpse() {
				return
			}
		case <-k.child.ended:
			return
		}
	}
}

// hear does what the child asks for. One that has come up when it was to go is told
// now: it would not have listened before.
func (k *keeper) hear(m *notify.Message) {
	wasReady := k.ready
	if k.take(m); k.ready && !wasReady && k.stopping {
		k.signal(syscall.SIGINT)
	}
}

func (k *keeper) signal(s syscall.Signal) {
	if err := k.child.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		k.log.Warn("the daemon could not be told", zap.Error(err))
	}
}

// drain takes the messages that the child had sent when it ended: a message of
// our own comes behind all of them.
func (k *keeper) drain() {
	go func() {
		c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: k.notes.Path(), Net: "unixgram"})
		if err != nil {
			k.log.Error("the notify socket is gone", zap.Error(err))
			return
		}
		_, _ = c.Write([]byte("DRAINED=1"))
		_ = c.Close()
	}()
	late := time.After(handOverTime) // somebody may have removed the socket
	for {
		select {
		case m := <-k.messages:
			if m.PID == os.Getpid() && m.Is("DRAINED") {
				m.Close()
				return
			}
			k.take(m)
		case <-late:
			return
		}
	}
}

// take does what the child asks for.
func (k *keeper) take(m *notify.Message) {
	defer m.Close() // which answers a barrier
	if m.PID != k.child.Process.Pid {
		return
	}
	switch name := m.Get("FDNAME"); {
	case m.Is("FDSTORE"):
		for _, f := range m.Files {
			k.put(name, f)
		}
		m.Files = nil
	case m.Is("FDSTOREREMOVE"):
		k.remove(name)
	}
	if m.Is("READY") {
		k.ready, k.everUp = true, true
	}
}

func (k *keeper) put(name string, f *os.File) {
	if len(k.store) >= maxStored {
		k.log.Error("too many descriptors", zap.String("name", name))
		_ = f.Close()
		return
	}
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	_ = f.Close()
	if err != nil {
		k.log.Error("descriptor lost", zap.String("name", name), zap.Error(err))
		return
	}
	k.store = append(k.store, os.NewFile(uintptr(fd), name))
	k.changes++
}

func (k *keeper) remove(name string) {
	left := k.store[:0]
	for _, f := range k.store {
		if f.Name() == name {
			_ = f.Close()
			continue
		}
		left = append(left, f)
	}
	clear(k.store[len(left):])
	k.store = left
	k.changes++
}

// start lets the standby go on, or starts a child.
func (k *keeper) start(ctx context.Context) (err error) {
	if !k.takeStandby() {
		time.Sleep(k.delay())
		k.child, err = k.spawn(ctx, nil)
	}
	k.started, k.ready = time.Now(), false
	return err
}

// spawn starts a process with the socket and whatever is kept, and for a standby
// with its end of a line.
func (k *keeper) spawn(ctx context.Context, line *os.File) (*child, error) {
	names := make([]string, 0, len(k.store)+1)
	files := make([]*os.File, 0, len(k.store)+2)
	for _, f := range append([]*os.File{k.file}, k.store...) {
		files = append(files, f)
		names = append(names, f.Name())
	}
	names[0] = "isomountd.socket"
	env := append(os.Environ(),
		keeperVariable+"="+strconv.Itoa(os.Getpid()), "NOTIFY_SOCKET="+k.notes.Path(),
		"LISTEN_FDS="+strconv.Itoa(len(files)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
	if line != nil {
		const first = 3 // behind standard input, output and errors
		env = append(env, standbyVariable+"="+strconv.Itoa(first+len(files)))
		files = append(files, line)
	}
	var err error
	// The program that was replaced on disk is tried before our own.
	for _, program := range []string{k.program, "/proc/self/exe"} {
		c := &child{exec.CommandContext(context.WithoutCancel(ctx), program, os.Args[1:]...), make(chan struct{})}
		c.Stdout, c.Stderr, c.ExtraFiles, c.Env = os.Stdout, os.Stderr, files, env
		if err = c.Start(); err == nil {
			go func() {
				_ = c.Wait() // the state says how
				close(c.ended)
			}()
			return c, nil
		}
	}
	return nil, err
}

// delay is how long to wait before the next child: not at all after a kill, and
// longer and longer when children fail of themselves.
func (k *keeper) delay() time.Duration {
	const (
		free    = 3
		first   = 10 * time.Millisecond
		longest = 5 * time.Second
	)
	if k.failures <= free {
		return 0
	}
	return min(first<<min(k.failures-free, 16), longest)
}

// settled is how long a child lives that is well.
const settled = time.Second

// verdict looks at how the child ended and tells whether that is the end.
func (k *keeper) verdict() (done bool, err error) {
	select {
	case <-k.child.ended:
	default:
		k.log.Warn("the daemon was killed and cannot end; another goes on", zap.Int("pid", k.child.Process.Pid))
		k.failures = 0
		return false, nil
	}
	state := k.child.ProcessState
	switch {
	case k.stopping && (state.Success() || k.stops > 0):
		return true, nil
	case state.Success() && len(k.store) == 0 && k.standby == nil && !k.isWaitedFor():
		return true, nil
	case !state.Success() && !k.everUp:
		return true, exitError(state.ExitCode())
	}
	if k.stopping {
		k.stops++ // one more, to end the drives
	}
	k.log.Warn("the daemon ended; another goes on", zap.Stringer("how", state), zap.Int("descriptors", len(k.store)))
	if k.isBroken(state) {
		k.failures++
	} else {
		k.failures = 0
	}
	return false, nil
}

// isBroken tells whether a child failed of itself without having been of use.
// One that was killed has no fault, however often that happens.
func (k *keeper) isBroken(state *os.ProcessState) bool {
	status, ok := state.Sys().(syscall.WaitStatus)
	killed := ok && status.Signaled() && (status.Signal() == syscall.SIGKILL || status.Signal() == syscall.SIGTERM)
	return !state.Success() && !killed && (!k.ready || time.Since(k.started) <= settled)
}

// isWaitedFor tells whether a client has connected and nobody has noticed.
func (k *keeper) isWaitedFor() bool {
	p := []unix.PollFd{{Fd: int32(k.file.Fd()), Events: unix.POLLIN}}
	n, err := unix.Poll(p, 0)
	return err == nil && n > 0
}

// An exitError is the exit code of a child, which has said why.
type exitError int

func (e exitError) Error() string { return "exit status " + strconv.Itoa(int(e)) }
