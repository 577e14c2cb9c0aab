package volume

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/isomount/isomount/pkg/boot"
	"github.com/isomount/isomount/pkg/boot/fat"
	"github.com/isomount/isomount/pkg/hfsplus"
	"github.com/isomount/isomount/pkg/isofs"
	"github.com/isomount/isomount/pkg/udf"
)

// A Report tells what is on a disc and what is shown of it. Its JSON form is
// what `isomount info --json` prints and is stable.
type Report struct {
	Label   string   `json:"label"`           // of the tree that is shown, else of any
	FS      string   `json:"fs"`              // of the tree that is shown, as fs= names it
	Tree    string   `json:"tree"`            // its name, one of Trees
	Why     string   `json:"why"`             // why this one
	Trees   []Tree   `json:"trees"`           // all there are
	Notes   []string `json:"notes,omitempty"` // what is odd about the disc
	Details Details  `json:"details"`

	// Autorun is left to those who want to know; see [FindAutorun].
	Autorun *Autorun `json:"autorun,omitempty"`
}

// Details are what the readers tell of their structures, each only if the disc
// has it.
type Details struct {
	ISO *isofs.Info    `json:"iso9660,omitempty"`
	UDF *udf.Info      `json:"udf,omitempty"`
	HFS []hfsplus.Info `json:"hfs,omitempty"`
	FAT *fat.Info      `json:"fat,omitempty"`

	Partitions []boot.Partition `json:"partitions,omitempty"` // of a hybrid disc
}

// report tells what was found, before anything is chosen.
func (s *surveyed) report() Report {
	r := Report{Trees: s.trees, Notes: s.notes, Details: s.details}
	for _, t := range s.trees {
		if r.Label == "" {
			r.Label = t.Label
		}
	}
	return r
}

// shown notes which tree was chosen.
func (r *Report) shown(t *Tree, why string) {
	r.FS, r.Tree, r.Why = t.FS, t.Name, why
	if t.Label != "" {
		r.Label = t.Label
	}
}

// Shown names what is shown in a few words, e.g. "iso9660 (rockridge)".
func (r *Report) Shown() string {
	if r.FS == r.Tree {
		return r.FS
	}
	return r.FS + " (" + r.Tree + ")"
}

// A Line is one fact of a report for people.
type Line struct{ Name, Value string }

// Lines gives the details in the order in which people want to read them.
func (d *Details) Lines() []Line {
	var l lines
	if d.ISO != nil {
		l.iso(d.ISO)
	}
	if d.UDF != nil {
		l.udf(d.UDF)
	}
	for i := range d.HFS {
		l.hfs(&d.HFS[i])
	}
	for _, p := range d.Partitions {
		l.add("partition", fmt.Sprintf("%s %d, %s, %d bytes at %d", p.Scheme, p.Number, cmp.Or(p.TypeName, p.Type), p.Size, p.Off))
	}
	return l
}

type lines []Line

// add appends a fact that is not empty.
func (l *lines) add(name, value string) {
	if value = strings.TrimSpace(value); value != "" {
		*l = append(*l, Line{name, value})
	}
}

func (l *lines) iso(i *isofs.Info) {
	l.add(i.Format, fmt.Sprintf("%d blocks of %d bytes", i.Blocks, i.BlockSize))
	if i.RockRidge != "" {
		l.add("rock ridge", i.RockRidge)
	}
	for _, d := range i.Descriptors {
		l.add("descriptor", fmt.Sprintf("%s at %d", d.Kind, d.Offset))
		if d.Kind == isofs.DescriptorPrimary || d.Kind == isofs.DescriptorHighSierra {
			l.descriptor(&d)
		}
	}
	for _, s := range i.Sessions {
		if len(i.Sessions) > 1 {
			l.add("session", fmt.Sprintf("%d at sector %d, label %s", s.Number, s.Start, s.Label))
		}
	}
	for _, b := range i.Boot {
		bootable := ""
		if !b.Bootable {
			bootable = ", not bootable"
		}
		l.add("boot", fmt.Sprintf("%v, %v, %d bytes at %d%s", b.Platform, b.Media, b.Size, b.Offset, bootable))
	}
}

func (l *lines) descriptor(d *isofs.Descriptor) {
	l.add("system", d.System)
	l.add("volume set", d.VolumeSet)
	l.add("publisher", d.Publisher)
	l.add("preparer", d.Preparer)
	l.add("application", d.Application)
	l.add("created", d.Created)
	l.add("modified", d.Modified)
}

func (l *lines) udf(i *udf.Info) {
	l.add("udf", fmt.Sprintf("revision %s, blocks of %d bytes, anchor at sector %d, %s descriptors", i.Revision, i.BlockSize, i.Anchor, i.Sequence))
	l.add("volume set", i.VolumeSet)
	l.add("application", i.Application)
	l.add("writer", i.Writer)
	for _, p := range i.Partitions {
		l.add("udf partition", fmt.Sprintf("%s, %d bytes at %d", p.Kind, p.Length, p.Start))
	}
	l.date("recorded", i.Recorded)
}

func (l *lines) hfs(i *hfsplus.Info) {
	l.add(strings.ToLower(i.Format), fmt.Sprintf("%d blocks of %d bytes, %d files, %d folders", i.Blocks, i.BlockSize, i.Files, i.Folders))
	l.add("case sensitive", strconv.FormatBool(i.CaseSensitive))
	l.date("created", i.Created)
	l.date("modified", i.Modified)
}

func (l *lines) date(name string, t time.Time) {
	if !t.IsZero() {
		l.add(name, t.Format(time.RFC3339))
	}
}
