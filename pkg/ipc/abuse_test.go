package ipc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A rawConn speaks bytes.
type rawConn struct {
	*net.UnixConn
	t *testing.T
	r *bufio.Reader
}

func rawDial(t *testing.T, path string) *rawConn {
	t.Helper()
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	return &rawConn{c, t, bufio.NewReader(c)}
}

// send sends bytes and descriptors with one sendmsg(2).
func (c *rawConn) send(s string, files ...*os.File) {
	c.t.Helper()
	var fds []int
	for _, f := range files {
		fds = append(fds, int(f.Fd()))
	}
	if _, _, err := c.WriteMsgUnix([]byte(s), unix.UnixRights(fds...), nil); err != nil {
		c.t.Fatal(err)
	}
}

// recv reads up to the next NUL; "" means that the server hung up.
func (c *rawConn) recv() string {
	c.t.Helper()
	got, err := c.r.ReadString(0)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatalf("no answer after %q", got)
	}
	return strings.TrimSuffix(got, "\x00")
}

// openFiles counts the descriptors of this process.
func openFiles(tb testing.TB) int {
	tb.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		tb.Fatal(err)
	}
	return len(fds)
}

// noLeak checks that the server has closed all descriptors when it is idle.
func noLeak(t *testing.T, before int) {
	t.Helper()
	for range 200 {
		if openFiles(t) <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("got %d open files, want %d", openFiles(t), before)
}

const (
	pingCall = `{"method":"io.isomount.Ping"}` + "\x00"
	infoCall = `{"method":"org.varlink.service.GetInfo"}` + "\x00"
)

// quick is a server with short limits.
func quick(h Handler) *Server {
	return &Server{Handler: h, IdleTimeout: 300 * time.Millisecond, MessageTimeout: 150 * time.Millisecond}
}

func TestAbuseEndsConnection(t *testing.T) {
	tests := []struct {
		name  string
		send  string
		files int
		eof   bool // nothing more is sent
	}{
		{name: "junk", send: "GET / HTTP/1.1\r\n\r\n\x00"},
		{name: "empty message", send: "\x00"},
		{name: "array", send: "[]\x00"},
		{name: "no method", send: "{}\x00"},
		{name: "method is a number", send: `{"method":1}` + "\x00"},
		{name: "deep", send: `{"method":"a","parameters":` + strings.Repeat("[", 30000) + "\x00"},
		{name: "huge", send: strings.Repeat("x", maxRequest+readSize)},
		{name: "slow", send: "{"},
		{name: "slow in the second message", send: pingCall + "{"},
		{name: "half", send: "{", eof: true},
		{name: "descriptors without a message", files: 1, send: "{", eof: true},
		{name: "too many descriptors", files: maxFiles + 1, send: pingCall},
		{name: "very many descriptors", files: 250, send: pingCall},
		{name: "silent", send: ""},
		{name: "silent after a call", send: pingCall},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := start(t, quick(&fakeHandler{}))
			f := tempFile(t, "")
			before := openFiles(t)
			c := rawDial(t, path)
			var files []*os.File
			for range tt.files {
				files = append(files, f)
			}
			if tt.send != "" {
				// The server may hang up before it has read all.
				_, _, err := c.WriteMsgUnix([]byte(tt.send), rights(files), nil)
				if err != nil && !errors.Is(err, unix.EPIPE) && !errors.Is(err, unix.ECONNRESET) {
					t.Fatal(err)
				}
			}
			if tt.eof {
				_ = c.CloseWrite()
			}
			for c.recv() != "" { // until the server hangs up
			}
			_ = c.Close()
			noLeak(t, before)
		})
	}
}

func rights(files []*os.File) []byte {
	if len(files) == 0 {
		return nil
	}
	var fds []int
	for _, f := range files {
		fds = append(fds, int(f.Fd()))
	}
	return unix.UnixRights(fds...)
}

// TestSlowSenderIsCut sends a byte now and then: the time counts from the first.
func TestSlowSenderIsCut(t *testing.T) {
	path := start(t, quick(&fakeHandler{}))
	c := rawDial(t, path)
	began := time.Now()
	for range 1000 {
		if _, err := io.WriteString(c, " "); err != nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("was cut after %v", d)
	}
}

func TestFilesMustFit(t *testing.T) {
	var called atomic.Int32
	h := &fakeHandler{mount: func(_ Peer, _ *MountRequest, files []*os.File) (*MountReply, error) {
		called.Add(1)
		return nil, fmt.Errorf("%d files: %w", len(files), ErrBusy)
	}}
	path := start(t, &Server{Handler: h})
	f := tempFile(t, "")
	before := openFiles(t)
	c := rawDial(t, path)
	mountCall := `{"method":"io.isomount.Mount","parameters":{"image":"","mountpoint":"","made":false,"options":""}}` + "\x00"
	tests := []struct {
		name  string
		call  string
		files []*os.File
		want  string
	}{
		{"none", mountCall, nil, "io.isomount.Usage"},
		{"one too few", mountCall, []*os.File{f}, "io.isomount.Usage"},
		{"one too many", mountCall, []*os.File{f, f, f}, "io.isomount.Usage"},
		{"to a method that takes none", pingCall, []*os.File{f}, "io.isomount.Usage"},
		{"to no method", `{"method":"a.b"}` + "\x00", []*os.File{f}, "org.varlink.service.InterfaceNotFound"},
	}
	for _, tt := range tests {
		c.send(tt.call, tt.files...)
		if got := c.recv(); !strings.Contains(got, tt.want) {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
	if called.Load() != 0 {
		t.Error("the handler was called")
	}
	c.send(mountCall, f, f)
	if got := c.recv(); !strings.Contains(got, "2 files") {
		t.Errorf("right number: got %s", got)
	}
	noLeak(t, before+2) // the two ends of the connection
}

// TestFilesOfPipelinedCalls sends several calls before any is answered: each
// gets its own descriptors, whatever pieces the kernel joins.
func TestFilesOfPipelinedCalls(t *testing.T) {
	h := &fakeHandler{probe: func(q *ProbeRequest, files []*os.File) (*ProbeReply, error) {
		defer closeAll(files)
		b, err := io.ReadAll(files[0])
		return &ProbeReply{Label: string(q.Image) + string(b)}, err
	}}
	s := &Server{Handler: h}
	path := start(t, s)
	probe := func(image string) string {
		return fmt.Sprintf(`{"method":"io.isomount.Probe","parameters":{"image":%q,"options":""}}`, image) + "\x00"
	}
	for range 50 {
		c := rawDial(t, path)
		c.send(pingCall)
		c.send(probe("a"), tempFile(t, "1"))
		long := probe("b" + strings.Repeat("b", 3*readSize))
		c.send(long[:10], tempFile(t, "2"))
		c.send(long[10:])
		c.send(probe("c")[:1])
		c.send(probe("c")[1:]+infoCall, tempFile(t, "3")) // belong to the last that begins: GetInfo
		for i, want := range []string{"pid", `"label":"a1"`, `bbb2"`, "io.isomount.Usage", "io.isomount.Usage"} {
			if got := c.recv(); !strings.Contains(got, want) {
				t.Fatalf("reply %d: got %.200s, want %s", i, got, want)
			}
		}
		_ = c.Close()
	}
}

// TestPipelineIsBounded sends calls and takes no replies.
func TestPipelineIsBounded(t *testing.T) {
	s := quick(&fakeHandler{})
	path := start(t, s)
	before := openFiles(t)
	c := rawDial(t, path)
	sent := 0
	for ; sent < 1<<20; sent++ {
		_ = c.SetWriteDeadline(time.Now().Add(time.Second))
		if _, err := io.WriteString(c, infoCall); err != nil {
			break
		}
	}
	if sent == 1<<20 {
		t.Error("the server read everything")
	}
	_ = c.Close()
	noLeak(t, before)
}

// TestHalfClose is what "nc -N" does.
func TestHalfClose(t *testing.T) {
	release := make(chan struct{})
	h := &fakeHandler{ping: func(ctx context.Context, _ Peer) (*PingReply, error) {
		select {
		case <-release:
			return &PingReply{Version: "late"}, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}}
	c := rawDial(t, start(t, &Server{Handler: h}))
	c.send(pingCall)
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(50*time.Millisecond, func() { close(release) })
	if got := c.recv(); !strings.Contains(got, "late") {
		t.Errorf("got %q, want the answer", got)
	}
}

func TestOneway(t *testing.T) {
	c := rawDial(t, start(t, &Server{Handler: &fakeHandler{}}))
	c.send(`{"method":"io.isomount.Ping","oneway":true}` + "\x00")
	c.send(`{"method":"io.isomount.Info","oneway":true}` + "\x00")
	c.send(infoCall)
	if got := c.recv(); !strings.Contains(got, "vendor") {
		t.Errorf("got %s, want the reply to the last call only", got)
	}
}

func TestUpgradeIsRefused(t *testing.T) {
	c := rawDial(t, start(t, &Server{Handler: &fakeHandler{}}))
	c.send(`{"method":"io.isomount.Ping","upgrade":true}` + "\x00")
	if got := c.recv(); !strings.Contains(got, "MethodNotImplemented") {
		t.Errorf("got %s", got)
	}
}

// TestConnectionLimit opens far more connections than are allowed.
func TestConnectionLimit(t *testing.T) {
	s := &Server{Handler: &fakeHandler{}, MaxConns: 20}
	path := start(t, s)
	before := openFiles(t)
	var conns []*rawConn
	for range 300 {
		conns = append(conns, rawDial(t, path))
	}
	served, refused := 0, 0
	for _, c := range conns {
		_, _ = io.WriteString(c, pingCall) // fails if it was refused by now
		switch got := c.recv(); {
		case strings.Contains(got, "pid"):
			served++
		case strings.Contains(got, "io.isomount.LimitReached"):
			refused++
		default:
			t.Fatalf("got %q", got)
		}
	}
	if served != 20 || refused != 280 || s.Conns() != 20 {
		t.Errorf("got %d served, %d refused, %d connections, want 20, 280, 20", served, refused, s.Conns())
	}
	// Our client is told why.
	c := dial(t, path)
	if _, err := c.Ping(t.Context()); !errors.Is(err, ErrLimitReached) {
		t.Errorf("got %v, want %v", err, ErrLimitReached)
	}
	_ = c.Close()
	for _, c := range conns {
		_ = c.Close()
	}
	noLeak(t, before)
	if _, err := dial(t, path).Ping(t.Context()); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// TestConnectionLimitOfUser admits connections of several users.
func TestConnectionLimitOfUser(t *testing.T) {
	s := &Server{MaxConns: 100, MaxConnsPerUser: 3}
	s.init()
	open := func(uid uint32, n int) (admitted []*conn) {
		for range n {
			if c := (&conn{peer: Peer{UID: uid}}); s.admit(c) == nil {
				admitted = append(admitted, c)
			}
		}
		return admitted
	}
	joe := open(1000, 5)
	if n, root := len(joe), len(open(0, 50)); n != 3 || root != 50 || len(open(1001, 5)) != 3 {
		t.Errorf("got %d connections of a user and %d of root, want 3 and 50", n, root)
	}
	s.release(joe[0])
	if n := len(open(1000, 5)); n != 1 {
		t.Errorf("got %d after one has ended, want 1", n)
	}
}

// TestManyClients has clients come, call and go at the same time.
func TestManyClients(t *testing.T) {
	s := &Server{Handler: &fakeHandler{}, MaxConnsPerUser: 1000}
	path := start(t, s)
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			for range 5 {
				c, err := Dial(context.Background(), path)
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := c.List(context.Background(), &ListRequest{}); err != nil {
					t.Error(err)
				}
				_ = c.Close()
			}
		})
	}
	wg.Wait()
}

// TestSlowReaderIsCut has a client that asks for events and takes none.
func TestSlowReaderIsCut(t *testing.T) {
	ended := make(chan error, 1)
	h := &fakeHandler{monitor: func(_ context.Context, send func(*MonitorReply) error) error {
		for {
			if err := send(&MonitorReply{Event{Text: strings.Repeat("x", 1000)}}); err != nil {
				ended <- err
				return err
			}
		}
	}}
	c := rawDial(t, start(t, quick(h)))
	c.send(`{"method":"io.isomount.Monitor","more":true}` + "\x00")
	select {
	case err := <-ended:
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %v, want a timeout", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the server waits for ever")
	}
}

func TestPanicFailsOneCall(t *testing.T) {
	h := &fakeHandler{list: func(*ListRequest) (*ListReply, error) {
		var none []Drive
		return &ListReply{none[:1]}, nil
	}}
	var mu sync.Mutex
	var traced []error
	s := &Server{Handler: h, Trace: func(c Call) {
		mu.Lock()
		defer mu.Unlock()
		traced = append(traced, c.Err)
	}}
	c := dial(t, start(t, s))
	_, err := c.List(t.Context(), &ListRequest{})
	if !errors.Is(err, ErrInternal) || strings.Contains(err.Error(), "goroutine") {
		t.Errorf("got %v, want ErrInternal without a stack", err)
	}
	if _, err := c.Ping(t.Context()); err != nil {
		t.Errorf("the next call: %v", err)
	}
	mu.Lock()
	defer mu.Unlock()
	if p, ok := errors.AsType[*PanicError](traced[0]); !ok || len(p.Stack) == 0 {
		t.Errorf("traced %v, want the panic with its stack", traced)
	}
}
