package fusefs

import (
	"bytes"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/fsys/fsystest"
)

// spread is a file whose blocks differ.
func spread(blocks int) []byte {
	var b bytes.Buffer
	for i := range blocks {
		fmt.Fprintf(&b, "%-4096d", i)
	}
	return b.Bytes()
}

// burst sends reads of all blocks of a file at once, and checks the answers.
func (k *kernel) burst(node uint64, data []byte) {
	k.t.Helper()
	blocks := map[uint64][]byte{} // by request
	for off := 0; off < len(data); off += pageBytes {
		unique := k.send(opRead, node, bytesIn(&fuse.ReadIn{Offset: uint64(off), Size: pageBytes}))
		blocks[unique] = data[off : off+pageBytes]
	}
	for range len(data) / pageBytes {
		unique, e, got := k.receive()
		if e != 0 || !bytes.Equal(got, blocks[unique]) {
			k.t.Fatalf("request %d: %v, %d bytes", unique, e, len(got))
		}
		delete(blocks, unique)
	}
	if len(blocks) > 0 {
		k.t.Fatalf("%d reads have no answer", len(blocks))
	}
}

// pendingServer serves a file of which nothing is ever found in memory.
func pendingServer(t *testing.T, data []byte) (*kernel, *Server, uint64) {
	t.Helper()
	m := newTree(t, fsystest.File{Path: "file", Data: data})
	k, s := serve(t, elsewhere{m}, Options{LocalFile: local(localImage(t, m, -1))})
	if !s.pends {
		t.Skip("reads are not kept pending on this architecture")
	}
	s.missing.Store(true)
	_, entry := k.lookup(1, "file")
	return k, s, entry.NodeId
}

func TestOneWorkerHasManyReadsPending(t *testing.T) {
	data := spread(64)
	// The watchdog calls another one if this one does not get on, such as on a machine
	// that is busy; without that, every burst would.
	for range 20 {
		k, s, node := pendingServer(t, data)
		k.burst(node, data)
		if s.crowd() == 1 {
			return
		}
	}
	t.Error("no burst of reads was answered by one worker")
}

func TestReadsOfASlowDiskHaveWorkersOfTheirOwn(t *testing.T) {
	data := spread(64)
	k, s, node := pendingServer(t, data)
	s.waits.Store(int64(time.Hour))
	k.burst(node, data)
	if n := s.crowd(); n < 2 {
		t.Errorf("%d workers, want more than 1", n)
	}
}

// A request can be withdrawn between the moment when it was seen and its being
// read. Reads that are pending must not wait for the next one.
func TestPendingReadsAreConcludedWhenNothingFollows(t *testing.T) {
	data := spread(1)
	m := newTree(t, fsystest.File{Path: "file", Data: data})
	k, dev := connect(t)
	s, err := New(m, dev, Options{LocalFile: local(localImage(t, m, -1))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.socket.Close(); _ = s.journal.Close() })
	if !s.pends {
		t.Skip("reads are not kept pending on this architecture")
	}
	w := s.newWorker(0)
	v := w.borrow()
	v.pending.Store(true)
	w.queue = []*worker{v}
	done := make(chan bool)
	go func() {
		n, ok := w.receive()
		done <- n == 0 && ok
	}()
	for end := time.Now().Add(5 * time.Second); ; {
		s.callOff(v) // as the watchdog does, tick after tick
		select {
		case nothing := <-done:
			if !nothing {
				t.Error("a request came that was not sent")
			}
			return
		case <-time.After(tick):
		}
		if time.Now().After(end) {
			t.Fatal("still waits for a request")
		}
	}
}

func TestPendingReadsAreAnsweredAtTheEnd(t *testing.T) {
	data := spread(8)
	k, s, node := pendingServer(t, data)
	for off := range data {
		if off%pageBytes == 0 {
			k.send(opRead, node, bytesIn(&fuse.ReadIn{Offset: uint64(off), Size: pageBytes}))
		}
	}
	if err := unix.Shutdown(int(k.socket.Fd()), unix.SHUT_WR); err != nil {
		t.Fatal(err)
	}
	for range len(data) / pageBytes {
		if _, e, got := k.receive(); e != 0 || len(got) != pageBytes {
			t.Fatalf("%v, %d bytes", e, len(got))
		}
	}
	within(t, "all slots are free", func() bool { return s.crowd() == 0 })
}

// stuck is a tree in which nobody finds anything until it is let go.
type stuck struct {
	*fsystest.Mem

	entered, release chan struct{}
}

func (s *stuck) Lookup(dir fsys.Node, name []byte) (fsys.Node, fsys.Attr, error) {
	if string(name) == "stuck" {
		close(s.entered)
		<-s.release
	}
	return s.Mem.Lookup(dir, name)
}

// A read is not to fail because its worker is busy with a place of the disk that
// cannot be read.
func TestPendingReadsDoNotWaitForOneThatIsStuck(t *testing.T) {
	data := spread(1)
	m := newTree(t, fsystest.File{Path: "file", Data: data})
	tree := &stuck{m, make(chan struct{}), make(chan struct{})}
	k, s := serve(t, tree, Options{LocalFile: local(localImage(t, m, -1))})
	if !s.pends {
		t.Skip("reads are not kept pending on this architecture")
	}
	release := sync.OnceFunc(func() { close(tree.release) })
	t.Cleanup(release)
	s.missing.Store(true)
	_, entry := k.lookup(1, "file")
	// The worker that takes the read sees the lookup behind it if both are there.
	s.mu.Lock()
	w := s.workers[0]
	s.mu.Unlock()
	within(t, "the worker waits", func() bool { return w.state.Load() == reading })
	read := k.send(opRead, entry.NodeId, bytesIn(&fuse.ReadIn{Size: pageBytes}))
	lookup := k.send(opLookup, 1, append([]byte("stuck"), 0))
	<-tree.entered
	unique, e, got := k.receive()
	if unique != read || e != 0 || !bytes.Equal(got, data) {
		t.Errorf("request %d: %v, %d bytes; want an answer to the read", unique, e, len(got))
	}
	release()
	if unique, e, _ := k.receive(); unique != lookup || e != 0 {
		t.Errorf("request %d: %v; want an answer to the lookup", unique, e)
	}
	if e, got := k.read(entry.NodeId, 0, pageBytes); e != 0 || !bytes.Equal(got, data) {
		t.Errorf("the next read: %v, %d bytes", e, len(got))
	}
}

// counted is a tree that counts the reads that it does itself.
type counted struct {
	*fsystest.Mem

	reads atomic.Int32
}

func (c *counted) ReadAt(n fsys.Node, p []byte, off int64) (int, error) {
	c.reads.Add(1)
	return c.Mem.ReadAt(n, p, off)
}

// A drive takes long to find out that it cannot read a sector.
func TestABadSectorIsTriedOnce(t *testing.T) {
	f, err := os.Open("/proc/self/mem") // nothing is at the first addresses, which is EIO
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	tree := &counted{Mem: newTree(t, fsystest.File{Path: "file", Data: spread(1)})}
	k, s := serve(t, tree, Options{LocalFile: local(f)})
	_, entry := k.lookup(1, "file")
	if e, _ := k.read(entry.NodeId, 0, pageBytes); e != unix.EIO {
		t.Errorf("got %v, want EIO", e)
	}
	if n := tree.reads.Load(); n != 0 || s.Stats().Errors != 1 {
		t.Errorf("tried %d times more, %d errors counted", n, s.Stats().Errors)
	}
}
