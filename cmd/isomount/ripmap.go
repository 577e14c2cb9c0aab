package main

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/isomount/isomount/pkg/binfmt"
)

// A ripMap says how far each part of a device has been read, in the terms of
// GNU ddrescue, whose map files it reads and writes (ddrescue manual, "Mapfile
// structure"). Its regions have no gaps, and neighbours differ.
type ripMap struct {
	regions []ripRegion
	pos     int64 // where it is at
	phase   ripStatus
}

// isRipStatus tells whether a region can be in such a state.
func isRipStatus(c byte) bool {
	switch ripStatus(c) {
	case ripNew, ripFailed, ripScraped, ripBad, ripDone:
		return true
	}
	return false
}

// A ripRegion is a part of the device.
type ripRegion struct {
	off, size int64
	status    ripStatus
}

func (r *ripRegion) end() int64 { return r.off + r.size }

// A ripStatus is one character of a map file.
type ripStatus byte

// States of a region; as phases, those in which regions of that state are read.
const (
	ripNew     ripStatus = '?' // not tried; phase: copying
	ripFailed  ripStatus = '*' // failed in one piece; phase: trimming
	ripScraped ripStatus = '/' // failed and trimmed; phase: scraping
	ripBad     ripStatus = '-' // bad sectors; phase: retrying
	ripDone    ripStatus = '+' // read; phase: finished
)

// newRipMap returns the map of a device of which nothing was read.
func newRipMap(size int64) *ripMap {
	return &ripMap{regions: []ripRegion{{0, size, ripNew}}, phase: ripNew}
}

// set notes the state of a part.
func (m *ripMap) set(off, size int64, status ripStatus) {
	end := off + size
	var next []ripRegion
	add := func(off, end int64, status ripStatus) {
		if off >= end {
			return
		}
		if n := len(next) - 1; n >= 0 && next[n].status == status {
			next[n].size = end - next[n].off
			return
		}
		next = append(next, ripRegion{off, end - off, status})
	}
	first, last := m.around(off, end)
	for _, r := range m.regions[first:last] {
		add(r.off, min(r.end(), off), r.status)
		add(max(r.off, off), min(r.end(), end), status)
		add(max(r.off, end), r.end(), r.status)
	}
	m.regions = slices.Replace(m.regions, first, last, next...)
}

// around finds the regions that a change from off to end can touch, and those
// beside it.
func (m *ripMap) around(off, end int64) (first, last int) {
	first = sort.Search(len(m.regions), func(i int) bool { return m.regions[i].end() >= off })
	for last = first; last < len(m.regions) && m.regions[last].off <= end; {
		last++
	}
	return first, last
}

// of lists the regions of a state, as they are now.
func (m *ripMap) of(statuses ...ripStatus) []ripRegion {
	var list []ripRegion
	for _, r := range m.regions {
		for _, s := range statuses {
			if r.status == s {
				list = append(list, r)
			}
		}
	}
	return list
}

// bytes sums up the regions of a state.
func (m *ripMap) bytes(statuses ...ripStatus) (n int64) {
	for _, r := range m.of(statuses...) {
		n += r.size
	}
	return n
}

// is tells the state of a byte.
func (m *ripMap) is(off int64, status ripStatus) bool {
	for _, r := range m.regions {
		if off >= r.off && off < r.end() {
			return r.status == status
		}
	}
	return false
}

// resize makes the map as long as the device; what is new was not tried.
func (m *ripMap) resize(size int64) {
	end := int64(0)
	if n := len(m.regions); n > 0 {
		end = m.regions[n-1].end()
	}
	if end < size {
		m.regions = append(m.regions, ripRegion{end, size - end, ripNew})
		m.set(end, size-end, ripNew) // joins it to its neighbour
	}
	for n := len(m.regions); n > 0 && m.regions[n-1].end() > size; n = len(m.regions) {
		if r := &m.regions[n-1]; r.off < size {
			r.size = size - r.off
		} else {
			m.regions = m.regions[:n-1]
		}
	}
}

// maxMapLines bounds a map file: every second sector of a disc of 100 GB.
const maxMapLines = 25 << 20

// readRipMap reads a map file. What it leaves out was not tried.
func readRipMap(r io.Reader) (*ripMap, error) {
	m := &ripMap{}
	seenState := false
	s := bufio.NewScanner(r)
	for n := 1; s.Scan(); n++ {
		words := strings.Fields(s.Text())
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		var err error
		if seenState {
			err = m.addLine(words)
		} else {
			seenState, err = true, m.stateLine(words)
		}
		if err == nil && len(m.regions) > maxMapLines {
			err = fmt.Errorf("more than %d regions", maxMapLines)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := s.Err(); err != nil {
		return nil, err
	}
	if !seenState {
		return nil, fmt.Errorf("no map file of GNU ddrescue: %w", binfmt.ErrMagic)
	}
	return m, nil
}

// stateLine reads "position phase pass"; the pass is newer than some files.
func (m *ripMap) stateLine(words []string) error {
	pos, err := mapNumber(words[0])
	if err != nil || len(words) < 2 || len(words) > 3 || len(words[1]) != 1 {
		return fmt.Errorf("%q is not the state of a map file", strings.Join(words, " "))
	}
	m.pos, m.phase = pos, ripStatus(words[1][0])
	return nil
}

// addLine reads "position size status".
func (m *ripMap) addLine(words []string) error {
	bad := fmt.Errorf("%q is not a region of a map file", strings.Join(words, " "))
	if len(words) != 3 || len(words[2]) != 1 || !isRipStatus(words[2][0]) {
		return bad
	}
	off, err1 := mapNumber(words[0])
	size, err2 := mapNumber(words[1])
	if err1 != nil || err2 != nil || size == 0 || off > 1<<62-size {
		return bad
	}
	end := int64(0)
	if n := len(m.regions); n > 0 {
		end = m.regions[n-1].end()
	}
	if off < end {
		return fmt.Errorf("region at %d lies over the one before, which ends at %d", off, end)
	}
	m.resize(off)
	m.regions = append(m.regions, ripRegion{off, size, ripStatus(words[2][0])})
	m.set(off, size, ripStatus(words[2][0]))
	return nil
}

func mapNumber(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 0, 64)
	if err == nil && n < 0 {
		err = strconv.ErrRange
	}
	return n, err
}

// write writes the map file.
func (m *ripMap) write(w io.Writer) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "# Mapfile. Created by isomount rip, readable by GNU ddrescue\n")
	fmt.Fprintf(b, "# current_pos  current_status  current_pass\n")
	fmt.Fprintf(b, "0x%08X     %c               1\n", m.pos, m.phase)
	fmt.Fprintf(b, "#      pos        size  status\n")
	for _, r := range m.regions {
		fmt.Fprintf(b, "0x%08X  0x%08X  %c\n", r.off, r.size, r.status)
	}
	return b.Flush()
}
