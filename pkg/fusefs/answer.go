package fusefs

import (
	"errors"
	"io"

	"github.com/hanwen/go-fuse/v2/fuse"
	"go.uber.org/zap"

	"github.com/isomount/isomount/pkg/fsys"
)

// longRead is how many bytes a read asks for when it pays to let another
// worker read the device meanwhile.
const longRead = 64 << 10

func isLong(req []byte) bool {
	return inHeader(req).Opcode == opRead && fits[fuse.ReadIn](req) && view[fuse.ReadIn](req).Size >= longRead
}

// readOffset is where in its file a request reads, or 0.
func readOffset(req []byte) int64 {
	op := inHeader(req).Opcode
	if op != opRead && op != opReaddir && op != opReaddirplus || !fits[fuse.ReadIn](req) {
		return 0
	}
	return int64(view[fuse.ReadIn](req).Offset)
}

// wantsReply tells whether the kernel waits for an answer to an opcode.
func wantsReply(op uint32) bool {
	return op != opForget && op != opBatchForget && op != opInterrupt
}

// dispatch answers a request. The frequent ones are answered here, without an
// allocation; the rest goes through go-fuse's protocol server.
func (w *worker) dispatch(req []byte) {
	h := inHeader(req)
	var n int
	var out []byte
	var err error
	switch h.Opcode {
	case opForget, opBatchForget:
		return // nodes are stateless
	case opInterrupt:
		w.s.interrupt(req)
		return
	case opOpen, opOpendir, opFlush, opAccess, opRelease, opReleasedir:
		err = errNoSys // once: then the kernel does without
	case opLookup:
		out, n, err = w.lookup(h, req[inHeaderBytes:])
	case opGetattr:
		out, n, err = w.getattr(h)
	case opReadlink:
		out, n, err = w.readlink(h)
	case opRead:
		if out, n, err = w.read(req); err == nil {
			w.answerRead(req, out, n)
			return
		}
	case opReaddir, opReaddirplus:
		out, n, err = w.readdir(req)
	default:
		w.cold(req)
		return
	}
	if err != nil {
		w.s.noteError(h, err)
		w.fail(h.Unique, errno(err))
		return
	}
	w.reply(putHeader(out, h.Unique, n, 0))
}

// noteError logs what is wrong with the disc; the names of files that are not
// there are nobody's business.
func (s *Server) noteError(h *fuse.InHeader, err error) {
	if isDamage(err) {
		s.log.Warn("request answered with an I/O error", zap.Uint32("op", h.Opcode), zap.Uint64("node", h.NodeId), zap.Error(err))
	}
}

// node turns the kernel's node id into the tree's.
func (s *Server) node(id uint64) fsys.Node {
	if id == fuse.FUSE_ROOT_ID {
		return s.root
	}
	return fsys.Node(id)
}

// id turns the tree's node into the kernel's.
func (s *Server) id(n fsys.Node) uint64 {
	if n == s.root {
		return fuse.FUSE_ROOT_ID
	}
	return uint64(n)
}

func (w *worker) lookup(h *fuse.InHeader, payload []byte) ([]byte, int, error) {
	name := cName(payload)
	dir := w.s.node(h.NodeId)
	out := view[fuse.EntryOut](w.out[outHeaderBytes:])
	node, attr, err := w.s.find(dir, name)
	switch {
	case errors.Is(err, fsys.ErrNotExist):
		*out = fuse.EntryOut{EntryValid: forever} // node 0: the name may be remembered as missing
	case err != nil:
		return nil, 0, err
	default:
		putEntry(out, w.s.id(node), &attr)
	}
	return w.out, entryBytes, nil
}

// find looks up a name. "." and ".." are asked for by the NFS server alone.
func (s *Server) find(dir fsys.Node, name []byte) (fsys.Node, fsys.Attr, error) {
	node, err := dir, error(nil)
	switch {
	case string(name) == ".":
	case string(name) == ".." && s.parents != nil:
		node, err = s.parents.Parent(dir)
	default:
		return s.fs.Lookup(dir, name)
	}
	if err != nil {
		return 0, fsys.Attr{}, err
	}
	attr, err := s.fs.Attr(node)
	return node, attr, err
}

func (w *worker) getattr(h *fuse.InHeader) ([]byte, int, error) {
	attr, err := w.s.fs.Attr(w.s.node(h.NodeId))
	if err != nil {
		return nil, 0, err
	}
	out := view[fuse.AttrOut](w.out[outHeaderBytes:])
	*out = fuse.AttrOut{AttrValid: forever}
	putAttr(&out.Attr, &attr)
	return w.out, attrBytes, nil
}

func (w *worker) readlink(h *fuse.InHeader) ([]byte, int, error) {
	target, err := w.s.fs.Readlink(w.s.node(h.NodeId))
	if err != nil {
		return nil, 0, err
	}
	out, err := w.outBuffer(len(target))
	if err != nil {
		return nil, 0, err
	}
	return out, copy(out[outHeaderBytes:], target), nil
}

// read answers with the bytes at the offset. The kernel takes a short answer
// for the end of the file, so an error behind the first bytes is an error for
// the whole request; the kernel then asks again page by page.
func (w *worker) read(req []byte) ([]byte, int, error) {
	if !fits[fuse.ReadIn](req) {
		return nil, 0, errInvalid
	}
	in := view[fuse.ReadIn](req)
	size := clampSize(in.Size, maxRead)
	fd, at, direct := w.spotOf(in)
	switch {
	case !direct:
	case w.ring != nil:
		if out := w.ring.readNow(in.Unique, fd, at); out != nil {
			return out, at.n, nil
		}
		direct = false
	case isLong(req):
		if at.n <= longestRead && w.splice(fd, at, in.Unique) {
			return nil, 0, nil
		}
		direct = false
	}
	out, err := w.outBuffer(size)
	if err != nil {
		return nil, 0, err
	}
	if direct {
		found, later, err := w.readShort(fd, at, out[outHeaderBytes:])
		switch {
		case later:
			return nil, 0, nil
		case found || err != nil:
			return out, at.n, err
		}
	}
	n, err := w.s.fs.ReadAt(w.s.node(in.NodeId), out[outHeaderBytes:outHeaderBytes+size], int64(in.Offset))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, 0, err
	}
	w.s.stats.readBytes.Add(uint64(n))
	return out, n, nil
}

// answerRead gives the kernel what was read, unless it was spliced or is pending.
// A store could wait for a page of a read that is pending.
func (w *worker) answerRead(req, out []byte, n int) {
	h := inHeader(req)
	switch {
	case out == nil:
	case w.s.neighbours != nil && readOffset(req) == 0 && !w.hasPending():
		w.ahead(w.s.node(h.NodeId), putHeader(out, h.Unique, n, 0))
	default:
		w.reply(putHeader(out, h.Unique, n, 0))
	}
}

// readdir lists a directory. The first two places belong to "." and "..", and
// a place of the tree is passed on to the kernel two higher.
func (w *worker) readdir(req []byte) ([]byte, int, error) {
	if !fits[fuse.ReadIn](req) {
		return nil, 0, errInvalid
	}
	in := view[fuse.ReadIn](req)
	size := clampSize(in.Size, maxRead)
	out, err := w.outBuffer(size)
	if err != nil {
		return nil, 0, err
	}
	dir := w.s.node(in.NodeId)
	w.list = direntList{buf: out[outHeaderBytes : outHeaderBytes+size], plus: in.Opcode == opReaddirplus}
	if err := w.dots(dir, in.Offset); err != nil {
		return nil, 0, err
	}
	if !w.list.full {
		err = w.s.fs.ReadDir(dir, max(in.Offset, dotPlaces)-dotPlaces, w.yield)
	}
	if err != nil && w.list.used == 0 {
		return nil, 0, err
	}
	return out, w.list.used, nil
}

const dotPlaces = 2

// dots lists "." and ".." if the listing starts at or before them.
func (w *worker) dots(dir fsys.Node, from uint64) error {
	if from >= dotPlaces {
		return nil
	}
	attr, err := w.s.fs.Attr(dir)
	if err != nil {
		return err
	}
	if !attr.IsDir() {
		return fsys.ErrNotDir
	}
	if from == 0 && !w.list.add([]byte("."), 0, &attr, 1) {
		return errInvalid
	}
	if up, err := w.s.parent(dir); err == nil {
		attr = up
	}
	w.list.add([]byte(".."), 0, &attr, 2)
	return nil
}

func (s *Server) parent(dir fsys.Node) (fsys.Attr, error) {
	if s.parents == nil || dir == s.root {
		return s.fs.Attr(dir)
	}
	up, err := s.parents.Parent(dir)
	if err != nil {
		return fsys.Attr{}, err
	}
	return s.fs.Attr(up)
}

// addEntry is what ReadDir yields to.
func (w *worker) addEntry(e *fsys.Entry) bool {
	return w.list.add(e.Name, w.s.id(e.Node), &e.Attr, e.Next+dotPlaces)
}

// interrupt notes that whoever waits for a request was sent a signal.
func (s *Server) interrupt(req []byte) {
	if !fits[fuse.InterruptIn](req) {
		return
	}
	unique := view[fuse.InterruptIn](req).Unique
	s.rings.interrupt(unique)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.workers {
		if w != nil && w.unique.Load() == unique {
			w.interrupted.Store(true)
			return
		}
	}
}
