package fsystest

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"math"
	"math/rand/v2"
	"sync"

	"github.com/isomount/isomount/pkg/fsys"
)

// firstDifference describes where two contents part.
func firstDifference(got, want []byte) string {
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Sprintf("%d bytes with %#02x at %d, want %#02x", len(got), got[i], i, want[i])
		}
	}
	return fmt.Sprintf("%d bytes, want %d", len(got), len(want))
}

// strangers does everything to node numbers that nobody handed out.
func (c *checker) strangers() {
	rnd := rand.New(rand.NewPCG(1, 2)) // the same numbers in every run
	nodes := []fsys.Node{0, 1, 2, math.MaxUint64, math.MaxInt64, 1 << 63, 1<<fsys.NodeBits - 1, 1 << fsys.NodeBits, math.MaxUint32}
	for _, i := range places(len(c.paths)) {
		n := c.found[c.paths[i]].node
		nodes = append(nodes, n-1, n+1, n+2, n^1<<11, n^1<<40, n^1<<55, n|1<<62, n*3, ^n)
	}
	for range 100 {
		nodes = append(nodes, fsys.Node(rnd.Uint64()), fsys.Node(rnd.Uint64N(1<<fsys.NodeBits)), fsys.Node(rnd.Uint64N(1<<24)))
	}
	for _, n := range nodes {
		if err := tryNode(c.fs, n, Limits{Entries: 20, Bytes: 1 << 14}); err != nil {
			c.errorf(".", "node %#x: %w", uint64(n), err)
		}
	}
}

// tryNode does everything to one node, and tells of a panic or of what no
// file system may do. That the node is refused is fine.
func tryNode(f fsys.FS, n fsys.Node, l Limits) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	x := newExerciser(f, l)
	x.node(n)
	x.readDir(n, 0)
	return x.fault
}

// concurrent walks the tree many times at once: every walk must see the same.
func (c *checker) concurrent() {
	seed := maphash.MakeSeed()
	want := digest(c.fs, seed)
	var wg sync.WaitGroup
	got := make([]uint64, 8)
	for i := range got {
		wg.Go(func() { got[i] = digest(c.fs, seed) })
	}
	wg.Wait()
	for _, g := range got {
		if g != want {
			c.errorf(".", "walks at the same time do not see the same tree")
			return
		}
	}
}

// digestLimit bounds how many nodes one digest covers.
const digestLimit = 2000

// digest sums up names, attributes and content of a tree.
func digest(f fsys.FS, seed maphash.Seed) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	seen := map[fsys.Node]bool{}
	buf := make([]byte, 8192)
	var walk func(n fsys.Node)
	walk = func(n fsys.Node) {
		if seen[n] || len(seen) > digestLimit {
			return
		}
		seen[n] = true
		all, err := list(f, n, 0, digestLimit)
		fmt.Fprint(&h, n, err)
		for _, e := range all {
			b := bytes.Clone([]byte(e.name))
			found, a, err := f.Lookup(n, b)
			fmt.Fprintf(&h, "%v %v %v %v ", e, found, a, err)
			k, err := f.ReadAt(e.node, buf, a.Size/2)
			fmt.Fprintf(&h, "%q %v", buf[:max(0, k)], err)
			if e.attr.IsDir() {
				walk(e.node)
			}
		}
	}
	walk(f.Root())
	return h.Sum64()
}
