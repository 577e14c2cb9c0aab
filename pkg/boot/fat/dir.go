package fat

import (
	"bytes"
	"errors"
	"io/fs"
	"strconv"
	"sync"

	"github.com/isomount/isomount/pkg/binfmt"
	"github.com/isomount/isomount/pkg/fsys"
)

// maxSlotsDir is how many slots a directory may have (Microsoft FAT
// specification 1.03: 2,097,152 bytes).
const maxSlotsDir = 65536

// slots goes through the slots of a directory.
type slots struct {
	v     *FS
	chain *chain
	fixed bool   // the directory is the root of FAT12 or FAT16, which is no chain
	next  uint32 // number of the next slot

	cluster uint32
	seen    map[uint32]struct{} // clusters of a longer chain
	buf     [4096]byte
	rest    []byte // of buf
	off     int64  // byte offset in the image of rest
	err     error
}

// open starts with slot number from of a directory.
func (s *slots) open(v *FS, dir *entry, from uint64) {
	*s = slots{v: v, chain: v.newChain(), fixed: dir.root && v.geo.bits != 32, cluster: dir.cluster}
	if dir.root {
		s.cluster = v.geo.rootCluster
	}
	if !s.fixed && !v.geo.holdsData(s.cluster) {
		s.fail(dir)
	}
	for uint64(s.next) < from && s.err == nil && s.skip(from) {
	}
}

func (s *slots) close() { s.chain.close() }

// fail ends a directory that has no cluster. One that has cluster 0 is empty.
func (s *slots) fail(dir *entry) {
	s.next = maxSlotsDir
	if s.cluster != 0 {
		s.err = binfmt.Corrupt(dir.off, "directory begins at cluster %#x", s.cluster)
	}
}

// perCluster returns how many slots a cluster has.
func (s *slots) perCluster() uint32 { return uint32(s.v.geo.clusterSize / slotSize) }

// skip passes over slots without reading them, up to slot number from. It tells
// whether it came closer.
func (s *slots) skip(from uint64) bool {
	if from >= maxSlotsDir {
		s.next = maxSlotsDir
		return false
	}
	target := uint32(from)
	if s.fixed {
		s.next = target
		return true
	}
	s.next = min(target, s.next-s.next%s.perCluster()+s.perCluster())
	if s.next%s.perCluster() == 0 {
		return s.follow()
	}
	return true
}

// follow goes to the next cluster of the chain.
func (s *slots) follow() bool {
	next, err := s.chain.next(s.cluster)
	if err != nil || next == 0 {
		s.err, s.next = err, maxSlotsDir
		return false
	}
	if s.seen == nil {
		s.seen = map[uint32]struct{}{}
	}
	s.seen[s.cluster] = struct{}{}
	if _, again := s.seen[next]; again {
		s.err, s.next = binfmt.Corrupt(s.v.geo.fatOff, "directory goes round at cluster %d", next), maxSlotsDir
		return false
	}
	s.cluster = next
	return true
}

// read returns the next slot with its number and place, or nil at the end.
func (s *slots) read() (slot []byte, number uint32, off int64) {
	if len(s.rest) == 0 && !s.fill() {
		return nil, 0, 0
	}
	slot, number, off = s.rest[:slotSize], s.next, s.off
	s.rest = s.rest[slotSize:]
	s.off += slotSize
	s.next++
	if len(s.rest) == 0 && !s.fixed && s.next%s.perCluster() == 0 {
		s.follow()
	}
	return slot, number, off
}

// fill reads more of the directory.
func (s *slots) fill() bool {
	g := &s.v.geo
	if s.next >= maxSlotsDir || s.err != nil {
		return false
	}
	var n int64
	if s.fixed {
		at := int64(s.next) * slotSize
		s.off, n = g.rootOff+at, g.rootSize-at
	} else {
		at := int64(s.next%s.perCluster()) * slotSize
		s.off, n = g.dataOff+int64(s.cluster-firstCluster)*g.clusterSize+at, g.clusterSize-at
	}
	if n <= 0 {
		return false
	}
	// An image that ends early has the slots before its end.
	n = min(n, int64(len(s.buf)), max(slotSize, (s.v.size-s.off)/slotSize*slotSize))
	if s.err = s.v.readMeta(s.buf[:n], s.off); s.err != nil {
		return false
	}
	s.rest = s.buf[:n]
	return true
}

// A scan goes through the files and directories of a directory. It is also the
// memory that the work needs, so that none is allocated per entry.
type scan struct {
	slots

	long   longName
	number uint32 // slot of the entry
	entry  entry
	name   []byte // as shown
	short  []byte // its 8.3 name, if name is a long one

	key, final []byte
	out        fsys.Entry
}

var scans = sync.Pool{New: func() any { return new(scan) }}

func (v *FS) newScan(dir *entry, from uint64) *scan {
	s := scans.Get().(*scan) //nolint:errcheck,forcetypeassert // the pool holds nothing else
	s.open(v, dir, from)
	s.long.reset()
	return s
}

func (s *scan) close() {
	s.slots.close()
	scans.Put(s)
}

// next goes to the next entry. It tells whether there is one.
func (s *scan) nextEntry() bool {
	for {
		slot, number, off := s.read()
		switch {
		case slot == nil || slot[0] == 0: // nothing follows
			return false
		case slot[0] == deleted:
			s.long.reset()
		case slot[11]&attrMask == attrLong:
			s.long.add(slot)
		case !isEntry(slot):
			s.long.reset()
		case s.take(slot, number, off):
			return true
		}
	}
}

// take makes a slot the entry. It tells whether it is to be shown.
func (s *scan) take(slot []byte, number uint32, off int64) bool {
	s.number, s.entry = number, s.v.decode(slot, off)
	s.name, s.short = s.name[:0], appendShort(s.short[:0], slot)
	if s.long.belongsTo(slot) {
		s.name = s.long.appendTo(s.name)
	}
	s.long.reset()
	if len(s.name) == 0 || isDots(s.name) {
		s.name = append(s.name[:0], s.short...)
	}
	return len(s.name) > 0 && !isDots(s.name)
}

func isDots(name []byte) bool { return string(name) == "." || string(name) == ".." }

// names scans a directory for the index: by their long and their short names.
// Damage ends the scan where it will end the listing.
func (v *FS) names(dir *entry) fsys.Scan {
	return func(add func(name []byte, pos uint64)) error {
		s := v.newScan(dir, 0)
		defer s.close()
		for s.nextEntry() {
			s.key = fsys.AppendLower(s.key[:0], s.name)
			add(s.key, uint64(s.number))
			s.final = fsys.AppendLower(s.final[:0], s.short)
			if !bytes.Equal(s.key, s.final) {
				add(s.final, uint64(s.number))
			}
		}
		if s.err != nil && !damaged(s.err) {
			return s.err
		}
		return nil
	}
}

// damaged tells errors that are the disc's fault, and stay, from others.
func damaged(err error) bool {
	_, ok := errors.AsType[*binfmt.CorruptError](err)
	return ok
}

// load makes the entry at slot number of dir the current one.
func (v *FS) load(dir *entry, number uint64) (*scan, bool) {
	// A long name stands before its entry.
	s := v.newScan(dir, number-min(number, maxSlots))
	for s.nextEntry() && uint64(s.number) <= number {
		if uint64(s.number) == number {
			return s, true
		}
	}
	s.close()
	return nil, false
}

// find calls same for the entries of dir that may be called name, long or
// short, until it returns true, and returns that entry.
func (v *FS) find(dir *entry, name []byte, same func(*scan) bool) (*scan, error) {
	places, err := v.index.Find(dir.node(), fsys.AppendLower(nil, name), v.names(dir))
	if err != nil {
		return nil, err
	}
	for _, p := range places {
		s, ok := v.load(dir, p.Pos)
		if !ok {
			continue
		}
		if same(s) {
			return s, nil
		}
		s.close()
	}
	return nil, fs.ErrNotExist
}

// findExact finds the first entry that is shown as name, before names are made
// unique.
func (v *FS) findExact(dir *entry, name []byte) (*scan, error) {
	return v.find(dir, name, func(s *scan) bool { return bytes.Equal(s.name, name) })
}

// unique returns the name of the entry. The second and further ones of a name,
// which no writer makes, get '~' and their number, and more '~' as long as such
// a name is taken as well. It returns nil when it gives up.
func (s *scan) unique(dir *entry) []byte {
	s.key = fsys.AppendLower(s.key[:0], s.name)
	places, err := s.v.index.Find(dir.node(), s.key, s.v.names(dir))
	if err != nil || len(places) < 2 {
		return s.name // the index knows hashes only, and most that are equal are of one name
	}
	first, err := s.v.findExact(dir, s.name)
	if err != nil {
		return s.name
	}
	number := first.number
	first.close()
	if number == s.number {
		return s.name
	}
	s.final = append(append(s.final[:0], s.name...), '~')
	s.final = strconv.AppendUint(s.final, uint64(s.number), 16)
	for range maxTildes {
		other, err := s.v.findExact(dir, s.final)
		if err != nil {
			return s.final
		}
		other.close()
		s.final = append(s.final, '~')
	}
	return nil
}

// maxTildes is how many '~' a name may end in to be unique.
const maxTildes = 8

// ReadDir implements [fsys.FS].
func (v *FS) ReadDir(n fsys.Node, from uint64, yield func(*fsys.Entry) bool) error {
	dir, err := v.dir(n)
	if err != nil {
		return err
	}
	// An error is met again below, after what can be read.
	dups, _ := v.index.Duplicates(n, v.names(&dir))
	s := v.newScan(&dir, from)
	defer s.close()
	for s.nextEntry() {
		s.out = fsys.Entry{Name: s.name, Node: s.entry.node(), Attr: v.attr(&s.entry), Next: uint64(s.number) + 1}
		if dups {
			s.out.Name = s.unique(&dir)
		}
		if s.out.Name != nil && !yield(&s.out) {
			return nil
		}
	}
	return s.err
}

// Lookup implements [fsys.FS]. Case does not matter, and the short name is as
// good as the long one.
func (v *FS) Lookup(n fsys.Node, name []byte) (fsys.Node, fsys.Attr, error) {
	dir, err := v.dir(n)
	if err != nil {
		return 0, fsys.Attr{}, err
	}
	s, err := v.lookup(&dir, name)
	if err != nil {
		return 0, fsys.Attr{}, err
	}
	defer s.close()
	return s.entry.node(), v.attr(&s.entry), nil
}

func (v *FS) lookup(dir *entry, name []byte) (*scan, error) {
	if len(name) > 2*maxNameBytes {
		return nil, fs.ErrNotExist
	}
	s, err := v.findExact(dir, name)
	if !errors.Is(err, fs.ErrNotExist) {
		return s, err
	}
	if s, ok := v.findUnique(dir, name); ok {
		return s, nil
	}
	key := fsys.AppendLower(nil, name)
	return v.find(dir, name, func(s *scan) bool {
		return bytes.Equal(fsys.AppendLower(nil, s.name), key) || bytes.Equal(fsys.AppendLower(nil, s.short), key)
	})
}

// findUnique undoes unique.
func (v *FS) findUnique(dir *entry, name []byte) (*scan, bool) {
	trimmed := bytes.TrimRight(name, "~")
	cut := bytes.LastIndexByte(trimmed, '~')
	if cut < 0 {
		return nil, false
	}
	number, err := strconv.ParseUint(string(trimmed[cut+1:]), 16, 32)
	if err != nil {
		return nil, false
	}
	s, err := v.find(dir, name[:cut], func(s *scan) bool {
		return uint64(s.number) == number && bytes.Equal(s.name, name[:cut]) && bytes.Equal(s.unique(dir), name)
	})
	return s, err == nil
}

// Parent implements [fsys.ParentFS]. The entry ".." tells the first cluster of
// the parent, and the parent's own ".." where its entry is to be found.
func (v *FS) Parent(n fsys.Node) (fsys.Node, error) {
	dir, err := v.dir(n)
	if err != nil || dir.root {
		return rootNode, err
	}
	parent, err := v.dotDot(&dir)
	if err != nil || parent.root {
		return rootNode, err
	}
	above, err := v.dotDot(&parent)
	if err != nil {
		return 0, err
	}
	s := v.newScan(&above, 0)
	defer s.close()
	for s.nextEntry() {
		if s.entry.dir && s.entry.cluster == parent.cluster {
			return s.entry.node(), nil
		}
	}
	if s.err != nil {
		return 0, s.err
	}
	return 0, binfmt.Corrupt(dir.off, "directory has no parent")
}

// dotDot returns what the second slot of a directory says of its parent.
func (v *FS) dotDot(dir *entry) (entry, error) {
	var s slots
	s.open(v, dir, 1)
	defer s.close()
	slot, _, off := s.read()
	if s.err != nil {
		return entry{}, s.err
	}
	if slot == nil || string(slot[:11]) != "..         " {
		return entry{}, binfmt.Corrupt(dir.off, "directory has no parent")
	}
	e := v.decode(slot, off)
	e.dir = true
	e.root = e.cluster == 0 || (v.geo.bits == 32 && e.cluster == v.geo.rootCluster)
	return e, nil
}

// findLabel finds the label of the file system in the root directory.
func (v *FS) findLabel() error {
	var s slots
	s.open(v, &entry{root: true, dir: true}, 0)
	defer s.close()
	for {
		slot, _, _ := s.read()
		switch {
		case slot == nil || slot[0] == 0:
			if s.err != nil && !damaged(s.err) {
				return s.err
			}
			return nil
		case slot[0] != deleted && slot[11]&attrMask != attrLong && slot[11]&(attrVolume|attrDir) == attrVolume:
			v.label, v.date = text(slot[:11]), v.decode(slot, 0).modified
			return nil
		}
	}
}
