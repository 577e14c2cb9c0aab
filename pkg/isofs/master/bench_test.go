package master

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/isomount/isomount/pkg/fsys"
)

// flatTree is one directory of many small files.
func flatTree(b *testing.B, n int) *Tree {
	b.Helper()
	tree := NewTree(fsys.Attr{})
	a := fsys.Attr{Mode: fsys.TypeFile | 0o644, Size: 100}
	zeros := fixed{func() io.Reader { return &endless{} }}
	for i := range n {
		if _, err := tree.Add(tree.Root(), fmt.Sprintf("a file with a rather long name %06d.dat", i), &a, zeros, 0); err != nil {
			b.Fatal(err)
		}
	}
	return tree
}

func BenchmarkPlan(b *testing.B) {
	for name, opt := range map[string]Options{"iso": {}, "bridge": {UDF: UDF102}} {
		b.Run(name, func(b *testing.B) {
			tree := flatTree(b, 100_000)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := plan(tree, opt); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkWriteSmallFiles(b *testing.B) {
	tree := flatTree(b, 100_000)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Write(b.Context(), io.Discard, tree, Options{}, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkWriteLargeFile(b *testing.B) {
	for name, opt := range map[string]Options{"plain": {}, "md5": {MD5: true}} {
		b.Run(name, func(b *testing.B) {
			tree := NewTree(fsys.Attr{})
			a := fsys.Attr{Mode: fsys.TypeFile | 0o644, Size: 256 << 20}
			if _, err := tree.Add(tree.Root(), "large", &a, fixed{func() io.Reader { return &endless{} }}, 0); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(a.Size)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Write(b.Context(), io.Discard, tree, opt, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkBeside makes an image of the same files with this package and with
// the programs that people use, side by side. Programs get ten minutes:
//
//	go test -run '^$' -bench Beside -benchtime 1x ./pkg/isofs/master
func BenchmarkBeside(b *testing.B) {
	trees := []struct {
		name              string
		files, size, each int
	}{
		{"tree of 50,000 files", 50_000, 42_000, 100},
		{"directory of 100,000 files", 100_000, 10, 100_000},
	}
	for _, tt := range trees {
		b.Run(tt.name, func(b *testing.B) {
			root := filesOnDisk(b, tt.files, tt.size, tt.each)
			out := filepath.Join(b.TempDir(), "image.iso")
			b.Run("isomount", func(b *testing.B) {
				for b.Loop() {
					if err := createImage(b, root, out); err != nil {
						b.Fatal(err)
					}
				}
			})
			besides := map[string][]string{
				"genisoimage": {"genisoimage", "-quiet", "-allow-limited-size", "-iso-level", "3", "-R", "-J", "-joliet-long", "-o", out, root},
				"xorriso":     {"xorriso", "-as", "mkisofs", "-quiet", "-iso-level", "3", "-R", "-J", "-o", out, root},
			}
			for name, args := range besides {
				b.Run(name, func(b *testing.B) { benchProgram(b, args) })
			}
		})
	}
}

func filesOnDisk(b *testing.B, files, size, each int) string {
	b.Helper()
	root := b.TempDir()
	content := noise(1, size)
	for i := range files {
		dir := filepath.Join(root, fmt.Sprintf("d%03d", i/each/20), fmt.Sprintf("e%03d", i/each%20))
		if i%each == 0 {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				b.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("a file with a long name %06d", i)), content, 0o644); err != nil {
			b.Fatal(err)
		}
	}
	return root
}

func createImage(b *testing.B, root, out string) error {
	b.Helper()
	return Create(b.Context(), out, func(f *os.File) error {
		tree, _, err := Scan(b.Context(), []Source{{Path: root}}, ScanOptions{})
		if err != nil {
			return err
		}
		_, err = Write(b.Context(), f, tree, Options{}, nil)
		return err
	})
}

func benchProgram(b *testing.B, args []string) {
	b.Helper()
	if _, err := exec.LookPath(args[0]); err != nil {
		b.Skip("not installed")
	}
	ctx, cancel := context.WithTimeout(b.Context(), 10*time.Minute)
	defer cancel()
	for b.Loop() {
		if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
			b.Skipf("%s: %v: %.500s", args[0], err, out)
		}
	}
}
