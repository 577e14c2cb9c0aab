package ipc

import (
	"encoding/json"
	"time"
)

// PingRequest asks whether the daemon is there.
type PingRequest struct{}

// PingReply says that it is.
type PingReply struct {
	Version string `json:"version"`
	PID     int    `json:"pid"`
}

// ProbeRequest asks what is on an image, which comes with the call.
type ProbeRequest struct {
	Image   Path   `json:"image"` // for messages; nothing is opened by it
	Options string `json:"options"`
}

// ProbeReply says what is on an image.
type ProbeReply struct {
	Label      string          `json:"label"`
	Filesystem string          `json:"filesystem"`
	Size       int64           `json:"size"`   // bytes
	Report     json.RawMessage `json:"report"` // an object
}

// MountRequest asks to serve an image; it and the device come with the call.
type MountRequest struct {
	Image      Path   `json:"image"`      // for messages; nothing is opened by it
	Mountpoint Path   `json:"mountpoint"` // likewise
	Made       bool   `json:"made"`       // the mount point was made for the drive
	Options    string `json:"options"`
}

// MountReply is a new drive, with sentences for the user about what is odd.
type MountReply struct {
	Drive Drive    `json:"drive"`
	Notes []string `json:"notes"`
}

// EjectRequest asks to wait until a drive is gone.
type EjectRequest struct {
	Drive string `json:"drive"`
}

// EjectReply is the drive as it was at its end.
type EjectReply struct {
	Drive Drive `json:"drive"`
}

// ListRequest asks for the caller's drives; root sees all.
type ListRequest struct{}

// ListReply lists drives.
type ListReply struct {
	Drives []Drive `json:"drives"`
}

// InfoRequest asks about one drive.
type InfoRequest struct {
	Drive string `json:"drive"`
}

// InfoReply describes a drive and what is on its disc.
type InfoReply struct {
	Drive  Drive           `json:"drive"`
	Report json.RawMessage `json:"report"` // an object
}

// StatsRequest asks what the daemon has done.
type StatsRequest struct{}

// StatsReply counts what the daemon has done. Memory is in bytes.
type StatsReply struct {
	Version    string    `json:"version"`
	PID        int       `json:"pid"`
	Since      time.Time `json:"since"` // when the daemon was started
	Resident   int64     `json:"resident"`
	Heap       int64     `json:"heap"`
	Threads    int       `json:"threads"`    // of the kernel
	Goroutines int       `json:"goroutines"` // threads of the Go runtime
	CacheLimit int64     `json:"cacheLimit"` // budget of the sector cache
	CacheSize  int64     `json:"cacheSize"`  // what it holds
	Counters   Counters  `json:"counters"`
	Drives     []Drive   `json:"drives"`
}

// MonitorRequest asks for events of the caller's drives from now on; root sees
// those of all.
type MonitorRequest struct{}

// MonitorReply is one of many replies.
type MonitorReply struct {
	Event Event `json:"event"`
}
