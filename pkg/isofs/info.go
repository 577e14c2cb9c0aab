package isofs

import (
	"fmt"
	"time"

	"github.com/isomount/isomount/pkg/fsys"
)

// Info is what is written in the descriptors of a volume.
type Info struct {
	Format      string       `json:"format"` // "iso9660" or "highsierra"
	Label       string       `json:"label"`
	Start       int64        `json:"start"` // sector at which the session begins
	BlockSize   int          `json:"blockSize"`
	Blocks      int64        `json:"blocks"`    // volume space size
	ImageSize   int64        `json:"imageSize"` // bytes
	Descriptors []Descriptor `json:"descriptors"`
	PathTable   PathTable    `json:"pathTable"`
	RockRidge   string       `json:"rockRidge,omitempty"` // extension identifier, if there is one
	Sessions    []Session    `json:"sessions"`
	Boot        []BootEntry  `json:"boot,omitempty"`
	Notes       []string     `json:"notes,omitempty"` // what is odd
}

// A Descriptor is a volume descriptor.
type Descriptor struct {
	Kind          DescriptorKind `json:"kind"`
	Offset        int64          `json:"offset"` // bytes
	Version       int            `json:"version"`
	System        string         `json:"system,omitempty"`
	Label         string         `json:"label,omitempty"`
	VolumeSet     string         `json:"volumeSet,omitempty"`
	Publisher     string         `json:"publisher,omitempty"`
	Preparer      string         `json:"preparer,omitempty"`
	Application   string         `json:"application,omitempty"`
	Copyright     string         `json:"copyright,omitempty"`
	Abstract      string         `json:"abstract,omitempty"`
	Bibliographic string         `json:"bibliographic,omitempty"`
	SetSize       int            `json:"setSize,omitempty"`
	SetNumber     int            `json:"setNumber,omitempty"`
	Created       string         `json:"created,omitempty"` // RFC 3339
	Modified      string         `json:"modified,omitempty"`
	Expires       string         `json:"expires,omitempty"`
	Effective     string         `json:"effective,omitempty"`
}

// A PathTable says where the path tables are. Nothing is read from them but
// the parent of a directory that does not know it itself.
type PathTable struct {
	Size      int64 `json:"size"` // bytes
	Little    int64 `json:"littleEndianBlock"`
	LittleOpt int64 `json:"littleEndianOptionalBlock,omitempty"`
	Big       int64 `json:"bigEndianBlock"`
	BigOpt    int64 `json:"bigEndianOptionalBlock,omitempty"`
}

// Info describes the volume.
func (v *Volume) Info() Info {
	d := v.main()
	i := Info{
		Format: "iso9660", Label: d.text[textLabel], Start: v.start,
		BlockSize: int(d.blockSize), Blocks: int64(d.blocks), ImageSize: v.size,
		PathTable: PathTable{int64(d.tableSize), int64(d.tables[0]), int64(d.tables[1]), int64(d.tables[2]), int64(d.tables[3])},
		RockRidge: v.rock.id, Sessions: v.Sessions(), Notes: v.notes(),
	}
	if v.highSierra {
		i.Format = "highsierra"
	}
	for k := range v.descriptors {
		i.Descriptors = append(i.Descriptors, v.descriptors[k].describe())
	}
	boot, err := v.Boot()
	i.Boot = boot
	if err != nil {
		i.Notes = append(i.Notes, "boot catalog: "+err.Error())
	}
	return i
}

// Label returns the volume's label: that of the Joliet tree where the primary
// descriptor only has a shortened form of it.
func (v *Volume) Label() string {
	label := v.main().text[textLabel]
	if v.joliet != nil && len(v.joliet.text[textLabel]) > len(label) {
		return v.joliet.text[textLabel]
	}
	return label
}

func (d *descriptor) describe() Descriptor {
	return Descriptor{
		Kind: d.kind, Offset: d.off, Version: int(d.version),
		System: d.text[textSystem], Label: d.text[textLabel], VolumeSet: d.text[textVolumeSet],
		Publisher: d.text[textPublisher], Preparer: d.text[textPreparer], Application: d.text[textApplication],
		Copyright: d.text[textCopyright], Abstract: d.text[textAbstract], Bibliographic: d.text[textBibliographic],
		SetSize: int(d.setSize), SetNumber: int(d.setNumber),
		Created: showDate(d.dates[0]), Modified: showDate(d.dates[1]), Expires: showDate(d.dates[2]), Effective: showDate(d.dates[3]),
	}
}

func showDate(b []byte) string {
	t, ok := longDate(b)
	if !ok {
		return ""
	}
	return formatTime(t)
}

func formatTime(t fsys.Time) string {
	return time.Unix(t.Sec, int64(t.Nsec)).UTC().Format(time.RFC3339Nano)
}

// notes lists what is odd about the descriptors.
func (v *Volume) notes() []string {
	var notes []string
	note := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	for i := range v.descriptors {
		d := &v.descriptors[i]
		for _, lie := range d.liars {
			note("%s descriptor at %d: %s", d.kind, d.off, lie)
		}
		if d.kind == DescriptorSupplementary {
			note("supplementary descriptor at %d has the unknown escape sequence %q", d.off, d.escape)
		}
	}
	main := v.main()
	if sector := main.off/sectorSize - v.start; sector != firstDescriptor {
		note("the primary descriptor is %d sectors into the session, not %d", sector, firstDescriptor)
	}
	if last := v.descriptors[len(v.descriptors)-1].kind; last != DescriptorTerminator && last != DescriptorHighSierra {
		note("no terminator ends the descriptors")
	}
	if v.primary == nil {
		note("there is no primary descriptor")
	}
	if main.setSize > 1 {
		note("this is volume %d of a set of %d", main.setNumber, main.setSize)
	}
	return append(notes, v.sizeNotes(main)...)
}

// sizeNotes compares the volume's size with that of the image. Writers count
// the blocks of a later session from where it begins.
func (v *Volume) sizeNotes(d *descriptor) []string {
	volume := v.start*sectorSize + int64(d.blocks)*int64(d.blockSize)
	switch {
	case d.blocks == 0:
		return []string{"the volume size is 0"}
	case volume > v.size:
		return []string{fmt.Sprintf("the volume has %d bytes, the image %d: %d are missing", volume, v.size, volume-v.size)}
	case v.size-volume >= 1<<20:
		return []string{fmt.Sprintf("%d bytes of the image lie behind the volume", v.size-volume)}
	}
	return nil
}
