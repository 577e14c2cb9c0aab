package master

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/fsys/fsystest"
)

// A hostile is a tree whose directories are found in several places, as only a
// damaged disc can have them.
type hostile struct {
	fsys.FS
	root fsys.Node
}

func (h hostile) ReadDir(dir fsys.Node, from uint64, yield func(*fsys.Entry) bool) error {
	more := true
	err := h.FS.ReadDir(dir, from, func(e *fsys.Entry) bool {
		more = yield(e)
		return more
	})
	if err != nil || !more {
		return err
	}
	a, err := h.Attr(h.root)
	yield(&fsys.Entry{Name: []byte("loop"), Node: h.root, Attr: a, Next: 1 << 40})
	return err
}

func TestFromFSWithLoops(t *testing.T) {
	mem, err := fsystest.NewMem([]fsystest.File{{Path: "a/b/c"}})
	must(t, err)
	tree, notes, err := FromFS(t.Context(), hostile{mem, mem.Root()}, false)
	must(t, err)
	if diff := cmp.Diff([]string{"a/", "a/b/", "a/b/c", "a/b/loop/", "a/loop/", "loop/"}, listOf(t, tree)); diff != "" {
		t.Errorf("tree (-want +got):\n%s", diff)
	}
	for _, n := range notes {
		if !errors.Is(n.Err, ErrTwice) {
			t.Errorf("%s: %v", n.Path, n.Err)
		}
	}
	if len(notes) != 3 {
		t.Errorf("%d notes, want 3: %v", len(notes), notes)
	}
}

// A faulty is a tree one of whose directories cannot be read to its end.
type faulty struct {
	fsys.FS
	dir fsys.Node
	err error
}

func (f faulty) ReadDir(dir fsys.Node, from uint64, yield func(*fsys.Entry) bool) error {
	if err := f.FS.ReadDir(dir, from, yield); err != nil || dir != f.dir {
		return err
	}
	return f.err
}

func TestFromFSWithErrors(t *testing.T) {
	mem, err := fsystest.NewMem([]fsystest.File{{Path: "good/file"}, {Path: "bad/file"}})
	must(t, err)
	bad, _, err := mem.Lookup(mem.Root(), []byte("bad"))
	must(t, err)
	f := faulty{mem, bad, errors.New("bad sector")}
	if _, _, err := FromFS(t.Context(), f, false); !errors.Is(err, f.err) {
		t.Errorf("error %v, want %v", err, f.err)
	}
	tree, notes, err := FromFS(t.Context(), f, true)
	must(t, err)
	if diff := cmp.Diff([]string{"bad/", "bad/file", "good/", "good/file"}, listOf(t, tree)); diff != "" {
		t.Errorf("tree (-want +got):\n%s", diff)
	}
	if len(notes) != 1 || !errors.Is(notes[0].Err, f.err) || notes[0].Path != "/bad" {
		t.Errorf("notes %v", notes)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := FromFS(ctx, mem, true); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
}
