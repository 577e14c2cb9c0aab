package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
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

// A small file that is damaged is left out; a large one ends the archive, so
// that nobody takes it for whole.
func TestTarOfDamagedFiles(t *testing.T) {
	m := newLiar(t, []fsystest.File{
		{Path: "a", Data: []byte("whole")},
		{Path: "small", Data: bytes.Repeat([]byte("s"), 100)},
		{Path: "z", Data: []byte("whole too")},
		{Path: "zlarge", Data: bytes.Repeat([]byte("l"), heldFile+1)},
	}, nil)
	bad := "small"
	m.read = func(n fsys.Node, _ []byte, off int64) (int, error) {
		node, _, err := fsys.Resolve(m.Mem, bad, false)
		if err == nil && node == n && (bad == "small" || off > 1<<20) {
			return 0, unix.EIO
		}
		return 0, nil
	}
	names := func(archive []byte) (list string, err error) {
		r := tar.NewReader(bytes.NewReader(archive))
		for {
			h, err := r.Next()
			if err != nil {
				return list, err
			}
			list += h.Name + " "
		}
	}
	archive, j, err := tarOf(t, m)
	got, rerr := names(archive)
	if err != nil || got != "a z zlarge " || !errors.Is(rerr, io.EOF) || !strings.HasPrefix(noteList(j), "/small: ") {
		t.Errorf("small: error %v, members %q, %v, notes %s", err, got, rerr, noteList(j))
	}
	bad = "zlarge"
	archive, _, err = tarOf(t, m)
	got, rerr = names(archive)
	if !errors.Is(err, unix.EIO) || got != "a small z zlarge " || !errors.Is(rerr, io.ErrUnexpectedEOF) {
		t.Errorf("large: error %v, members %q, %v", err, got, rerr)
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
