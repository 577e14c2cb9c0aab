package isofs

import (
	"bytes"
	"hash/maphash"
	"slices"
	"strconv"
	"sync"

	"github.com/isomount/isomount/pkg/fsys"
)

// Twins are entries of a directory that have the same name. The first keeps it;
// the second of "report.txt" is shown as "report~2.txt", and so on, so that all
// can be reached.
type twins []twin

// A twin is an entry that is not shown under its own name.
type twin struct {
	at     int64  // position of its record in the directory
	number uint32 // from 2 on
}

// number returns the number of the entry at a position, or 0 if it keeps its
// name.
func (t twins) number(at int64) uint32 {
	if i, ok := slices.BinarySearchFunc(t, at, func(t twin, at int64) int { return int(t.at - at) }); ok {
		return t[i].number
	}
	return 0
}

// rename returns the name that the entry in s is shown under.
func (t twins) rename(s *scratch) []byte {
	if len(t) > 0 {
		if n := t.number(s.at); n > 0 {
			s.name = appendTwin(nil, s.name, n)
		}
	}
	return s.name
}

// appendTwin appends the n-th name made from name.
func appendTwin(dst, name []byte, n uint32) []byte {
	stem, ext := splitExt(name)
	suffix := strconv.AppendUint([]byte{'~'}, uint64(n), 10)
	if room := maxName - len(suffix) - len(ext); len(stem) > room {
		stem = cut(stem, max(room, 1))
	}
	return append(append(append(dst, stem...), suffix...), ext...)
}

// splitTwin takes a name of appendTwin apart. It returns 0 for any other.
func splitTwin(name []byte) ([]byte, uint32) {
	stem, ext := splitExt(name)
	i := bytes.LastIndexByte(stem, '~')
	if i < 1 {
		return nil, 0
	}
	n, err := strconv.ParseUint(string(stem[i+1:]), 10, 32)
	if err != nil || n < 2 {
		return nil, 0
	}
	return append(bytes.Clone(stem[:i]), ext...), uint32(n)
}

// splitExt splits a name before its extension.
func splitExt(name []byte) (stem, ext []byte) {
	if i := bytes.LastIndexByte(name, '.'); i > 0 {
		return name[:i], name[i:]
	}
	return name, nil
}

// A twinCache keeps the twins of directories in which the index, whose hashes
// are short, takes two names for the same.
type twinCache struct {
	mu   sync.Mutex // guards the fields below
	dirs map[fsys.Node]twins
	size int // twins in dirs
}

// maxTwins is how many twins are kept.
const maxTwins = 1 << 16

func (c *twinCache) get(n fsys.Node) (twins, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, ok := c.dirs[n]
	return t, ok
}

func (c *twinCache) put(n fsys.Node, t twins) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dirs == nil || c.size+len(t)+1 > maxTwins {
		c.dirs, c.size = map[fsys.Node]twins{}, 0
	}
	c.dirs[n] = t
	c.size += len(t) + 1
}

// manyNames is how many names it takes for two of them to have the same hash in
// the index by chance.
const manyNames = 1 << 12

// twinsOf returns the twins of a directory. A directory that cannot be indexed
// has none: its entries are shown as they are.
func (f *FS) twinsOf(d dirRef) twins {
	if d.size <= smallDirectory {
		t, _ := f.findTwins(d) // an error here is one of the listing too
		return t
	}
	dups, err := f.index.Duplicates(f.names|d.node, f.scanInto(d))
	if err != nil || !dups {
		return nil
	}
	if t, ok := f.twins.get(d.node); ok {
		return t
	}
	t, err := f.findTwins(d)
	if err == nil || isTruncated(err) {
		f.twins.put(d.node, t)
	}
	return t
}

// A twinFinder finds out whether there are twins among names. A wrong yes is as
// unlikely as two equal hashes of 64 bits.
type twinFinder struct{ s *scratch }

var nameSeed = maphash.MakeSeed()

func newTwinFinder(s *scratch) twinFinder {
	s.hashes = s.hashes[:0]
	return twinFinder{s}
}

func (t twinFinder) add(name []byte) { t.s.hashes = append(t.s.hashes, maphash.Bytes(nameSeed, name)) }

func (t twinFinder) any() bool {
	slices.Sort(t.s.hashes)
	for i := 1; i < len(t.s.hashes); i++ {
		if t.s.hashes[i] == t.s.hashes[i-1] {
			return true
		}
	}
	return false
}

// A nameAt is the hash of a name and where its record is.
type nameAt struct {
	hash uint64
	at   int64
	last bool // an associated file: the file itself keeps the name
}

func compareNameAt(a, b nameAt) int {
	switch {
	case a.hash != b.hash:
		if a.hash < b.hash {
			return -1
		}
		return 1
	case a.last != b.last:
		if b.last {
			return -1
		}
		return 1
	}
	return int(a.at - b.at)
}

// findTwins compares all names of a directory.
func (f *FS) findTwins(d dirRef) (twins, error) {
	s := getScratch()
	defer putScratch(s)
	finder := newTwinFinder(s)
	err := f.list(d, 0, s, false, func() bool {
		finder.add(s.name)
		return true
	})
	if !finder.any() {
		return nil, err
	}
	return f.nameTwins(d, s)
}

// nameTwins finds the twins of a directory that has some, and numbers them.
func (f *FS) nameTwins(d dirRef, s *scratch) (twins, error) {
	var names []nameAt
	err := f.list(d, 0, s, false, func() bool {
		names = append(names, nameAt{maphash.Bytes(nameSeed, s.name), s.at, s.rec.flags&flagAssociated != 0})
		return true
	})
	slices.SortFunc(names, compareNameAt)
	var t twins
	for i := 1; i < len(names); i++ {
		if names[i].hash == names[i-1].hash {
			t = append(t, twin{at: names[i].at, number: f.number(d, s, names, i, t)})
		}
	}
	slices.SortFunc(t, func(a, b twin) int { return int(a.at - b.at) })
	return t, err
}

// number finds the number of the i-th name: the next one whose name nobody has.
func (f *FS) number(d dirRef, s *scratch, names []nameAt, i int, t twins) uint32 {
	n := uint32(2)
	if i > 1 && names[i-2].hash == names[i].hash {
		n = t[len(t)-1].number + 1
	}
	if !f.entryAt(d, s, names[i].at) {
		return n
	}
	var buf [2 * maxName]byte
	for ; ; n++ {
		h := maphash.Bytes(nameSeed, appendTwin(buf[:0], s.name, n))
		_, taken := slices.BinarySearchFunc(names, h, func(a nameAt, h uint64) int {
			return compareNameAt(nameAt{hash: a.hash}, nameAt{hash: h})
		})
		if !taken {
			return n
		}
	}
}
