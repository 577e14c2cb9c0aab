package mount

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// helperDirs are searched after $PATH, which may be short in a service.
var helperDirs = []string{"/usr/bin", "/bin", "/run/wrappers/bin", "/usr/local/bin"}

func findHelper() (string, error) {
	for _, name := range []string{"fusermount3", "fusermount"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
		for _, dir := range helperDirs {
			if path, err := exec.LookPath(dir + "/" + name); err == nil {
				return path, nil
			}
		}
	}
	return "", ErrNoHelper
}

// fusermount mounts with the set-uid helper of libfuse, which decides by its
// own rules whether the user may. It sends the device over a socket that it
// finds in the environment (libfuse util/fusermount.c, send_fd).
func (m *Mount) fusermount(ctx context.Context, o *Options) error {
	helper, err := findHelper()
	if err != nil {
		return fail(m.point.path, err, nil)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socketpair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "helper"), os.NewFile(uintptr(pair[1]), "helper")
	defer closeFile(ours)
	defer closeFile(theirs)
	cmd := exec.CommandContext(ctx, helper, "-o", helperOptions(o), "--", m.point.path)
	cmd.ExtraFiles = []*os.File{theirs} // becomes descriptor 3
	cmd.Env = append(os.Environ(), "LC_ALL=C", "_FUSE_COMMFD=3")
	if err := run(cmd, m.point.path); err != nil {
		if ctx.Err() != nil {
			err = errors.Join(err, detach(ctx, m.point.path)) // it may have been killed after it mounted
		}
		return err
	}
	m.way = wayFusermount
	if m.device, err = receive(ours); err != nil {
		return errors.Join(fail(m.point.path, err, nil), detach(ctx, m.point.path))
	}
	return nil
}

// run runs a helper that works on path.
func run(cmd *exec.Cmd, path string) error {
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		return helperError(path, stderr.String(), err)
	}
	return nil
}

func helperOptions(o *Options) string {
	opts := []string{
		"ro", "nosuid", "nodev", "default_permissions",
		"subtype=" + Subtype, "fsname=" + escapeOption(o.Source),
	}
	if o.AllowOther {
		opts = append(opts, "allow_other")
	}
	if o.MaxRead > 0 {
		opts = append(opts, "max_read="+strconv.Itoa(o.MaxRead))
	}
	return strings.Join(opts, ",")
}

// escapeOption protects a value in a list that is split at commas.
func escapeOption(s string) string {
	return strings.NewReplacer(`\`, `\\`, `,`, `\,`).Replace(s)
}

// receive takes the one descriptor that the helper left in the socket. The
// helper has ended, so it is there or never comes.
func receive(socket *os.File) (*os.File, error) {
	buf, oob := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(int(socket.Fd()), buf, oob, unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
	if err != nil {
		return nil, fmt.Errorf("no device from the mount helper: %w", err)
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(msgs) != 1 {
		return nil, errors.New("no device from the mount helper")
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil || len(fds) != 1 {
		return nil, errors.New("no device from the mount helper")
	}
	return os.NewFile(uintptr(fds[0]), "/dev/fuse"), nil
}

// capable tells whether this process may mount by itself: as root, or in a
// user namespace of its own.
func capable() bool {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return os.Geteuid() == 0
	}
	return data[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0
}
