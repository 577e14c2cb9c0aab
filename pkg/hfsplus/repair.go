package hfsplus

import (
	"cmp"
	"slices"
)

// A leafRef is a leaf with the id that its first record has in its key.
type leafRef struct{ id, num uint32 }

// mendLimit is how many bytes a catalog may have to be read whole when its
// links are broken.
const mendLimit = 64 << 20

// repair looks at every node, when index nodes or links between leaves turned
// out broken, and puts the leaves in order by the ids in their keys, which id
// takes out of a key. It tells whether there is such an order now.
func (t *btree) repair(id func(key []byte) (uint32, bool)) bool {
	t.mend.Lock()
	defer t.mend.Unlock()
	if t.order.Load() != nil {
		return true
	}
	if int64(t.nodes)*int64(t.nodeSize) > t.mendLimit {
		return false
	}
	order, err := t.findLeaves(id)
	if err != nil {
		return false
	}
	t.order.Store(&order)
	return true
}

func (t *btree) findLeaves(id func(key []byte) (uint32, bool)) ([]leafRef, error) {
	n := t.node()
	defer t.done(n)
	used := t.usedNodes(n)
	var order []leafRef
	for num := range t.nodes {
		if num == 0 || !used(num) {
			continue
		}
		if err := t.loadLeaf(n, num); damaged(err) {
			continue
		} else if err != nil {
			return nil, err
		}
		if first, ok := t.firstID(n, id); ok {
			order = append(order, leafRef{first, num})
		}
	}
	slices.SortStableFunc(order, func(a, b leafRef) int { return cmp.Compare(a.id, b.id) })
	return order, nil
}

func (t *btree) firstID(n *bnode, id func(key []byte) (uint32, bool)) (uint32, bool) {
	for i := range n.nrec {
		key, _, ok := t.record(n, i)
		if !ok {
			continue
		}
		if first, ok := id(key); ok {
			return first, true
		}
	}
	return 0, false
}

// usedNodes returns a function that tells whether a node is in use, as far as
// the bitmap in the header node goes: a node that was freed still looks like a
// leaf (TN1150 "Map Record").
func (t *btree) usedNodes(n *bnode) func(num uint32) bool {
	var bitmap []byte
	if t.load(n, 0) == nil && n.nrec >= 3 {
		if from, to := n.offset(2), n.offset(3); nodeHead <= from && from < to && to <= len(n.buf) {
			bitmap = slices.Clone(n.buf[from:to])
		}
	}
	return func(num uint32) bool {
		return int64(num/8) >= int64(len(bitmap)) || bitmap[num/8]&(0x80>>(num%8)) != 0
	}
}

// startMended begins a walk with the last leaf that begins before id.
func (w *walk) startMended(order []leafRef, id uint32) (bool, error) {
	i, _ := slices.BinarySearchFunc(order, id, func(r leafRef, id uint32) int {
		if r.id < id {
			return -1
		}
		return 1
	})
	w.slot = max(i-1, 0)
	if len(order) == 0 {
		return false, nil
	}
	err := w.t.loadLeaf(w.n, order[w.slot].num)
	return err == nil, err
}

func (w *walk) nextMended(order []leafRef) (bool, error) {
	if w.slot >= len(order) || order[w.slot].num != w.n.num {
		w.slot = slices.IndexFunc(order, func(r leafRef) bool { return r.num == w.n.num })
	}
	if w.slot < 0 || w.slot+1 >= len(order) {
		return false, nil
	}
	w.slot++
	w.leaves++
	err := w.t.loadLeaf(w.n, order[w.slot].num)
	return err == nil, err
}
