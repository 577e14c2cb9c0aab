package master

import (
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/isomount/isomount/pkg/fsys"
)

// Limits of the ISO 9660 hierarchy (ECMA-119 6.8.2.1).
const (
	maxLevel = 8
	maxPath  = 255
)

// relocDir is the directory that takes the subtrees that lie too deep (RRIP 4.1.5).
const relocDir = "rr_moved"

// relocate marks the directories that must move up to keep the ISO tree within
// its limits and returns them. Names are taken four characters longer than they
// are, for the numbers that may be worked into them.
func relocate(root *Node) []*Node {
	var moved []*Node
	type place struct {
		n           *Node
		level, path int
	}
	stack := []place{{root, 1, 0}}
	for len(stack) > 0 {
		p := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		d := p.n.inode.dir
		if p.level > maxLevel || p.path+longestName(d) > maxPath {
			d.relocated = true
			moved = append(moved, p.n)
			p.level, p.path = 3, len(relocDir)+idBound(p.n)+1
		}
		for _, c := range slices.Backward(d.children) {
			if c.IsDir() {
				stack = append(stack, place{c, p.level + 1, p.path + idBound(c) + 1})
			}
		}
	}
	return moved
}

func idBound(n *Node) int {
	return min(utf8.RuneCountInString(n.name)+4, maxISODir)
}

func longestName(d *directory) int {
	most := 0
	for _, c := range d.children {
		most = max(most, min(utf8.RuneCountInString(c.name)+4, maxISOFile)+len(".;1"))
	}
	return most
}

// tooDeep returns an error if the tree has directories that plain ISO 9660
// cannot hold. It needs no reset: relocate marks them only to find them.
func tooDeep(root *Node) error {
	moved := relocate(root)
	for _, n := range moved {
		n.inode.dir.relocated = false
	}
	if len(moved) == 0 {
		return nil
	}
	return fmt.Errorf("%s: %w", moved[0].Path(), ErrTooDeep)
}

// newRelocDir makes the directory that holds what was moved, with an entry of
// its own for each. It is in the ISO tree only, under a name that is free.
func (m *image) newRelocDir(moved []*Node) *Node {
	name := relocDir
	for m.tree.root.Child(name) != nil {
		name += "_"
	}
	root := m.tree.root
	i := &inode{
		mode: fsys.TypeDir | 0o555, mtime: m.date.UnixNano(), atime: m.date.UnixNano(), ctime: m.date.UnixNano(),
		dir: &directory{index: map[string]*Node{}},
	}
	n := &Node{name: name, parent: root, inode: i}
	i.dir.node = n
	for _, c := range moved {
		i.dir.add(&Node{name: c.name, parent: n, inode: c.inode})
	}
	return n
}
