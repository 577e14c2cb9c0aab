package udf

import (
	"fmt"
	"slices"
	"time"
)

// An Info says what is known of a volume.
type Info struct {
	Revision    string      `json:"revision,omitempty"`    // of the domain: "2.01"
	MinRead     string      `json:"minRead,omitempty"`     // revision that a reader must know
	MinWrite    string      `json:"minWrite,omitempty"`    // revision that a writer must know
	MaxWrite    string      `json:"maxWrite,omitempty"`    // highest revision that wrote to it
	Label       string      `json:"label"`                 // logical volume identifier
	VolumeID    string      `json:"volumeId,omitempty"`    // of the primary descriptor
	VolumeSet   string      `json:"volumeSet,omitempty"`   // of the primary descriptor
	FileSet     string      `json:"fileSet,omitempty"`     // file set identifier
	Domain      string      `json:"domain,omitempty"`      // "*OSTA UDF Compliant"
	Application string      `json:"application,omitempty"` // that made the volume
	Writer      string      `json:"writer,omitempty"`      // implementation that wrote last
	Recognition string      `json:"recognition,omitempty"` // "NSR02" or "NSR03"
	Anchor      int64       `json:"anchor"`                // sector of the anchor used
	Sequence    string      `json:"sequence"`              // "main" or "reserve"
	SectorSize  int64       `json:"sectorSize"`
	BlockSize   int64       `json:"blockSize"`
	Partitions  []Partition `json:"partitions"`
	Recorded    time.Time   `json:"recorded,omitzero"` // when the volume was made
	Updated     time.Time   `json:"updated,omitzero"`  // when it was last closed or opened
	Open        bool        `json:"open,omitempty"`    // it was not closed properly
	Files       uint32      `json:"files,omitempty"`   // as the disc counts them
	Directories uint32      `json:"directories,omitempty"`
	Notes       []string    `json:"notes,omitempty"` // what is odd or was repaired
}

// A Partition is one partition map.
type Partition struct {
	Kind   string `json:"kind"`   // "physical", "virtual", "sparable", "metadata" or "unknown"
	Number uint16 `json:"number"` // of its descriptor
	Start  int64  `json:"start"`  // byte offset in the image
	Length int64  `json:"length"` // bytes
}

// Info describes the volume.
func (f *FS) Info() Info { return f.info }

// notef notes something for [Info].
func (f *FS) notef(format string, args ...any) {
	f.info.Notes = append(f.info.Notes, fmt.Sprintf(format, args...))
}

// describe fills Info.
func (f *FS) describe(s *sequence, set *fileSet) {
	i := &f.info
	i.SectorSize, i.BlockSize = f.sector, f.block
	l := s.logical
	i.Revision, i.Label, i.Domain, i.FileSet = l.domain.revision().String(), l.label, l.domain.ident, set.id
	i.Writer = l.impl.ident
	if p := s.primary; p != nil {
		i.VolumeID, i.VolumeSet, i.Application = p.id, p.setID, p.app.ident
		i.Recorded = p.recorded.date()
	}
	for n := range f.parts {
		p := &f.parts[n]
		i.Partitions = append(i.Partitions, Partition{string(p.kind), p.number, p.start, p.length})
	}
	f.noteCut()
	d, ok := f.readIntegrity(l.integrity)
	if !ok {
		f.notef("no logical volume integrity descriptor")
		return
	}
	i.Updated, i.Open = d.recorded.date(), d.open
	if d.open && !f.writeOnce() {
		f.notef("volume was not closed")
	}
	if !d.hasContent {
		return
	}
	i.Writer, i.Files, i.Directories = d.impl.ident, d.files, d.dirs
	i.MinRead, i.MinWrite, i.MaxWrite = d.minRead.String(), d.minWrite.String(), d.maxWrite.String()
	f.files = uint64(d.files) + uint64(d.dirs)
}

// writeOnce tells whether the volume has a virtual partition: then it stays
// open, and its partition reaches to the end of the medium.
func (f *FS) writeOnce() bool {
	return slices.ContainsFunc(f.parts, func(p partition) bool { return p.kind == kindVirtual })
}

// noteCut notes that the image is shorter than what should be in it.
func (f *FS) noteCut() {
	for i := range f.parts {
		p := &f.parts[i]
		onDisc := p.kind == kindPhysical || p.kind == kindSparable
		if missing := p.start + p.length - f.size; onDisc && missing > 0 && !f.writeOnce() {
			f.notef("image is %d bytes short of the end of partition %d", missing, i)
		}
	}
}
