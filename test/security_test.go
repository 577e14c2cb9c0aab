package test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isomount/isomount/pkg/ipc"
	"github.com/isomount/isomount/pkg/mount"
)

// The daemon is told paths of clients and uses none of them in a system call,
// whatever it is asked for and whichever process serves.
func TestDaemonUsesNoPathOfAClient(t *testing.T) {
	needRoot(t)
	need(t, "strace")
	image := makeImage(t, map[string]string{"a": "content"})
	d := startKept(t, 0)
	point := filepath.Join(d.dir, "point-of-a-client")
	if err := os.Mkdir(point, 0o755); err != nil {
		t.Fatal(err)
	}
	trace := filepath.Join(t.TempDir(), "trace")
	tracer := exec.Command("strace", "-f", "-o", trace, "-e", "trace=%file,mount_setattr,move_mount,fsopen", "-s", "300",
		"-p", strconv.Itoa(d.cmd.Process.Pid), "-p", strconv.Itoa(d.child()))
	if err := tracer.Start(); err != nil {
		t.Fatal(err)
	}
	within(t, 10*time.Second, "the daemon is traced", func() bool { return isTraced(d.cmd.Process.Pid) && isTraced(d.child()) })
	d.must("mount", image, point)
	d.must("info", "0")
	d.must("list", "--json")
	d.killChild()
	if got, err := os.ReadFile(filepath.Join(point, "a")); err != nil || string(got) != "content" {
		t.Errorf("got %q, %v", got, err)
	}
	d.must("unmount", image)
	if out, code := d.client("mount", filepath.Join(d.dir, "point-of-a-client", "none.iso"), point); code == 0 {
		t.Errorf("an image that is not there: %s", out)
	}
	_ = tracer.Process.Signal(os.Interrupt)
	_ = tracer.Wait() // it tells of the interrupt
	b, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(b, []byte("execve(")) {
		t.Errorf("the trace does not even show how the second process was started:\n%s", b)
	}
	for line := range strings.Lines(string(b)) {
		if strings.Contains(line, filepath.Dir(image)) || strings.Contains(line, "point-of-a-client") {
			t.Errorf("the daemon uses a path of a client: %s", line)
		}
	}
}

func isTraced(pid int) bool {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return bytes.Contains(b, []byte("TracerPid:")) && !bytes.Contains(b, []byte("TracerPid:\t0\n"))
}

// Descriptors that are not what they should be are refused, whatever they are,
// and closed; those that are taken do not outlive an exec.
func TestPassedDescriptors(t *testing.T) {
	needRoot(t)
	image := makeImage(t, map[string]string{"a": "content"})
	d := startDaemon(t, 0)
	client, err := ipc.Dial(t.Context(), filepath.Join(d.dir, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	open := func(path string, flags int) *os.File {
		t.Helper()
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		f := os.NewFile(uintptr(fd), path)
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	pipe, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	defer w.Close()
	good := open(image, unix.O_RDONLY)
	refuse := func(name string, image, device *os.File) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := client.Mount(ctx, &ipc.MountRequest{Image: "x", Mountpoint: "/x"}, image, device); err == nil || ctx.Err() != nil {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := client.Ping(t.Context()); err != nil { // so that the daemon has the connection
		t.Fatal(err)
	}
	before := descriptors(t, d.cmd.Process.Pid)
	for name, f := range map[string]*os.File{
		"a directory": open(d.dir, unix.O_RDONLY|unix.O_DIRECTORY), "a pipe": pipe, "a device": open("/dev/null", unix.O_RDWR),
		"write-only": open(image, unix.O_WRONLY), "O_PATH": open(image, unix.O_PATH),
	} {
		m, err := mount.Prepare(t.Context(), t.TempDir(), mount.Options{})
		if err != nil {
			t.Skip(err)
		}
		refuse("as image "+name, f, m.Device())
		if err := m.Abort(); err != nil {
			t.Error(err)
		}
	}
	for name, f := range map[string]*os.File{
		"a file": good, "another device": open("/dev/null", unix.O_RDWR), "a pipe": pipe,
		"read-only": open("/dev/fuse", unix.O_RDONLY), "of no mount": open("/dev/fuse", unix.O_RDWR),
	} {
		refuse("as device "+name, good, f)
	}
	within(t, 5*time.Second, "the daemon has closed them", func() bool { return len(descriptors(t, d.cmd.Process.Pid)) <= len(before) })
	point := d.mount(image)
	own := descriptors(t, os.Getpid())
	for fd, flags := range descriptors(t, d.cmd.Process.Pid) {
		if _, ours := own[fd]; ours && own[fd]&unix.O_CLOEXEC == 0 {
			continue // it may have come with this process
		}
		if flags&unix.O_CLOEXEC == 0 {
			t.Errorf("descriptor %d of the daemon is not close-on-exec", fd)
		}
	}
	d.must("unmount", point)
}

// descriptors lists the descriptors of a process with their flags.
func descriptors(t *testing.T, pid int) map[int]int {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	if err != nil || len(files) == 0 {
		t.Fatal("no descriptors: ", err)
	}
	all := map[int]int{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // closed meanwhile
		}
		_, rest, _ := strings.Cut(string(b), "flags:")
		var flags int
		if _, err := fmt.Sscanf(rest, "%o", &flags); err != nil {
			t.Fatalf("%s: %s", file, b)
		}
		fd, err := strconv.Atoi(filepath.Base(file))
		if err != nil {
			t.Fatal(err)
		}
		all[fd] = flags
	}
	return all
}

// Every mount can neither be written, nor run set-user-id programs, nor open
// devices, nor be entered against its permissions; others get in on request.
func TestFlagsOfEveryMount(t *testing.T) {
	needRoot(t)
	need(t, "fusermount3")
	image := makeImage(t, map[string]string{"a": "content"})
	for name, uid := range map[string]int{"root": 0, "a user": alice} {
		d := startDaemon(t, uid)
		plain, open := d.mount(image), ""
		if uid == 0 { // users need a line in /etc/fuse.conf
			open = filepath.Join(d.dir, "open")
			if err := os.Mkdir(open, 0o755); err != nil {
				t.Fatal(err)
			}
			d.must("mount", image, open, "-o", "allow_other,dev,suid")
		}
		table, err := mount.ReadTable()
		if err != nil {
			t.Fatal(err)
		}
		for _, point := range []string{plain, open} {
			if point == "" {
				continue
			}
			e := table.At(point)
			for _, want := range []string{"ro", "nosuid", "nodev"} {
				if !hasOption(e.Options, want) {
					t.Errorf("%s: mounted with %s, want %s", name, e.Options, want)
				}
			}
			if !hasOption(e.Super, "ro") || !hasOption(e.Super, "default_permissions") {
				t.Errorf("%s: mounted with %s", name, e.Super)
			}
			if got := hasOption(e.Super, "allow_other"); got != (point == open) {
				t.Errorf("%s: allow_other is %v: %s", name, got, e.Super)
			}
		}
		d.must("unmount", "--all")
	}
}

func hasOption(list, option string) bool { return strings.Contains(","+list+",", ","+option+",") }

// floodVariable has the test binary connect to the socket that it names, again
// and again, and send what makes no sense.
const floodVariable = "ISOMOUNT_TEST_FLOOD"

const floodConnections = 3000

// runFlood holds as many connections as it is given until its standard input is
// closed, and prints how many it tried.
func runFlood(socket string) int {
	limit := syscall.Rlimit{Cur: floodConnections + 100, Max: floodConnections + 100}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		fmt.Println(err)
		return 1
	}
	junk := []string{"", "{", "\x00", strings.Repeat("x", 5000), `{"method":"io.isomount.List"}` + "\x00"}
	var conns []net.Conn
	for i := range floodConnections {
		c, err := net.DialTimeout("unix", socket, 10*time.Second)
		if err != nil {
			fmt.Println(err)
			return 1
		}
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		_, _ = io.WriteString(c, junk[i%len(junk)]) // it may have been hung up on already
		conns = append(conns, c)
	}
	fmt.Println(len(conns))
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// A user who connects thousands of times and sends junk keeps neither another
// user nor readers from being served.
func TestFloodOfConnections(t *testing.T) {
	needRoot(t)
	image := makeImage(t, map[string]string{"a": "content"})
	d := startDaemon(t, 0)
	if err := errors.Join(os.Chmod(d.dir, 0o755), os.Chmod(d.dir+"/socket", 0o666)); err != nil {
		t.Fatal(err)
	}
	point := d.mount(image)
	before := descriptors(t, d.cmd.Process.Pid)
	program := filepath.Join(bin, "flood")
	b, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, b, 0o755); err != nil { //nolint:gosec // another user runs it
		t.Fatal(err)
	}
	flood := exec.Command(program)
	flood.Env = append(os.Environ(), floodVariable+"="+d.dir+"/socket")
	flood.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: alice, Gid: alice}}
	in, err := flood.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := flood.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := flood.Start(); err != nil {
		t.Fatal(err)
	}
	bobLists := func() {
		t.Helper()
		if out, err := asUser(bob, "env", "ISOMOUNT_SOCKET="+d.dir+"/socket", filepath.Join(bin, "isomount"), "list"); err != nil || !strings.Contains(out, "no drives") {
			t.Errorf("bob: %v: %s", err, out)
		}
	}
	for range 10 {
		bobLists()
		if got, err := os.ReadFile(filepath.Join(point, "a")); err != nil || string(got) != "content" {
			t.Errorf("a reader: %q, %v", got, err)
		}
		dropCaches(t, point)
	}
	if err := out.(*os.File).SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	tried, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("not all connections were tried: %v", err)
	}
	bobLists()
	d.must("list")
	_ = in.Close()
	if err := flood.Wait(); err != nil || strings.TrimSpace(tried) != strconv.Itoa(floodConnections) {
		t.Errorf("the flood: %v, %s", err, tried)
	}
	within(t, 20*time.Second, "the daemon has let go", func() bool { return len(descriptors(t, d.cmd.Process.Pid)) <= len(before) })
	d.must("unmount", point)
}
