package fsystest

import (
	"bytes"

	"github.com/isomount/isomount/pkg/fsys"
)

// neighbours checks what a reader says of the files that follow another: it may
// name nodes that are not there, but of those that are it must say the truth.
func (c *checker) neighbours() {
	x, ok := c.fs.(fsys.NeighbourFS)
	if !ok {
		return
	}
	known := map[fsys.Node]string{}
	for path, f := range c.found {
		known[f.node] = path
	}
	for _, path := range c.paths {
		if f := c.found[path]; f.attr.IsRegular() {
			var list [8]fsys.Neighbour
			c.checkNeighbours(path, x, known, list[:x.Neighbours(f.node, list[:])])
		}
	}
}

func (c *checker) checkNeighbours(path string, x fsys.NeighbourFS, known map[fsys.Node]string, list []fsys.Neighbour) {
	const most = 64 << 10
	for _, n := range list {
		of, ok := known[n.Node]
		if !ok {
			continue
		}
		a := c.found[of].attr
		switch {
		case n.Node == c.found[path].node:
			c.errorf(path, "is its own neighbour")
		case !a.IsRegular() || a.Size != n.Size:
			c.errorf(path, "neighbour %q has mode %o and %d bytes, told %d", of, a.Mode, a.Size, n.Size)
		case n.Pos >= 0 && n.Size <= most:
			c.compareNeighbour(of, x, n)
		}
	}
}

// compareNeighbour compares the bytes at a position with those of the file.
func (c *checker) compareNeighbour(path string, x fsys.NeighbourFS, n fsys.Neighbour) {
	want, got := make([]byte, n.Size), make([]byte, n.Size)
	if done, _ := c.fs.ReadAt(n.Node, want, 0); done < len(want) {
		return
	}
	if done, err := x.ReadImage(got, n.Pos); done < len(got) {
		c.errorf(path, "content at %d of the image: %w", n.Pos, err)
	} else if !bytes.Equal(got, want) {
		c.errorf(path, "content is not what is at %d of the image", n.Pos)
	}
}
