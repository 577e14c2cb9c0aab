package fusefs

import (
	"encoding/binary"
	"errors"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/isomount/isomount/pkg/binfmt"
	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/fsys/fsystest"
)

// A faulty tree fails, panics or stalls when it reads a file, by its name.
type faulty struct {
	*fsystest.Mem
	nodes  map[fsys.Node]string
	stall  chan struct{} // closed to let stalled reads go on
	stalls atomic.Int32  // reads that wait
}

func newFaulty(t *testing.T, names ...string) *faulty {
	t.Helper()
	var files []fsystest.File
	for _, n := range names {
		files = append(files, fsystest.File{Path: n, Data: make([]byte, 1<<20)})
	}
	f := &faulty{Mem: newTree(t, files...), nodes: map[fsys.Node]string{}, stall: make(chan struct{})}
	for _, n := range names {
		node, _, err := f.Lookup(f.Root(), []byte(n))
		if err != nil {
			t.Fatal(err)
		}
		f.nodes[node] = n
	}
	return f
}

func (f *faulty) ReadAt(n fsys.Node, p []byte, off int64) (int, error) {
	switch f.nodes[n] {
	case "panic":
		panic("a parser that failed")
	case "corrupt":
		return 10, binfmt.Corrupt(off, "rotten")
	case "truncated":
		if off+int64(len(p)) > 8192 {
			return 100, errors.New("device error")
		}
	case "stall":
		f.stalls.Add(1)
		<-f.stall
	}
	return f.Mem.ReadAt(n, p, off)
}

func TestDamageIsAnErrorForThatReadAlone(t *testing.T) {
	k, s := serve(t, newFaulty(t, "panic", "corrupt", "truncated"), Options{})
	for _, name := range []string{"panic", "corrupt"} {
		_, f := k.lookup(1, name)
		if e, _ := k.read(f.NodeId, 0, 4096); e != unix.EIO {
			t.Errorf("%s: got %v, want EIO", name, e)
		}
	}
	_, f := k.lookup(1, "truncated")
	if e, got := k.read(f.NodeId, 4096, 4096); e != 0 || len(got) != 4096 {
		t.Errorf("before the end: %v, %d bytes", e, len(got))
	}
	if e, got := k.read(f.NodeId, 4096, 8192); e != unix.EIO {
		t.Errorf("across the end: %v and %d bytes; a short answer would pass for the end of the file", e, len(got))
	}
	_, hello := k.lookup(1, "hello")
	if e, got := k.read(hello.NodeId, 0, 4096); e != 0 || string(got) != "hello, disc\n" {
		t.Errorf("another file afterwards: %v, %q", e, got)
	}
	if got := s.Stats().Errors; got != 3 {
		t.Errorf("statistics count %d errors, want 3", got)
	}
}

func TestAStalledReadHoldsUpNothingElse(t *testing.T) {
	tree := newFaulty(t, "stall")
	k, _ := serve(t, tree, Options{})
	_, f := k.lookup(1, "stall")
	stalled := k.send(opRead, f.NodeId, bytesIn(&fuse.ReadIn{Size: 4096}))
	within(t, "the read has begun", func() bool { return tree.stalls.Load() == 1 })
	for range 20 {
		if e, _ := k.lookup(1, "hello"); e != 0 {
			t.Fatal(e)
		}
	}
	close(tree.stall)
	if unique, e, body := k.receive(); unique != stalled || e != 0 || len(body) != 4096 {
		t.Errorf("the stalled read: request %d (want %d), %v, %d bytes", unique, stalled, e, len(body))
	}
}

func TestDeadline(t *testing.T) {
	tree := newFaulty(t, "stall")
	k, s := serve(t, tree, Options{Deadline: 50 * time.Millisecond})
	_, f := k.lookup(1, "stall")
	// More stalls than workers: all must be answered, and whatever comes after.
	const reads = 2 * slotCount
	sent := map[uint64]bool{}
	for range reads {
		sent[k.send(opRead, f.NodeId, bytesIn(&fuse.ReadIn{Size: 4096}))] = true
	}
	for range reads {
		unique, e, _ := k.receive()
		if e != unix.EIO || !sent[unique] {
			t.Fatalf("request %d: got %v, want EIO", unique, e)
		}
		delete(sent, unique)
	}
	if got := s.Stats().Late; got != workerCount {
		t.Errorf("statistics count %d late requests, want %d", got, workerCount)
	}
	close(tree.stall)
	within(t, "the drive answers again", func() bool {
		e, _ := k.lookup(1, "hello")
		return e == 0
	})
	if e, got := k.read(f.NodeId, 0, 4096); e != 0 || len(got) != 4096 {
		t.Errorf("the same read afterwards: %v, %d bytes", e, len(got))
	}
}

func TestInterruptFreesWhoWaitsForADeadImage(t *testing.T) {
	tree := newFaulty(t, "stall")
	k, _ := serve(t, tree, Options{})
	_, f := k.lookup(1, "stall")
	stalled := k.send(opRead, f.NodeId, bytesIn(&fuse.ReadIn{Size: 4096}))
	within(t, "the read has begun", func() bool { return tree.stalls.Load() == 1 })
	began := time.Now()
	k.send(opInterrupt, 0, bytesIn(&fuse.InterruptIn{Unique: stalled}))
	if unique, e, _ := k.receive(); unique != stalled || e != unix.EINTR {
		t.Errorf("request %d: %v, want request %d: EINTR", unique, e, stalled)
	}
	if took := time.Since(began); took < interruptGrace/2 {
		t.Errorf("given up after %v: programs do not expect file reads to be interrupted", took)
	}
	close(tree.stall)
}

func TestASuccessorAnswersWhatWasLeft(t *testing.T) {
	tree := newTree(t)
	hello, _, err := tree.Lookup(tree.Root(), []byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	j := abandoned(t, map[uint64]uint64{501: uint64(hello), 503: uint64(hello)})
	k, dev := connect(t)
	start(t, k, tree, dev, Options{Journal: j})
	for range 2 {
		if unique, e, body := k.receive(); e != 0 || string(body) != "hello, disc\n" || (unique != 501 && unique != 503) {
			t.Errorf("request %d: %v, %q", unique, e, body)
		}
	}
	if e, _ := k.lookup(1, "hello"); e != 0 {
		t.Errorf("the connection goes on without another INIT: %v", e)
	}
	k.awaitResend()
}

// A crash is told by Accuse; what was in the slots when it happened is put on
// trial, and what was on trial when it happens again is refused.
func TestARequestThatEndedTwoProcessesIsRefused(t *testing.T) {
	tree := newTree(t)
	hello, _, err := tree.Lookup(tree.Root(), []byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	j := abandoned(t, map[uint64]uint64{501: uint64(hello), 503: uint64(hello)})
	j.Accuse()
	j.Accuse() // as a process does that was killed before it had told all
	guilty, innocent := 0, 1
	for i := range 2 {
		if got := j.row(i).crashes(); got != 1 {
			t.Errorf("slot %d after one crash: %d, want 1", i, got)
		}
	}
	if j.refused(guilty) {
		t.Fatal("refused after one crash")
	}
	j.row(guilty).setTrial(1) // and there the second process ends
	j.Accuse()
	if got := j.row(innocent).crashes(); got != 1 {
		t.Errorf("a request that only waited: %d crashes, want 1", got)
	}
	want := map[uint64]unix.Errno{inHeader(j.slot(guilty)).Unique: unix.EIO, inHeader(j.slot(innocent)).Unique: 0}

	k, dev := connect(t)
	s, err := New(tree, dev, Options{Journal: j})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Try(); err != nil {
		t.Fatal(err)
	}
	run(t, k, s)
	for range want {
		unique, e, _ := k.receive()
		if wanted, ok := want[unique]; !ok || e != wanted {
			t.Errorf("request %d: got %v, want %v", unique, e, wanted)
		}
	}
	within(t, "the request has left its slot", func() bool { return !j.held(guilty) })
	k.awaitResend()
}

// RESEND is left alone where it is not wanted or the kernel does not have it.
func TestNoResend(t *testing.T) {
	for name, o := range map[string]struct {
		options Options
		flags2  uint32
	}{"not wanted": {Options{NoResend: true}, ^uint32(0)}, "not there": {Options{}, ^uint32(fuse.CAP_HAS_RESEND >> 32)}} {
		t.Run(name, func(t *testing.T) {
			j := abandoned(t, nil)
			view[fuse.InitIn](j.initRequest()).Flags2 = o.flags2
			k, dev := connect(t)
			o.options.Journal = j
			start(t, k, newTree(t), dev, o.options)
			for range 10 {
				if e, _ := k.lookup(1, "hello"); e != 0 {
					t.Error(e)
				}
			}
			if k.resends != 0 {
				t.Errorf("%d notifications", k.resends)
			}
		})
	}
}

// Kills from outside say nothing of a request, until they are too many.
func TestKillsAreNoVerdict(t *testing.T) {
	j := abandoned(t, map[uint64]uint64{501: 1})
	for n := range maxDeaths {
		if j.refused(0) {
			t.Fatalf("refused after %d kills", n)
		}
	}
	if !j.refused(0) {
		t.Errorf("still tried after %d deaths in a row", maxDeaths)
	}
	inHeader(j.slot(0)).Unique = 505
	if j.refused(0) {
		t.Error("another request in the same slot is refused")
	}
}

// A suspect that waits for its image keeps the others for trialTime at most.
func TestATrialEnds(t *testing.T) {
	tree := newFaulty(t, "stall")
	node, _, err := tree.Lookup(tree.Root(), []byte("stall"))
	if err != nil {
		t.Fatal(err)
	}
	j := abandoned(t, map[uint64]uint64{501: uint64(node)})
	j.Accuse()
	k, dev := connect(t)
	s, err := New(tree, dev, Options{Journal: j})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Try(); err != nil {
		t.Fatal(err)
	}
	if j.row(0).onTrial() {
		t.Error("still on trial")
	}
	run(t, k, s)
	if e, _ := k.lookup(1, "hello"); e != 0 {
		t.Errorf("another request meanwhile: %v", e)
	}
	k.awaitResend() // does not wait for it
	close(tree.stall)
	if unique, e, _ := k.receive(); unique != 501 || e != 0 {
		t.Errorf("request %d: %v, want 501 and no error", unique, e)
	}
}

// INIT that was taken and not answered is answered by the successor.
func TestASuccessorAnswersINIT(t *testing.T) {
	for name, noted := range map[string]bool{"before it was noted": false, "before it was answered": true} {
		t.Run(name, func(t *testing.T) {
			j := abandoned(t, nil)
			init := j.initRequest()
			copy(j.slot(3), init)
			if !noted {
				j.put(offInitLen, 0)
			}
			k, dev := connect(t)
			start(t, k, newTree(t), dev, Options{Journal: j})
			if unique, e, _ := k.receive(); unique != 2 || e != 0 {
				t.Fatalf("request %d: %v, want an answer to 2", unique, e)
			}
			if e, _ := k.lookup(1, "hello"); e != 0 {
				t.Error(e)
			}
			if noted { // else it is a new connection, of which nothing is missing
				k.awaitResend()
			}
		})
	}
}

// abandoned returns the journal of a process that died after INIT with reads
// of whole files, unique to node, unanswered.
func abandoned(t *testing.T, reads map[uint64]uint64) *Journal {
	t.Helper()
	first, err := NewJournal()
	if err != nil {
		t.Fatal(err)
	}
	init := fuse.InitIn{Major: 7, Minor: 40, Flags: ^uint32(0), Flags2: ^uint32(0)}
	init.InHeader = fuse.InHeader{Opcode: opInit, Unique: 2}
	msg := append(make([]byte, inHeaderBytes), bytesIn(&init)...)
	*inHeader(msg) = init.InHeader
	inHeader(msg).Length = uint32(len(msg))
	if err := first.setInit(msg); err != nil {
		t.Fatal(err)
	}
	i := 0
	for unique, node := range reads {
		in := view[fuse.ReadIn](first.slot(i))
		*in = fuse.ReadIn{InHeader: fuse.InHeader{Length: 80, Opcode: opRead, Unique: unique, NodeId: node}, Size: 4096}
		i++
	}
	fd, err := unix.Dup(int(first.File().Fd()))
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	j, err := OpenJournal(os.NewFile(uintptr(fd), "journal"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

func TestUnknownJournalsAreRefused(t *testing.T) {
	for name, spoil := range map[string]func(mem []byte){
		"magic":  func(mem []byte) { mem[0] = 'X' },
		"layout": func(mem []byte) { binary.LittleEndian.PutUint32(mem[offVersion:], journalVersion+1) },
		"nodes":  func(mem []byte) { binary.LittleEndian.PutUint32(mem[offNodes:], NodeVersion+1) },
		"slots":  func(mem []byte) { binary.LittleEndian.PutUint32(mem[offSlots:], 1000) },
	} {
		j, err := NewJournal()
		if err != nil {
			t.Fatal(err)
		}
		spoil(j.mem)
		if _, err := OpenJournal(j.file); !errors.Is(err, ErrJournal) {
			t.Errorf("%s: got %v, want ErrJournal", name, err)
		}
		_ = j.Close()
	}
	empty, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer empty.Close()
	if _, err := OpenJournal(empty); !errors.Is(err, ErrJournal) {
		t.Errorf("empty file: got %v, want ErrJournal", err)
	}
}

func TestJournalNote(t *testing.T) {
	j, err := NewJournal()
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if got := j.Note(); got != nil {
		t.Errorf("new journal: note %q", got)
	}
	for _, want := range []string{"first", "2"} {
		if err := j.SetNote([]byte(want)); err != nil {
			t.Fatal(err)
		}
		if got := string(j.Note()); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if err := j.SetNote(make([]byte, maxNote+1)); err == nil {
		t.Error("a note that does not fit was taken")
	}
	if got := string(j.Note()); got != "2" {
		t.Errorf("after a note that did not fit: %q", got)
	}
}
