package fusefs

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/fsys/fsystest"
)

func TestInitAsksForWhatTheDesignNeeds(t *testing.T) {
	k, dev := connect(t)
	start(t, k, newTree(t), dev, Options{})
	e, out := k.ask(opInit, 0, bytesIn(&fuse.InitIn{Major: 7, Minor: 40, MaxReadAhead: 1 << 20, Flags: ^uint32(0), Flags2: ^uint32(0)}))
	if e != 0 {
		t.Fatal(e)
	}
	in := view[fuse.InitOut](out)
	flags := uint64(in.Flags) | uint64(in.Flags2)<<32
	for name, want := range map[string]uint64{
		"READDIRPLUS": fuse.CAP_READDIRPLUS, "NO_OPEN": fuse.CAP_NO_OPEN_SUPPORT, "NO_OPENDIR": fuse.CAP_NO_OPENDIR_SUPPORT,
		"CACHE_SYMLINKS": fuse.CAP_CACHE_SYMLINKS, "MAX_PAGES": fuse.CAP_MAX_PAGES, "PARALLEL_DIROPS": fuse.CAP_PARALLEL_DIROPS,
		"HAS_RESEND": fuse.CAP_HAS_RESEND, "EXPORT": fuse.CAP_EXPORT_SUPPORT,
	} {
		if flags&want == 0 {
			t.Errorf("%s is not asked for", name)
		}
	}
	for name, bad := range map[string]uint64{
		"PASSTHROUGH": fuse.CAP_PASSTHROUGH, "OVER_IO_URING": fuse.CAP_OVER_IO_URING, "READDIRPLUS_AUTO": fuse.CAP_READDIRPLUS_AUTO,
		"AUTO_INVAL_DATA": fuse.CAP_AUTO_INVAL_DATA, "WRITEBACK_CACHE": fuse.CAP_WRITEBACK_CACHE,
	} {
		if flags&bad != 0 {
			t.Errorf("%s is asked for", name)
		}
	}
	if in.MaxPages != 254 || in.MaxWrite != 4096 {
		t.Errorf("max_pages %d, max_write %d; want 254, 4096", in.MaxPages, in.MaxWrite)
	}
}

func TestLookupAndAttributes(t *testing.T) {
	k, _ := serve(t, newTree(t), Options{})
	e, hello := k.lookup(1, "hello")
	if e != 0 {
		t.Fatal(e)
	}
	got := hello.Attr
	if got.Size != 12 || got.Uid != 7 || got.Gid != 8 || int64(got.Mtime) != -5 || got.Mtimensec != 6 || got.Mode != 0o100444 {
		t.Errorf("attributes of hello: %+v", got)
	}
	if hello.EntryValid < 3600 || hello.AttrValid < 3600 {
		t.Errorf("valid for %d and %d s, want hours", hello.EntryValid, hello.AttrValid)
	}
	e, out := k.ask(opGetattr, hello.NodeId, bytesIn(&fuse.GetAttrIn{}))
	if e != 0 {
		t.Fatal(e)
	}
	if diff := cmp.Diff(got, view[fuse.AttrOut](out).Attr); diff != "" {
		t.Errorf("LOOKUP and GETATTR differ: %s", diff)
	}
	if _, tty := k.lookup(1, "tty"); tty.Rdev != uint32(0x45678&0xff|0x123<<8|0x45600<<12) {
		t.Errorf("device number %#x", tty.Rdev)
	}
}

func TestMissingNamesMayBeRemembered(t *testing.T) {
	k, _ := serve(t, newTree(t), Options{})
	e, missing := k.lookup(1, "nothing")
	if e != 0 || missing.NodeId != 0 || missing.EntryValid == 0 {
		t.Errorf("got %v, node %d, valid %d; want a negative entry", e, missing.NodeId, missing.EntryValid)
	}
}

func TestDotsForTheNFSServer(t *testing.T) {
	k, _ := serve(t, newTree(t), Options{})
	_, dir := k.lookup(1, "dir")
	if _, self := k.lookup(dir.NodeId, "."); self.NodeId != dir.NodeId {
		t.Errorf("'.' is node %d, want %d", self.NodeId, dir.NodeId)
	}
	if _, up := k.lookup(dir.NodeId, ".."); up.NodeId != 1 {
		t.Errorf("'..' is node %d, want the root", up.NodeId)
	}
}

func TestErrors(t *testing.T) {
	k, _ := serve(t, newTree(t), Options{})
	_, hello := k.lookup(1, "hello")
	whole := bytesIn(&fuse.ReadIn{Size: 4096})
	for _, c := range []struct {
		name string
		op   uint32
		node uint64
		body []byte
		want unix.Errno
	}{
		{"lookup in a file", opLookup, hello.NodeId, []byte("x\x00"), unix.ENOTDIR},
		{"list a file", opReaddirplus, hello.NodeId, whole, unix.ENOTDIR},
		{"read a directory", opRead, 1, whole, unix.EISDIR},
		{"target of a file", opReadlink, hello.NodeId, nil, unix.EINVAL},
		{"unknown node", opGetattr, 0xdeadbeef, bytesIn(&fuse.GetAttrIn{}), unix.ESTALE},
		{"short read request", opRead, hello.NodeId, whole[:8], unix.EINVAL},
		{"open", opOpen, hello.NodeId, bytesIn(&fuse.OpenIn{}), unix.ENOSYS},
		{"opendir", opOpendir, 1, bytesIn(&fuse.OpenIn{}), unix.ENOSYS},
		{"flush", opFlush, hello.NodeId, bytesIn(&fuse.FlushIn{}), unix.ENOSYS},
		{"no such opcode", 99, 1, nil, unix.ENOSYS},
		{"write", 16, hello.NodeId, make([]byte, 100), unix.ENOSYS},
	} {
		if got, _ := k.ask(c.op, c.node, c.body); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

func TestRead(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789abcdef"), 200_000)
	k, s := serve(t, newTree(t, fsystest.File{Path: "large", Data: data}), Options{})
	_, f := k.lookup(1, "large")
	for _, c := range []struct{ off, size int }{{0, 4096}, {1, 1}, {4096, 128 << 10}, {5, maxRead}, {len(data) - 10, 4096}, {len(data), 4096}, {len(data) + 9, 1}} {
		e, got := k.read(f.NodeId, int64(c.off), c.size)
		want := data[min(c.off, len(data)):min(c.off+c.size, len(data))]
		if e != 0 || !bytes.Equal(got, want) {
			t.Errorf("%d bytes at %d: %v, got %d bytes, want %d", c.size, c.off, e, len(got), len(want))
		}
	}
	if got := s.Stats().ReadBytes; got != 4096+1+128<<10+maxRead+10 {
		t.Errorf("statistics say %d bytes were read", got)
	}
}

func TestListing(t *testing.T) {
	var files []fsystest.File
	want := []string{".", ".."}
	for i := range 500 {
		name := fmt.Sprintf("%d-%s", i, strings.Repeat("n", i%200))
		want = append(want, name)
		files = append(files, fsystest.File{Path: "many/" + name, Data: make([]byte, i)})
	}
	k, _ := serve(t, newTree(t, files...), Options{})
	_, many := k.lookup(1, "many")
	for _, size := range []int{512, 4096, 100_000, maxRead} {
		for _, op := range []uint32{opReaddir, opReaddirplus} {
			var got []string
			for i, l := range k.list(op, many.NodeId, size) {
				got = append(got, l.name)
				if op == opReaddirplus && i >= dotPlaces && int(l.attr.Size) != i-dotPlaces {
					t.Fatalf("%q has %d bytes, want %d", l.name, l.attr.Size, i-dotPlaces)
				}
				if op == opReaddirplus && i < dotPlaces && l.node != 0 {
					t.Errorf("%q would make an inode", l.name)
				}
			}
			if diff := cmp.Diff(got, want); diff != "" {
				t.Fatalf("op %d, %d bytes: %s", op, size, diff)
			}
		}
	}
}

func TestListingTypesAndInodes(t *testing.T) {
	k, _ := serve(t, newTree(t), Options{})
	for _, l := range k.list(opReaddirplus, 1, 4096)[dotPlaces:] {
		e, entry := k.lookup(1, l.name)
		if e != 0 || entry.NodeId != l.node || entry.Ino != l.ino || l.typ != entry.Mode>>12 {
			t.Errorf("%s: listed as %+v, looked up as %+v", l.name, l, entry)
		}
	}
}

func TestReadlink(t *testing.T) {
	long := strings.Repeat("x", 5000)
	k, _ := serve(t, newTree(t, fsystest.File{Path: "long", Mode: fsys.TypeLink | 0o777, Target: long}), Options{})
	for name, want := range map[string]string{"link": "dir/nested", "long": long} {
		_, l := k.lookup(1, name)
		if e, got := k.ask(opReadlink, l.NodeId, nil); e != 0 || string(got) != want {
			t.Errorf("%s: %v, %q, want %q", name, e, got, want)
		}
	}
}

func TestXattrs(t *testing.T) {
	k, _ := serve(t, newTree(t, fsystest.File{Path: "x", Xattrs: map[string]string{"user.one": "1", "user.two": strings.Repeat("2", 60_000)}}), Options{})
	_, x := k.lookup(1, "x")
	ask := func(op uint32, name string, size int) (unix.Errno, []byte) {
		return k.ask(op, x.NodeId, append(bytesIn(&fuse.GetXAttrIn{Size: uint32(size)}), name...))
	}
	if e, out := ask(22, "user.one\x00", 0); e != 0 || view[fuse.GetXAttrOut](out).Size != 1 {
		t.Errorf("size of user.one: %v, %v", e, out)
	}
	if e, out := ask(22, "user.two\x00", 65536); e != 0 || len(out) != 60_000 {
		t.Errorf("user.two: %v, %d bytes", e, len(out))
	}
	if e, _ := ask(22, "user.two\x00", 10); e != unix.ERANGE {
		t.Errorf("user.two into 10 bytes: %v", e)
	}
	if e, _ := ask(22, "user.three\x00", 100); e != unix.ENODATA {
		t.Errorf("user.three: %v", e)
	}
	if e, out := ask(23, "", 100); e != 0 || !bytes.Contains(out, []byte("user.two\x00")) {
		t.Errorf("list: %v, %q", e, out)
	}
}

func TestStatfs(t *testing.T) {
	tree := newTree(t)
	k, _ := serve(t, tree, Options{})
	e, out := k.ask(17, 1, nil)
	want := tree.Statfs()
	if got := view[fuse.StatfsOut](out); e != 0 || got.Blocks != want.Blocks || got.Bsize != want.BlockSize || got.NameLen != want.NameLen || got.Bfree != 0 {
		t.Errorf("%v, %+v, want %+v", e, got, want)
	}
}

func TestFrequentRequestsAllocateNothing(t *testing.T) {
	tree := newTree(t, fsystest.File{Path: "dir/other", Data: make([]byte, 100_000)})
	_, dev := connect(t)
	defer dev.Close()
	s, err := New(tree, dev, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.journal.Close()
	w := s.newWorker(0)
	dir, _, err := tree.Lookup(tree.Root(), []byte("dir"))
	if err != nil {
		t.Fatal(err)
	}
	file, _, err := tree.Lookup(dir, []byte("other"))
	if err != nil {
		t.Fatal(err)
	}
	read := view[fuse.ReadIn](w.req)
	keep := func(*fsys.Entry) bool { return true }
	theirs := testing.AllocsPerRun(100, func() { _ = tree.ReadDir(dir, 0, keep) })
	for name, ask := range map[string]func() error{
		"getattr": func() error { _, _, err := w.getattr(&fuse.InHeader{NodeId: uint64(file)}); return err },
		"read": func() error {
			*read = fuse.ReadIn{InHeader: fuse.InHeader{NodeId: uint64(file), Opcode: opRead}, Size: 65536}
			_, _, err := w.read(w.req)
			return err
		},
		"readdirplus": func() error {
			*read = fuse.ReadIn{InHeader: fuse.InHeader{NodeId: uint64(dir), Opcode: opReaddirplus}, Size: 4000}
			_, _, err := w.readdir(w.req)
			return err
		},
	} {
		got := testing.AllocsPerRun(100, func() {
			if err := ask(); err != nil {
				t.Fatal(err)
			}
		})
		if name == "readdirplus" {
			got -= theirs // what the tree itself allocates
		}
		if got != 0 {
			t.Errorf("%s allocates %v times", name, got)
		}
	}
	w.dropBig()
}
