package udf

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isomount/isomount/pkg/fsys/fsystest"
)

// mkudffs runs udftools' mkudffs on a file of the given size and opens it.
func mkudffs(t *testing.T, size int64, args ...string) *FS {
	t.Helper()
	tool, err := exec.LookPath("mkudffs")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("mkudffs is missing: install udftools")
		}
		t.Skip("mkudffs is missing: install udftools")
	}
	img := filepath.Join(t.TempDir(), "disc.udf")
	if err := os.WriteFile(img, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(img, size); err != nil {
		t.Fatal(err)
	}
	args = append(args, "--label=Ümlaut 日本", "--uid=1000", "--gid=100", "--mode=0750", img)
	out, err := exec.CommandContext(t.Context(), tool, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("mkudffs: %v\n%s", err, out)
	}
	if m := regexp.MustCompile(`(?m)^vatblock=(\d+)`).FindSubmatch(out); m != nil {
		vat, _ := strconv.ParseInt(string(m[1]), 10, 64)
		if err := os.Truncate(img, (vat+1)*2048); err != nil { // a write-once disc ends with its VAT
			t.Fatal(err)
		}
	}
	file, err := os.Open(img)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	st, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	f, err := Open(file, st.Size(), Options{})
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return f
}

// TestMkudffs reads what the writer of all Linux distributions makes.
func TestMkudffs(t *testing.T) {
	type result struct {
		Revision  string
		BlockSize int64
		Kinds     []string
	}
	tests := []struct {
		name string
		args []string
		want result
	}{
		{"disk 1.01", []string{"--media-type=hd", "--udfrev=1.01", "--blocksize=512"}, result{"1.01", 512, []string{"physical"}}},
		{"disk 2.01", []string{"--media-type=hd", "--udfrev=2.01", "--blocksize=4096"}, result{"2.01", 4096, []string{"physical"}}},
		{"disk of 1024", []string{"--media-type=hd", "--blocksize=1024"}, result{"2.01", 1024, []string{"physical"}}},
		{"disk of 8192", []string{"--media-type=hd", "--blocksize=8192"}, result{"2.01", 8192, []string{"physical"}}},
		{"disk of 32768", []string{"--media-type=hd", "--blocksize=32768"}, result{"2.01", 32768, []string{"physical"}}},
		{"strategy 4096", []string{"--media-type=hd", "--udfrev=1.50", "--strategy=4096", "--blocksize=2048"}, result{"1.50", 2048, []string{"physical"}}},
		{"DVD 1.02", []string{"--media-type=dvd", "--udfrev=1.02"}, result{"1.02", 2048, []string{"physical"}}},
		{"DVD-RAM", []string{"--media-type=dvdram"}, result{"2.01", 2048, []string{"physical"}}},
		{"DVD-R", []string{"--media-type=dvdr"}, result{"2.01", 2048, []string{"physical", "virtual"}}},
		{"closed DVD-R", []string{"--media-type=dvdr", "--closed"}, result{"2.01", 2048, []string{"physical", "virtual"}}},
		{"DVD-RW", []string{"--media-type=dvdrw"}, result{"2.01", 2048, []string{"sparable"}}},
		{"CD-R 1.50", []string{"--media-type=cdr", "--udfrev=1.50"}, result{"1.50", 2048, []string{"physical", "virtual"}}},
		{"CD-R 2.00", []string{"--media-type=cdr", "--udfrev=2.00"}, result{"2.00", 2048, []string{"physical", "virtual"}}},
		{"CD-RW 1.50", []string{"--media-type=cdrw", "--udfrev=1.50"}, result{"1.50", 2048, []string{"sparable"}}},
		{"BD-R 2.60", []string{"--media-type=bdr", "--udfrev=2.60"}, result{"2.60", 2048, []string{"physical", "virtual"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := mkudffs(t, 32<<20, tt.args...)
			i := f.Info()
			got := result{Revision: i.Revision, BlockSize: i.BlockSize}
			for _, p := range i.Partitions {
				got.Kinds = append(got.Kinds, p.Kind)
			}
			if diff := cmp.Diff(got, tt.want); diff != "" {
				t.Errorf("volume (-got +want):\n%s", diff)
			}
			if want := "Ümlaut 日本"; i.Label != want {
				t.Errorf("label = %q, want %q", i.Label, want)
			}
			a, err := f.Attr(f.Root())
			if err != nil || a.Mode != 0o40750 || a.UID != 1000 || a.GID != 100 {
				t.Errorf("root = %+v, %v; want mode 40750 of 1000:100", a, err)
			}
			fsystest.Test(t, f, []fsystest.File{})
		})
	}
}
