package fusefs

import (
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/hanwen/go-fuse/v2/fuse"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/isomount/isomount/pkg/fsys"
)

// cold answers a request through go-fuse's protocol server.
func (w *worker) cold(req []byte) {
	h := inHeader(req)
	if h.Opcode == opInit {
		w.init(req)
		return
	}
	size := smallReply - outHeaderBytes
	if fits[fuse.GetXAttrIn](req) {
		size = max(size, clampSize(view[fuse.GetXAttrIn](req).Size, math.MaxUint16)+smallReply)
	}
	out, err := w.outBuffer(size)
	if err != nil {
		w.fail(h.Unique, unix.ENOMEM)
		return
	}
	n, status := w.s.proto.HandleRequest([][]byte{req}, [][]byte{out})
	switch {
	case !status.Ok():
		w.fail(h.Unique, unix.EIO)
	case n > 0:
		w.reply(out[:n])
	}
}

// init answers the first request of a connection, and keeps it for whoever
// takes the connection over.
func (w *worker) init(req []byte) {
	w.grown = true
	h := inHeader(req)
	n, err := w.s.negotiate(req, w.out)
	if err == nil {
		err = w.s.rings.prepare(view[fuse.InitOut](w.out[outHeaderBytes:]))
	}
	if err == nil {
		err = w.s.journal.setInit(req)
	}
	if err != nil {
		w.s.log.Error("INIT refused", zap.Error(err))
		w.fail(h.Unique, unix.EPROTO)
		if w.s.rings != nil {
			w.s.finish(err)
		}
		return
	}
	w.reply(w.out[:n])
	w.s.rings.start()
	w.s.setReady()
}

// capabilities is what we can do beyond what go-fuse asks for by itself.
// Requests in flight over io_uring and passthrough files would die with the
// process, so neither is among them; io_uring is asked for where that is wanted.
const capabilities = fuse.CAP_NO_OPENDIR_SUPPORT | fuse.CAP_CACHE_SYMLINKS | fuse.CAP_ASYNC_DIO |
	fuse.CAP_EXPORT_SUPPORT | fuse.CAP_HAS_RESEND | fuse.CAP_SPLICE_WRITE | fuse.CAP_SPLICE_MOVE

const without = fuse.CAP_PASSTHROUGH | fuse.CAP_ALLOW_IDMAP | fuse.CAP_READDIRPLUS_AUTO | fuse.CAP_AUTO_INVAL_DATA

func newProtocol(s *Server) *fuse.ProtocolServer {
	extra := uint64(capabilities)
	if s.opts.URing {
		extra |= fuse.CAP_OVER_IO_URING
	}
	return fuse.NewProtocolServer(&rawFS{RawFileSystem: fuse.NewDefaultRawFileSystem(), s: s}, &fuse.MountOptions{
		MaxWrite:                 longestRead, // go-fuse takes the pages of a read from it
		MaxReadAhead:             longestRead,
		MaxBackground:            64,
		ExtraCapabilities:        extra,
		DisabledCapabilities:     without,
		ExplicitDataCacheControl: true,
		Logger:                   zap.NewStdLog(s.log),
	})
}

// negotiate runs INIT through the protocol server.
func (s *Server) negotiate(req, out []byte) (int, error) {
	n, status := s.proto.HandleRequest([][]byte{req}, [][]byte{out})
	if !status.Ok() {
		return 0, fmt.Errorf("protocol server: %s", status)
	}
	if e := view[fuse.OutHeader](out).Status; e != 0 {
		return 0, fmt.Errorf("protocol server: %w", unix.Errno(-e))
	}
	// Nothing is ever written, and a slot has room for no more than this.
	reply := view[fuse.InitOut](out[outHeaderBytes:])
	reply.MaxWrite = smallReply
	s.resends.Store(reply.Flags2&(fuse.CAP_HAS_RESEND>>32) != 0)
	return n, nil
}

// rawFS answers the rare requests for go-fuse.
type rawFS struct {
	fuse.RawFileSystem
	s *Server
}

func (r *rawFS) String() string { return "isomount" }

func (r *rawFS) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	st := r.s.fs.Statfs()
	*out = fuse.StatfsOut{
		Blocks: st.Blocks, Files: st.Files, Bsize: st.BlockSize, Frsize: st.BlockSize, NameLen: st.NameLen,
	}
	return fuse.OK
}

func (r *rawFS) GetXAttr(_ <-chan struct{}, h *fuse.InHeader, name string, dest []byte) (uint32, fuse.Status) {
	if r.s.xattrs == nil {
		return 0, fuse.ENOSYS
	}
	value, err := r.s.xattrs.Xattr(r.s.node(h.NodeId), name)
	if err != nil {
		return 0, r.status(h, err)
	}
	return give(dest, value)
}

func (r *rawFS) ListXAttr(_ <-chan struct{}, h *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	if r.s.xattrs == nil {
		return 0, fuse.ENOSYS
	}
	names, err := r.s.xattrs.Xattrs(r.s.node(h.NodeId))
	if err != nil {
		return 0, r.status(h, err)
	}
	var list []byte
	for _, n := range names {
		list = append(append(list, n...), 0)
	}
	return give(dest, list)
}

// give copies a value to where the kernel wants it; an empty dest asks for the
// size alone.
func give(dest, value []byte) (uint32, fuse.Status) {
	if len(value) > len(dest) {
		return uint32(len(value)), fuse.ERANGE
	}
	return uint32(copy(dest, value)), fuse.OK
}

// Values of LseekIn.Whence that reach a file system.
const (
	seekData = 3
	seekHole = 4
)

// Lseek finds data and holes.
func (r *rawFS) Lseek(_ <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	ext, ok := r.s.fs.(fsys.ExtentFS)
	if !ok {
		return fuse.ENOSYS
	}
	n := r.s.node(in.NodeId)
	attr, err := r.s.fs.Attr(n)
	if err != nil {
		return r.status(&in.InHeader, err)
	}
	if in.Offset >= uint64(attr.Size) {
		return fuse.Status(unix.ENXIO)
	}
	off, err := seek(ext, n, int64(in.Offset), attr.Size, in.Whence)
	if err != nil {
		return r.status(&in.InHeader, err)
	}
	out.Offset = uint64(off)
	return fuse.OK
}

// seek returns the first offset from off on that is data, or a hole; the end of
// a file is a hole.
func seek(ext fsys.ExtentFS, n fsys.Node, off, size int64, whence uint32) (int64, error) {
	found := int64(-1)
	err := ext.Extents(n, off, func(e fsys.Extent) bool {
		if (e.Pos == fsys.Hole) == (whence == seekHole) {
			found = max(e.Off, off)
		}
		return found < 0
	})
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return 0, err
	case found >= 0:
		return found, nil
	case whence == seekHole:
		return size, nil
	}
	return 0, errNoData
}

func (r *rawFS) status(h *fuse.InHeader, err error) fuse.Status {
	r.s.noteError(h, err)
	return fuse.Status(errno(err))
}
