package master_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/isomount/isomount/pkg/isofs/master"
)

// An image of a directory that is the same whoever makes it and whenever, and
// that is there completely or not at all.
func Example() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "readme.txt"), []byte("hello"), 0o644); err != nil {
		fmt.Println(err)
		return
	}

	ctx := context.Background()
	out := filepath.Join(dir, "image.iso")
	err = master.Create(ctx, out, func(f *os.File) error {
		tree, _, err := master.Scan(ctx, []master.Source{{Path: dir}}, master.ScanOptions{})
		if err != nil {
			return err
		}
		r, err := master.Write(ctx, f, tree, master.Options{
			VolumeID: "EXAMPLE", Date: time.Unix(1_000_000_000, 0), Reproducible: true,
		}, nil)
		fmt.Println(r.Files, "file")
		return err
	})
	fmt.Println("error:", err)
	// Output:
	// 1 file
	// error: <nil>
}
