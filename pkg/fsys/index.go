package fsys

import (
	"container/list"
	"hash/maphash"
	"slices"
	"sync"
)

// An Index finds names in large directories without reading them again. It
// keeps, per directory, the sorted hashes of its names with the position of
// each record, and forgets the directories used longest ago when their memory
// passes a budget. Directories are scanned at most once however many ask.
type Index struct {
	seed   maphash.Seed
	budget int

	mu    sync.Mutex // guards the fields below
	size  int
	order *list.List // of *dirIndex, the one used last in front
	dirs  map[Node]*list.Element
}

// A dirIndex is the index of one directory.
type dirIndex struct {
	dir   Node
	once  sync.Once
	slots []Place
	dups  bool // two names share a hash, so they may be the same
	err   error
	size  int // bytes accounted for; guarded by Index.mu
}

// A Place is where a name was found.
type Place struct {
	hash uint64
	Pos  uint64 // of the record
}

const (
	slotBytes = 16
	dirBytes  = 256 // of a directory, whatever it holds
)

// NewIndex returns an index that keeps at most budget bytes, or 4 MiB for 0.
func NewIndex(budget int) *Index {
	if budget == 0 {
		budget = 4 << 20
	}
	return &Index{seed: maphash.MakeSeed(), budget: budget, order: list.New(), dirs: map[Node]*list.Element{}}
}

// Scan calls add for each name of a directory with the position of its record.
// Names that add was given may be reused after it returns.
type Scan func(add func(name []byte, pos uint64)) error

// Find returns the places, in ascending order, of the records of dir whose name
// may be name: the caller compares the names themselves, and changes nothing in
// what is returned. scan reads the directory when it is not known yet.
func (x *Index) Find(dir Node, name []byte, scan Scan) ([]Place, error) {
	d, err := x.get(dir, scan)
	if err != nil {
		return nil, err
	}
	h := x.hash(name)
	i, _ := slices.BinarySearchFunc(d.slots, Place{hash: h}, comparePlaces)
	n := i
	for n < len(d.slots) && d.slots[n].hash == h {
		n++
	}
	return d.slots[i:n:n], nil
}

// Duplicates tells whether two names of dir may be the same.
func (x *Index) Duplicates(dir Node, scan Scan) (bool, error) {
	d, err := x.get(dir, scan)
	if err != nil {
		return false, err
	}
	return d.dups, nil
}

func (x *Index) hash(name []byte) uint64 { return maphash.Bytes(x.seed, name) }

func (x *Index) get(dir Node, scan Scan) (*dirIndex, error) {
	x.mu.Lock()
	e, known := x.dirs[dir]
	if known {
		x.order.MoveToFront(e)
	} else {
		e = x.order.PushFront(&dirIndex{dir: dir})
		x.dirs[dir] = e
	}
	d := e.Value.(*dirIndex) //nolint:errcheck // the list holds nothing else
	x.mu.Unlock()

	d.once.Do(func() {
		x.fill(d, scan)
		x.settle(d, e)
	})
	return d, d.err
}

func (x *Index) fill(d *dirIndex, scan Scan) {
	d.err = scan(func(name []byte, pos uint64) {
		d.slots = append(d.slots, Place{x.hash(name), pos})
	})
	d.slots = slices.Clip(d.slots)
	slices.SortFunc(d.slots, comparePlaces)
	for i := 1; i < len(d.slots); i++ {
		if d.slots[i].hash == d.slots[i-1].hash {
			d.dups = true
			break
		}
	}
}

// settle accounts for a filled directory and makes room for it. A directory
// that could not be read is forgotten, so that the next one tries again.
func (x *Index) settle(d *dirIndex, e *list.Element) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.dirs[d.dir] != e {
		return // dropped while it was being filled
	}
	d.size = dirBytes + cap(d.slots)*slotBytes
	x.size += d.size
	if d.err != nil {
		x.drop(e)
	}
	for x.size > x.budget && x.order.Len() > 1 {
		x.drop(x.order.Back())
	}
}

func (x *Index) drop(e *list.Element) {
	d := x.order.Remove(e).(*dirIndex) //nolint:errcheck // the list holds nothing else
	delete(x.dirs, d.dir)
	x.size -= d.size
}

func comparePlaces(a, b Place) int {
	if a.hash != b.hash {
		if a.hash < b.hash {
			return -1
		}
		return 1
	}
	if a.Pos < b.Pos {
		return -1
	}
	if a.Pos > b.Pos {
		return 1
	}
	return 0
}
