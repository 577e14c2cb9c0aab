package ipc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// systemSocket is where the daemon of the whole system listens.
const systemSocket = "/run/isomountd/socket"

// SocketPath returns where the daemon of this user listens: $ISOMOUNT_SOCKET,
// for root the socket of the system, else $XDG_RUNTIME_DIR/isomount/socket or,
// without that, /tmp/isomount-UID/socket.
func SocketPath() string {
	if path := os.Getenv("ISOMOUNT_SOCKET"); path != "" {
		return path
	}
	return userSocket(os.Getuid())
}

func userSocket(uid int) string {
	if uid == 0 {
		return systemSocket
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "isomount", "socket")
	}
	return "/tmp/isomount-" + strconv.Itoa(uid) + "/socket"
}

// Candidates returns the sockets that a client of a user tries, in order: the
// user's own daemon, then that of the system. $ISOMOUNT_SOCKET, if set, is the
// only one.
func Candidates(uid int) []string {
	if path := os.Getenv("ISOMOUNT_SOCKET"); path != "" {
		return []string{path}
	}
	own := userSocket(uid)
	if own == systemSocket {
		return []string{own}
	}
	return []string{own, systemSocket}
}

// checkSocketDir refuses a directory in which another user could put a socket
// of its own: it must belong to this user or root, or stand where only root
// could put it (a service with DynamicUser owns its directory in /run), and
// others may write to it only if it is sticky, like /tmp. The part above may
// have links; the system has some (/var/run).
func checkSocketDir(path string) error {
	dir := filepath.Dir(path)
	var st unix.Stat_t
	err := unix.Lstat(dir, &st)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR):
		return noDaemon(path)
	case err != nil:
		return &fs.PathError{Op: "stat", Path: dir, Err: err}
	}
	var why string
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		why = "is not a directory"
	case st.Uid != 0 && int(st.Uid) != os.Geteuid() && !onlyRootWrites(filepath.Dir(dir)):
		why = fmt.Sprintf("belongs to user %d", st.Uid)
	case st.Mode&0o022 != 0 && st.Mode&unix.S_ISVTX == 0:
		why = "can be written by others"
	default:
		return nil
	}
	return &Error{
		Err:     ErrPermission,
		Message: fmt.Sprintf("%s: directory %s", dir, why),
		Hint:    "remove it, or set ISOMOUNT_SOCKET to a safe place",
	}
}

func onlyRootWrites(dir string) bool {
	var st unix.Stat_t
	return unix.Lstat(dir, &st) == nil && st.Uid == 0 && st.Mode&0o022 == 0
}
