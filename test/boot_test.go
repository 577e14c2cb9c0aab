package test

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// isolinux is a directory with the parts of isolinux, and of an image that it
// boots, made by a program that is not ours.
func isolinux(t *testing.T) (dir, mbr string) {
	t.Helper()
	mbr = "/usr/lib/ISOLINUX/isohdpfx.bin"
	dir = t.TempDir()
	for name, from := range map[string]string{
		"isolinux.bin": "/usr/lib/ISOLINUX/isolinux.bin", "ldlinux.c32": "/usr/lib/syslinux/modules/bios/ldlinux.c32",
	} {
		b, err := os.ReadFile(from)
		if err != nil {
			if os.Getenv("CI") != "" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
		writeFile(t, filepath.Join(dir, name), b)
	}
	writeFile(t, filepath.Join(dir, "isolinux.cfg"), []byte("SERIAL 0\nPROMPT 1\nDEFAULT none\n"))
	writeFile(t, filepath.Join(dir, "efi.img"), make([]byte, 100_000))
	return dir, mbr
}

func writeFile(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// outputOf runs a program and returns what it prints.
func outputOf(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// boots starts a machine and waits for a line that begins with text on its serial
// port.
func boots(t *testing.T, text string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	args = append([]string{
		"-M", "pc", "-accel", "tcg", "-m", "64", "-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio",
	}, args...)
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), text) {
			cancel()
			_ = cmd.Wait() // it was killed
			return
		}
	}
	t.Errorf("%q: the machine has not booted: %v, %v", args, lines.Err(), cmd.Wait())
}

// TestRebuiltBoots makes new images of bootable ones: with the boot images among
// the files, and hidden.
func TestRebuiltBoots(t *testing.T) {
	need(t, "xorriso", "qemu-system-x86_64")
	dir, mbr := isolinux(t)
	// Another file before all others, so that everything has to move.
	hidden := []string{"-hide", "isolinux.bin", "-hide", "efi.img", "-hide-joliet", "isolinux.bin", "-hide-joliet", "efi.img"}
	for name, more := range map[string][]string{"files": nil, "hidden": hidden} {
		t.Run(name, func(t *testing.T) {
			out := t.TempDir()
			old, rebuilt := filepath.Join(out, "old.iso"), filepath.Join(out, "new.iso")
			args := append([]string{
				"-as", "mkisofs", "-quiet", "-o", old, "-J", "-R", "-V", "BOOT", "-isohybrid-mbr", mbr,
				"-b", "isolinux.bin", "-c", "boot.cat", "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table",
				"-eltorito-alt-boot", "-e", "efi.img", "-no-emul-boot",
			}, more...)
			outputOf(t, "xorriso", append(args, dir)...)
			outputOf(t, filepath.Join(bin, "isomount"), "convert", "--rebuild", old, "-o", rebuilt)
			report := outputOf(t, "xorriso", "-indev", rebuilt, "-report_el_torito", "plain", "-report_system_area", "plain")
			want := []string{"cyl-align-on", "1  BIOS  y   none  0x0000  0x00      4", "2  UEFI  y   none"}
			if name == "files" {
				want = append(want, "MBR isohybrid", "cat path : /boot.cat", "img path :   1  /isolinux.bin", "img path :   2  /efi.img")
			}
			for _, w := range want {
				if !strings.Contains(report, w) {
					t.Errorf("xorriso does not say %q:\n%s", w, report)
				}
			}
			boots(t, "ISOLINUX", "-cdrom", rebuilt, "-boot", "d")
			boots(t, "ISOLINUX", "-drive", "format=raw,snapshot=on,file="+rebuilt)
		})
	}
}
