package fusefs

import (
	"testing"
	"time"
)

// crowd returns how many workers a server has.
func (s *Server) crowd() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.workers {
		if w != nil {
			n++
		}
	}
	return n
}

func (s *Server) isParked() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lull.parked
}

func TestIdleDrivesWaitInTheLobby(t *testing.T) {
	lobby := new(Lobby)
	var kernels []*kernel
	var servers []*Server
	for range 3 {
		k, s := serve(t, newTree(t), Options{Lobby: lobby})
		k.server = s
		kernels, servers = append(kernels, k), append(servers, s)
	}
	for round := range 3 {
		for i, s := range servers {
			within(t, "the drive is idle", func() bool { kernels[i].collect(); return s.isParked() && s.crowd() == 0 })
		}
		// One is woken and the others sleep on.
		k, s := kernels[round], servers[round]
		if e, _ := k.lookup(1, "hello"); e != 0 {
			t.Fatal(e)
		}
		for range 100 {
			if e, got := k.read(1, 0, 10); e == 0 {
				t.Fatalf("a directory was read: %q", got)
			}
		}
		if s.isParked() || s.crowd() == 0 {
			t.Error("the drive that works waits in the lobby")
		}
		for i, other := range servers {
			if i != round && !other.isParked() {
				t.Errorf("drive %d was woken", i)
			}
		}
	}
}

// A drive at work is not sent away, however little it has to do.
func TestBusyDrivesStay(t *testing.T) {
	k, s := serve(t, newTree(t), Options{Lobby: new(Lobby)})
	k.server = s
	for end := time.Now().Add(parkAfter + parkAfter/2); time.Now().Before(end); time.Sleep(parkAfter / 20) {
		if e, _ := k.lookup(1, "hello"); e != 0 {
			t.Fatal(e)
		}
		if s.isParked() {
			t.Fatal("it waits in the lobby")
		}
	}
}

// A mount that ends while its drive is idle ends the server.
func TestIdleDrivesEnd(t *testing.T) {
	lobby := new(Lobby)
	k, s := serve(t, newTree(t), Options{Lobby: lobby})
	k.server = s
	within(t, "the drive is idle", func() bool { k.collect(); return s.isParked() })
	_ = k.socket.Close()
	within(t, "the server ends", func() bool { return s.Ended().Err() != nil })
	within(t, "the lobby is closed", func() bool {
		lobby.mu.Lock()
		defer lobby.mu.Unlock()
		return len(lobby.parked) == 0
	})
}
