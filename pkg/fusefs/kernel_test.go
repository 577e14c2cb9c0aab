package fusefs

import (
	"encoding/binary"
	"errors"
	"os"
	"testing"
	"time"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/fsys/fsystest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A kernel stands at the other end of a socket that keeps message boundaries
// as /dev/fuse does, so that every message can be chosen and every answer seen.
// Real mounts are tested with the whole program.
type kernel struct {
	t       testing.TB
	socket  *os.File
	unique  uint64
	resends int // FUSE_NOTIFY_RESEND that came
	server  *Server
	stored  map[uint64][]byte // by node, what FUSE_NOTIFY_STORE brought
}

// connect returns a kernel and the device that a server reads.
func connect(tb testing.TB) (*kernel, *os.File) {
	tb.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		tb.Fatal(err)
	}
	for _, fd := range fds {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 4<<20); err != nil {
			tb.Fatal(err)
		}
	}
	k := &kernel{t: tb, socket: os.NewFile(uintptr(fds[0]), "kernel"), unique: 100}
	dev := os.NewFile(uintptr(fds[1]), "device")
	tb.Cleanup(func() { _ = dev.Close() })
	return k, dev
}

// serve starts a server for fs and does the first exchange.
func serve(tb testing.TB, fs fsys.FS, o Options) (*kernel, *Server) {
	tb.Helper()
	k, dev := connect(tb)
	s := start(tb, k, fs, dev, o)
	if e, _ := k.ask(opInit, 0, bytesIn(&fuse.InitIn{Major: 7, Minor: 40, MaxReadAhead: 128 << 10, Flags: ^uint32(0), Flags2: ^uint32(0)})); e != 0 {
		tb.Fatalf("INIT: %v", e)
	}
	return k, s
}

func start(tb testing.TB, k *kernel, fs fsys.FS, dev *os.File, o Options) *Server {
	tb.Helper()
	s, err := New(fs, dev, o)
	if err != nil {
		tb.Fatal(err)
	}
	run(tb, k, s)
	return s
}

// run has a server work until the test ends.
func run(tb testing.TB, k *kernel, s *Server) {
	tb.Helper()
	done := make(chan error, 1)
	go func() { done <- s.Serve() }()
	tb.Cleanup(func() {
		_ = k.socket.Close()
		select {
		case err := <-done:
			if err != nil {
				tb.Errorf("Serve: %v", err)
			}
		case <-time.After(20 * time.Second):
			tb.Error("Serve does not end")
		}
	})
}

// bytesIn returns a request structure without its header.
func bytesIn[T any](in *T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(in)), unsafe.Sizeof(*in))[inHeaderBytes:]
}

// send sends a request and returns its unique number.
func (k *kernel) send(op uint32, node uint64, body []byte) uint64 {
	k.t.Helper()
	k.unique += 2
	k.sendAs(k.unique, op, node, body)
	return k.unique
}

func (k *kernel) sendAs(unique uint64, op uint32, node uint64, body []byte) {
	k.t.Helper()
	msg := make([]byte, inHeaderBytes, inHeaderBytes+len(body))
	*inHeader(msg) = fuse.InHeader{Length: uint32(cap(msg)), Opcode: op, Unique: unique, NodeId: node}
	if _, err := unix.Write(int(k.socket.Fd()), append(msg, body...)); err != nil {
		k.t.Fatal(err)
	}
}

// receive waits for an answer.
func (k *kernel) receive() (unique uint64, e unix.Errno, body []byte) {
	k.t.Helper()
	for {
		h, body := k.message()
		if h.Unique != 0 {
			return h.Unique, unix.Errno(-h.Status), body
		}
		k.notified(h, body)
	}
}

// notified notes a message that is no answer.
func (k *kernel) notified(h fuse.OutHeader, body []byte) {
	k.t.Helper()
	switch h.Status {
	case notifyResend:
		k.resends++
	case notifyStore:
		node, size := binary.NativeEndian.Uint64(body), binary.NativeEndian.Uint32(body[16:])
		if off := binary.NativeEndian.Uint64(body[8:]); off != 0 || int(size) != len(body)-storeHeadBytes+outHeaderBytes {
			k.t.Fatalf("store of %d bytes at %d in a message of %d", size, off, len(body))
		}
		if k.stored == nil {
			k.stored = map[uint64][]byte{}
		}
		k.stored[node] = body[storeHeadBytes-outHeaderBytes:]
	default:
		k.t.Fatalf("notification %d", h.Status)
	}
}

// collect takes the notifications that have come.
func (k *kernel) collect() {
	k.t.Helper()
	for {
		fds := []unix.PollFd{{Fd: int32(k.socket.Fd()), Events: unix.POLLIN}}
		if n, _ := unix.Poll(fds, 0); n != 1 {
			return
		}
		h, body := k.message()
		if h.Unique != 0 {
			k.t.Fatalf("answer to request %d", h.Unique)
		}
		k.notified(h, body)
	}
}

// settled tells whether the server stores nothing more.
func (k *kernel) settled() bool {
	a := &k.server.streams
	a.mu.Lock()
	busy := a.busy
	a.mu.Unlock()
	k.collect()
	return busy == 0
}

// awaitResend waits until the server has asked for what it does not know of.
func (k *kernel) awaitResend() {
	k.t.Helper()
	for k.resends == 0 {
		h, body := k.message()
		if h.Unique != 0 {
			k.t.Fatalf("answer to request %d", h.Unique)
		}
		k.notified(h, body)
	}
}

// message waits for whatever the server writes.
func (k *kernel) message() (h fuse.OutHeader, body []byte) {
	k.t.Helper()
	buf := make([]byte, 2<<20)
	k.await()
	n, err := unix.Read(int(k.socket.Fd()), buf)
	if err != nil || n < outHeaderBytes {
		k.t.Fatalf("answer of %d bytes: %v", n, err)
	}
	h = *view[fuse.OutHeader](buf)
	if int(h.Length) != n {
		k.t.Fatalf("answer says it has %d bytes and has %d", h.Length, n)
	}
	return h, buf[outHeaderBytes:n]
}

// await waits until there is a message.
func (k *kernel) await() {
	k.t.Helper()
	const long = 10 * time.Second
	fds := []unix.PollFd{{Fd: int32(k.socket.Fd()), Events: unix.POLLIN}}
	for end := time.Now().Add(long); time.Now().Before(end); {
		switch n, err := unix.Poll(fds, int(long.Milliseconds())); {
		case n == 1:
			return
		case err != nil && !errors.Is(err, unix.EINTR): // which Go's own signals cause
			k.t.Fatal(err)
		}
	}
	k.t.Fatalf("no answer within %v", long)
}

// ask sends a request and waits for its answer.
func (k *kernel) ask(op uint32, node uint64, body []byte) (unix.Errno, []byte) {
	k.t.Helper()
	want := k.send(op, node, body)
	got, e, out := k.receive()
	if got != want {
		k.t.Fatalf("answer to request %d, want %d", got, want)
	}
	return e, out
}

// lookup returns the entry of a path below the root.
func (k *kernel) lookup(dir uint64, name string) (unix.Errno, fuse.EntryOut) {
	k.t.Helper()
	e, out := k.ask(opLookup, dir, append([]byte(name), 0))
	if e != 0 {
		return e, fuse.EntryOut{}
	}
	return 0, *view[fuse.EntryOut](out)
}

func (k *kernel) read(node uint64, off int64, size int) (unix.Errno, []byte) {
	k.t.Helper()
	return k.ask(opRead, node, bytesIn(&fuse.ReadIn{Offset: uint64(off), Size: uint32(size)}))
}

// A line is one entry of a listing as the kernel sees it.
type line struct {
	name string
	node uint64 // 0 in a listing without attributes, and for dots
	ino  uint64
	next uint64
	typ  uint32
	attr fuse.Attr
}

// list reads a directory to its end in answers of size bytes.
func (k *kernel) list(op uint32, dir uint64, size int) []line {
	k.t.Helper()
	var all []line
	off := uint64(0)
	for {
		e, out := k.ask(op, dir, bytesIn(&fuse.ReadIn{Offset: off, Size: uint32(size)}))
		if e != 0 {
			k.t.Fatalf("listing at %d: %v", off, e)
		}
		if len(out) == 0 {
			return all
		}
		some := parseLines(op, out)
		all = append(all, some...)
		off = some[len(some)-1].next
	}
}

func parseLines(op uint32, out []byte) (all []line) {
	for len(out) > 0 {
		var l line
		if op == opReaddirplus {
			entry := *view[fuse.EntryOut](out)
			l.node, l.attr = entry.NodeId, entry.Attr
			out = out[entryBytes:]
		}
		l.ino = binary.NativeEndian.Uint64(out)
		l.next = binary.NativeEndian.Uint64(out[8:])
		n := int(binary.NativeEndian.Uint32(out[16:]))
		l.typ = binary.NativeEndian.Uint32(out[20:])
		l.name = string(out[direntBytes : direntBytes+n])
		out = out[(direntBytes+n+7)&^7:]
		all = append(all, l)
	}
	return all
}

// newTree is what most tests serve.
func newTree(tb testing.TB, more ...fsystest.File) *fsystest.Mem {
	tb.Helper()
	m, err := fsystest.NewMem(append([]fsystest.File{
		{Path: "hello", Data: []byte("hello, disc\n"), UID: 7, GID: 8, ModTime: fsys.Time{Sec: -5, Nsec: 6}},
		{Path: "dir/nested", Data: []byte("nested")},
		{Path: "link", Mode: fsys.TypeLink | 0o777, Target: "dir/nested"},
		{Path: "tty", Mode: fsys.TypeChar | 0o620, Major: 0x123, Minor: 0x45678},
	}, more...))
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

// within fails the test unless ok becomes true.
func within(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	const d = 5 * time.Second
	for end := time.Now().Add(d); !ok(); {
		if time.Now().After(end) {
			tb.Fatalf("%s: not within %v", what, d)
		}
		time.Sleep(time.Millisecond)
	}
}
