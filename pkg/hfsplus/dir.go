package hfsplus

import (
	"errors"
	"io/fs"

	"github.com/isomount/isomount/pkg/fsys"
)

// A scan goes through the entries of a folder.
type scan struct {
	*item

	cnid   uint32
	walk   walk
	i      int  // next record of the leaf
	past   bool // there is nothing more
	mended bool // the leaves are taken in their mended order
	err    error
}

// newScan starts to read a folder, behind the entry that a cookie belongs to
// unless it is 0. Errors are left in err.
func (v *FS) newScan(cnid uint32, from uint64) *scan {
	s := &scan{item: v.newItem(), cnid: cnid}
	s.walk = walk{t: v.catalog, n: s.n}
	if from == 0 {
		s.err = s.start()
	} else {
		s.err = s.resume(from)
	}
	s.past = s.past || s.err != nil
	return s
}

// start loads the first leaf that can hold entries of the folder. Its records
// are taken from the first on, since one that is out of order must not hide
// others.
func (s *scan) start() error {
	t := s.v.catalog
	if order := t.order.Load(); order != nil {
		s.mended = true
		found, err := s.walk.startMended(*order, s.cnid)
		s.past = !found
		return err
	}
	err := t.descend(s.n, func(key []byte) bool {
		id, ok := s.v.catalogID(key)
		return ok && id < s.cnid
	})
	if damaged(err) && t.repair(s.v.catalogID) {
		return s.start()
	}
	return err
}

// resume loads the leaf of the entry that a cookie was given with.
func (s *scan) resume(from uint64) error {
	p, leaves := fromCookie(from)
	s.walk.leaves = leaves
	s.mended = s.v.catalog.order.Load() != nil
	s.i = p.position().index()
	err := s.v.catalog.loadLeaf(s.n, p.position().leaf())
	if damaged(err) {
		return fs.ErrInvalid // nobody was given that cookie
	}
	if err == nil && s.read(s.cnid, s.i) && p.dot() {
		s.showDot()
	}
	return err
}

// next goes to the next entry. It tells whether there is one.
func (s *scan) next() bool {
	if s.valid && !s.place.dot() && s.v.hasDot(&s.rec) {
		s.showDot()
		return true
	}
	for !s.past {
		if s.valid {
			s.i++
			s.valid = false
		}
		for ; s.i < s.n.nrec; s.i++ {
			if s.read(s.cnid, s.i) {
				return true
			}
		}
		s.nextLeaf()
	}
	return false
}

// nextLeaf goes to the next leaf, unless the folder ends in this one.
func (s *scan) nextLeaf() {
	s.i = 0
	if s.past = s.leafIsPast(); s.past {
		return
	}
	more, err := s.walk.next()
	s.past, s.err = !more, err
}

// leafIsPast tells whether the last record of the leaf belongs to a later folder.
func (s *scan) leafIsPast() bool {
	for i := s.n.nrec - 1; i >= 0; i-- {
		if key, _, ok := s.v.catalog.record(s.n, i); ok {
			id, ok := s.v.catalogID(key)
			return ok && id > s.cnid
		}
	}
	return false
}

// errMended ends a scan whose catalog was put in order meanwhile.
var errMended = errors.New("catalog was mended")

// names scans a folder for the index. Damage ends the scan where it will end
// the listing.
func (v *FS) names(cnid uint32) fsys.Scan {
	return func(add func(name []byte, pos uint64)) error {
		s := v.newScan(cnid, 0)
		defer s.close()
		s.light = v.forks != ForksDot
		for s.next() {
			s.key = v.appendKey(s.key[:0], s.name)
			add(s.key, uint64(s.place))
		}
		switch {
		case !damaged(s.err):
			return s.err
		case !s.mended && v.catalog.repair(v.catalogID):
			return errMended
		}
		return nil
	}
}

// duplicates tells whether two names of a folder may be the same. It puts the
// catalog in order before the folder is listed, should that be needed.
func (v *FS) duplicates(cnid uint32) (bool, error) {
	dups, err := v.index.Duplicates(fsys.Node(cnid), v.names(cnid))
	if errors.Is(err, errMended) {
		dups, err = v.index.Duplicates(fsys.Node(cnid), v.names(cnid))
	}
	return dups, err
}

// ReadDir implements [fsys.FS].
func (v *FS) ReadDir(n fsys.Node, from uint64, yield func(*fsys.Entry) bool) error {
	dir, err := v.dir(n)
	if err != nil {
		return err
	}
	// An error is met again below, after what can be read.
	dups, _ := v.duplicates(dir.cnid)
	s := v.newScan(dir.cnid, from)
	defer s.close()
	var lost error
	for s.next() {
		ok, err := s.fill(dups, s.walk.leaves)
		if err != nil && !damaged(err) {
			lost = err
		}
		if ok && !yield(&s.entry) {
			return nil
		}
	}
	if s.err != nil {
		return s.err
	}
	return lost
}

// Lookup implements [fsys.FS].
func (v *FS) Lookup(n fsys.Node, name []byte) (fsys.Node, fsys.Attr, error) {
	dir, err := v.dir(n)
	if err != nil {
		return 0, fsys.Attr{}, err
	}
	it := v.newItem()
	defer it.close()
	if err := it.lookup(dir.cnid, name); err != nil {
		return 0, fsys.Attr{}, err
	}
	return it.describe()
}

// lookup finds a name in a folder as a user means it: in the other case if the
// volume does not tell cases apart.
func (it *item) lookup(cnid uint32, name []byte) error {
	if len(name) > 4*maxName {
		return fs.ErrNotExist
	}
	err := it.find(cnid, name, sameName)
	if errors.Is(err, fs.ErrNotExist) {
		err = it.find(cnid, name, sameKey)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = it.findUnique(cnid, name)
	}
	return err
}

// RootEntries returns how many entries the top folder shows.
func (v *FS) RootEntries() int {
	s := v.newScan(cnidRoot, 0)
	defer s.close()
	count := 0
	for s.next() {
		count++
	}
	return count
}

// Parent implements [fsys.ParentFS].
func (v *FS) Parent(n fsys.Node) (fsys.Node, error) {
	dir, err := v.dir(n)
	if err != nil {
		return 0, err
	}
	parent := dir.parent
	if parent == v.private.folders {
		parent = v.firstLinkParent(&dir)
	}
	if dir.cnid == cnidRoot || parent == cnidRoot || parent == 0 {
		return rootNode, nil
	}
	rec, err := v.folder(parent)
	if err != nil {
		return 0, err
	}
	return v.nodeOf(&rec, false), nil
}

// folder finds the record of the folder with a catalog node id.
func (v *FS) folder(cnid uint32) (record, error) {
	parent, name, err := v.thread(cnid)
	if err != nil {
		return record{}, err
	}
	it := v.newItem()
	defer it.close()
	err = it.find(parent, name, func(it *item, _ []byte) bool { return it.rec.folder && it.rec.cnid == cnid })
	return it.rec, err
}

// thread returns the parent and the shown name of a folder or file.
func (v *FS) thread(cnid uint32) (parent uint32, name []byte, err error) {
	s := v.newScan(cnid, 0)
	defer s.close()
	for !s.past {
		for i := range s.n.nrec {
			if parent, name, ok := v.threadIn(s.n, i, cnid); ok {
				return parent, name, nil
			}
		}
		s.nextLeaf()
	}
	if s.err != nil {
		return 0, nil, s.err
	}
	return 0, nil, fsys.ErrStale
}

// threadIn decodes record i of a leaf if it is the thread of cnid.
func (v *FS) threadIn(n *bnode, i int, cnid uint32) (parent uint32, name []byte, ok bool) {
	raw, data, ok := v.catalog.record(n, i)
	if !ok {
		return 0, nil, false
	}
	key, ok := v.catalogKey(raw)
	if !ok || key.parent != cnid || len(key.name) > 0 {
		return 0, nil, false
	}
	return v.decodeThread(data)
}
