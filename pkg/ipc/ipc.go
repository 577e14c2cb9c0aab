// Package ipc is how the client and the daemon talk: varlink
// (https://varlink.org/Interface-Definition) over a Unix stream socket, with
// descriptors passed beside the messages.
//
// A daemon gets its socket from [Listen] or [Inherited] and gives it, with a
// [Handler], to a [Server]. A client calls [Dial] and then the methods of
// [Client]. The interface is described in io.isomount.varlink, which is part
// of the program and is handed out to whoever asks (varlinkctl introspect).
//
// A message is a JSON object ended by NUL. Descriptors belong to the message
// with whose first byte they were sent, so a sender gives each message that
// has some a sendmsg(2) of its own.
//
// The package decides which error goes over the wire under which name and
// which limits hold for a caller. It does not know what a drive is, does not
// mount, and does not log: see [Server.Trace].
package ipc

import (
	"context"
	"os"
	"time"
)

// Interface is the name of our varlink interface.
const Interface = "io.isomount"

// A State is what a drive is doing.
type State string

// States of a drive.
const (
	StateStarting State = "starting" // has not answered the kernel yet
	StateMounted  State = "mounted"
	StateFailing  State = "failing" // its image could not be read
	StateEnding   State = "ending"  // answers its last requests
)

// A Drive is a disc that is mounted.
type Drive struct {
	Name       string    `json:"drive"` // the lowest number that was free
	Image      Path      `json:"image"` // as the caller gave it
	Label      string    `json:"label"`
	Filesystem string    `json:"filesystem"` // "iso9660 (rockridge)"
	Size       int64     `json:"size"`       // bytes of the image
	Mountpoint Path      `json:"mountpoint"`
	Made       bool      `json:"made"` // the mount point was made for the drive
	UID        uint32    `json:"uid"`
	State      State     `json:"state"`
	Since      time.Time `json:"since"`
	Options    string    `json:"options"`
	Counters   Counters  `json:"counters"`
}

// Counters tell what a drive or the whole daemon has done.
type Counters struct {
	Requests  int64 `json:"requests"`
	Errors    int64 `json:"errors"`    // requests answered EIO
	Read      int64 `json:"read"`      // bytes read by users
	Stored    int64 `json:"stored"`    // bytes of small files given to the kernel ahead
	Hits      int64 `json:"hits"`      // pages found in the sector cache
	Misses    int64 `json:"misses"`    // pages fetched into it
	Fetched   int64 `json:"fetched"`   // bytes fetched into it
	Evictions int64 `json:"evictions"` // pages dropped from it
}

// An EventKind says what happened to a drive.
type EventKind string

// Kinds of events.
const (
	EventMounted   EventKind = "mounted"
	EventUnmounted EventKind = "unmounted"
	EventFailed    EventKind = "failed"
)

// An Event is something that happened to a drive.
type Event struct {
	Time  time.Time `json:"time"`
	Kind  EventKind `json:"kind"`
	Drive Drive     `json:"drive"`
	Text  string    `json:"text,omitempty"`
}

// A Handler does what callers ask for. Its methods may run at the same time.
// Their context ends when the caller hangs up or the server stops. Errors are
// best an [*Error]; others are sent by the sentinel that they wrap.
//
// Files belong to the handler once it has returned nil; on an error the server
// closes them.
type Handler interface {
	Ping(context.Context, Peer, *PingRequest) (*PingReply, error)
	// Probe gets the image.
	Probe(context.Context, Peer, *ProbeRequest, []*os.File) (*ProbeReply, error)
	// Mount gets the image and the device, in this order.
	Mount(context.Context, Peer, *MountRequest, []*os.File) (*MountReply, error)
	Eject(context.Context, Peer, *EjectRequest) (*EjectReply, error)
	List(context.Context, Peer, *ListRequest) (*ListReply, error)
	Info(context.Context, Peer, *InfoRequest) (*InfoReply, error)
	Stats(context.Context, Peer, *StatsRequest) (*StatsReply, error)
	// Monitor calls send for each event until the context ends or send fails.
	Monitor(ctx context.Context, p Peer, q *MonitorRequest, send func(*MonitorReply) error) error
}
