package ipc

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"
)

// serveOnce starts a server and returns its socket and what Serve will return.
func serveOnce(t *testing.T, s *Server) (string, <-chan error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "socket")
	l, err := Listen(path, false)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(context.Background(), l) }()
	return path, done
}

func TestShutdownWaitsForCalls(t *testing.T) {
	began, release := make(chan struct{}), make(chan struct{})
	h := &fakeHandler{eject: func(ctx context.Context, _ *EjectRequest) (*EjectReply, error) {
		close(began)
		select {
		case <-release:
			return &EjectReply{}, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}}
	s := &Server{Handler: h}
	path, done := serveOnce(t, s)
	idle := dial(t, path)
	if _, err := idle.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	called := make(chan error, 1)
	busy := dial(t, path)
	go func() {
		_, err := busy.Eject(context.Background(), &EjectRequest{Drive: "0"})
		called <- err
	}()
	<-began
	time.AfterFunc(50*time.Millisecond, func() { close(release) })
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-called; err != nil {
		t.Errorf("the call: %v", err)
	}
	if err := <-done; !errors.Is(err, ErrServerClosed) {
		t.Errorf("Serve: got %v", err)
	}
	if _, err := idle.Ping(t.Context()); !errors.Is(err, ErrHungUp) {
		t.Errorf("afterwards: got %v", err)
	}
	if _, err := Dial(t.Context(), path); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("afterwards: got %v", err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Errorf("twice: %v", err)
	}
}

func TestShutdownCutsCallsShort(t *testing.T) {
	began := make(chan struct{})
	h := &fakeHandler{eject: func(ctx context.Context, _ *EjectRequest) (*EjectReply, error) {
		close(began)
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	s := &Server{Handler: h}
	path, done := serveOnce(t, s)
	c := dial(t, path)
	called := make(chan error, 1)
	go func() {
		_, err := c.Eject(context.Background(), &EjectRequest{Drive: "0"})
		called <- err
	}()
	<-began
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if err := <-called; !errors.Is(err, ErrHungUp) {
		t.Errorf("the call: got %v", err)
	}
	if err := <-done; !errors.Is(err, ErrServerClosed) {
		t.Errorf("Serve: got %v", err)
	}
}

func TestShutdownEndsStreams(t *testing.T) {
	h := &fakeHandler{monitor: func(ctx context.Context, send func(*MonitorReply) error) error {
		if err := send(&MonitorReply{Event{Kind: EventMounted}}); err != nil {
			return err
		}
		<-ctx.Done()
		return nil
	}}
	s := &Server{Handler: h}
	path, done := serveOnce(t, s)
	c := dial(t, path)
	err := c.Monitor(t.Context(), &MonitorRequest{}, func(*Event) bool {
		go func() { _ = s.Shutdown(context.Background()) }()
		return true
	})
	if !errors.Is(err, ErrStopping) {
		t.Errorf("got %v, want %v", err, ErrStopping)
	}
	if err := <-done; !errors.Is(err, ErrServerClosed) {
		t.Errorf("Serve: got %v", err)
	}
}

func TestMonitorEndsWithContext(t *testing.T) {
	ended := make(chan struct{})
	h := &fakeHandler{monitor: func(ctx context.Context, _ func(*MonitorReply) error) error {
		<-ctx.Done()
		close(ended)
		return ctx.Err()
	}}
	c := dial(t, start(t, &Server{Handler: h}))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	err := c.Monitor(ctx, &MonitorRequest{}, func(*Event) bool { return true })
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	<-ended // the server noticed
}

// TestServeLeavesNothing serves and stops many times; goleak looks for the rest.
func TestServeLeavesNothing(t *testing.T) {
	for range 20 {
		s := &Server{Handler: &fakeHandler{}}
		path, done := serveOnce(t, s)
		c := dial(t, path)
		if _, err := c.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		<-done
		_ = c.Close()
	}
}
