package test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// filler is content of n bytes that differs everywhere.
func filler(n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		b.WriteString(strings.Repeat(string(rune('a'+i%26)), 1+i%97))
	}
	return b.String()[:n]
}

// An image that is cut off under a mount gives EIO for what is gone; the rest,
// the drive and the daemon live on.
func TestImageTruncatedUnderTheMount(t *testing.T) {
	big := filler(1 << 20)
	image := makeImage(t, map[string]string{"a": "small", "b": big}, "--sort-weight", "2", "/a", "--sort-weight", "1", "/b")
	d := startDaemon(t, 0)
	point := d.mount(image)
	st, err := os.Stat(image)
	if err != nil {
		t.Fatal(err)
	}
	const cut = 512 << 10 // of the file's content, padding of 300 KiB behind it
	if err := os.Truncate(image, st.Size()-300<<10-cut); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(point, "a")); err != nil || string(got) != "small" {
		t.Errorf("a file before the cut: %q, %v", got, err)
	}
	got, err := os.ReadFile(filepath.Join(point, "b"))
	if !errors.Is(err, syscall.EIO) {
		t.Errorf("a file across the cut: got %v, want EIO", err)
	}
	if !strings.HasPrefix(big, string(got)) || len(got) < 100<<10 {
		t.Errorf("before the error %d bytes came, right: %v", len(got), strings.HasPrefix(big, string(got)))
	}
	if s := d.stats(); s.Counters.Errors == 0 || s.Drives[0].State != "failing" {
		t.Errorf("statistics: %+v; want errors and a failing drive", s)
	}
	d.must("unmount", point)
}

// A deleted image stays readable, since the drive holds it open; one that was
// replaced shows its old content.
func TestImageDeletedOrReplacedUnderTheMount(t *testing.T) {
	image := makeImage(t, map[string]string{"a": "old"})
	other := makeImage(t, map[string]string{"a": "new"})
	d := startDaemon(t, 0)
	point := d.mount(image)
	if err := os.Rename(other, image); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(point, "a")); err != nil || string(got) != "old" {
		t.Errorf("after the image was replaced: %q, %v", got, err)
	}
	if err := os.Remove(image); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(point, "a")); err != nil || string(got) != "old" {
		t.Errorf("after the image was deleted: %q, %v", got, err)
	}
	d.must("unmount", image) // still found by its name
}

// Images cut at every sector of their descriptors, and at the first of their
// directories, are refused with a sentence, or show what there is.
func TestImageTruncatedInItsDescriptors(t *testing.T) {
	image := makeImage(t, map[string]string{"dir/a": "content"}, "-J")
	whole, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	d := startDaemon(t, 0)
	short := filepath.Join(openDir(t), "short.iso")
	for sector := 1; sector <= 24; sector++ {
		for _, more := range []int{0, 1, 1000} {
			if err := os.WriteFile(short, whole[:sector*2048+more], 0o644); err != nil {
				t.Fatal(err)
			}
			out, code := d.client("mount", short, t.TempDir())
			switch {
			case code == 0:
				d.must("unmount", short)
			case code != 4 && code != 5:
				t.Errorf("cut at sector %d+%d: exit code %d, want 4 or 5: %s", sector, more, code, out)
			case !strings.Contains(out, "short.iso") || strings.Count(out, "\n") != 1:
				t.Errorf("cut at sector %d+%d: %q is not one line that names the image", sector, more, out)
			}
			if sector <= 16 && code != 4 {
				t.Errorf("cut at sector %d+%d, before any descriptor: exit code %d, want 4: %s", sector, more, code, out)
			}
		}
	}
}

// Of two clients that mount on the same point at once, exactly one wins.
func TestTwoClientsOnOnePoint(t *testing.T) {
	image := makeImage(t, map[string]string{"a": "content"})
	d := startDaemon(t, 0)
	for range 10 {
		point := t.TempDir()
		codes := make([]int, 4)
		outs := make([]string, len(codes))
		var wg sync.WaitGroup
		for i := range codes {
			wg.Go(func() { outs[i], codes[i] = d.client("mount", image, point) })
		}
		wg.Wait()
		won := 0
		for i, c := range codes {
			switch c {
			case 0:
				won++
			case 7:
			default:
				t.Errorf("exit code %d: %s", c, outs[i])
			}
		}
		if won != 1 {
			t.Fatalf("%d of %d clients mounted: %q", won, len(codes), outs)
		}
		if got, err := os.ReadFile(filepath.Join(point, "a")); err != nil || string(got) != "content" {
			t.Errorf("the winner's mount: %q, %v", got, err)
		}
		d.must("unmount", point)
	}
}

// A busy drive stays and says who uses it; --lazy takes it away all the same,
// and whoever has a file open goes on reading it.
func TestBusyDrive(t *testing.T) {
	content := filler(300 << 10)
	image := makeImage(t, map[string]string{"a": content})
	d := startDaemon(t, 0)
	point := d.mount(image)
	f, err := os.Open(filepath.Join(point, "a"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out, code := d.client("unmount", point)
	if code != 7 || !strings.Contains(out, "test.test") && !strings.Contains(out, filepath.Base(os.Args[0])) {
		t.Errorf("exit code %d, want 7; %q must name this process", code, out)
	}
	d.must("unmount", "--lazy", point)
	if _, err := os.Stat(filepath.Join(point, "a")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the tree is still there: %v", err)
	}
	got, err := io.ReadAll(f)
	if err != nil || !bytes.Equal(got, []byte(content)) {
		t.Errorf("the open file gives %d bytes, %v", len(got), err)
	}
	_ = f.Close()
	within(t, 5*time.Second, "the drive is gone", func() bool { return strings.Contains(d.must("list"), "no drives") })
}

// A mount whose daemon was killed is found, ended and mounted over without a
// hang, also when nobody is left to ask.
func TestDeadMountIsHealed(t *testing.T) {
	image := makeImage(t, map[string]string{"a": "content"})
	d := startDaemon(t, 0)
	point, other := d.mount(image), d.mount(image)
	if err := d.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = d.cmd.Wait()
	d.start()
	d.must("mount", image, point)
	if got, err := os.ReadFile(filepath.Join(point, "a")); err != nil || string(got) != "content" {
		t.Errorf("mounted over a dead mount: %q, %v", got, err)
	}
	d.must("unmount", other)
	d.must("unmount", point)
}
