package hfsplus

import (
	"bytes"
	"errors"
	"io/fs"
	"strconv"
	"sync"

	"github.com/isomount/isomount/pkg/fsys"
)

// An item is one entry of a folder, with the memory that it takes to read it.
type item struct {
	v     *FS
	n     *bnode // leaf that the record lies in
	place place
	rec   record // hard links are not followed
	name  []byte // as shown; of the AppleDouble file if that is meant
	valid bool
	light bool // of rec, only cnid and folder are wanted

	key, final []byte
	entry      fsys.Entry
}

var items = sync.Pool{New: func() any { return new(item) }}

func (v *FS) newItem() *item {
	it := items.Get().(*item) //nolint:errcheck,forcetypeassert // the pool holds nothing else
	*it = item{v: v, n: v.catalog.node(), name: it.name, key: it.key, final: it.final}
	return it
}

func (it *item) close() {
	it.v.catalog.done(it.n)
	it.n = nil
	items.Put(it)
}

// load reads the entry of folder cnid at a place. It tells whether there is one.
func (it *item) load(cnid uint32, p place) bool {
	if it.v.catalog.loadLeaf(it.n, p.position().leaf()) != nil || !it.read(cnid, p.position().index()) {
		return false
	}
	if p.dot() {
		if !it.v.hasDot(&it.rec) {
			return false
		}
		it.showDot()
	}
	return true
}

// read takes up record i of the leaf. It tells whether that is an entry of
// folder cnid.
func (it *item) read(cnid uint32, i int) bool {
	v := it.v
	it.valid = false
	if i >= it.n.nrec {
		return false
	}
	raw, data, ok := v.catalog.record(it.n, i)
	if !ok {
		return false
	}
	if id, ok := v.catalogID(raw); !ok || id != cnid {
		return false
	}
	key, ok := v.catalogKey(raw)
	if !ok || len(key.name) == 0 || !it.decode(data) || v.isHidden(cnid, &it.rec) {
		return false
	}
	it.rec.pos, it.rec.parent = positionOf(it.n.num, i), cnid
	it.place = it.rec.pos.place(false)
	it.name = v.appendName(it.name[:0], key.name)
	it.valid = string(it.name) != "." && string(it.name) != ".."
	return it.valid
}

func (it *item) decode(data []byte) bool {
	if it.light {
		return it.rec.peek(it.v, data)
	}
	return it.rec.decode(it.v, data)
}

// showDot makes the AppleDouble file of the record the entry.
func (it *item) showDot() {
	it.place = it.rec.pos.place(true)
	it.name = append(it.name, dotPrefix...)
	copy(it.name[len(dotPrefix):], it.name)
	copy(it.name, dotPrefix)
}

// fill makes the directory entry for an item found after some leaves. It tells
// whether there is anything to show.
func (it *item) fill(dups bool, leaves uint32) (bool, error) {
	e := &it.entry
	e.Name = it.name
	if dups {
		if e.Name = it.unique(); e.Name == nil {
			return false, nil
		}
	}
	e.Next = it.place.cookie(leaves)
	var err error
	e.Node, e.Attr, err = it.describe()
	return err == nil, err
}

// describe returns what the item stands for, behind hard links.
func (it *item) describe() (fsys.Node, fsys.Attr, error) {
	rec, v := &it.rec, it.v
	if !it.place.dot() && v.mayLink(rec) {
		target, err := v.resolve(*rec)
		if err != nil {
			return 0, fsys.Attr{}, err
		}
		rec = &target
	}
	a, err := v.attr(rec, it.place.dot())
	return v.nodeOf(rec, it.place.dot()), a, err
}

// places returns where the entries of a folder are that may have the key.
func (it *item) places(cnid uint32) ([]fsys.Place, error) {
	places, err := it.v.index.Find(fsys.Node(cnid), it.key, it.v.names(cnid))
	if errors.Is(err, errMended) {
		places, err = it.v.index.Find(fsys.Node(cnid), it.key, it.v.names(cnid))
	}
	return places, err
}

// find makes the first entry of a folder that has the name the item.
func (it *item) find(cnid uint32, name []byte, same func(it *item, name []byte) bool) error {
	it.key = it.v.appendKey(it.key[:0], name)
	places, err := it.places(cnid)
	if err != nil {
		return err
	}
	for _, p := range places {
		if it.load(cnid, place(p.Pos)) && same(it, name) {
			return nil
		}
	}
	return fs.ErrNotExist
}

func sameName(it *item, name []byte) bool { return bytes.Equal(it.name, name) }

// sameKey compares the name with the key of the one that is looked for.
func sameKey(it *item, _ []byte) bool {
	it.final = it.v.appendKey(it.final[:0], it.name)
	return bytes.Equal(it.final, it.key)
}

// unique returns the name of the item. The second and further ones of a name,
// which no writer makes, get '~' and their place, and more '~' as long as such a
// name is taken as well. It returns nil when it gives up.
func (it *item) unique() []byte {
	it.key = it.v.appendKey(it.key[:0], it.name)
	if places, err := it.places(it.rec.parent); err != nil || len(places) < 2 {
		return it.name // the index knows hashes only, and most that are equal are of one name
	}
	other := it.v.newItem()
	defer other.close()
	if other.find(it.rec.parent, it.name, sameName) != nil || other.place == it.place {
		return it.name
	}
	it.final = append(append(it.final[:0], it.name...), '~')
	it.final = strconv.AppendUint(it.final, uint64(it.place), 16)
	for range maxTildes {
		if other.find(it.rec.parent, it.final, sameName) != nil {
			return it.final
		}
		it.final = append(it.final, '~')
	}
	return nil
}

// maxTildes is how many '~' a name may end in to be unique.
const maxTildes = 8

// findUnique undoes unique.
func (it *item) findUnique(cnid uint32, name []byte) error {
	trimmed := bytes.TrimRight(name, "~")
	cut := bytes.LastIndexByte(trimmed, '~')
	if cut < 0 {
		return fs.ErrNotExist
	}
	p, err := strconv.ParseUint(string(trimmed[cut+1:]), 16, placeBits)
	if err != nil {
		return fs.ErrNotExist
	}
	return it.find(cnid, name[:cut], func(it *item, base []byte) bool {
		return it.place == place(p) && sameName(it, base) && bytes.Equal(it.unique(), name)
	})
}
