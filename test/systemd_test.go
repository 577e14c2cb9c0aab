package test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// The system's daemon under a real systemd: started by its socket, with drives
// that outlive every way in which it can end but a stop, and without any
// privilege.
func TestSystemd(t *testing.T) {
	image := makeImage(t, map[string]string{"a": "content"})
	m := bootMachine(t, image, "")
	m.must("mkdir", "/tmp/m")
	if state := m.show("ActiveState"); state != "inactive" {
		t.Errorf("before the first client the daemon is %s", state)
	}
	m.must("isomount", "mount", "/share/disc.iso", "/tmp/m")
	m.must("isomount", "mount", "/share/disc.iso")
	if n := m.show("NFileDescriptorStore"); n != "7" {
		t.Errorf("%s descriptors are kept, want 7", n)
	}
	pid := func() string { return m.show("MainPID") }
	t.Run("sandbox", func(t *testing.T) { checkSandbox(t, m, pid()) })
	for _, c := range []struct {
		name string
		do   func() []string
	}{
		{"kill", func() []string { return []string{"kill", "-KILL", pid()} }},
		{"terminate", func() []string { return []string{"kill", "-TERM", pid()} }},
		{"abort", func() []string { return []string{"kill", "-ABRT", pid()} }},
		{"restart", func() []string { return []string{"systemctl", "restart", "isomountd"} }},
		{"restart by the client", func() []string { return []string{"isomount", "daemon", "--restart"} }},
		{"reexec of systemd", func() []string { return []string{"systemctl", "daemon-reexec"} }},
		{"kill after that", func() []string { return []string{"kill", "-KILL", pid()} }},
		{"reload of systemd", func() []string { return []string{"systemctl", "daemon-reload"} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			m.must(c.do()...)
			within(t, 10*time.Second, "the daemon runs", func() bool {
				return m.show("SubState") == "running"
			})
			if got := m.must("cat", "/tmp/m/a", "/run/isomount/mnt/DISC/a"); got != "contentcontent" {
				t.Errorf("read %q", got)
			}
			within(t, 5*time.Second, "both drives are listed", func() bool {
				return strings.Count(m.must("isomount", "list"), "mounted") == 2
			})
		})
	}
	t.Run("settings", func(t *testing.T) { checkSettings(t, m) })
	m.must("isomount", "unmount", "/tmp/m")
	if n := m.show("NFileDescriptorStore"); n != "4" {
		t.Errorf("with one drive %s descriptors are kept, want 4", n)
	}
	m.must("isomount", "mount", "/share/disc.iso", "/tmp/m")
	m.must("systemctl", "stop", "isomountd.service")
	if left := m.ours(); left != "" {
		t.Errorf("a stop left\n%s", left)
	}
	if _, err := m.try("ls", "/run/isomount/mnt/DISC"); err == nil {
		t.Error("a stop left the mount point that was made")
	}
	if n := m.show("NFileDescriptorStore"); n != "0" {
		t.Errorf("after a stop %s descriptors are kept", n)
	}
	// And its socket starts it again.
	if out := m.must("isomount", "list"); !strings.Contains(out, "no drives") {
		t.Error(out)
	}
}

// checkSettings changes the configuration of a daemon that has two drives.
func checkSettings(t *testing.T, m *machine) {
	t.Helper()
	m.must("mkdir", "/tmp/more")
	m.must("sh", "-c", "echo max-drives = 2 >/etc/isomount/isomountd.toml")
	m.must("systemctl", "reload", "isomountd")
	refused := func() bool {
		out, err := m.try("isomount", "mount", "/share/disc.iso", "/tmp/more")
		if err == nil {
			m.must("isomount", "unmount", "/tmp/more")
		}
		return err != nil && err.Error() == "exit status 10" && strings.Contains(out, "too many drives")
	}
	within(t, 10*time.Second, "the limit holds", refused)
	m.must("systemctl", "restart", "isomountd")
	if !refused() {
		t.Error("after a restart the limit does not hold")
	}
	pid := m.show("MainPID")
	m.must("sh", "-c", "echo nonsense >/etc/isomount/isomountd.toml")
	m.must("systemctl", "reload", "isomountd")
	if !refused() {
		t.Error("a file that makes no sense has changed the limit")
	}
	m.must("rm", "/etc/isomount/isomountd.toml")
	m.must("systemctl", "reload", "isomountd")
	within(t, 10*time.Second, "the limit is gone", func() bool { return !refused() })
	if now := m.show("MainPID"); now != pid || m.show("SubState") != "running" {
		t.Errorf("process %s was replaced by %s, which is %s", pid, now, m.show("SubState"))
	}
}

// checkSandbox looks at what the kernel says of the daemon.
func checkSandbox(t *testing.T, m *machine, pid string) {
	t.Helper()
	status := m.must("cat", "/proc/"+pid+"/status")
	for _, want := range []string{
		"CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "CapBnd:\t0000000000000000", "CapAmb:\t0000000000000000",
		"NoNewPrivs:\t1", "Seccomp:\t2",
	} {
		if !strings.Contains(status, want+"\n") {
			t.Errorf("no %q in\n%s", want, status)
		}
	}
	if strings.Contains(status, "Uid:\t0\t") {
		t.Error("the daemon runs as root")
	}
	// It sees no files of users, so it cannot open any that a client names.
	if out, err := m.try("nsenter", "-t", pid, "-m", "ls", "/tmp/m"); err == nil {
		t.Errorf("the daemon sees the mount point of a client: %s", out)
	}
}

// A user's own daemon, in a login without PAM: drives live through a restart
// and end with the login.
func TestSystemdUser(t *testing.T) {
	image := makeImage(t, map[string]string{"a": "content"})
	m := bootMachine(t, image, "")
	m.must("install", "-d", "-o", fmt.Sprint(alice), "/tmp/home", "/tmp/home/mnt")
	login := fmt.Sprintf("user@%d.service", alice)
	m.must("systemctl", "start", login)
	m.asAlice("isomount", "mount", "/share/disc.iso", "/tmp/home/mnt")
	m.asAlice("isomount", "mount", "/share/disc.iso")
	pid := m.asAlice("systemctl", "--user", "show", "-p", "MainPID", "--value", "isomountd.service")
	if pid == "0" {
		t.Fatal("the user's daemon was not started by its socket")
	}
	if status := m.must("cat", "/proc/"+pid+"/status"); !strings.Contains(status, "CapEff:\t0000000000000000\n") ||
		!strings.Contains(status, "NoNewPrivs:\t1\n") || !strings.Contains(status, "Seccomp:\t2\n") {
		t.Errorf("the sandbox of the user's daemon:\n%s", status)
	}
	for _, do := range [][]string{{"kill", "-KILL", pid}, {"systemctl", "--user", "restart", "isomountd"}} {
		m.asAlice(do...)
		if got := m.asAlice("cat", "/tmp/home/mnt/a"); got != "content" {
			t.Errorf("%s: read %q", do[0], got)
		}
	}
	m.must("systemctl", "stop", login)
	if left := m.ours(); left != "" {
		t.Errorf("the end of the login left\n%s", left)
	}
}

// Drives come back: root's at boot, from /etc/fstab as well as from drives.d, a
// user's at login. What cannot be mounted does not keep the others.
func TestSystemdRestore(t *testing.T) {
	image := makeImage(t, map[string]string{"a": "content"})
	fstab := `/share/disc.iso /tmp/fstab fuse.isomount dev,suid,noauto,x-systemd.requires=isomountd.socket,uid=7 0 0
/share/none.iso /tmp/none isomount noauto,nofail 0 0
`
	m := bootMachine(t, image, fstab)
	m.must("mkdir", "/tmp/fstab", "/tmp/none", "/tmp/m")
	m.must("mount", "/tmp/fstab")
	if got := m.must("cat", "/tmp/fstab/a"); got != "content" {
		t.Errorf("mount of a line of fstab: %q", got)
	}
	if got := m.must("stat", "-c", "%u", "/tmp/fstab/a"); got != "7" {
		t.Errorf("uid= of fstab: the owner is %s", got)
	}
	m.must("umount", "/tmp/fstab")
	m.must("systemctl", "start", "tmp-fstab.mount")
	if got := m.ours(); !strings.Contains(got, "/tmp/fstab fuse.isomount ro,nosuid,nodev") {
		t.Errorf("the mount unit: %s", got)
	}
	m.must("systemctl", "stop", "tmp-fstab.mount")
	if out, err := m.try("mount", "/tmp/none"); err == nil || err.Error() != "exit status 32" || !strings.Contains(out, "none.iso") {
		t.Errorf("mount of an image that is missing: %v: %s", err, out)
	}
	if out, err := m.try("mount.isomount", "/share/disc.iso"); err == nil || err.Error() != "exit status 1" {
		t.Errorf("a wrong call: %v: %s", err, out)
	}
	m.must("isomount", "mount", "--persist", "/share/disc.iso", "/tmp/m")
	m.must("cp", "/share/disc.iso", "/tmp/late.iso")
	m.must("isomount", "mount", "/tmp/late.iso")
	m.must("isomount", "persist", "/tmp/late.iso")
	m.must("systemctl", "stop", "isomountd.service")
	m.must("mv", "/tmp/late.iso", "/tmp/hidden.iso")
	m.must("systemctl", "start", "isomount-restore.service") // returns though one is not there
	if got := m.must("isomount", "wait", "/tmp/m", "--timeout", "5s"); got != "/tmp/m" {
		t.Errorf("wait: %s", got)
	}
	if got := m.must("cat", "/tmp/m/a"); got != "content" {
		t.Errorf("after boot: %q", got)
	}
	if out, err := m.try("isomount", "wait", "/tmp/late.iso", "--timeout", "100ms"); err == nil {
		t.Errorf("a drive without an image is there: %s", out)
	}
	m.must("mv", "/tmp/hidden.iso", "/tmp/late.iso")
	m.must("isomount", "wait", "/tmp/late.iso", "--timeout", "15s")
	m.must("isomount", "forget", "/tmp/late.iso")
	if got := m.must("ls", "/etc/isomount/drives.d"); got != "disc.toml" {
		t.Errorf("drives.d holds %s", got)
	}
}

// What the units promise of the sandbox stays as good as it is.
func TestSystemdSecurity(t *testing.T) {
	need(t, "systemd-analyze")
	dir := t.TempDir()
	b, err := os.ReadFile("../systemd/system/isomountd.service")
	if err != nil {
		t.Fatal(err)
	}
	unit := dir + "/isomountd.service"
	if err := os.WriteFile(unit, []byte(strings.ReplaceAll(string(b), "/usr/bin/isomount", bin+"/isomount")), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := asUser(0, "systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=5", unit)
	if err != nil {
		t.Errorf("the exposure is more than 0.5: %v\n%s", err, out)
	}
}
