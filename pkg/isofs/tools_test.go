package isofs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/fsys/fsystest"
)

// tool returns the path of a program. Without it the test is skipped, but not
// in CI, where everything must be tested.
func tool(tb testing.TB, name string) string {
	tb.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") != "" {
			tb.Fatal(err)
		}
		tb.Skipf("%s is not installed", name)
	}
	return path
}

// sourceTree makes a tree of files in dir and returns what is in it.
func sourceTree(tb testing.TB, dir string) []fsystest.File {
	tb.Helper()
	when := time.Unix(1_000_000_000, 0)
	deep := strings.Repeat("directory/", 12) + "file"
	want := []fsystest.File{
		{Path: "plain.txt", Mode: 0o644, Data: []byte("plain")},
		{Path: "empty", Mode: 0o600},
		{Path: "Ünïcode and spaces.txt", Mode: 0o640, Data: []byte("u")},
		{Path: strings.Repeat("long", 60), Mode: 0o644, Data: []byte("long name")},
		{Path: deep, Mode: 0o644, Data: []byte("deep")},
		{Path: "blocks", Mode: 0o755, Data: bytes.Repeat([]byte("0123456789abcdef"), 5000)},
		{Path: "link", Mode: fsys.TypeLink | 0o777, Target: "../some/../where/" + strings.Repeat("component/", 5) + "x"},
		{Path: "sub", Mode: fsys.TypeDir | 0o750},
	}
	for i := range 300 {
		want = append(want, fsystest.File{Path: fmt.Sprintf("sub/file number %03d", i), Mode: 0o644, Data: fmt.Appendf(nil, "%d", i)})
	}
	for i := range want {
		w := &want[i]
		path := filepath.Join(dir, w.Path)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		switch {
		case err != nil:
		case w.Mode&fsys.TypeMask == fsys.TypeLink:
			err = os.Symlink(w.Target, path)
		case w.Mode&fsys.TypeMask == fsys.TypeDir:
			err = os.Mkdir(path, os.FileMode(w.Mode&0o777))
		default:
			err = errors.Join(os.WriteFile(path, w.Data, os.FileMode(w.Mode)), os.Chtimes(path, when, when))
			w.ModTime = fsys.Time{Sec: when.Unix()}
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
	return want
}

// TestWriters compares what other programs wrote with what they were given.
func TestWriters(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string // to be followed by the source
		loss bool     // names and modes are not kept
	}{
		{"genisoimage Rock Ridge", []string{"genisoimage", "-quiet", "-R", "-J", "-joliet-long", "-o", "IMAGE"}, false},
		{"genisoimage plain", []string{"genisoimage", "-quiet", "-D", "-o", "IMAGE"}, true},
		{"xorriso", []string{"xorriso", "-as", "mkisofs", "-quiet", "-R", "-J", "-o", "IMAGE"}, false},
		{"xorriso RRIP 1.12, zisofs", []string{
			"xorriso", "-no_rc", "-report_about", "FATAL", "-compliance", "new_rr", "-outdev", "IMAGE",
			"-zisofs", "default", "-set_filter_r", "--zisofs", "/", "--", "-map",
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			program := tool(t, tt.args[0])
			source, image := t.TempDir(), filepath.Join(t.TempDir(), "image.iso")
			want := sourceTree(t, source)
			args := append([]string(nil), tt.args[1:]...)
			for i, a := range args {
				if a == "IMAGE" {
					args[i] = image
				}
			}
			args = append(args, source)
			if strings.HasPrefix(tt.args[1], "-no_rc") {
				args = append(args, "/", "-commit", "-end")
			}
			if out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			data, err := os.ReadFile(image)
			if err != nil {
				t.Fatal(err)
			}
			checkImage(t, data, want, tt.loss)
		})
	}
}

func checkImage(t *testing.T, data []byte, want []fsystest.File, loss bool) {
	t.Helper()
	v, err := Open(bytes.NewReader(data), int64(len(data)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, tree := range v.Trees() {
		f, err := v.FS(tree.Kind, TreeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if tree.Kind == RockRidge {
			fsystest.Test(t, f, want)
		} else {
			fsystest.Test(t, f, nil)
		}
	}
	if k, _, err := v.Choose(false, false); err != nil || (k == RockRidge) == loss {
		t.Errorf("got %s, %v", k, err)
	}
}
