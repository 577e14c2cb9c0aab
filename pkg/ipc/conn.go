package ipc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// maxQueue is how many calls may wait behind the one that is being answered.
const maxQueue = 4

// A conn is one caller.
type conn struct {
	server *Server
	sock   *net.UnixConn
	peer   Peer

	mu      sync.Mutex // guards the fields below
	cancel  context.CancelFunc
	gone    bool      // hangUp was called
	calls   int       // that were read and not answered
	partial time.Time // when a message was begun that has not ended, or zero
}

// refuse tells the caller why it is not served.
func (c *conn) refuse(err error) {
	_ = c.write(toError(err).reply()) // it may be gone already
	_ = c.sock.Close()
}

// hangUp ends the connection and what is being done for it.
func (c *conn) hangUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = true
	if c.cancel != nil {
		c.cancel()
	}
	_ = c.sock.SetDeadline(time.Unix(1, 0)) // ends reads and writes; fails only when it is closed
}

// begin makes the context of all calls of the connection.
func (c *conn) begin(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cancel = cancel
	if c.gone {
		cancel()
	}
	return ctx, cancel
}

// serve answers calls in their order until the caller hangs up, breaks the
// protocol or is silent for too long. One goroutine reads ahead, so that it is
// noticed when a caller who waits goes away.
func (c *conn) serve(ctx context.Context) error {
	ctx, cancel := c.begin(ctx)
	stop := context.AfterFunc(ctx, c.hangUp)
	defer stop()
	queue := make(chan *message, maxQueue)
	var readErr error
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(queue)
		readErr = c.readAll(ctx, queue)
	})
	err := c.answerAll(ctx, queue)
	cancel()
	_ = c.sock.Close()
	wg.Wait()
	for m := range queue {
		m.close()
	}
	return errors.Join(err, readErr)
}

// readAll reads calls into the queue. It cancels the connection's work when
// the caller is gone; one who only shut down its writing side still gets its
// answers.
func (c *conn) readAll(ctx context.Context, queue chan<- *message) error {
	r := &reader{recv: c.recv, limit: maxRequest}
	defer r.close()
	for {
		c.waiting(r.partial())
		m, err := r.next()
		if err != nil {
			return c.readEnded(ctx, err)
		}
		c.queued()
		select {
		case queue <- m:
		case <-ctx.Done():
			m.close()
			return nil
		}
	}
}

func (c *conn) readEnded(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return nil //nolint:nilerr // this side ended it
	case errors.Is(err, io.EOF) && !hungUp(c.sock):
		return nil
	}
	quiet := errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) || c.idle(err)
	c.hangUp()
	if quiet {
		return nil
	}
	return err
}

// idle tells whether err means that the caller was silent between two calls.
func (c *conn) idle(err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout() && c.partial.IsZero()
}

// recv reads once and, for the deadline, notes whether a message has begun.
func (c *conn) recv(b, oob []byte) (n, oobn, flags int, err error) {
	n, oobn, flags, _, err = c.sock.ReadMsgUnix(b, oob)
	if n > 0 {
		c.begun()
	}
	return n, oobn, flags, err
}

// waiting notes that the next message is awaited, of which a part may be there.
func (c *conn) waiting(partial bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.partial = time.Time{}
	if partial {
		c.partial = time.Now()
	}
	c.setDeadline()
}

// begun notes that a part of a message has come.
func (c *conn) begun() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.partial.IsZero() {
		c.partial = time.Now()
		c.setDeadline()
	}
}

// queued notes that a call was read.
func (c *conn) queued() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls++
}

// answered notes that a call was answered.
func (c *conn) answered() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls--
	c.setDeadline()
}

// setDeadline says how long the caller may be silent now. c.mu is held.
func (c *conn) setDeadline() {
	var t time.Time // none while a call is being answered
	switch {
	case c.gone:
		return
	case !c.partial.IsZero():
		t = c.partial.Add(c.server.MessageTimeout)
	case c.calls == 0:
		t = time.Now().Add(c.server.IdleTimeout)
	}
	_ = c.sock.SetReadDeadline(t) // fails only when it is closed
}

// answerAll answers what comes through the queue.
func (c *conn) answerAll(ctx context.Context, queue <-chan *message) error {
	for {
		select {
		case m, ok := <-queue:
			if !ok {
				return nil
			}
			err := c.answer(ctx, m)
			c.answered()
			if err != nil || ctx.Err() != nil {
				return err
			}
		case <-c.server.quit:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// answer answers one call. It returns an error if the connection must end.
func (c *conn) answer(ctx context.Context, m *message) error {
	in := &incoming{peer: c.peer, files: m.files}
	defer func() { closeAll(in.files) }() // those that no handler took
	var q call
	if err := json.Unmarshal(m.text, &q); err != nil || q.Method == "" {
		return fmt.Errorf("%w: no call: %w", ErrProtocol, errors.Join(err))
	}
	in.parameters = q.Parameters
	in.send = func(parameters any, continues bool) error {
		if q.Oneway {
			return nil
		}
		return c.write(&reply{Parameters: parameters, Continues: continues})
	}
	start := time.Now()
	err := c.run(ctx, &q, in)
	c.server.Trace(Call{Peer: c.peer, Method: q.Method, Took: time.Since(start), Err: err})
	return c.fail(&q, err)
}

// fail sends what went wrong with a call, unless the connection itself failed.
func (c *conn) fail(q *call, err error) error {
	if err == nil {
		return nil
	}
	if we, ok := errors.AsType[*writeError](err); ok {
		return we
	}
	if q.Oneway {
		return nil
	}
	if se, ok := errors.AsType[*serviceError](err); ok {
		return c.write(se.reply())
	}
	return c.write(toError(err).reply())
}

// run finds the method and calls it. A panic of the handler is the failure of
// this call only: an image that it did not expect must not end all drives.
func (c *conn) run(ctx context.Context, q *call, in *incoming) (err error) {
	m, err := find(q.Method)
	if err != nil {
		return err
	}
	if q.Upgrade {
		return &serviceError{"MethodNotImplemented", "method", q.Method}
	}
	if m.more && !q.More {
		return &serviceError{name: "ExpectedMore"}
	}
	if len(in.files) != m.files {
		return &Error{Err: ErrUsage, Message: fmt.Sprintf("%s takes %d descriptors, got %d", q.Method, m.files, len(in.files))}
	}
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{v, debug.Stack()}
		}
	}()
	return m.run(ctx, c.server, in)
}

// A PanicError is a panic of a handler, as [Server.Trace] is told of it. The
// caller gets [ErrInternal].
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// A writeError means that a reply could not be sent.
type writeError struct{ err error }

func (e *writeError) Error() string { return "write: " + e.err.Error() }
func (e *writeError) Unwrap() error { return e.err }

func (c *conn) write(r *reply) error {
	b, err := encode(r)
	if err != nil {
		return err
	}
	if err := c.mayWrite(); err != nil {
		return &writeError{err}
	}
	if _, err := c.sock.Write(b); err != nil {
		return &writeError{err}
	}
	return nil
}

// mayWrite gives the caller time to take a reply, unless it was hung up on.
func (c *conn) mayWrite() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return net.ErrClosed
	}
	return c.sock.SetWriteDeadline(time.Now().Add(c.server.MessageTimeout))
}
