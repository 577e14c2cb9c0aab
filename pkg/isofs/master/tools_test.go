package master

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// need finds a program that is not ours. Without it the test is skipped, but in
// CI it fails: there all of them must be installed.
func need(t *testing.T, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("%s is not installed", names[0])
	}
	t.Skipf("%s is not installed", names[0])
	return ""
}

// run runs a program and returns what it prints.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TZ=UTC")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %q: %v\n%s%s", name, args, err, stdout.Bytes(), stderr.Bytes())
	}
	return stdout.String() + stderr.String()
}

// toolTree makes a directory of whatever the programs can read: links of over
// 1,000 characters xorriso and isoinfo cannot.
func toolTree(t *testing.T) string {
	t.Helper()
	root := source(t, "hello.txt", "hard = hello.txt", "dir/sub/file", "empty/", "link -> dir/sub/file", "abs -> /usr/lib", "up -> ../x/./y",
		"UPPER", "upper", ".hidden", "größe", "日本", strings.Repeat("n", 253), "cut/"+strings.Repeat("c", 80)+"1", "cut/"+strings.Repeat("c", 80)+"2")
	dir := root
	for i := range 12 {
		dir = filepath.Join(dir, fmt.Sprintf("deep%02d", i))
		must(t, os.Mkdir(dir, 0o755))
		must(t, os.WriteFile(filepath.Join(dir, "f"), []byte(dir), 0o644))
	}
	must(t, os.WriteFile(filepath.Join(root, "zero"), nil, 0o600))
	must(t, os.WriteFile(filepath.Join(root, "large"), noise(9, 300_001), 0o4755))
	must(t, os.Chmod(filepath.Join(root, "dir"), 0o750))
	must(t, unix.Mkfifo(filepath.Join(root, "fifo"), 0o620))
	if os.Geteuid() == 0 {
		must(t, unix.Mknod(filepath.Join(root, "chr"), unix.S_IFCHR|0o640, int(unix.Mkdev(8, 130))))
		must(t, unix.Mknod(filepath.Join(root, "blk"), unix.S_IFBLK|0o604, int(unix.Mkdev(4095, 255))))
		must(t, os.Lchown(filepath.Join(root, "zero"), 1234, 70_000))
	}
	setTimes(t, root)
	return root
}

// setTimes gives everything a time of its own, with no fraction of a second.
func setTimes(t *testing.T, root string) {
	t.Helper()
	var paths []string
	must(t, filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		paths = append(paths, path)
		return err
	}))
	for i := range paths {
		sec := int64(1_000_000_000 + len(paths) - i)
		ts := []unix.Timespec{{Sec: sec}, {Sec: sec}}
		must(t, unix.UtimesNanoAt(unix.AT_FDCWD, paths[len(paths)-1-i], ts, unix.AT_SYMLINK_NOFOLLOW))
	}
}

// imageFile writes an image of a directory to a file.
func imageFile(t *testing.T, root string, opt Options) string {
	t.Helper()
	tree, notes, err := Scan(t.Context(), []Source{{Path: root}}, ScanOptions{})
	must(t, err)
	opt.Date = when
	path := filepath.Join(t.TempDir(), "image.iso")
	must(t, os.WriteFile(path, imageOf(t, tree, opt), 0o644))
	if len(notes) > 0 {
		t.Errorf("notes %v", notes)
	}
	return path
}

// details of a directory tree that two of them are compared by.
func details(t *testing.T, root string, leave ...string) map[string]string {
	t.Helper()
	m := map[string]string{}
	must(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		must(t, err)
		var st unix.Stat_t
		must(t, unix.Lstat(path, &st))
		text := fmt.Sprintf("%o %d:%d links=%d", st.Mode, st.Uid, st.Gid, st.Nlink)
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			b, err := os.ReadFile(path)
			must(t, err)
			text += fmt.Sprintf(" mtime=%d %.32q %d bytes", st.Mtim.Sec, b, len(b))
		case unix.S_IFLNK:
			target, err := os.Readlink(path)
			must(t, err)
			text += " " + target
		case unix.S_IFDIR:
			text += fmt.Sprintf(" mtime=%d", st.Mtim.Sec)
		case unix.S_IFCHR, unix.S_IFBLK:
			text += fmt.Sprintf(" %d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
		}
		rel, err := filepath.Rel(root, path)
		must(t, err)
		m[rel] = text
		return nil
	}))
	for _, name := range leave {
		delete(m, name)
	}
	return m
}

func TestXorrisoExtracts(t *testing.T) {
	xorriso := need(t, "xorriso")
	root := toolTree(t)
	setXattrs(t, root)
	iso := imageFile(t, root, Options{})
	out := filepath.Join(t.TempDir(), "out")
	run(t, xorriso, "-osirrox", "on:sort_lba_off:device_files", "-acl", "on", "-xattr", "any", "-hardlinks", "on", "-indev", iso, "-extract", "/", out)
	var leave []string
	if os.Geteuid() != 0 {
		leave = []string{"zero"}
	}
	if diff := cmp.Diff(details(t, root, leave...), details(t, out, leave...)); diff != "" {
		t.Errorf("tree (-want +got):\n%s", diff)
	}
	for _, name := range []string{"hello.txt", "dir", "zero"} {
		if diff := cmp.Diff(xattrsOf(t, filepath.Join(root, name)), xattrsOf(t, filepath.Join(out, name))); diff != "" {
			t.Errorf("attributes of %s (-want +got):\n%s", name, diff)
		}
	}
}

// setXattrs gives attributes and ACLs to some files of toolTree.
func setXattrs(t *testing.T, root string) {
	t.Helper()
	acl := linuxACL(aclEntry{1, 6, noID}, aclEntry{2, 6, 4321}, aclEntry{4, 4, noID}, aclEntry{8, 5, 70_000}, aclEntry{16, 7, noID}, aclEntry{32, 4, noID})
	for _, x := range []struct {
		file, name string
		value      []byte
	}{
		{"hello.txt", "user.note", []byte("short")},
		{"hello.txt", "user.long", bytes.Repeat([]byte("long "), 600)},
		{"hello.txt", aclAccess, acl},
		{"dir", "user.of directory", []byte("d")},
		{"dir", aclDefault, acl},
	} {
		if err := unix.Setxattr(filepath.Join(root, x.file), x.name, x.value, 0); err != nil {
			t.Skip("no such attributes on this file system:", err)
		}
	}
	setTimes(t, root)
}

func xattrsOf(t *testing.T, path string) map[string]string {
	t.Helper()
	buf := make([]byte, maxXattr)
	n, err := unix.Llistxattr(path, buf)
	must(t, err)
	m := map[string]string{}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00") {
		if name == "" {
			continue
		}
		value := make([]byte, maxXattr)
		n, err := unix.Lgetxattr(path, name, value)
		must(t, err)
		m[name] = string(value[:n])
	}
	return m
}

func TestXorrisoChecksMD5(t *testing.T) {
	xorriso := need(t, "xorriso")
	for name, opt := range map[string]Options{"iso": {MD5: true}, "bridge": {MD5: true, UDF: UDF201}} {
		t.Run(name, func(t *testing.T) {
			iso := imageFile(t, toolTree(t), opt)
			out := run(t, xorriso, "-md5", "on", "-indev", iso, "-check_media", "--", "-check_md5_r", "SORRY", "/", "--")
			for _, want := range []string{"matching MD5 superblock tag", "matching MD5 tree tag", "matching MD5 session tag", "+ md5_match", "File contents and their MD5 checksums match."} {
				if !strings.Contains(out, want) {
					t.Errorf("xorriso does not say %q:\n%s", want, out)
				}
			}
		})
	}
}

func TestXorrisoReadsBoot(t *testing.T) {
	xorriso := need(t, "xorriso")
	root := source(t, "boot/efi.img")
	must(t, os.WriteFile(filepath.Join(root, "boot/bios.img"), noise(1, 5000), 0o644))
	iso := imageFile(t, root, Options{Boot: []Boot{{Path: "boot/bios.img", InfoTable: true}, {Path: "boot/efi.img", Platform: EFI}}, BootCatalog: "boot/cat"})
	out := run(t, xorriso, "-indev", iso, "-report_el_torito", "plain")
	for _, want := range []string{
		`El Torito cat path : /boot/cat`,
		`El Torito boot img :   1  BIOS  y   none  0x0000  0x00      4 +\d+`,
		`El Torito boot img :   2  UEFI  y   none  0x0000  0x00      1 +\d+`,
		`El Torito img path :   1  /boot/bios.img`,
		`El Torito img opts :   1  boot-info-table`,
		`El Torito img path :   2  /boot/efi.img`,
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("xorriso does not say %q:\n%s", want, out)
		}
	}
}

func TestBsdtarExtracts(t *testing.T) {
	bsdtar := need(t, "bsdtar")
	root := toolTree(t)
	iso := imageFile(t, root, Options{})
	out := t.TempDir()
	run(t, bsdtar, "-C", out, "-xpf", iso)
	leave := []string{"."} // bsdtar does not set it
	if os.Geteuid() != 0 {
		leave = append(leave, "zero")
	}
	if diff := cmp.Diff(details(t, root, leave...), details(t, out, leave...)); diff != "" {
		t.Errorf("tree (-want +got):\n%s", diff)
	}
}

// TestBsdtarNestedRelocation has relocated directories inside relocated ones,
// which libarchive can read in one order of the directories only.
func TestBsdtarNestedRelocation(t *testing.T) {
	bsdtar := need(t, "bsdtar")
	root := t.TempDir()
	for _, top := range []string{"a", "z"} {
		dir := filepath.Join(root, top)
		for i := range 30 {
			dir = filepath.Join(dir, fmt.Sprintf("d%d", i))
			must(t, os.MkdirAll(dir, 0o755))
			must(t, os.WriteFile(filepath.Join(dir, "f"), []byte(dir), 0o644))
		}
	}
	setTimes(t, root)
	out := t.TempDir()
	run(t, bsdtar, "-C", out, "-xpf", imageFile(t, root, Options{}))
	if diff := cmp.Diff(details(t, root, "."), details(t, out, ".")); diff != "" {
		t.Errorf("tree (-want +got):\n%s", diff)
	}
}

// Test7zExtracts has 7-Zip read Joliet, and UDF where there is some.
func Test7zExtracts(t *testing.T) {
	zip := need(t, "7z", "7zz", "7za")
	root := source(t, "hello.txt", "dir/sub/file", "empty/", "größe", "日本", "UPPER")
	must(t, os.WriteFile(filepath.Join(root, "large"), noise(9, 300_001), 0o644))
	want := plainDetails(t, root)
	for name, opt := range map[string]Options{"joliet": {NoRockRidge: true}, "udf 1.02": {UDF: UDF102}, "udf 2.01": {UDF: UDF201}} {
		t.Run(name, func(t *testing.T) {
			iso := imageFile(t, root, opt)
			out := t.TempDir()
			log := run(t, zip, "x", "-y", "-o"+out, iso)
			if opt.UDF != 0 && !strings.Contains(log, "Type = Udf") {
				t.Errorf("7-Zip does not see UDF:\n%s", log)
			}
			if diff := cmp.Diff(want, plainDetails(t, out)); diff != "" {
				t.Errorf("tree (-want +got):\n%s", diff)
			}
		})
	}
}

func plainDetails(t *testing.T, root string) map[string]string {
	t.Helper()
	m := details(t, root)
	for path := range m {
		info := stat(t, filepath.Join(root, path))
		m[path] = "directory"
		if !info.IsDir() {
			b, err := os.ReadFile(filepath.Join(root, path))
			must(t, err)
			m[path] = string(b)
		}
	}
	return m
}

func TestIsoinfoLists(t *testing.T) {
	isoinfo := need(t, "isoinfo")
	root := source(t, "hello.txt", "dir/sub/file", "b b", "a_long_name_that_plain_iso_9660_cannot_hold.text")
	iso := imageFile(t, root, Options{VolumeID: "LABEL"})
	for flag, want := range map[string][]string{
		"-R": {"/a_long_name_that_plain_iso_9660_cannot_hold.text", "/b b", "/dir", "/dir/sub", "/dir/sub/file", "/hello.txt"},
		"-J": {"/a_long_name_that_plain_iso_9660_cannot_hold.text", "/b b", "/dir", "/dir/sub", "/dir/sub/file", "/hello.txt"},
		"-l": {"/A_LONG_NAME_THAT_PLAIN_ISO.TEXT;1", "/B_B.;1", "/DIR", "/DIR/SUB", "/DIR/SUB/FILE.;1", "/HELLO.TXT;1"},
	} {
		args := []string{"-f", "-i", iso}
		if flag != "-l" {
			args = append(args, flag)
		}
		lines := strings.Split(strings.TrimSpace(run(t, isoinfo, args...)), "\n")
		for i := range lines { // isoinfo shows versions in Joliet
			if flag == "-J" {
				lines[i] = strings.TrimSuffix(lines[i], ";1")
			}
		}
		slices.Sort(lines)
		if diff := cmp.Diff(want, lines); diff != "" {
			t.Errorf("%s (-want +got):\n%s", flag, diff)
		}
	}
	out := run(t, isoinfo, "-d", "-i", iso)
	for _, want := range []string{"Volume id: LABEL", "Joliet with UCS level 3 found", "Rock Ridge signatures version 1 found"} {
		if !strings.Contains(out, want) {
			t.Errorf("isoinfo does not say %q:\n%s", want, out)
		}
	}
	if got := run(t, isoinfo, "-R", "-x", "/dir/sub/file", "-i", iso); got != "dir/sub/file" {
		t.Errorf("isoinfo extracts %q", got)
	}
}

// TestIsomd5sum implants beside implantisomd5 and has checkisomd5 check.
func TestIsomd5sum(t *testing.T) {
	implant, check := need(t, "implantisomd5"), need(t, "checkisomd5")
	for _, size := range []int{10, 1_000_000, 20_000_000} {
		root := t.TempDir()
		must(t, os.WriteFile(filepath.Join(root, "f"), noise(1, size), 0o644))
		iso := imageFile(t, root, Options{})
		theirs := filepath.Join(t.TempDir(), "theirs.iso")
		b, err := os.ReadFile(iso)
		must(t, err)
		must(t, os.WriteFile(theirs, b, 0o644))
		run(t, implant, "--supported-iso", theirs)
		f, err := os.OpenFile(iso, os.O_RDWR, 0)
		must(t, err)
		must(t, ImplantMD5(t.Context(), f, true, false, nil))
		must(t, f.Close())
		ours, err := os.ReadFile(iso)
		must(t, err)
		b, err = os.ReadFile(theirs)
		must(t, err)
		if got, want := ours[implantOff:][:implantLen], b[implantOff:][:implantLen]; !bytes.Equal(got, want) {
			t.Errorf("%d bytes: field\n%q, implantisomd5 writes\n%q", size, got, want)
		}
		if !bytes.Equal(ours, b) {
			t.Errorf("%d bytes: images differ", size)
		}
		if size > 10 { // checkisomd5 cannot check what has fewer than 21 pieces of 32 KiB
			run(t, check, iso)
		}
	}
}

func TestUdfinfo(t *testing.T) {
	udfinfo := need(t, "udfinfo")
	iso := imageFile(t, toolTree(t), Options{UDF: UDF201, VolumeID: "Größe"})
	out := run(t, udfinfo, "--utf8", iso)
	for _, want := range []string{"label=Größe\n", "udfrev=2.01\n", "integrity=closed\n", "accesstype=readonly\n", "numdirs=17\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("udfinfo does not say %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "Warning") {
		t.Errorf("udfinfo warns:\n%s", out)
	}
}

// TestBootsInQEMU starts a machine from an image whose boot sector writes to
// the serial port.
func TestBootsInQEMU(t *testing.T) {
	const text = "isomount has booted"
	root := t.TempDir()
	must(t, os.WriteFile(filepath.Join(root, "boot.bin"), bootSectorCode(text), 0o644))
	iso := imageFile(t, root, Options{Boot: []Boot{{Path: "boot.bin", InfoTable: true}}, BootCatalog: "boot.cat"})
	boots(t, text, "-cdrom", iso, "-boot", "d")
}

// boots starts a machine and waits for a line that begins with text on its serial
// port.
func boots(t *testing.T, text string, args ...string) {
	t.Helper()
	qemu := need(t, "qemu-system-x86_64", "qemu-system-i386")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	args = append([]string{
		"-M", "pc", "-accel", "tcg", "-m", "64", "-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio",
	}, args...)
	cmd := exec.CommandContext(ctx, qemu, args...)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	lines := bufio.NewScanner(out)
	booted := false
	for !booted && lines.Scan() {
		booted = strings.HasPrefix(lines.Text(), text)
	}
	if !booted {
		t.Errorf("%q: the machine has not booted: %v", args, lines.Err())
	}
	cancel()
	_ = cmd.Wait() // it was killed
}

// needFile finds a file of a package that is not ours.
func needFile(t *testing.T, path string) string {
	t.Helper()
	if _, err := os.Stat(path); err == nil {
		return path
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("%s is not installed", path)
	}
	t.Skipf("%s is not installed", path)
	return ""
}

// isolinuxTree makes a directory with isolinux, which writes to the serial port,
// and returns the code for a master boot record.
func isolinuxTree(t *testing.T) (root string, mbr []byte) {
	t.Helper()
	mbr, err := os.ReadFile(needFile(t, "/usr/lib/ISOLINUX/isohdpfx.bin"))
	must(t, err)
	root = t.TempDir()
	must(t, os.Mkdir(filepath.Join(root, "isolinux"), 0o755))
	for name, from := range map[string]string{
		"isolinux.bin": "/usr/lib/ISOLINUX/isolinux.bin", "ldlinux.c32": "/usr/lib/syslinux/modules/bios/ldlinux.c32",
	} {
		b, err := os.ReadFile(needFile(t, from))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(root, "isolinux", name), b, 0o644))
	}
	config := "SERIAL 0\nPROMPT 1\nDEFAULT none\n"
	must(t, os.WriteFile(filepath.Join(root, "isolinux", "isolinux.cfg"), []byte(config), 0o644))
	return root, mbr
}

// TestHybridBootsInQEMU starts isolinux from a disc and from a hard disk, and has
// xorriso and sfdisk look at the table.
func TestHybridBootsInQEMU(t *testing.T) {
	root, mbr := isolinuxTree(t)
	must(t, os.WriteFile(filepath.Join(root, "efi.img"), noise(1, 70_000), 0o644))
	iso := imageFile(t, root, Options{
		Boot: []Boot{{Path: "isolinux/isolinux.bin", InfoTable: true}, {Path: "efi.img", Platform: EFI}}, HybridMBR: mbr,
	})
	report := run(t, need(t, "xorriso"), "-indev", iso, "-report_system_area", "plain")
	for _, want := range []string{"MBR isohybrid cyl-align-on", "1   0x80  0x00            0", "2   0x00  0xef ", "2  /efi.img"} {
		if !strings.Contains(report, want) {
			t.Errorf("xorriso does not say %q:\n%s", want, report)
		}
	}
	if out := run(t, need(t, "sfdisk", "/usr/sbin/sfdisk", "/sbin/sfdisk"), "--list", iso); !strings.Contains(out, "EFI (FAT-12/16/32)") {
		t.Errorf("sfdisk says:\n%s", out)
	}
	boots(t, "ISOLINUX", "-cdrom", iso, "-boot", "d")
	boots(t, "ISOLINUX", "-drive", "format=raw,snapshot=on,file="+iso)
}

// bootSectorCode is a boot sector that leaves room for a boot information
// table, writes a line to the first serial port, and halts. It is loaded at 7C00h.
func bootSectorCode(line string) []byte {
	sector := make([]byte, blockSize)
	copy(sector, []byte{0xEB, 0x3E}) // jmp 40h
	copy(sector[0x40:], []byte{
		0xFA,       // cli
		0x31, 0xC0, // xor ax, ax
		0x8E, 0xD8, // mov ds, ax
		0xFC,             // cld
		0xBE, 0x80, 0x7C, // mov si, 7C80h
		0xAC,       // next: lodsb
		0x84, 0xC0, // test al, al
		0x74, 0x11, // jz halt
		0x88, 0xC3, // mov bl, al
		0xBA, 0xFD, 0x03, // mov dx, 3FDh: line status
		0xEC,       // wait: in al, dx
		0xA8, 0x20, // test al, 20h
		0x74, 0xFB, // jz wait
		0xB2, 0xF8, // mov dl, F8h: data
		0x88, 0xD8, // mov al, bl
		0xEE,       // out dx, al
		0xEB, 0xEA, // jmp next
		0xF4,       // halt: hlt
		0xEB, 0xFD, // jmp halt
	})
	copy(sector[0x80:], line+"\r\n")
	copy(sector[510:], []byte{0x55, 0xAA})
	return sector
}
