package mount

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A Holder is one reason why a mount is busy.
type Holder struct {
	PID     int    // 0 if it is no process
	Command string // its name, as in /proc/PID/comm
	User    string // name, or number
	How     Use
	Path    string // what it holds
}

// A Use is how a holder uses a mount.
type Use string

// Uses of a mount.
const (
	UseCwd   Use = "working directory"
	UseRoot  Use = "root directory"
	UseExe   Use = "program"
	UseFile  Use = "open file"
	UseMap   Use = "mapped file"
	UseMount Use = "another mount"
	UseLoop  Use = "loop device"

	UseNamespace Use = "mount namespace with"
)

func (h Holder) String() string {
	if h.PID == 0 {
		return fmt.Sprintf("%s (%s)", h.How, h.Path)
	}
	return fmt.Sprintf("%s (process %d of %s, %s %s)", h.Command, h.PID, h.User, h.How, h.Path)
}

// Limits of Holders.
const (
	maxHolders     = 64
	holdersTimeout = 3 * time.Second
)

// Holders lists who uses a mount: processes of which this process may know,
// mounts on top of it and loop devices. A process is listed once, by the first
// use that is found.
//
// The kernel makes those who ask about a process wait while that executes a
// program, and that may wait for a file system that does not answer: after a
// few seconds the list is what was found until then.
func Holders(ctx context.Context, e *Entry) []Holder {
	return holders(ctx, func(ctx context.Context, found chan<- Holder) {
		for _, h := range append(mountHolders(e), loopHolders(e)...) {
			send(ctx, found, h)
		}
		findProcesses(ctx, e, onMount, found)
	})
}

// holders collects what find sends until its time is up.
func holders(ctx context.Context, find func(context.Context, chan<- Holder)) (list []Holder) {
	ctx, cancel := context.WithTimeout(ctx, holdersTimeout)
	defer cancel()
	found := make(chan Holder)
	go func() {
		defer close(found)
		find(ctx, found)
	}()
	for len(list) < maxHolders {
		select {
		case h, ok := <-found:
			if !ok {
				return list
			}
			list = append(list, h)
		case <-ctx.Done():
			return list
		}
	}
	return list
}

// findProcesses sends the processes that it finds until ctx ends.
func findProcesses(ctx context.Context, e *Entry, on where, found chan<- Holder) {
	for _, dir := range processes() {
		if ctx.Err() != nil {
			return
		}
		if how, path, ok := useOf(dir, e, on); ok {
			send(ctx, found, holder(dir, how, path))
		}
	}
}

// processes lists the directories of processes.
func processes() []string {
	dirs, _ := filepath.Glob("/proc/[0-9]*") // the pattern is right
	return dirs
}

func send(ctx context.Context, found chan<- Holder, h Holder) {
	select {
	case found <- h:
	case <-ctx.Done():
	}
}

func mountHolders(e *Entry) (found []Holder) {
	table, err := ReadTable()
	if err != nil {
		return nil
	}
	for _, m := range table.on(e.ID) {
		found = append(found, Holder{How: UseMount, Path: m.Point})
	}
	return found
}

// loopHolders finds loop devices whose file lies on the mount. The path is all
// that the kernel tells.
func loopHolders(e *Entry) (found []Holder) {
	files, _ := filepath.Glob("/sys/block/loop*/loop/backing_file") // the pattern is right
	for _, f := range files {
		b, err := os.ReadFile(f)
		backing := strings.TrimSuffix(string(b), "\n")
		if err == nil && within(backing, e.Point) {
			dev := "/dev/" + filepath.Base(filepath.Dir(filepath.Dir(f)))
			found = append(found, Holder{How: UseLoop, Path: dev + " of " + backing})
		}
	}
	return found
}

// holder describes the process with the given /proc directory.
func holder(dir string, how Use, path string) Holder {
	pid, _ := strconv.Atoi(filepath.Base(dir)) // see processes
	comm, _ := os.ReadFile(dir + "/comm")      // an empty name if it has just ended
	return Holder{
		PID: pid, Command: strings.TrimSuffix(string(comm), "\n"), User: ownerOf(dir),
		How: how, Path: path,
	}
}

// useOf tells how the process with the given /proc directory uses a mount.
func useOf(dir string, e *Entry, on where) (Use, string, bool) {
	links := []struct {
		how  Use
		name string
	}{{UseCwd, "cwd"}, {UseRoot, "root"}, {UseExe, "exe"}}
	for _, l := range links {
		if path, ok := linkOn(dir+"/"+l.name, e, on); ok {
			return l.how, path, true
		}
	}
	fds, _ := os.ReadDir(dir + "/fd") // not ours to see, or just ended
	for _, fd := range fds {
		if path, ok := linkOn(dir+"/fd/"+fd.Name(), e, on); ok {
			return UseFile, path, true
		}
	}
	path, ok := mappedOn(dir+"/maps", e)
	return UseMap, path, ok
}

// A where tells whether a file is at the place in question.
type where func(file string, e *Entry) bool

// onMount tells whether a file is on a mount. Mount ids are compared, because
// the same file system may also be mounted elsewhere.
func onMount(file string, e *Entry) bool {
	id, err := mountID(unix.AT_FDCWD, file)
	return err == nil && id == e.ID
}

// onDevice tells whether a file is on the same file system as a mount, through
// whatever mount. It sends nothing to a FUSE server.
func onDevice(file string, e *Entry) bool {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, file, unix.AT_STATX_DONT_SYNC|unix.AT_NO_AUTOMOUNT, 0, &st)
	return err == nil && st.Dev_major == e.Major && st.Dev_minor == e.Minor
}

// linkOn tells whether a link of /proc/PID leads to a file there, and its path.
func linkOn(link string, e *Entry, on where) (string, bool) {
	if !on(link, e) {
		return "", false
	}
	path, err := os.Readlink(link)
	return path, err == nil
}

// mappedOn looks for a mapping of a file on the same file system. Lines are
// "address perms offset major:minor inode path" (proc_pid_maps(5)).
func mappedOn(maps string, e *Entry) (string, bool) {
	f, err := os.Open(maps)
	if err != nil {
		return "", false
	}
	defer closeFile(f)
	dev := fmt.Sprintf("%02x:%02x", e.Major, e.Minor)
	for s := bufio.NewScanner(f); s.Scan(); {
		fields := strings.Fields(s.Text())
		if len(fields) >= 6 && fields[3] == dev {
			return strings.Join(fields[5:], " "), true
		}
	}
	return "", false
}

func ownerOf(dir string) string {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return "?"
	}
	uid := strconv.FormatUint(uint64(st.Uid), 10)
	if u, err := user.LookupId(uid); err == nil {
		return u.Username
	}
	return uid
}
