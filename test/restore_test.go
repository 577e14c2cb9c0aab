package test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A drive whose image does not answer is reported at login, and does not keep
// the others from coming back.
func TestRestoreOfAnImageThatHangs(t *testing.T) {
	needRoot(t)
	need(t, "fusermount3")
	image := makeImage(t, map[string]string{"a": "content"})
	faulty, hanging := faultyImage(t, image)
	d := startDaemon(t, alice)
	// The hanging one is tried first.
	first, second := d.mount(hanging), d.mount(image)
	d.must("persist", first)
	d.must("persist", second)
	d.must("unmount", "--all")
	faulty.from.Store(0)
	faulty.to.Store(int64(len(faulty.data)))
	faulty.stall.Store(true)
	out, code := d.client("restore")
	if code == 0 || !strings.Contains(out, "does not answer") || !strings.Contains(out, hanging) {
		t.Errorf("exit code %d: %s", code, out)
	}
	if got, err := asUser(alice, "cat", filepath.Join(second, "a")); err != nil || got != "content" {
		t.Errorf("the other drive: %q, %v", got, err)
	}
	faulty.stall.Store(false)
	d.must("restore")
	if got, err := asUser(alice, "cat", filepath.Join(first, "a")); err != nil || got != "content" {
		t.Errorf("when the image answers again: %q, %v", got, err)
	}
	d.must("unmount", "--all")
	if names, err := os.ReadDir(first); err != nil || len(names) != 0 {
		t.Errorf("the mount point has %v, %v", names, err)
	}
}
