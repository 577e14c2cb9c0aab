package master

import (
	"encoding/binary"
	"fmt"
	"math"
)

// A hierarchy is a tree of ISO 9660 directories: the primary one or Joliet's.
type hierarchy struct {
	kind  treeKind
	id    func(b []byte, n *Node) []byte
	dirs  []*dirLayout // in the order of the path table (ECMA-119 6.9.1)
	lists func(*directory) []*Node
	key   namer
	fold  func(name []byte) // see arrange
	rock  *rockRidge        // nil without System Use fields

	pathTable int64  // bytes
	lTable    uint32 // first block of the little-endian path table
	mTable    uint32 // first block of the big-endian path table
}

// A dirLayout is where a directory lies in a hierarchy.
type dirLayout struct {
	node   *Node // its entry in the directory above
	parent *dirLayout
	order  []*Node // its entries in the order of their records
	number int     // in the path table, from 1
	lba    uint32
	size   uint32 // bytes of its records, whole blocks
	conts  int64  // blocks of System Use continuation areas behind them
	moved  bool   // it is in the directory of relocated ones, or is that
}

func (h *hierarchy) layoutOf(d *directory) **dirLayout {
	if h.kind == treeJoliet {
		return &d.joliet
	}
	return &d.iso
}

// collect finds all directories, in the order of the path table: by level, then
// by the number of the parent, then by name.
func (h *hierarchy) collect(root *Node) {
	h.dirs = []*dirLayout{{node: root}}
	h.dirs[0].parent = h.dirs[0]
	for i := 0; i < len(h.dirs); i++ {
		d := h.dirs[i]
		d.number = i + 1
		d.moved = d.parent.moved || h.rock.isRelocDir(d.node)
		*h.layoutOf(d.node.inode.dir) = d
		d.order = arrange(h.lists(d.node.inode.dir), h.kind, h.key, h.fold)
		for _, n := range d.order {
			if h.isDir(n) {
				h.dirs = append(h.dirs, &dirLayout{node: n, parent: d})
			}
		}
	}
}

func (h *hierarchy) isDir(n *Node) bool {
	if h.kind == treeISO {
		return n.isISODir()
	}
	return n.IsDir()
}

// onDisc returns the directories in the order in which they lie on the disc:
// the root, those that were moved up, all others. libarchive, which reads
// images from front to back, can connect relocated directories inside
// relocated directories in this order only.
func (h *hierarchy) onDisc() []*dirLayout {
	dirs := append(make([]*dirLayout, 0, len(h.dirs)), h.dirs[0])
	for _, moved := range []bool{true, false} {
		for _, d := range h.dirs[1:] {
			if d.moved == moved {
				dirs = append(dirs, d)
			}
		}
	}
	return dirs
}

// measure computes the size of every directory and of the path table.
func (h *hierarchy) measure() error {
	var s recordSink
	for _, d := range h.dirs {
		s.reset(nil)
		if err := h.records(d, &s); err != nil {
			return err
		}
		size := blocksOf(s.pos) * blockSize
		if size > math.MaxUint32 {
			return fmt.Errorf("%s: directory of %d bytes: %w", d.node.Path(), size, ErrTooLarge)
		}
		d.size, d.conts = uint32(size), blocksOf(s.conts.pos)
	}
	h.pathTable = int64(len(h.appendPathTable(nil, binary.LittleEndian)))
	return nil
}

// A recordSink takes the records of a directory one by one, or only counts them.
type recordSink struct {
	pos   int64    // after the last record
	conts contArea // where System Use fields go that do not fit
	write func(rec []byte) error
	rec   []byte
	su    []byte
	id    []byte
}

func (s *recordSink) reset(write func([]byte) error) {
	s.pos, s.conts.pos, s.write = 0, 0, write
}

// room passes over the rest of a block in which n bytes do not fit, for a
// record may not cross blocks (ECMA-119 6.8.1.1).
func (s *recordSink) room(n int) int {
	rest := int(blockSize - s.pos%blockSize)
	if n <= rest {
		return 0
	}
	return rest
}

// put adds a record.
func (s *recordSink) put(r *dirRecord, su []byte) error {
	n := recordLen(len(r.id), len(su))
	skip := s.room(n)
	s.pos += int64(skip + n)
	if s.write == nil {
		return nil
	}
	s.rec = appendZeros(s.rec[:0], skip)
	s.rec = appendRecord(s.rec, r, su)
	return s.write(s.rec)
}

// records gives all records of a directory to a sink.
func (h *hierarchy) records(d *dirLayout, s *recordSink) error {
	if err := h.putDots(d, s); err != nil {
		return err
	}
	for _, n := range d.order {
		s.id = h.id(s.id[:0], n)
		if err := h.putEntry(d, n, s); err != nil {
			return err
		}
	}
	return nil
}

// putDots adds the records of the directory itself and of its parent
// (ECMA-119 6.8.2.2).
func (h *hierarchy) putDots(d *dirLayout, s *recordSink) error {
	s.id = append(s.id[:0], 0)
	r := dirRecord{lba: d.lba, size: d.size, mtime: d.node.inode.mtime, flags: flagDirectory, id: s.id}
	if err := h.putWithSU(d, d.node, &r, s, h.rock.self(d)); err != nil {
		return err
	}
	s.id[0] = 1
	p := d.parent
	r = dirRecord{lba: p.lba, size: p.size, mtime: p.node.inode.mtime, flags: flagDirectory, id: s.id}
	return h.putWithSU(d, d.node, &r, s, h.rock.parent(d))
}

// putEntry adds the records of one entry, several for a file that is longer
// than one extent can be (ECMA-119 6.5.1).
func (h *hierarchy) putEntry(d *dirLayout, n *Node, s *recordSink) error {
	r := dirRecord{mtime: n.inode.mtime, id: s.id}
	if h.isDir(n) {
		l := *h.layoutOf(n.inode.dir)
		r.lba, r.size, r.flags = l.lba, l.size, flagDirectory
		return h.putWithSU(d, n, &r, s, h.rock.entry(n))
	}
	if !n.IsRegular() {
		return h.putWithSU(d, n, &r, s, h.rock.entry(n))
	}
	r.lba = n.inode.lba
	for left := n.inode.size; ; left -= maxExtent {
		r.size, r.flags = uint32(min(left, maxExtent)), 0
		if left > maxExtent {
			r.flags = flagMultiExtent
		}
		if err := h.putWithSU(d, n, &r, s, h.rock.entry(n)); err != nil {
			return err
		}
		if left <= maxExtent {
			return nil
		}
		r.lba += maxExtent / blockSize
	}
}

// putWithSU adds a record of n with as many of the System Use entries as fit
// and sends the others to the continuation area.
func (h *hierarchy) putWithSU(d *dirLayout, n *Node, r *dirRecord, s *recordSink, entries []byte) error {
	if h.rock == nil {
		return s.put(r, nil)
	}
	room := maxRecord - recordLen(len(r.id), 0)
	var err error
	s.su, err = s.conts.place(s.su[:0], entries, room, d.lba+d.size/blockSize)
	if err != nil {
		return fmt.Errorf("%s: %w", n.Path(), err)
	}
	return s.put(r, s.su)
}

// appendPathTable appends the path table (ECMA-119 9.4) in one byte order. Its
// parent numbers have 16 bits, so directories further on are left out; only
// DOS and old Macs look here.
func (h *hierarchy) appendPathTable(b []byte, order binary.AppendByteOrder) []byte {
	var id []byte
	for _, d := range h.dirs {
		if d.parent.number > math.MaxUint16 {
			break
		}
		id = append(id[:0], 0)
		if d.number > 1 {
			id = h.id(id[:0], d.node)
		}
		b = append(b, byte(len(id)), 0)
		b = order.AppendUint32(b, d.lba)
		b = order.AppendUint16(b, uint16(d.parent.number))
		b = append(b, id...)
		b = appendZeros(b, len(id)&1)
	}
	return b
}
