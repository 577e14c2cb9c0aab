// Package boot tells what partitions a disc image carries: those of the MBR,
// the GPT and the Apple partition map, of which hybrid discs often have all
// three for the same bytes.
//
// [Partitions] lists them. What is in a partition is for others to say: package
// fat reads EFI system partitions, package hfsplus those of Apple, and most
// others are the ISO 9660 file system of the disc again.
//
// The package does not read the boot catalog of El Torito, which belongs to
// ISO 9660, and does not write.
package boot

import (
	"errors"
	"fmt"
	"io"

	"github.com/isomount/isomount/pkg/binfmt"
	"github.com/isomount/isomount/pkg/hfsplus"
)

// Partition schemes.
const (
	MBR   = "mbr"
	GPT   = "gpt"
	Apple = "apple"
)

// A Partition is an entry of a partition table. Its range lies within the
// image, whatever the table says.
type Partition struct {
	Scheme   string   `json:"scheme"`             // MBR, GPT or Apple
	Number   int      `json:"number"`             // from 1 on, as partitioning programs count
	Type     string   `json:"type"`               // as in the table: "0xef", a GUID, "Apple_HFS"
	TypeName string   `json:"typeName,omitempty"` // for people, if the type is known
	Label    string   `json:"label,omitempty"`
	ID       string   `json:"id,omitempty"` // GUID of the partition
	Off      int64    `json:"off"`          // byte offset
	Size     int64    `json:"size"`         // bytes
	Flags    []string `json:"flags,omitempty"`
	Notes    []string `json:"notes,omitempty"`
}

// Partitions reads the partition tables of an image of size bytes. That there
// is none is no error, and a table that is damaged gives what it can. An error
// means that the image cannot be read.
func Partitions(r io.ReaderAt, size int64) ([]Partition, error) {
	d := disk{r: r, size: size}
	var all []Partition
	for _, read := range []func() ([]Partition, error){d.mbr, d.gpt, d.apple} {
		found, err := read()
		if err != nil {
			return nil, fmt.Errorf("read partition tables: %w", err)
		}
		all = append(all, found...)
	}
	return all, nil
}

// A disk is an image with partition tables.
type disk struct {
	r    io.ReaderAt
	size int64
}

// read returns n bytes at off. ok is false if the image does not have them.
func (d *disk) read(off, n int64) (b []byte, ok bool, err error) {
	if off < 0 || n <= 0 || off > d.size-n {
		return nil, false, nil
	}
	b = make([]byte, n)
	err = binfmt.ReadFull(d.r, b, off)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, false, nil
	}
	return b, err == nil, err
}

// clip makes the range of a partition lie within the image, and notes if it
// did not.
func (d *disk) clip(p *Partition) {
	switch {
	case p.Off >= d.size:
		p.Notes = append(p.Notes, fmt.Sprintf("begins at byte %d, the image ends at %d", p.Off, d.size))
		p.Off, p.Size = d.size, 0
	case p.Size > d.size-p.Off:
		p.Notes = append(p.Notes, fmt.Sprintf("has %d bytes, of which the image has %d", p.Size, d.size-p.Off))
		p.Size = d.size - p.Off
	}
}

// Flags of Apple partitions that say something (pmPartStatus).
const (
	appleBootable = 0x08
	appleWritable = 0x20
)

// apple reads the Apple partition map.
func (d *disk) apple() ([]Partition, error) {
	entries, err := hfsplus.PartitionMap(d.r, d.size)
	if errors.Is(err, binfmt.ErrMagic) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, nil
	}
	var found []Partition
	for _, e := range entries {
		p := Partition{Scheme: Apple, Number: e.Number, Type: e.Type, TypeName: nameOf(appleTypes, e.Type), Label: e.Name, Off: e.Off, Size: e.Size}
		if e.Status&appleBootable != 0 {
			p.Flags = append(p.Flags, "bootable")
		}
		if e.Status != 0 && e.Status&appleWritable == 0 {
			p.Flags = append(p.Flags, "read-only")
		}
		d.clip(&p)
		found = append(found, p)
	}
	return found, err
}
