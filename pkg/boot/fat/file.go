package fat

import (
	"errors"
	"io"

	"github.com/isomount/isomount/pkg/binfmt"
	"github.com/isomount/isomount/pkg/fsys"
)

// A content is where the bytes of a regular file lie.
type content struct {
	v     *FS
	chain *chain
	first uint32 // cluster
	size  int64

	index, cluster uint32 // where the chain was followed to
}

func (v *FS) newContent(e *entry) content {
	return content{v: v, chain: v.newChain(), first: e.cluster, size: e.size}
}

func (c *content) close() { c.chain.close() }

func (c *content) total() uint32 {
	return uint32((c.size + c.v.geo.clusterSize - 1) / c.v.geo.clusterSize)
}

// seek makes cluster number index of the file the current one, which was not
// passed yet.
func (c *content) seek(index uint32) error {
	if !c.v.geo.holdsData(c.first) {
		return binfmt.Corrupt(c.v.geo.fatOff, "file of %d bytes begins at cluster %#x", c.size, c.first)
	}
	if c.cluster == 0 {
		c.index, c.cluster = c.v.marks.before(c.first, c.total(), index)
	}
	for c.index < index {
		if err := c.step(); err != nil {
			return err
		}
	}
	return nil
}

// step goes to the next cluster of the file.
func (c *content) step() error {
	next, err := c.chain.next(c.cluster)
	if err != nil {
		return err
	}
	if next == 0 {
		return binfmt.Corrupt(c.v.geo.fatOff, "file of %d bytes ends after cluster %d", c.size, c.index)
	}
	c.index++
	c.cluster = next
	c.v.marks.passed(c.first, c.total(), c.index, next)
	return nil
}

// run returns where the byte at off lies and how many bytes of the file follow
// it there, up to about limit.
func (c *content) run(off, limit int64) (pos, n int64, err error) {
	g := &c.v.geo
	if err := c.seek(uint32(off / g.clusterSize)); err != nil {
		return 0, 0, err
	}
	within := off % g.clusterSize
	pos = g.dataOff + int64(c.cluster-firstCluster)*g.clusterSize + within
	n = g.clusterSize - within
	for n < limit && off+n < c.size && c.continues() {
		n += g.clusterSize
	}
	return pos, min(n, c.size-off), nil
}

// continues goes to the next cluster of the file. It tells whether that lies
// behind the one before. What is wrong with it is met again when it is asked
// for.
func (c *content) continues() bool {
	before := c.cluster
	return c.step() == nil && c.cluster == before+1
}

var errNegative = errors.New("negative offset")

// ReadAt implements [fsys.FS].
func (v *FS) ReadAt(n fsys.Node, p []byte, off int64) (int, error) {
	e, err := v.file(n)
	switch {
	case err != nil:
		return 0, err
	case off < 0:
		return 0, errNegative
	case off >= e.size:
		return 0, io.EOF
	}
	c := v.newContent(&e)
	defer c.close()
	want := p[:min(int64(len(p)), e.size-off)]
	done := 0
	for done < len(want) {
		pos, n, err := c.run(off+int64(done), int64(len(want)-done))
		if err != nil {
			return done, err
		}
		k, err := binfmt.ReadPart(v.r, v.size, want[done:][:min(n, int64(len(want)-done))], pos)
		done += k
		if err != nil {
			return done, err
		}
	}
	if done < len(p) {
		return done, io.EOF
	}
	return done, nil
}

// maxRun bounds how far a chain is followed for one extent.
const maxRun = 1 << 30

// Extents implements [fsys.ExtentFS].
func (v *FS) Extents(n fsys.Node, off int64, yield func(fsys.Extent) bool) error {
	e, err := v.file(n)
	switch {
	case err != nil:
		return err
	case off < 0:
		return errNegative
	}
	c := v.newContent(&e)
	defer c.close()
	for off < e.size {
		pos, n, err := c.run(off, maxRun)
		if err != nil {
			return err
		}
		if !yield(fsys.Extent{Off: off, Len: n, Pos: pos}) {
			return nil
		}
		off += n
	}
	return nil
}

// Readlink implements [fsys.FS]: FAT has no links.
func (v *FS) Readlink(n fsys.Node) ([]byte, error) {
	if _, err := v.at(n); err != nil {
		return nil, err
	}
	return nil, fsys.ErrNotLink
}
