package ipc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A Client is a connection to a daemon. It makes one call at a time and must
// not be used from two goroutines at once.
type Client struct {
	sock   *net.UnixConn
	reader *reader
	path   string
	server Peer
	broken error // why no further call can be made
}

// Dial connects to the daemon at a socket. If there is none the error is an
// [*Error] with [ErrNoDaemon].
func Dial(ctx context.Context, path string) (*Client, error) {
	if len(path) > maxSocketPath {
		return nil, tooLong(path)
	}
	if err := checkSocketDir(path); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	// It never waits: where the queue of connections is full the kernel says so.
	// A context would cost a goroutine, and mostly a thread to run it.
	sock, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, dialError(path, err)
	}
	server, err := peerOf(sock)
	if err != nil {
		return nil, errors.Join(err, sock.Close())
	}
	c := &Client{sock: sock, path: path, server: server}
	c.reader = &reader{recv: c.recv, limit: maxReply}
	return c, nil
}

// DialAny connects to the first of several sockets on which a daemon listens.
// A daemon that is there and refuses is an error at once.
func DialAny(ctx context.Context, paths []string) (*Client, error) {
	var errs []error
	for _, path := range paths {
		c, err := Dial(ctx, path)
		if err == nil || !errors.Is(err, ErrNoDaemon) {
			return c, err
		}
		errs = append(errs, err)
	}
	if len(errs) == 0 {
		return nil, &Error{Err: ErrNoDaemon}
	}
	return nil, errs[0]
}

func dialError(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.ENOTSOCK):
		return noDaemon(path)
	case errors.Is(err, fs.ErrPermission):
		return &Error{Err: ErrPermission, Message: "no permission to talk to the daemon at " + path}
	}
	return err
}

func noDaemon(path string) error {
	e := &Error{Err: ErrNoDaemon, Message: "no daemon at " + path, Hint: "start isomountd"}
	if path == systemSocket {
		e.Hint = `start it with "systemctl start isomountd"`
	}
	return e
}

// Close hangs up.
func (c *Client) Close() error { return c.sock.Close() }

// Path returns the socket that the client is connected to.
func (c *Client) Path() string { return c.path }

// Server returns who listens at the other end: for a socket of systemd's that
// is root.
func (c *Client) Server() Peer { return c.server }

func (c *Client) recv(b, _ []byte) (n, oobn, flags int, err error) {
	n, err = c.sock.Read(b) // descriptors are not taken
	return n, 0, 0, err
}

// Ping asks whether the daemon is there.
func (c *Client) Ping(ctx context.Context) (*PingReply, error) {
	return ask[PingReply](ctx, c, "Ping", &PingRequest{})
}

// Probe reports what is on an image.
func (c *Client) Probe(ctx context.Context, q *ProbeRequest, image *os.File) (*ProbeReply, error) {
	return ask[ProbeReply](ctx, c, "Probe", q, image)
}

// Mount has an image served through a FUSE device. Both files stay the caller's.
func (c *Client) Mount(ctx context.Context, q *MountRequest, image, device *os.File) (*MountReply, error) {
	return ask[MountReply](ctx, c, "Mount", q, image, device)
}

// Eject waits until a drive that was unmounted is gone.
func (c *Client) Eject(ctx context.Context, q *EjectRequest) (*EjectReply, error) {
	return ask[EjectReply](ctx, c, "Eject", q)
}

// List lists drives.
func (c *Client) List(ctx context.Context, q *ListRequest) (*ListReply, error) {
	return ask[ListReply](ctx, c, "List", q)
}

// Info describes a drive.
func (c *Client) Info(ctx context.Context, q *InfoRequest) (*InfoReply, error) {
	return ask[InfoReply](ctx, c, "Info", q)
}

// Stats counts what the daemon does.
func (c *Client) Stats(ctx context.Context) (*StatsReply, error) {
	return ask[StatsReply](ctx, c, "Stats", &StatsRequest{})
}

// Monitor calls yield for each event until it returns false, ctx ends or the
// daemon does. Afterwards the connection is closed: nothing else ends a stream.
func (c *Client) Monitor(ctx context.Context, q *MonitorRequest, yield func(*Event) bool) error {
	defer func() { _ = c.Close() }() // what was wrong is known by then
	return c.call(ctx, &call{Method: Interface + ".Monitor", More: true}, q, nil, func(b json.RawMessage) (bool, error) {
		var r MonitorReply
		if err := json.Unmarshal(b, &r); err != nil {
			return false, err
		}
		return yield(&r.Event), nil
	})
}

// ask makes a call with one reply.
func ask[R any](ctx context.Context, c *Client, name string, q any, files ...*os.File) (*R, error) {
	r := new(R)
	err := c.call(ctx, &call{Method: Interface + "." + name}, q, files, func(b json.RawMessage) (bool, error) {
		return true, json.Unmarshal(b, r)
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// call sends a call and gives each reply to got, until it is the last or got
// returns false or an error. A call that was given up leaves the connection
// unusable, since its reply may still come.
func (c *Client) call(ctx context.Context, q *call, parameters any, files []*os.File, got func(json.RawMessage) (bool, error)) error {
	if c.broken != nil {
		return c.broken
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	raw, err := json.Marshal(parameters)
	if err != nil {
		return err
	}
	q.Parameters = raw
	stop := context.AfterFunc(ctx, func() { _ = c.sock.SetDeadline(time.Unix(1, 0)) })
	done, err := c.exchange(q, files, got)
	if !stop() || !done {
		return c.giveUp(ctx, done, err)
	}
	return err
}

// exchange sends a call and reads its replies; done means that none is left to
// come. A daemon that refuses a caller answers before it is asked and hangs up,
// so a call that cannot be sent may have an answer.
func (c *Client) exchange(q *call, files []*os.File, got func(json.RawMessage) (bool, error)) (done bool, err error) {
	err = c.send(q, files)
	if err != nil && !errors.Is(err, unix.EPIPE) && !errors.Is(err, unix.ECONNRESET) {
		return false, err
	}
	return c.replies(got)
}

// giveUp notes that the connection cannot be used any more. If done, the call
// itself was answered.
func (c *Client) giveUp(ctx context.Context, done bool, err error) error {
	switch {
	case done:
		c.broken = net.ErrClosed
		return err
	case ctx.Err() != nil:
		err = ctx.Err()
	case errors.Is(err, io.EOF), errors.Is(err, errHalf), errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.EPIPE):
		err = &Error{Err: ErrHungUp, Message: "the daemon at " + c.path + " hung up", Hint: "its log tells why; try again"}
	case err == nil:
		c.broken = net.ErrClosed // the caller has seen enough
		return nil
	}
	c.broken = err
	return err
}

func (c *Client) send(q *call, files []*os.File) error {
	b, err := encode(q)
	if err != nil {
		return err
	}
	var rights []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		rights = unix.UnixRights(fds...)
	}
	n, _, err := c.sock.WriteMsgUnix(b, rights, nil)
	if err == nil && n < len(b) {
		_, err = c.sock.Write(b[n:])
	}
	return err
}

// replies reads replies to a call; done means that none is left to come.
func (c *Client) replies(got func(json.RawMessage) (bool, error)) (done bool, err error) {
	for {
		m, err := c.reader.next()
		if err != nil {
			return false, err
		}
		var r struct {
			Parameters json.RawMessage `json:"parameters"`
			Continues  bool            `json:"continues"`
			Error      string          `json:"error"`
		}
		if err := json.Unmarshal(m.text, &r); err != nil {
			return false, fmt.Errorf("%w: %w", ErrProtocol, err)
		}
		if r.Error != "" {
			return true, fromWire(r.Error, r.Parameters)
		}
		goOn, err := got(r.Parameters)
		if err != nil {
			return false, fmt.Errorf("%w: %w", ErrProtocol, err)
		}
		if !r.Continues || !goOn {
			return !r.Continues, nil
		}
	}
}
