package ipc

import (
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// A Peer is the process at the other end, as it was when it connected or began
// to listen (SO_PEERCRED).
type Peer struct {
	UID, GID uint32
	PID      int32
}

// IsRoot tells whether the peer may do anything.
func (p Peer) IsRoot() bool { return p.UID == 0 }

func peerOf(c *net.UnixConn) (Peer, error) {
	var cred *unix.Ucred
	err := control(c, func(fd int) (err error) {
		cred, err = unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		return err
	})
	if err != nil {
		return Peer{}, fmt.Errorf("peer credentials: %w", err)
	}
	return Peer{UID: cred.Uid, GID: cred.Gid, PID: cred.Pid}, nil
}

// hungUp tells whether the peer has closed its end, and not only the half of
// it that it writes to.
func hungUp(c *net.UnixConn) bool {
	var revents int16
	err := control(c, func(fd int) error {
		fds := []unix.PollFd{{Fd: int32(fd)}} //nolint:gosec // a descriptor fits
		_, err := unix.Poll(fds, 0)
		revents = fds[0].Revents
		return err
	})
	return err != nil || revents&(unix.POLLHUP|unix.POLLERR) != 0
}

func control(c *net.UnixConn, f func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var ferr error
	err = raw.Control(func(fd uintptr) { ferr = f(int(fd)) })
	return errors.Join(err, ferr)
}
