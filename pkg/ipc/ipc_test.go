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
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A fakeHandler answers each call with what a test set, or with ErrUnsupported.
type fakeHandler struct {
	ping    func(context.Context, Peer) (*PingReply, error)
	probe   func(*ProbeRequest, []*os.File) (*ProbeReply, error)
	mount   func(Peer, *MountRequest, []*os.File) (*MountReply, error)
	eject   func(context.Context, *EjectRequest) (*EjectReply, error)
	list    func(*ListRequest) (*ListReply, error)
	monitor func(context.Context, func(*MonitorReply) error) error
}

func (h *fakeHandler) Ping(ctx context.Context, p Peer, _ *PingRequest) (*PingReply, error) {
	if h.ping == nil {
		return &PingReply{Version: "1.2.3", PID: os.Getpid()}, nil
	}
	return h.ping(ctx, p)
}

func (h *fakeHandler) Probe(_ context.Context, _ Peer, q *ProbeRequest, f []*os.File) (*ProbeReply, error) {
	if h.probe == nil {
		return nil, ErrUnsupported
	}
	return h.probe(q, f)
}

func (h *fakeHandler) Mount(_ context.Context, p Peer, q *MountRequest, f []*os.File) (*MountReply, error) {
	if h.mount == nil {
		return nil, ErrUnsupported
	}
	return h.mount(p, q, f)
}

func (h *fakeHandler) Eject(ctx context.Context, _ Peer, q *EjectRequest) (*EjectReply, error) {
	if h.eject == nil {
		return nil, ErrUnsupported
	}
	return h.eject(ctx, q)
}

func (h *fakeHandler) List(_ context.Context, _ Peer, q *ListRequest) (*ListReply, error) {
	if h.list == nil {
		return &ListReply{}, nil
	}
	return h.list(q)
}

func (h *fakeHandler) Info(context.Context, Peer, *InfoRequest) (*InfoReply, error) {
	return nil, ErrUnsupported
}

func (h *fakeHandler) Stats(context.Context, Peer, *StatsRequest) (*StatsReply, error) {
	return &StatsReply{}, nil
}

func (h *fakeHandler) Monitor(ctx context.Context, _ Peer, _ *MonitorRequest, send func(*MonitorReply) error) error {
	if h.monitor == nil {
		return ErrUnsupported
	}
	return h.monitor(ctx, send)
}

// start runs a server until the test ends and returns its socket.
func start(tb testing.TB, s *Server) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "d", "socket")
	l, err := Listen(path, false)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Serve(ctx, l); !errors.Is(err, context.Canceled) && !errors.Is(err, ErrServerClosed) {
			tb.Errorf("Serve: %v", err)
		}
	})
	tb.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	return path
}

func dial(tb testing.TB, path string) *Client {
	tb.Helper()
	c, err := Dial(tb.Context(), path)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	return c
}

func TestMountPassesFiles(t *testing.T) {
	want := MountRequest{Image: "/a\xff\"é.iso", Mountpoint: "/mnt", Made: true, Options: "ro"}
	var gotFiles []string
	h := &fakeHandler{mount: func(p Peer, q *MountRequest, files []*os.File) (*MountReply, error) {
		if diff := cmp.Diff(*q, want); diff != "" {
			t.Errorf("request (-got +want):\n%s", diff)
		}
		if int(p.PID) != os.Getpid() || int(p.UID) != os.Getuid() {
			t.Errorf("got peer %+v", p)
		}
		for _, f := range files {
			b, err := io.ReadAll(f)
			gotFiles = append(gotFiles, string(b))
			if err != nil {
				t.Error(err)
			}
			_ = f.Close()
		}
		return &MountReply{Drive: Drive{Name: "0", Image: q.Image}}, nil
	}}
	c := dial(t, start(t, &Server{Handler: h}))
	r, err := c.Mount(t.Context(), &want, tempFile(t, "image"), tempFile(t, "device"))
	if err != nil {
		t.Fatal(err)
	}
	if r.Drive.Image != want.Image || r.Notes == nil {
		t.Errorf("got %+v", r)
	}
	if diff := cmp.Diff(gotFiles, []string{"image", "device"}); diff != "" {
		t.Errorf("files (-got +want):\n%s", diff)
	}
}

func tempFile(tb testing.TB, content string) *os.File {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "f")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		tb.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = f.Close() })
	return f
}

func TestErrorsCrossTheWire(t *testing.T) {
	full := &Error{Err: ErrDamaged, Message: "bad record", Image: "/x.iso", Offset: new(int64(0)), Hint: "copy it again"}
	tests := []struct {
		name string
		give error
		want *Error
	}{
		{"full", full, full},
		{"sentinel", ErrBusy, &Error{Err: ErrBusy, Message: "busy"}},
		{"std", fs.ErrNotExist, &Error{Err: ErrNotFound, Message: "file does not exist"}},
		{"unknown", errors.New("odd"), &Error{Err: ErrInternal, Message: "odd"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := &fakeHandler{probe: func(*ProbeRequest, []*os.File) (*ProbeReply, error) { return nil, tt.give }}
			c := dial(t, start(t, &Server{Handler: h}))
			_, err := c.Probe(t.Context(), &ProbeRequest{}, tempFile(t, ""))
			got, ok := errors.AsType[*Error](err)
			if !ok || !errors.Is(got, tt.want.Err) || got.Error() != tt.want.Error() || got.Image != tt.want.Image {
				t.Fatalf("got %#v, want %#v", err, tt.want)
			}
			if diff := cmp.Diff(got.Offset, tt.want.Offset); diff != "" {
				t.Errorf("offset (-got +want):\n%s", diff)
			}
			if _, err := c.Ping(t.Context()); err != nil {
				t.Errorf("the next call: %v", err)
			}
		})
	}
}

func TestMonitor(t *testing.T) {
	h := &fakeHandler{monitor: func(ctx context.Context, send func(*MonitorReply) error) error {
		for _, k := range []EventKind{EventMounted, EventUnmounted} {
			if err := send(&MonitorReply{Event{Kind: k}}); err != nil {
				return err
			}
		}
		<-ctx.Done()
		return ctx.Err()
	}}
	c := dial(t, start(t, &Server{Handler: h}))
	var got []EventKind
	err := c.Monitor(t.Context(), &MonitorRequest{}, func(e *Event) bool {
		got = append(got, e.Kind)
		return e.Kind != EventUnmounted
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(got, []EventKind{EventMounted, EventUnmounted}); diff != "" {
		t.Errorf("events (-got +want):\n%s", diff)
	}
}

func TestHangUpCancelsCall(t *testing.T) {
	began, ended := make(chan struct{}), make(chan error, 1)
	h := &fakeHandler{eject: func(ctx context.Context, _ *EjectRequest) (*EjectReply, error) {
		close(began)
		<-ctx.Done()
		ended <- ctx.Err()
		return nil, ctx.Err()
	}}
	c := dial(t, start(t, &Server{Handler: h}))
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-began
		cancel()
	}()
	if _, err := c.Eject(ctx, &EjectRequest{Drive: "0"}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want canceled", err)
	}
	_ = c.Close()
	if err := <-ended; err == nil {
		t.Error("the handler's context did not end")
	}
}

// TestAllMethods calls each method through the client.
func TestAllMethods(t *testing.T) {
	c := dial(t, start(t, &Server{Handler: &fakeHandler{}}))
	f := tempFile(t, "")
	calls := []struct {
		name string
		call func(ctx context.Context) error
		want error
	}{
		{"Ping", func(ctx context.Context) error { _, err := c.Ping(ctx); return err }, nil},
		{"Probe", func(ctx context.Context) error { _, err := c.Probe(ctx, &ProbeRequest{}, f); return err }, ErrUnsupported},
		{"Mount", func(ctx context.Context) error { _, err := c.Mount(ctx, &MountRequest{}, f, f); return err }, ErrUnsupported},
		{"Eject", func(ctx context.Context) error { _, err := c.Eject(ctx, &EjectRequest{}); return err }, ErrUnsupported},
		{"List", func(ctx context.Context) error { _, err := c.List(ctx, &ListRequest{}); return err }, nil},
		{"Info", func(ctx context.Context) error { _, err := c.Info(ctx, &InfoRequest{}); return err }, ErrUnsupported},
		{"Stats", func(ctx context.Context) error { _, err := c.Stats(ctx); return err }, nil},
	}
	for _, tt := range calls {
		if err := tt.call(t.Context()); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
	}
}

// TestNewerDaemon meets an error that this client does not know.
func TestNewerDaemon(t *testing.T) {
	for _, code := range []string{"io.isomount.Fancy", "org.varlink.service.MethodNotFound"} {
		err := fromWire(code, json.RawMessage(`{"x":1}`))
		if !errors.Is(err, ErrProtocol) || !strings.Contains(err.Error(), code) {
			t.Errorf("%s: got %v, want ErrProtocol with the code", code, err)
		}
	}
	if err := fromWire("io.isomount.Busy", json.RawMessage(`5`)); !errors.Is(err, ErrBusy) {
		t.Errorf("odd parameters: got %v, want %v", err, ErrBusy)
	}
}

// TestErrorCodes looks at both directions of the table.
func TestErrorCodes(t *testing.T) {
	for _, k := range kinds {
		e := toError(fmt.Errorf("x: %w", k.err))
		if e.Code() != "io.isomount."+k.name || !errors.Is(fromWire(e.Code(), json.RawMessage(`{}`)), k.err) {
			t.Errorf("%s: got %s", k.name, e.Code())
		}
		for _, cause := range k.causes {
			if got := toError(cause).Code(); got != "io.isomount."+k.name {
				t.Errorf("%v: got %s, want %s", cause, got, k.name)
			}
		}
	}
}

// A failingListener fails for a while and then for good.
type failingListener struct {
	net.Listener
	errs []error
}

func (l *failingListener) Accept() (net.Conn, error) {
	err := l.errs[0]
	l.errs = l.errs[1:]
	return nil, err
}

func (l *failingListener) Close() error { return nil }

func TestAcceptErrors(t *testing.T) {
	broken := errors.New("broken")
	traced := 0
	s := &Server{Handler: &fakeHandler{}, Trace: func(Call) { traced++ }}
	err := s.Serve(t.Context(), &failingListener{errs: []error{syscall.EMFILE, syscall.ECONNABORTED, broken}})
	if !errors.Is(err, broken) || traced != 2 {
		t.Errorf("got %v after %d tries, want %v after 2", err, traced, broken)
	}
}

// raw sends bytes and returns what comes back until n messages or the end.
func raw(tb testing.TB, path, send string, n int) []string {
	tb.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		tb.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, send); err != nil {
		tb.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	r := &reader{limit: maxReply, recv: func(b, _ []byte) (int, int, int, error) {
		n, err := c.Read(b)
		return n, 0, 0, err
	}}
	var got []string
	for range n {
		m, err := r.next()
		if err != nil {
			break
		}
		got = append(got, string(m.text))
	}
	return got
}

func TestService(t *testing.T) {
	desc, _ := json.Marshal(description)
	tests := []struct{ name, send, want string }{
		{
			"info", `{"method":"org.varlink.service.GetInfo"}`,
			`{"parameters":{"interfaces":["org.varlink.service","io.isomount"],"product":"isomountd","url":"https://github.com/isomount/isomount","vendor":"isomount","version":"9"}}`,
		},
		{
			"description", `{"method":"org.varlink.service.GetInterfaceDescription","parameters":{"interface":"io.isomount"}}`,
			`{"parameters":{"description":` + string(desc) + `}}`,
		},
		{
			"no interface", `{"method":"a.b.C"}`,
			`{"parameters":{"interface":"a.b"},"error":"org.varlink.service.InterfaceNotFound"}`,
		},
		{
			"no method", `{"method":"io.isomount.Fly","parameters":{}}`,
			`{"parameters":{"method":"io.isomount.Fly"},"error":"org.varlink.service.MethodNotFound"}`,
		},
		{
			"missing", `{"method":"io.isomount.Info"}`,
			`{"parameters":{"parameter":"drive"},"error":"org.varlink.service.InvalidParameter"}`,
		},
		{
			"unknown", `{"method":"io.isomount.List","parameters":{"All":true}}`,
			`{"parameters":{"parameter":"All"},"error":"org.varlink.service.InvalidParameter"}`,
		},
		{
			"type", `{"method":"io.isomount.Eject","parameters":{"drive":1}}`,
			`{"parameters":{"parameter":"drive"},"error":"org.varlink.service.InvalidParameter"}`,
		},
		{
			"no more", `{"method":"io.isomount.Monitor"}`,
			`{"parameters":{},"error":"org.varlink.service.ExpectedMore"}`,
		},
		{
			"list", `{"method":"io.isomount.List","parameters":null}`,
			`{"parameters":{"drives":[]}}`,
		},
	}
	path := start(t, &Server{Handler: &fakeHandler{}, Version: "9"})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := raw(t, path, tt.send+"\x00", 1)
			if diff := cmp.Diff(got, []string{tt.want}); diff != "" {
				t.Errorf("reply (-got +want):\n%s", diff)
			}
		})
	}
}
