// Package notify speaks the protocol of sd_notify(3) from both ends.
//
// A service calls [Dial] and tells its manager how it is ([Manager.Tell]) and
// which descriptors to keep for the process after it ([Manager.Store],
// [Manager.Remove]). A manager, of which systemd is one, calls [Listen] and
// [Listener.Receive].
//
// Messages are datagrams of lines KEY=VALUE with descriptors beside them. The
// manager treats them in the order in which they come, and a barrier
// ([Manager.Sync]) tells when it has done so.
package notify

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// States for [Manager.Tell].
const (
	Ready    = "READY=1"
	Stopping = "STOPPING=1"
)

// Reloading tells that the service reads its configuration again, until it
// tells Ready; sd_notify(3) wants the time.
func Reloading() string {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) // a clock that every Linux has
	return fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", now.Nano()/1000)
}

// sendTimeout is how long a manager may take to have room for a message.
const sendTimeout = 5 * time.Second

// A Manager is who started this process. A nil Manager hears nothing and keeps
// nothing.
type Manager struct {
	socket *os.File
	to     unix.SockaddrUnix
}

// Dial returns the manager at $NOTIFY_SOCKET, or nil if there is none.
func Dial() (*Manager, error) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil, nil //nolint:nilnil // a nil Manager is one that is not there
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("notify: %w", err)
	}
	m := &Manager{socket: os.NewFile(uintptr(fd), "notify"), to: unix.SockaddrUnix{Name: path}}
	limit := unix.NsecToTimeval(sendTimeout.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// Close ends the connection.
func (m *Manager) Close() error {
	if m == nil {
		return nil
	}
	return m.socket.Close()
}

// Tell tells a state.
func (m *Manager) Tell(state string) error {
	if m == nil {
		return nil
	}
	return m.send(state)
}

// Store has the manager keep a copy of f under a name, and give it to whatever
// process of this service it starts next. It is not polled: systemd would wake
// up for each request of a FUSE device.
func (m *Manager) Store(name string, f *os.File) error {
	if m == nil {
		return nil
	}
	if !validName(name) {
		return fmt.Errorf("notify: %q cannot name a descriptor", name)
	}
	return m.send("FDSTORE=1\nFDNAME="+name+"\nFDPOLL=0", int(f.Fd()))
}

// Remove has the manager close what it keeps under a name.
func (m *Manager) Remove(name string) error {
	if m == nil {
		return nil
	}
	return m.send("FDSTOREREMOVE=1\nFDNAME=" + name)
}

// Sync returns when the manager has treated all messages before.
func (m *Manager) Sync(ctx context.Context) error {
	if m == nil {
		return nil
	}
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	r := os.NewFile(uintptr(p[0]), "barrier")
	defer func() { _ = r.Close() }() // nothing was written
	err := m.send("BARRIER=1", p[1])
	_ = unix.Close(p[1]) // the manager has the other copy
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = r.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var b [1]byte
	if _, err := r.Read(b[:]); errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("the service manager does not answer: %w", context.Cause(ctx))
	}
	return nil
}

func (m *Manager) send(text string, fds ...int) error {
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	for {
		err := unix.Sendmsg(int(m.socket.Fd()), []byte(text), rights, &m.to, unix.MSG_NOSIGNAL)
		if !errors.Is(err, unix.EINTR) {
			if err != nil {
				return fmt.Errorf("notify %s: %w", m.to.Name, err)
			}
			return nil
		}
	}
}

// validName is the rule of sd_pid_notify_with_fds(3).
func validName(name string) bool {
	if name == "" || len(name) > 255 {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r >= 0x7f || r == ':' })
}
