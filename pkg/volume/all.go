package volume

import (
	"fmt"
	"strconv"

	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/isofs"
)

// all shows every tree of the disc side by side: the trees by their names,
// boot images below boot, and each session below sessions.
func (s *surveyed) all(d Disc, o Options) (fsys.FS, error) {
	if len(s.trees) == 0 {
		return nil, ErrUnknown
	}
	m := newMux(d, o.Owner, s.date())
	for _, t := range s.ranked() {
		if t.err != nil {
			continue // the report tells of it
		}
		f, err := t.open(o)
		if err != nil {
			s.notes = append(s.notes, fmt.Sprintf("%s is not shown: %v", t.Name, err))
			continue
		}
		m.addTree(0, t.Name, f)
	}
	if s.iso != nil {
		s.addBoot(m, d, o)
	}
	s.addPartitions(m, d, o)
	if s.iso != nil {
		s.addSessions(m, d, o)
	}
	return m, nil
}

// date is that of the root of the first tree, for directories of our own.
func (s *surveyed) date() fsys.Time {
	for i := range s.trees {
		if s.trees[i].open == nil {
			continue
		}
		if f, err := s.trees[i].open(Options{}); err == nil {
			if a, err := f.Attr(f.Root()); err == nil {
				return a.ModTime
			}
		}
	}
	return fsys.Time{}
}

// addBoot adds the boot images, as files and, where they hold FAT, as
// directories.
func (s *surveyed) addBoot(m *mux, d Disc, o Options) {
	entries, err := s.iso.Boot()
	if err != nil || len(entries) == 0 {
		return
	}
	boot := m.dir(0, "boot")
	for i, e := range entries {
		addPiece(m, boot, fmt.Sprintf("%d-%v", i+1, e.Platform), d, o, e.Offset, e.Size)
	}
}

// addSessions adds the trees of each session of a disc that has several.
func (s *surveyed) addSessions(m *mux, d Disc, o Options) {
	list := s.iso.Sessions()
	if len(list) < 2 {
		return
	}
	sessions := m.dir(0, "sessions")
	for _, session := range list {
		v, err := isofs.Open(d.Data, d.Size, isofs.Options{SBSector: session.Start, Meta: d.Meta, Blocks: d.Blocks})
		if err != nil {
			continue
		}
		dir := m.dir(sessions, strconv.Itoa(session.Number))
		for _, t := range v.Trees() {
			if f, err := v.FS(t.Kind, isoOptions(o)); err == nil {
				m.addTree(dir, string(t.Kind), f)
			}
		}
	}
}
