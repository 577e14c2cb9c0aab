package fsystest

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/isomount/isomount/pkg/fsys"
)

func sample() []File {
	text := bytes.Repeat([]byte("0123456789abcdef"), 400)
	sparse := append(append(text[:2048:2048], make([]byte, 5000)...), text...)
	return []File{
		{Path: ".", Mode: fsys.TypeDir | 0o755, ModTime: fsys.Time{Sec: 5}},
		{Path: "empty"},
		{Path: "text", Data: text, Mode: fsys.TypeFile | 0o640, UID: 7, GID: 8, ModTime: fsys.Time{Sec: -1, Nsec: 3}, Xattrs: map[string]string{"user.a": "b"}, Nlink: 2},
		{Path: "sub/sparse", Data: sparse},
		{Path: "sub/deep/one", Data: []byte{1}},
		{Path: "sub/link", Mode: fsys.TypeLink, Target: "../text"},
		{Path: "sub/again", Link: "text"},
		{Path: "dev", Mode: fsys.TypeChar | 0o600, Major: 4, Minor: 5},
		{Path: "fifo", Mode: fsys.TypeFifo},
		{Path: "not\xffutf8", Data: text[:2048]},
		{Path: "none", Mode: fsys.TypeDir},
		{Path: "sub/broken", Broken: true},
		{Path: "large", Size: 5 << 30, Content: counter{}},
	}
}

// counter holds at each offset the low bits of the offset.
type counter struct{}

func (counter) ReadAt(p []byte, off int64) (int, error) {
	for i := range p {
		p[i] = byte((off + int64(i)) * 7 >> 3)
	}
	return len(p), nil
}

func newMem(t *testing.T, files []File) *Mem {
	t.Helper()
	m, err := NewMem(files)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestMem(t *testing.T) {
	m := newMem(t, sample())
	image, size := m.Image()
	if size <= 5<<30 {
		t.Errorf("image has %d bytes, want more than its largest file", size)
	}
	TestOptions(t, m, Options{Want: sample(), Image: image})
	if err := Exercise(m, Limits{}); err != nil {
		t.Error(err)
	}
}

func TestMemLargeDirectory(t *testing.T) {
	var files []File
	for i := range 20_000 {
		files = append(files, File{Path: fmt.Sprintf("d%d/f%d", i%2, i), Data: []byte{byte(i)}})
	}
	Test(t, newMem(t, files), files)
}

func TestMemRefuses(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files []File
	}{
		{"same path twice", []File{{Path: "a"}, {Path: "a"}}},
		{"file as directory", []File{{Path: "a"}, {Path: "a/b"}}},
		{"absolute path", []File{{Path: "/a"}}},
		{"path that climbs", []File{{Path: "a/../../b"}}},
		{"path that ends in a slash", []File{{Path: "a/"}}},
		{"empty path", []File{{}}},
		{"link to nothing", []File{{Path: "a", Link: "b"}}},
		{"link to a directory", []File{{Path: "b", Mode: fsys.TypeDir}, {Path: "a", Link: "b"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := NewMem(tt.files); err == nil {
				t.Error("got no error")
			}
		})
	}
}

func exerciseNoPanic(f fsys.FS) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return Exercise(f, Limits{})
}

func TestSuiteFindsMutants(t *testing.T) {
	for _, tt := range mutants {
		t.Run(tt.name, func(t *testing.T) {
			m := &mutant{Mem: newMem(t, sample())}
			tt.brk(m)
			image, _ := m.Image()
			err := Check(m, Options{Want: sample(), Image: image, MaxRead: 1 << 16})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("suite says %v, want something with %q", err, tt.want)
			}
			err = exerciseNoPanic(m)
			if (err != nil) != tt.hostile {
				t.Errorf("exercise says %v, want an error: %v", err, tt.hostile)
			}
		})
	}
}

func TestExerciseEndsOnEndlessListing(t *testing.T) {
	m := &mutant{Mem: newMem(t, sample())}
	m.readDir = func(d fsys.Node, from uint64, yield func(*fsys.Entry) bool) error {
		for i := from + 1; ; i++ {
			if !yield(&fsys.Entry{Name: fmt.Append(nil, i), Node: d, Attr: m.nodes[0].attr, Next: i}) {
				return nil
			}
		}
	}
	m.lookup = func(d fsys.Node, _ []byte) (fsys.Node, fsys.Attr, error) { return 0, fsys.Attr{}, fsys.ErrStale }
	if err := Exercise(m, Limits{}); err != nil {
		t.Error(err)
	}
}
