package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/fsys/fsystest"
)

func tarOf(t *testing.T, f fsys.FS) ([]byte, *extractJob, error) {
	t.Helper()
	var out bytes.Buffer
	j := &extractJob{app: &app{out: &out, err: io.Discard}, fs: f, failed: map[string]bool{}}
	places, err := pick(t.Context(), f, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := planner{fs: f, bad: j.bad}
	todo, err := p.make(t.Context(), places)
	if err != nil {
		t.Fatal(err)
	}
	err = j.writeTar(t.Context(), todo)
	return out.Bytes(), j, err
}

func sparseFiles() ([]fsystest.File, map[string][]byte) {
	middle, start, end := make([]byte, 3<<20), make([]byte, 1<<20), make([]byte, 1<<20)
	copy(middle[1<<20:], "in the middle")
	copy(start, "at the start")
	copy(end[len(end)-5:], "last!")
	all := map[string][]byte{"middle": middle, "start": start, "end": end, "empty": make([]byte, 1<<20), "plain": []byte("plain")}
	var files []fsystest.File
	for _, name := range []string{"middle", "start", "end", "empty", "plain"} {
		files = append(files, fsystest.File{
			Path: "dir/" + name, Data: all[name], Mode: fsys.TypeFile | 0o640,
			ModTime: fsys.Time{Sec: 1e9, Nsec: 500}, Xattrs: map[string]string{"user.a": "b\x00c"},
		})
	}
	return files, all
}

// Holes are left out, and what reads archives knows where they are.
func TestTarOfSparseFiles(t *testing.T) {
	files, want := sparseFiles()
	archive, j, err := tarOf(t, newLiar(t, files, nil))
	if err != nil || len(j.Notes) > 0 {
		t.Fatal(err, j.Notes)
	}
	if len(archive) > 64<<10 {
		t.Errorf("the archive has %d bytes", len(archive))
	}
	seen := 0
	for r := tar.NewReader(bytes.NewReader(archive)); ; seen++ {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeDir {
			continue
		}
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, want[strings.TrimPrefix(h.Name, "dir/")]) {
			t.Errorf("%s: %d bytes, not as they should be; error %v", h.Name, len(got), err)
		}
		if h.Mode != 0o640 || !h.ModTime.Equal(time.Unix(1e9, 500)) || h.PAXRecords["SCHILY.xattr.user.a"] != "b\x00c" {
			t.Errorf("%s: mode %o, time %v, records %q", h.Name, h.Mode, h.ModTime, h.PAXRecords)
		}
	}
	if seen != 6 {
		t.Errorf("%d members, want 6", seen)
	}
}

// Other programs unpack the archive too.
func TestTarsUnpackIt(t *testing.T) {
	files, want := sparseFiles()
	archive, _, err := tarOf(t, newLiar(t, files, nil))
	if err != nil {
		t.Fatal(err)
	}
	for _, program := range []string{"tar", "bsdtar"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Logf("%s is not installed", program)
			continue
		}
		dir := t.TempDir()
		cmd := exec.CommandContext(t.Context(), program, "-xf", "-", "-C", dir)
		cmd.Stdin = bytes.NewReader(archive)
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v: %s", program, err, out)
		}
		for name, data := range want {
			got, err := os.ReadFile(filepath.Join(dir, "dir", name))
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s: %s is not what it was; error %v", program, name, err)
			}
		}
	}
}

// A small file that is damaged is left out; of a large one, what cannot be read is
// zeros, and that is told. The archive is whole either way.
func TestTarOfDamagedFiles(t *testing.T) {
	large := bytes.Repeat([]byte("l"), heldFile+copyPiece)
	hollow := make([]byte, 3*heldFile)
	copy(hollow[heldFile:], large)
	const first, last = 3<<20 + 2*blockBytes, 3<<20 + 4*blockBytes // of the bytes that cannot be read
	for _, tt := range []struct {
		bad      string
		from, to int64
		members  string
		note     string // "" if nothing is lost
	}{
		{"none", 0, 0, "a hollow large small z", ""},
		{"small", 0, 100, "a hollow large z", "/small: input/output error"},
		{"large", first, last, "a hollow large small z", "/large: 4096 bytes cannot be read, the first at byte 3149824, and are zeros"},
		{"large", heldFile, heldFile + copyPiece, "a hollow large small z", "/large: 1048576 bytes cannot be read, the first at byte 16777216,"},
		{"large", 0, 2 * heldFile, "a hollow large small z", "/large: 17825792 bytes cannot be read, the first at byte 0,"},
		{"hollow", heldFile, heldFile + 1, "a hollow large small z", "/hollow: 2048 bytes cannot be read, the first at byte 16777216,"},
	} {
		content := map[string][]byte{"a": []byte("whole"), "small": bytes.Repeat([]byte("s"), 100), "z": []byte("whole too"), "large": large, "hollow": hollow}
		var files []fsystest.File
		for _, name := range []string{"a", "hollow", "large", "small", "z"} {
			files = append(files, fsystest.File{Path: name, Data: content[name]})
		}
		m := newLiar(t, files, nil)
		m.read = func(n fsys.Node, p []byte, off int64) (int, error) {
			node, _, err := fsys.Resolve(m.Mem, tt.bad, false)
			if err == nil && node == n && off < tt.to && off+int64(len(p)) > tt.from {
				return 0, unix.EIO
			}
			return 0, nil
		}
		archive, j, err := tarOf(t, m)
		if err != nil || !strings.HasPrefix(noteList(j), tt.note) || tt.note == "" && len(j.Notes) > 0 {
			t.Errorf("%s: error %v, notes %s, want %s", tt.bad, err, noteList(j), tt.note)
		}
		if bad := content[tt.bad]; int64(len(bad)) > tt.to-tt.from && tt.bad != "hollow" {
			content[tt.bad] = slices.Concat(bad[:tt.from], make([]byte, tt.to-tt.from), bad[tt.to:])
		} else if tt.bad == "large" {
			clear(content[tt.bad])
		}
		checkTar(t, archive, content, tt.members)
	}
}

// checkTar compares an archive with the files that it should have.
func checkTar(t *testing.T, archive []byte, content map[string][]byte, want string) {
	t.Helper()
	var members []string
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		members = append(members, h.Name)
		got, err := io.ReadAll(r)
		if err != nil || h.Name != "hollow" && !bytes.Equal(got, content[h.Name]) {
			t.Errorf("%s: %d bytes that are not as they should be, %v", h.Name, len(got), err)
		}
	}
	slices.Sort(members) // they come as they lie on the disc
	if got := strings.Join(members, " "); got != want {
		t.Errorf("members %q, want %q", got, want)
	}
}

func TestPaxRecord(t *testing.T) {
	for _, n := range []int{0, 1, 88, 89, 90, 91, 92, 985, 986, 987, 988, 989, 990, 9980} {
		got := paxRecord("key", strings.Repeat("v", n))
		length, _, _ := strings.Cut(got, " ")
		if want := len(got); length != strconv.Itoa(want) {
			t.Errorf("value of %d bytes: says %s, has %d", n, length, want)
		}
	}
}
