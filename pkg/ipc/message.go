package ipc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// Limits on what one side accepts from the other.
const (
	maxRequest = 64 << 10 // bytes of a call; two paths and options are far below
	maxReply   = 64 << 20 // bytes of a reply; a thousand drives are 500 KB
	maxFiles   = 4        // descriptors that wait for their message
)

// A call is a message from the client.
type call struct {
	Method     string          `json:"method"`
	Parameters json.RawMessage `json:"parameters,omitempty"`
	More       bool            `json:"more,omitempty"`
	Oneway     bool            `json:"oneway,omitempty"`
	Upgrade    bool            `json:"upgrade,omitempty"`
}

// A reply is a message from the server.
type reply struct {
	Parameters any    `json:"parameters"`
	Continues  bool   `json:"continues,omitempty"`
	Error      string `json:"error,omitempty"`
}

// A message is a JSON text, without its NUL, and the descriptors sent with it.
type message struct {
	text  []byte
	files []*os.File
}

func (m *message) close() { closeAll(m.files) }

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close() // nothing was written
	}
}

// A reader takes messages from a socket.
type reader struct {
	recv  func(b, oob []byte) (n, oobn, flags int, err error) // one recvmsg(2)
	limit int                                                 // bytes of a message

	buf     []byte // what was read and not returned yet
	scanned int    // bytes at the start of buf that hold no NUL
	ended   int    // messages whose end was read
	taken   int    // messages that were returned
	files   []sent
}

// sent are descriptors and the number of their message.
type sent struct {
	message int
	files   []*os.File
}

// Errors of a peer that does not keep to the protocol.
var (
	errTooLong    = errors.New("message is too long")
	errTooMany    = errors.New("too many descriptors")
	errHalf       = errors.New("connection ended inside a message")
	errNoMessage  = errors.New("descriptors without a message")
	errControlMsg = errors.New("unknown control message")
)

// next returns the next message, or io.EOF between two.
func (r *reader) next() (*message, error) {
	for {
		if i := bytes.IndexByte(r.buf[r.scanned:], 0); i >= 0 {
			return r.take(r.scanned + i), nil
		}
		r.scanned = len(r.buf)
		if len(r.buf) > r.limit {
			return nil, errTooLong
		}
		if err := r.fill(); err != nil {
			return nil, r.atEnd(err)
		}
	}
}

// partial tells whether a message has begun and not ended.
func (r *reader) partial() bool { return len(r.buf) > 0 }

// take cuts a message of n bytes and its NUL from the buffer.
func (r *reader) take(n int) *message {
	m := &message{text: bytes.Clone(r.buf[:n])}
	r.buf = append(r.buf[:0], r.buf[n+1:]...)
	r.scanned = 0
	for len(r.files) > 0 && r.files[0].message == r.taken {
		m.files = append(m.files, r.files[0].files...)
		r.files = r.files[1:]
	}
	r.taken++
	return m
}

func (r *reader) atEnd(err error) error {
	switch {
	case !errors.Is(err, io.EOF):
		return err
	case len(r.buf) > 0:
		return errHalf
	case len(r.files) > 0:
		return errNoMessage
	}
	return io.EOF
}

// close closes the descriptors of messages that were not returned.
func (r *reader) close() {
	for _, s := range r.files {
		closeAll(s.files)
	}
	r.files = nil
}

// readSize is how much is read at least.
const readSize = 4096

// fill reads once.
func (r *reader) fill() error {
	old := len(r.buf)
	r.buf = slices.Grow(r.buf, readSize)
	oob := make([]byte, unix.CmsgSpace(maxFiles*4))
	n, oobn, flags, err := r.recv(r.buf[old:cap(r.buf)], oob)
	r.buf = r.buf[:old+max(n, 0)]
	chunk := r.buf[old:]
	// The kernel ends a read behind the piece that has descriptors, so they
	// belong to the last message that begins in it, or goes on there
	// (Linux net/unix/af_unix.c, unix_stream_read_generic).
	if ferr := r.attach(oob[:oobn], flags, r.ended+bytes.Count(chunk[:max(len(chunk)-1, 0)], []byte{0})); ferr != nil {
		return ferr
	}
	r.ended += bytes.Count(chunk, []byte{0})
	if err == nil && n == 0 {
		return io.EOF
	}
	return err
}

// attach takes the descriptors out of control messages.
func (r *reader) attach(oob []byte, flags, number int) error {
	files, err := parseFiles(oob)
	if len(files) > 0 {
		r.files = append(r.files, sent{number, files})
	}
	if flags&unix.MSG_CTRUNC != 0 {
		return errTooMany
	}
	count := 0
	for _, s := range r.files {
		count += len(s.files)
	}
	if count > maxFiles {
		return errTooMany
	}
	return err
}

// parseFiles returns the descriptors that control messages carry, also when
// there is an error.
func parseFiles(oob []byte) (files []*os.File, err error) {
	if len(oob) == 0 {
		return nil, nil
	}
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	for _, m := range msgs {
		fds, ferr := unix.ParseUnixRights(&m)
		if ferr != nil {
			err = fmt.Errorf("%w: level %d type %d", errControlMsg, m.Header.Level, m.Header.Type)
			continue
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "passed descriptor"))
		}
	}
	return files, err
}

// encode makes the bytes of a message. JSON never holds a NUL.
func encode(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	return append(b, 0), err
}
