package fusefs

import (
	"errors"
	"sync"
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/isomount/isomount/pkg/fsys"
)

// A program that reads the files of a directory one after the other asks for
// each, and waits. Therefore the files that follow on the disc are put into the
// kernel's page cache unasked (FUSE_NOTIFY_STORE), as soon as two reads in a
// row show the pattern, and the more the longer it goes on. The kernel takes
// the data only for files that it knows, so nothing can go to a wrong place.

const (
	smallFile = 64 << 10 // bytes up to which a file is stored ahead
	aheadRoom = maxRead  // bytes that are stored at once

	aheadFirst = 4   // files that are stored when the pattern is seen
	aheadMost  = 128 // files that are stored at once after a while
	aheadSoon  = 4   // files that are stored before the reader is answered

	aheadStreams = 8 // programs that are followed at the same time
	aheadWorkers = 2 // workers that may store at the same time
)

// notifyStore is FUSE_NOTIFY_STORE of include/uapi/linux/fuse.h.
const notifyStore = 4

// storeHead is the head of a message that stores bytes of a file.
type storeHead struct {
	fuse.OutHeader
	node    uint64
	offset  uint64
	size    uint32
	padding uint32
}

const storeHeadBytes = int(unsafe.Sizeof(storeHead{}))

// A stream is a reader of files one after the other.
type stream struct {
	next   fsys.Node // the file that it reads next, if it is one
	window int       // files that were stored for it last
	ended  bool      // the directory ended: the next may be any
	used   uint64    // when it was seen last
}

// streams are the readers of a drive. The zero value is ready.
type streams struct {
	mu    sync.Mutex // guards the fields below
	list  [aheadStreams]stream
	clock uint64
	busy  int // workers that store
}

// match takes the stream that the read of a file continues, and tells how many
// files to store for it. What is not continued begins a stream, with window 0.
// A stream is given back by put.
func (a *streams) match(n fsys.Node) (st stream, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.busy == aheadWorkers {
		return stream{}, false
	}
	a.busy++
	found := -1
	for i := range a.list {
		if s := &a.list[i]; s.next == n && n != 0 {
			found = i
			break
		} else if s.ended {
			found = i
		}
	}
	if found < 0 {
		return stream{}, true
	}
	st = a.list[found]
	a.list[found] = stream{}
	st.window = min(max(2*st.window, aheadFirst), aheadMost)
	return st, true
}

// put keeps a stream in place of the one that was not seen for longest.
func (a *streams) put(st stream) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.busy--
	if st.next == 0 && !st.ended {
		return
	}
	oldest := &a.list[0]
	for i := range a.list {
		if a.list[i].used < oldest.used {
			oldest = &a.list[i]
		}
	}
	a.clock++
	st.used = a.clock
	*oldest = st
}

// ahead answers the read of the first bytes of a file with out, and stores what
// is likely to be read next.
//
// The first few files are stored before the answer, so that the reader finds
// them; the rest while it goes on. Another worker has to read the device
// meanwhile: a store waits for a page that is being read.
func (w *worker) ahead(n fsys.Node, out []byte) {
	st, ok := w.s.streams.match(n)
	if !ok {
		w.reply(out)
		return
	}
	defer func() { w.s.streams.put(st) }()
	if w.near == nil {
		w.near = make([]fsys.Neighbour, aheadMost+1)
	}
	list := w.near[:st.window+1]
	list = list[:w.s.neighbours.Neighbours(n, list)]
	if len(list) == 0 {
		w.reply(out)
		st = stream{window: st.window, ended: st.window > 0}
		return
	}
	st.next, st.ended = list[0].Node, false
	if st.window == 0 {
		w.reply(out)
		return
	}
	w.release()
	if stored := w.store(list[:min(len(list), st.window)], out); stored < len(list) {
		st.next = list[stored].Node
	} else {
		st = stream{window: st.window, ended: true}
	}
}

// store stores files, sends the answer out meanwhile, and returns how many
// files were stored.
func (w *worker) store(list []fsys.Neighbour, out []byte) int {
	answered := false
	answer := func() {
		if !answered {
			answered = true
			w.reply(out)
		}
	}
	defer answer()
	for i := range list {
		if list[i].Size > smallFile {
			list = list[:i]
			break
		}
	}
	buf, err := w.s.opts.Buffers.get(largeReply)
	if err != nil {
		return 0
	}
	defer w.s.opts.Buffers.put(buf)
	data := buf[storeHeadBytes:][:aheadRoom]
	count, err := fsys.ReadNeighbours(w.s.neighbours, list, data)
	if err != nil {
		return 0
	}
	for i, f := range list[:count] {
		if i == aheadSoon {
			answer()
		}
		// The head goes where an earlier file was, or the space before it.
		at := int(f.Pos - list[0].Pos)
		if !w.s.storeFile(buf[at:at+storeHeadBytes+int(f.Size)], f) {
			return i
		}
	}
	return count
}

// storeFile sends a message that holds a file behind its head, and tells
// whether the kernel took it.
func (s *Server) storeFile(msg []byte, f fsys.Neighbour) bool {
	head := storeHead{
		OutHeader: fuse.OutHeader{Length: uint32(len(msg)), Status: notifyStore},
		node:      s.id(f.Node), size: uint32(f.Size),
	}
	copy(msg, unsafe.Slice((*byte)(unsafe.Pointer(&head)), storeHeadBytes))
	for {
		_, err := unix.Write(s.devFD, msg)
		if err == nil {
			s.stats.stored.Add(uint64(f.Size))
			return true
		}
		if !errors.Is(err, unix.EINTR) {
			return false
		}
	}
}
