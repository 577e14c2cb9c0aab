package notify

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// A Message is what a service told.
type Message struct {
	PID   int // who sent it
	Files []*os.File
	keys  map[string]string
}

// Get returns the value of a key, or "".
func (m *Message) Get(key string) string { return m.keys[key] }

// Is tells whether the message says KEY=1.
func (m *Message) Is(key string) bool { return m.keys[key] == "1" }

// Close lets go of the descriptors, which for a barrier is the answer.
func (m *Message) Close() {
	for _, f := range m.Files {
		_ = f.Close()
	}
	m.Files = nil
}

// A Listener is the socket of a manager.
type Listener struct {
	conn *net.UnixConn
	path string

	text, control []byte // room for a message
}

// Listen makes a socket for messages that only this user can send to.
func Listen(path string) (*Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	l := &Listener{
		conn: conn, path: path, text: make([]byte, maxText),
		control: make([]byte, unix.CmsgSpace(4*maxFiles)+unix.CmsgSpace(unix.SizeofUcred)),
	}
	if err := l.setUp(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func (l *Listener) setUp() error {
	if err := os.Chmod(l.path, 0o600); err != nil {
		return err
	}
	raw, err := l.conn.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(fd uintptr) {
		inner = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
	})
	return errors.Join(err, inner)
}

// Path returns the value for NOTIFY_SOCKET.
func (l *Listener) Path() string { return l.path }

// Close stops listening and removes the socket.
func (l *Listener) Close() error {
	err := l.conn.Close()
	if rerr := os.Remove(l.path); err == nil && !errors.Is(rerr, os.ErrNotExist) {
		err = rerr
	}
	return err
}

// Sizes of the longest message: as systemd, a page of text and SCM_MAX_FD
// (include/net/scm.h) descriptors.
const (
	maxText  = 4096
	maxFiles = 253
)

// Receive waits for the next message. A message that is not whole is dropped;
// an error means that none will come any more. One goroutine at a time may call
// it.
func (l *Listener) Receive() (*Message, error) {
	for {
		n, cn, flags, _, err := l.conn.ReadMsgUnix(l.text, l.control)
		if err != nil {
			return nil, fmt.Errorf("notify: %w", err)
		}
		m, err := parse(l.text[:n], l.control[:cn])
		if err != nil || flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
			m.Close()
			continue
		}
		return m, nil
	}
}

// parse reads a message. What it returns has the descriptors even if the rest
// makes no sense.
func parse(text, control []byte) (*Message, error) {
	m := &Message{keys: map[string]string{}}
	parts, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return m, err
	}
	for _, part := range parts {
		switch part.Header.Type {
		case unix.SCM_RIGHTS:
			err = errors.Join(err, m.takeFiles(&part))
		case unix.SCM_CREDENTIALS:
			cred, cerr := unix.ParseUnixCredentials(&part)
			if cerr == nil {
				m.PID = int(cred.Pid)
			}
			err = errors.Join(err, cerr)
		}
	}
	for line := range strings.SplitSeq(strings.TrimRight(string(text), "\n\x00"), "\n") {
		if key, value, ok := strings.Cut(line, "="); ok {
			m.keys[key] = value
		}
	}
	return m, err
}

func (m *Message) takeFiles(part *unix.SocketControlMessage) error {
	fds, err := unix.ParseUnixRights(part)
	for _, fd := range fds {
		m.Files = append(m.Files, os.NewFile(uintptr(fd), "passed"))
	}
	return err
}
