package mount

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"golang.org/x/sys/unix"
)

// TestHelperError has the words of libfuse 3.14 to 3.17.
func TestHelperError(t *testing.T) {
	tests := []struct {
		said string
		want error
	}{
		{"fusermount3: option allow_other only allowed if 'user_allow_other' is set in /etc/fuse.conf\n", ErrAllowOther},
		{"fusermount3: too many FUSE filesystems mounted; mount_max=N can be set in /etc/fuse.conf\n", ErrLimit},
		{"fusermount3: fuse device not found, try 'modprobe fuse' first\n", ErrNoFuse},
		{"fusermount3: failed to open /dev/fuse: Permission denied\n", ErrPermission},
		{"fusermount3: user has no write access to mountpoint /usr\n", ErrPermission},
		{"fusermount3: mountpoint /tmp not owned by user\n", ErrPermission},
		{"fusermount3: mounting over filesystem type 0x00009fa0 is forbidden\n", ErrPermission},
		{"fusermount3: mount failed: Operation not permitted\n", ErrPermission},
		{"fusermount3: failed to unmount /m: Device or resource busy\n", unix.EBUSY},
		{"fusermount3: entry for /m not found in /etc/mtab\n", ErrNotYours},
		{"fusermount3: failed to access mountpoint /m: No such file or directory\n", ErrMissing},
		{"fusermount3: failed to access mountpoint /m: Transport endpoint is not connected\n", ErrDead},
		{"", fs.ErrInvalid},
	}
	for _, tt := range tests {
		err := helperError("/m", tt.said, fs.ErrInvalid)
		if !errors.Is(err, tt.want) {
			t.Errorf("%q: got %v, want %v", tt.said, err, tt.want)
		}
	}
	err := helperError("/m", "fusermount3: something new\n", fs.ErrInvalid)
	if got, want := err.Error(), "/m: fusermount3: something new"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestErrorSentences(t *testing.T) {
	tests := []struct {
		err  error
		want string
	}{
		{fail("/m", unix.ENOENT, nil), "/m: mount point does not exist; create it first, or leave it out to have one made"},
		{fail("/m", fmt.Errorf("open: %w", unix.EACCES), nil), "/m: no permission; name a directory that you may write to"},
		{fail("/m", unix.ELOOP, nil), "/m: too many levels of symbolic links"},
		{fail("/m", fail("/n", ErrDead, nil), nil), "/n: file system is dead: its server has ended; detach it with fusermount3 -u -z, or umount -l as root"},
		{&BusyError{Point: "/m"}, "/m is in use by a process of another user"},
		{
			&BusyError{Point: "/m", Holders: []Holder{
				{PID: 7, Command: "cat", User: "joe", How: UseFile, Path: "/m/x"}, {How: UseMount, Path: "/m/y"},
			}},
			"/m is in use by cat (process 7 of joe, open file /m/x), another mount (/m/y)",
		},
	}
	for _, tt := range tests {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
	for _, h := range hints {
		if errors.Is(fail("/m", h.err, nil), h.err) == false {
			t.Errorf("%v is lost", h.err)
		}
	}
}
