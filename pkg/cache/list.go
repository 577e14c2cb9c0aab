package cache

import "sync/atomic"

// A list is a ring of entries through its root. The zero list is empty.
type list struct {
	root entry
	size atomic.Int64 // bytes of all entries; read without a lock
}

func (l *list) pushFront(e *entry) {
	l.linkFront(e)
	e.list = l
	l.size.Add(int64(e.slot.size()))
}

func (l *list) linkFront(e *entry) {
	if l.root.next == nil {
		l.root.next, l.root.prev = &l.root, &l.root
	}
	e.prev, e.next = &l.root, l.root.next
	e.prev.next, e.next.prev = e, e
}

func (l *list) remove(e *entry) {
	l.unlink(e)
	e.list = nil
	l.size.Add(-int64(e.slot.size()))
}

func (*list) unlink(e *entry) {
	e.prev.next, e.next.prev = e.next, e.prev
	e.prev, e.next = nil, nil
}

func (l *list) moveToFront(e *entry) {
	if l.root.next != e {
		l.unlink(e)
		l.linkFront(e)
	}
}

// last returns the entry at the end, or nil.
func (l *list) last() *entry { return l.before(&l.root) }

// before returns the entry before e, or nil.
func (l *list) before(e *entry) *entry {
	if e.prev == nil || e.prev == &l.root {
		return nil
	}
	return e.prev
}
