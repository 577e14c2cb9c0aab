package mount

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// helperEnv makes the test binary play the part of another process.
const helperEnv = "ISOMOUNT_TEST_HELPER"

func TestMain(m *testing.M) {
	if role := os.Getenv(helperEnv); role != "" {
		os.Exit(play(role))
	}
	os.Exit(runTests(m))
}

// runTests fails if the tests leave a mount or a goroutine behind.
func runTests(m *testing.M) int {
	tmp, err := os.MkdirTemp("", "isomount-mount-test")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(tmp)
	os.Setenv("TMPDIR", tmp)
	code := m.Run()
	if left := mountsBelow(tmp); len(left) > 0 {
		fmt.Fprintf(os.Stderr, "mounts left behind: %v\n", left)
		for _, e := range left {
			_ = detach(context.Background(), e.Point)
		}
		code = 1
	}
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	return code
}

func mountsBelow(dir string) []Entry {
	table, err := ReadTable()
	if err != nil {
		return nil
	}
	return table.filter(func(e *Entry) bool { return within(e.Point, dir) })
}

// play does what a test wants of another process, says "ready" and waits to be
// killed or for its input to end.
func play(role string) int {
	name, arg, _ := strings.Cut(role, " ")
	err := map[string]func(string) error{
		"cwd": os.Chdir,
		"open": func(path string) error {
			_, err := unix.Open(path, unix.O_RDONLY, 0)
			return err
		},
		"map": func(path string) error {
			fd, err := unix.Open(path, unix.O_RDONLY, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			_, err = unix.Mmap(fd, 0, 1, unix.PROT_READ, unix.MAP_PRIVATE)
			return err
		},
		"unmount": func(dir string) error { return Unmount(context.Background(), dir, false) },
		"prepare": func(dir string) error {
			_, err := Prepare(context.Background(), dir, Options{})
			return err
		},
	}[name](arg)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("ready")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	return 0
}

// helper makes another process with a role.
func helper(role, arg string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), helperEnv+"="+role+" "+arg)
	return cmd
}

// startHelper starts another process with a role and waits until it is ready.
func startHelper(t *testing.T, role, arg string) *exec.Cmd {
	t.Helper()
	cmd := helper(role, arg)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	line, _ := bufio.NewReader(stdout).ReadString('\n')
	if line != "ready\n" {
		t.Fatalf("helper %s: got %q", role, line)
	}
	return cmd
}

// nobody is the user of the tests that must not run as root.
const nobody = 65534

// runAgain runs the tests that mount in a process with other rights.
func runAgain(t *testing.T, attr *syscall.SysProcAttr) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can become another user")
	}
	tmp, err := os.MkdirTemp("/tmp", "isomount-mount-test") //nolint:usetesting // the other user must get through the parents
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(tmp) })
	if err := os.Chown(tmp, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer exe.Close()
	cmd := exec.Command("/proc/self/fd/3", "-test.run=^TestReal", "-test.timeout=2m", "-test.v="+fmt.Sprint(testing.Verbose()))
	cmd.ExtraFiles = []*os.File{exe} // its path may be closed to the other user
	cmd.Dir = tmp
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp, "XDG_RUNTIME_DIR=")
	cmd.SysProcAttr = attr
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	} else {
		t.Logf("%s", out)
	}
	if left := mountsBelow(tmp); len(left) > 0 {
		t.Errorf("mounts left behind: %v", left)
	}
}

func TestAsUser(t *testing.T) {
	t.Parallel()
	runAgain(t, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}})
}

func TestInUserNamespace(t *testing.T) {
	t.Parallel()
	runAgain(t, &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: nobody, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: nobody, Size: 1}},
		AmbientCaps: []uintptr{unix.CAP_SYS_ADMIN},
		Credential:  &syscall.Credential{Uid: 1000, Gid: 1000, NoSetGroups: true},
	})
}

func tempPoint(t *testing.T) string {
	t.Helper()
	return filepath.Clean(t.TempDir())
}
