package image

import "io"

// A Session is a part of a disc that was written in one go. File systems begin
// anew in each, and the last one counts.
type Session struct {
	Number  int   `json:"number"`  // from 1 on
	Start   int64 `json:"start"`   // first sector
	Sectors int64 `json:"sectors"` // up to the end of its last track
}

// A Track is a run of sectors of one kind.
type Track struct {
	Number  int   `json:"number"`  // from 1 on
	Session int   `json:"session"` // number of its session
	Data    bool  `json:"data"`    // and not audio
	Start   int64 `json:"start"`   // first sector
	Sectors int64 `json:"sectors"` // the last one may be cut short
}

// A Disc is what an image holds. As an [io.ReaderAt] it gives the data of its
// sectors, of 2,048 bytes each, from sector 0 on.
type Disc struct {
	Format   string    // name of the container's format, "raw" for none
	Sessions []Session // in order, at least one
	Tracks   []Track   // in order, at least one

	data io.ReaderAt
	size int64
	fd   func() int // of the file that is data, byte for byte; or nil
}

var _ Source = (*Disc)(nil)

// ReadAt reads the data of the sectors.
func (d *Disc) ReadAt(p []byte, off int64) (int, error) { return d.data.ReadAt(p, off) }

// Size returns the size of the data in bytes.
func (d *Disc) Size() int64 { return d.size }

// LocalFile returns the descriptor of a file that holds the data of the disc at
// the same offsets, so that it can be spliced; not ok if there is none.
func (d *Disc) LocalFile() (fd int, ok bool) {
	if d.fd == nil {
		return -1, false
	}
	return d.fd(), true
}

// newDataDisc returns a disc of one session with one data track.
func newDataDisc(data io.ReaderAt, size int64) *Disc {
	n := (size + SectorSize - 1) / SectorSize
	return &Disc{
		Sessions: []Session{{Number: 1, Sectors: n}},
		Tracks:   []Track{{Number: 1, Session: 1, Data: true, Sectors: n}},
		data:     data,
		size:     size,
	}
}
