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
func Holders(ctx context.Context, e *Entry) (list []Holder) {
	ctx, cancel := context.WithTimeout(ctx, holdersTimeout)
	defer cancel()
	found := make(chan Holder)
	go func() {
		defer close(found)
		findHolders(ctx, e, found)
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

// findHolders sends what it finds until ctx ends.
func findHolders(ctx context.Context, e *Entry, found chan<- Holder) {
	for _, h := range append(mountHolders(e), loopHolders(e)...) {
		send(ctx, found, h)
	}
	pids, _ := filepath.Glob("/proc/[0-9]*") // the pattern is right
	for _, dir := range pids {
		if ctx.Err() != nil {
			return
		}
		if h, ok := processHolder(dir, e); ok {
			send(ctx, found, h)
		}
	}
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

// processHolder tells how the process with the given /proc directory uses a mount.
func processHolder(dir string, e *Entry) (Holder, bool) {
	how, path, ok := useOf(dir, e)
	if !ok {
		return Holder{}, false
	}
	pid, err := strconv.Atoi(filepath.Base(dir))
	if err != nil {
		return Holder{}, false
	}
	comm, _ := os.ReadFile(dir + "/comm") // an empty name if it has just ended
	return Holder{
		PID: pid, Command: strings.TrimSuffix(string(comm), "\n"), User: ownerOf(dir),
		How: how, Path: path,
	}, true
}

func useOf(dir string, e *Entry) (Use, string, bool) {
	links := []struct {
		how  Use
		name string
	}{{UseCwd, "cwd"}, {UseRoot, "root"}, {UseExe, "exe"}}
	for _, l := range links {
		if path, ok := linkOn(dir+"/"+l.name, e); ok {
			return l.how, path, true
		}
	}
	fds, _ := os.ReadDir(dir + "/fd") // not ours to see, or just ended
	for _, fd := range fds {
		if path, ok := linkOn(dir+"/fd/"+fd.Name(), e); ok {
			return UseFile, path, true
		}
	}
	path, ok := mappedOn(dir+"/maps", e)
	return UseMap, path, ok
}

// linkOn tells whether a link of /proc/PID leads to a file on the mount, and
// its path. Mount ids are compared, because the same file system may also be
// mounted elsewhere.
func linkOn(link string, e *Entry) (string, bool) {
	id, err := mountID(unix.AT_FDCWD, link)
	if err != nil || id != e.ID {
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
