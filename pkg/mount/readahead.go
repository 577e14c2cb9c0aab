package mount

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// readAheadKiB is how far the kernel reads ahead in a file of ours: as much as
// one request can bring. What FUSE does by itself is 128, so that a long read
// waits eight times as often.
const readAheadKiB = 1016

// readAhead sets how far the kernel reads ahead, which only root may. The mount
// works as well without.
func (m *Mount) readAhead() {
	if os.Geteuid() != 0 {
		return
	}
	dirfd, name, flags := unix.AT_FDCWD, m.point.path, unix.AT_STATX_DONT_SYNC|unix.AT_NO_AUTOMOUNT
	if m.tree != nil {
		dirfd, name, flags = int(m.tree.Fd()), "", flags|unix.AT_EMPTY_PATH
	}
	var st unix.Statx_t
	if unix.Statx(dirfd, name, flags, 0, &st) != nil {
		return
	}
	file := fmt.Sprintf("/sys/class/bdi/%d:%d/read_ahead_kb", st.Dev_major, st.Dev_minor)
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return // such as in a container, where /sys is read-only
	}
	_, _ = f.WriteString(strconv.Itoa(readAheadKiB))
	closeFile(f)
}
