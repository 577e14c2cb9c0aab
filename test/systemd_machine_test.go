package test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// A machine is a systemd of a test's own, see systemd_boot.
type machine struct {
	t    *testing.T
	dir  string
	boot *exec.Cmd
}

// targets are those of systemd that our units name, or that systemd adds.
var targets = []string{
	"sysinit", "basic", "shutdown", "sockets", "umount", "local-fs", "local-fs-pre", "remote-fs", "multi-user", "default",
}

// testTarget is what a machine starts.
const testTarget = `[Unit]
Description=What the test starts
Requires=isomountd.socket
After=isomountd.socket local-fs.target
Wants=local-fs.target
`

// userUnit logs a user in, without PAM.
const userUnit = `[Service]
User=%i
Type=notify
ExecStart=/lib/systemd/systemd --user --unit=test.target
Environment=XDG_RUNTIME_DIR=/run/user/%i HOME=/tmp/home SYSTEMD_UNIT_PATH=/share/user-units:/usr/lib/systemd/user SYSTEMD_LOG_TARGET=null
Environment=PATH=/share/bin:/usr/bin:/bin
RuntimeDirectory=user/%i
RuntimeDirectoryMode=0700
Delegate=yes
KillMode=mixed
TimeoutStopSec=20
`

// bootMachine starts a machine with our units and an image, /share/disc.iso.
func bootMachine(t *testing.T, image, fstab string) *machine {
	t.Helper()
	needRoot(t)
	need(t, "unshare", "nsenter", "systemctl")
	if _, err := os.Stat("/lib/systemd/systemd"); err != nil {
		t.Skip("systemd is not installed")
	}
	m := &machine{t: t, dir: filepath.Join(t.TempDir(), "isomount-machine-"+fmt.Sprint(os.Getpid(), time.Now().UnixNano()))}
	m.dir = strings.ReplaceAll(m.dir, " ", "-")
	m.fill(image, fstab)
	m.start()
	return m
}

// fill makes the directory that the machine sees.
func (m *machine) fill(image, fstab string) {
	m.t.Helper()
	units, userUnits := filepath.Join(m.dir, "share/units"), filepath.Join(m.dir, "share/user-units")
	for _, d := range []string{"scratch", "share/bin", "share/sbin", "share/log"} {
		m.check(os.MkdirAll(filepath.Join(m.dir, d), 0o755))
	}
	m.check(os.Chmod(filepath.Join(m.dir, "share/log"), 0o777)) // users log there too
	for _, program := range []string{"isomount", "isomountd"} {
		b, err := os.ReadFile(filepath.Join(bin, program))
		m.check(err)
		m.write("share/bin/"+program, string(b), 0o755)
	}
	for _, helper := range []string{"mount.isomount", "mount.fuse.isomount"} {
		m.check(os.Symlink("/share/bin/isomount", filepath.Join(m.dir, "share/sbin", helper)))
	}
	b, err := os.ReadFile(image)
	m.check(err)
	m.write("share/disc.iso", string(b), 0o644)
	m.write("share/fstab", fstab, 0o644)
	m.units("../systemd/system", units)
	m.units("../systemd/user", userUnits)
	for _, dir := range []string{units, userUnits} {
		for _, target := range targets {
			m.writeTo(filepath.Join(dir, target+".target"), "[Unit]\nDefaultDependencies=no\n", 0o644)
		}
		m.writeTo(filepath.Join(dir, "test.target"), testTarget, 0o644)
	}
	m.writeTo(filepath.Join(units, "user@.service"), userUnit, 0o644)
}

// units copies our units, which log to a file here.
func (m *machine) units(from, to string) {
	m.t.Helper()
	files, err := filepath.Glob(from + "/*")
	m.check(err)
	for _, f := range files {
		b, err := os.ReadFile(f)
		m.check(err)
		text := strings.ReplaceAll(string(b), "/usr/bin/isomount", "/share/bin/isomount")
		text = strings.ReplaceAll(text, "[Service]\n", "[Service]\nStandardOutput=append:/share/log/%n.%U\nStandardError=append:/share/log/%n.%U\n")
		m.writeTo(filepath.Join(to, filepath.Base(f)), text, 0o644)
	}
}

func (m *machine) write(name, text string, mode os.FileMode) {
	m.t.Helper()
	m.writeTo(filepath.Join(m.dir, name), text, mode)
}

func (m *machine) writeTo(path, text string, mode os.FileMode) {
	m.t.Helper()
	m.check(os.MkdirAll(filepath.Dir(path), 0o755))
	m.check(os.WriteFile(path, []byte(text), mode))
}

func (m *machine) check(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

// start boots, and waits until everything is up.
func (m *machine) start() {
	m.t.Helper()
	boot, err := filepath.Abs("systemd_boot")
	m.check(err)
	m.boot = exec.Command(boot, m.dir)
	out := new(strings.Builder)
	m.boot.Stdout, m.boot.Stderr = out, out
	m.boot.WaitDelay = 5 * time.Second // others have its output too
	m.check(m.boot.Start())
	m.t.Cleanup(m.stop)
	within(m.t, 30*time.Second, "systemd runs", func() bool {
		state, _ := m.try("systemctl", "is-system-running")
		return strings.Contains(state, "running") || strings.Contains(state, "degraded")
	})
}

// stop pulls the plug.
func (m *machine) stop() {
	if m.t.Failed() {
		logs, _ := filepath.Glob(filepath.Join(m.dir, "share/log/*"))
		for _, l := range logs {
			b, _ := os.ReadFile(l)
			m.t.Logf("%s:\n%s", filepath.Base(l), b)
		}
	}
	_ = m.boot.Process.Kill()
	_ = m.boot.Wait()
	for _, root := range []string{"/sys/fs/cgroup/unified", "/sys/fs/cgroup"} {
		group := filepath.Join(root, filepath.Base(m.dir))
		within(m.t, 10*time.Second, "the control groups are empty", func() bool { return removeGroup(group) })
	}
}

// removeGroup removes a control group and those in it.
func removeGroup(group string) bool {
	var dirs []string
	_ = filepath.WalkDir(group, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	for _, d := range slices.Backward(dirs) {
		_ = os.Remove(d)
	}
	_, err := os.Lstat(group)
	return errors.Is(err, fs.ErrNotExist)
}

// init is the process id of systemd outside.
func (m *machine) init() string {
	pid := m.boot.Process.Pid
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	word, _, _ := strings.Cut(string(b), " ")
	return word
}

// try runs a program in the machine.
func (m *machine) try(words ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	in := m.init()
	if in == "" {
		return "", errors.New("systemd does not run")
	}
	args := append([]string{"-a", "-t", in, "env", "-i", "PATH=/share/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}, words...)
	cmd := exec.CommandContext(ctx, "nsenter", args...)
	cmd.WaitDelay = time.Second // nsenter has a child
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// must runs a program in the machine, which must succeed.
func (m *machine) must(words ...string) string {
	m.t.Helper()
	out, err := m.try(words...)
	if err != nil {
		m.t.Fatalf("%s: %v: %s", strings.Join(words, " "), err, out)
	}
	return out
}

// asAlice runs a program as a user who is logged in.
func (m *machine) asAlice(words ...string) string {
	m.t.Helper()
	id := fmt.Sprint(alice)
	return m.must(append([]string{"setpriv", "--reuid=" + id, "--regid=" + id, "--clear-groups", "env", "XDG_RUNTIME_DIR=/run/user/" + id, "HOME=/tmp/home"}, words...)...)
}

// show returns a property of our service.
func (m *machine) show(property string) string {
	m.t.Helper()
	return m.must("systemctl", "show", "-p", property, "--value", "isomountd.service")
}

// ours lists the mounts of ours in the machine.
func (m *machine) ours() string {
	out, _ := m.try("grep", "fuse.isomount", "/proc/self/mounts")
	return out
}
