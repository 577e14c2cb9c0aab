package master

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"time"
)

// An image is the plan of what is written: all sections with their places.
type image struct {
	opt    Options
	tree   *Tree
	date   time.Time
	iso    *hierarchy
	joliet *hierarchy // or nil
	sums   *sums      // or nil
	boot   *bootCatalog
	udf    *udfPlan               // or nil
	extra  map[*directory][]*Node // entries that are not the tree's
	hidden []*Node                // files that no directory shows
	files  []*Node                // one for each regular file with data, in the order of their data
	empty  int64                  // block that all empty files point to
	disk   geometry               // of an isohybrid image

	sections []section
	next     int64 // first block that is still free
	result   Result
}

// A section is a run of blocks and what writes them.
type section struct {
	what   string
	lba    int64
	blocks int64
	write  func(*output) error
}

// writeTo writes a section and makes sure that it is where it was planned.
func (s *section) writeTo(o *output) error {
	if o.pos != s.lba*blockSize {
		return fmt.Errorf("%s: at byte %d instead of block %d", s.what, o.pos, s.lba)
	}
	if err := s.write(o); err != nil {
		return err
	}
	end := (s.lba + s.blocks) * blockSize
	if o.pos > end {
		return fmt.Errorf("%s: ends at byte %d instead of %d", s.what, o.pos, end)
	}
	return o.zeros(end - o.pos)
}

// add plans a section behind all others and returns its first block.
func (m *image) add(what string, blocks int64, write func(*output) error) uint32 {
	lba := m.next
	m.next += blocks
	m.sections = append(m.sections, section{what, lba, blocks, write})
	return uint32(min(lba, math.MaxUint32)) // plan checks that it is no more
}

// addBytes plans a section of bytes that are made when they are written.
func (m *image) addBytes(what string, n int64, bytes func() []byte) uint32 {
	return m.add(what, blocksOf(n), func(o *output) error {
		_, err := o.Write(bytes())
		return err
	})
}

// skipTo leaves the blocks before lba empty.
func (m *image) skipTo(lba int64) {
	m.add("gap", lba-m.next, func(*output) error { return nil })
}

// plan computes the place of everything.
func plan(t *Tree, opt Options) (*image, error) {
	m := &image{opt: opt.withDefaults(), tree: t, extra: map[*directory][]*Node{}}
	m.date = m.opt.Date
	if err := m.opt.check(t); err != nil {
		return nil, err
	}
	if err := m.prepareBoot(); err != nil {
		return nil, err
	}
	if err := m.number(); err != nil {
		return nil, err
	}
	if err := m.planHierarchies(); err != nil {
		return nil, err
	}
	if m.opt.UDF != 0 {
		m.udf = &udfPlan{m: m, revision: m.opt.UDF}
		m.noteXattrs()
	}
	m.layout()
	if m.next > math.MaxUint32 {
		return nil, fmt.Errorf("image of %d blocks: %w", m.next, ErrTooLarge)
	}
	m.result.Blocks = m.next
	return m, m.finishBoot()
}

// layout places everything, in the order in which it is written.
func (m *image) layout() {
	m.layDescriptors()
	if m.udf != nil {
		m.udf.layVolume()
	}
	m.layHierarchy(m.iso)
	if m.joliet != nil {
		m.layHierarchy(m.joliet)
	}
	if m.udf != nil {
		m.udf.layTree()
	}
	m.layTreeTag()
	m.layData()
	m.layEnd()
}

// volumeBlocks returns the volume space size.
func (m *image) volumeBlocks() uint32 { return uint32(m.next) }

// number walks the tree once to count, to give serial numbers, and to list the
// files in the order in which they are written. Serial numbers and the like of
// an earlier Write are overwritten.
func (m *image) number() error {
	files := 0
	err := walk(m.tree.root, func(n *Node) error {
		if n.inode.serial = 0; n.IsRegular() {
			files++
		}
		return nil
	})
	if err != nil {
		return err
	}
	m.files = make([]*Node, 0, files)
	serial := uint32(0)
	err = walk(m.tree.root, func(n *Node) error {
		i := n.inode
		if len(n.name) > maxLinuxName && !m.opt.NoRockRidge {
			m.note(n, ErrLongName)
		}
		if i.serial != 0 {
			return nil
		}
		serial++
		i.serial, i.sum, i.icb = serial, 0, 0
		m.count(n)
		return nil
	})
	for _, n := range m.hidden {
		m.addFile(n)
	}
	return err
}

func (m *image) count(n *Node) {
	i := n.inode
	switch {
	case i.dir != nil:
		m.result.Directories++
		i.dir.relocated, i.dir.iso, i.dir.joliet = false, nil, nil
	case n.IsRegular():
		m.result.Files++
		m.addFile(n)
	}
	if m.opt.Reproducible {
		i.mtime = min(i.mtime, m.date.UnixNano())
		i.atime, i.ctime = i.mtime, i.mtime
	}
}

// noteXattrs tells how many files have attributes that the UDF tree lacks.
func (m *image) noteXattrs() {
	files := 0
	if x := m.tree.root.inode.extra; x != nil && len(x.xattrs) > 0 {
		files++
	}
	for n := range m.tree.All() {
		if x := n.inode.extra; x != nil && len(x.xattrs) > 0 {
			files++
		}
	}
	if files > 0 {
		m.result.Notes = append(m.result.Notes, Note{"/", fmt.Errorf("%w (names that have some: %d)", ErrUDFXattrs, files)})
	}
}

// addFile appends a file to those that are written.
func (m *image) addFile(n *Node) {
	m.files = append(m.files, n)
	if m.opt.MD5 {
		n.inode.sum = uint32(len(m.files))
	}
}

// planHierarchies collects and measures the directory trees.
func (m *image) planHierarchies() error {
	if m.opt.MD5 {
		m.sums = newSums(len(m.files))
	}
	m.iso = &hierarchy{kind: treeISO, id: isoID, key: isoKey, lists: m.isoList}
	if !m.opt.NoRockRidge {
		m.iso.rock = &rockRidge{sums: m.sums}
	}
	if err := m.planRelocation(); err != nil {
		return err
	}
	m.iso.collect(m.tree.root)
	if err := m.iso.measure(); err != nil {
		return err
	}
	if m.opt.NoJoliet {
		return nil
	}
	limit := maxJoliet
	if m.opt.LongJoliet {
		limit = maxJolietLong
	}
	name := jolietNamer(limit)
	m.joliet = &hierarchy{kind: treeJoliet, id: jolietID(name), key: name, fold: foldJoliet, lists: m.plainList}
	m.joliet.collect(m.tree.root)
	return m.joliet.measure()
}

func (m *image) planRelocation() error {
	switch {
	case m.opt.Deep:
		return nil
	case m.opt.NoRockRidge:
		return tooDeep(m.tree.root)
	}
	moved := relocate(m.tree.root)
	m.result.Relocated = len(moved)
	if len(moved) > 0 {
		dir := m.newRelocDir(moved)
		m.iso.rock.relocDir = dir
		root := m.tree.root.inode.dir
		m.extra[root] = append(m.extra[root], dir)
	}
	return nil
}

// isoList returns the entries of a directory in the ISO tree.
func (m *image) isoList(d *directory) []*Node {
	if m.opt.NoRockRidge {
		return m.plainList(d)
	}
	return m.withExtra(d)
}

// plainList returns those entries that a tree without Rock Ridge can express.
func (m *image) plainList(d *directory) []*Node {
	var plain []*Node
	for _, n := range m.withExtra(d) {
		if n.IsRegular() || n.IsDir() && !m.iso.rock.isRelocDir(n) {
			plain = append(plain, n)
		}
	}
	return plain
}

func (m *image) withExtra(d *directory) []*Node {
	d.sort()
	extra := m.extra[d]
	if len(extra) == 0 {
		return d.children
	}
	return append(slices.Clip(d.children), extra...)
}

// layDescriptors plans the system area and the volume descriptors.
func (m *image) layDescriptors() {
	m.add("system area", systemArea/blockSize, func(o *output) error {
		_, err := o.Write(m.systemAreaBytes())
		return err
	})
	m.addBytes("primary volume descriptor", blockSize, func() []byte { return m.appendVolume(nil, m.iso) })
	if m.boot != nil {
		m.addBytes("boot record", blockSize, m.bootRecord)
	}
	if m.joliet != nil {
		m.addBytes("Joliet descriptor", blockSize, func() []byte { return m.appendVolume(nil, m.joliet) })
	}
	m.addBytes("terminator", blockSize, func() []byte { return appendTerminator(nil) })
	if m.udf != nil {
		m.udf.layRecognition()
	}
	if m.sums != nil {
		m.sums.sbTag = m.add("superblock checksum", 1, func(o *output) error {
			return writeTag(o, "libisofs_sb_checksum_tag_v1", m.sums.sbTag, m.sums.treeTag)
		})
	}
}

// layHierarchy plans the path tables and the directories of a hierarchy.
func (m *image) layHierarchy(h *hierarchy) {
	h.lTable = m.addBytes("path table L", h.pathTable, func() []byte { return h.appendPathTable(nil, binary.LittleEndian) })
	h.mTable = m.addBytes("path table M", h.pathTable, func() []byte { return h.appendPathTable(nil, binary.BigEndian) })
	start := m.next
	blocks := int64(0)
	dirs := h.onDisc()
	for _, d := range dirs {
		d.lba = uint32(start + blocks)
		blocks += int64(d.size/blockSize) + d.conts
	}
	m.add("directories", blocks, func(o *output) error { return h.write(o, dirs) })
}

// write writes all directories, each followed by its continuation areas.
func (h *hierarchy) write(o *output, dirs []*dirLayout) error {
	var s recordSink
	for _, d := range dirs {
		s.reset(func(rec []byte) error { _, err := o.Write(rec); return err })
		if err := h.records(d, &s); err != nil {
			return err
		}
		if err := o.align(); err != nil {
			return err
		}
		if d.conts == 0 {
			continue
		}
		if err := h.writeConts(d, o); err != nil {
			return err
		}
	}
	return nil
}

// writeConts makes the records of a directory again, for what did not fit into
// them: so nothing has to be kept.
func (h *hierarchy) writeConts(d *dirLayout, o *output) error {
	var s recordSink
	start := o.pos
	s.conts.write = func(pos int64, area []byte) error {
		if err := o.zeros(start + pos - o.pos); err != nil {
			return err
		}
		_, err := o.Write(area)
		return err
	}
	if err := h.records(d, &s); err != nil {
		return err
	}
	return o.align()
}

func (m *image) layTreeTag() {
	if m.sums == nil {
		return
	}
	m.sums.treeTag = m.add("tree checksum", 1, func(o *output) error {
		return writeTag(o, "libisofs_tree_checksum_tag_v1", m.sums.treeTag, m.sums.endTag)
	})
}

// layData plans the content of all files. Empty ones point to a block of their
// own, so that no reader takes them for links to another file.
func (m *image) layData() {
	m.layCatalog()
	m.empty = m.next
	m.skipTo(m.next + 1)
	start := m.next
	blocks := int64(0)
	for _, n := range m.files {
		if n.inode.size == 0 {
			n.inode.lba = uint32(m.empty)
			continue
		}
		n.inode.lba = uint32(min(start+blocks, math.MaxUint32))
		blocks += blocksOf(n.inode.size)
	}
	m.add("files", blocks, m.writeFiles)
}

// layEnd plans what comes behind the files.
func (m *image) layEnd() {
	if m.sums != nil {
		m.sums.area = m.add("checksums", m.sums.blocks(), m.sums.writeArray)
		m.sums.endTag = m.add("session checksum", 1, func(o *output) error {
			return writeTag(o, "libisofs_checksum_tag_v1", m.sums.endTag, 0)
		})
	}
	if !m.opt.NoPadding {
		m.skipTo(m.next + 150)
	}
	if m.udf == nil {
		m.alignHybrid(0)
		return
	}
	m.alignHybrid(udfEnd)
	m.udf.layEnd()
}
