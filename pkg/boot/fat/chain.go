package fat

import (
	"sync"

	"github.com/isomount/isomount/pkg/binfmt"
)

// firstCluster is the number of the first cluster that holds data.
const firstCluster = 2

// A chain follows cluster chains through the allocation table, of which it
// keeps the piece that was read last.
type chain struct {
	v   *FS
	buf [4096]byte
	off int64 // byte offset in the table of buf
	n   int   // bytes of it
}

var chains = sync.Pool{New: func() any { return new(chain) }}

func (v *FS) newChain() *chain {
	c := chains.Get().(*chain) //nolint:errcheck,forcetypeassert // the pool holds nothing else
	c.v, c.n = v, 0
	return c
}

func (c *chain) close() { chains.Put(c) }

// next returns the cluster that follows a cluster of a chain, or 0 at its end.
func (c *chain) next(cluster uint32) (uint32, error) {
	g := &c.v.geo
	next, err := c.entry(cluster)
	switch {
	case err != nil:
		return 0, err
	case int64(next) > g.bad():
		return 0, nil
	case !g.holdsData(next):
		return 0, binfmt.Corrupt(g.fatOff, "cluster %d is followed by %#x", cluster, next)
	}
	return next, nil
}

// holdsData tells whether there is a cluster of that number.
func (g *geometry) holdsData(cluster uint32) bool {
	return cluster >= firstCluster && cluster-firstCluster < g.clusters
}

// entry returns what the table says of a cluster that holdsData.
func (c *chain) entry(cluster uint32) (uint32, error) {
	switch c.v.geo.bits {
	case 12:
		b, err := c.bytes(int64(cluster)+int64(cluster/2), 2)
		if err != nil {
			return 0, err
		}
		return uint32(le.Uint16(b)) >> (cluster % 2 * 4) & 0xFFF, nil
	case 16:
		b, err := c.bytes(2*int64(cluster), 2)
		if err != nil {
			return 0, err
		}
		return uint32(le.Uint16(b)), nil
	}
	b, err := c.bytes(4*int64(cluster), 4)
	if err != nil {
		return 0, err
	}
	return le.Uint32(b) & 0x0FFFFFFF, nil
}

// bytes returns n bytes of the table, which lie within it.
func (c *chain) bytes(off int64, n int) ([]byte, error) {
	if off < c.off || off+int64(n) > c.off+int64(c.n) {
		if err := c.fill(off); err != nil {
			return nil, err
		}
	}
	at := off - c.off
	if at+int64(n) > int64(c.n) {
		return nil, binfmt.Corrupt(c.v.geo.fatOff+off, "allocation table is cut short")
	}
	return c.buf[at : at+int64(n)], nil
}

// fill reads the piece of the table that begins a little before off.
func (c *chain) fill(off int64) error {
	g := &c.v.geo
	c.off, c.n = off&^511, 0
	n := min(int64(len(c.buf)), g.fatSize-c.off, c.v.size-g.fatOff-c.off)
	if n <= 0 {
		return binfmt.Corrupt(g.fatOff+off, "allocation table is cut short")
	}
	if err := c.v.readMeta(c.buf[:n], g.fatOff+c.off); err != nil {
		return err
	}
	c.n = int(n)
	return nil
}

// Limits of marks: how many files have some, how many one has, and how far
// apart they are at least.
const (
	maxMarkedFiles = 32
	maxMarks       = 1024
	minDistance    = 64
)

// marks remember where the chains of large files are at regular distances, so
// that reading from the middle need not start from the front. When too many
// files have some, any of them is forgotten.
type marks struct {
	mu    sync.Mutex          // guards the fields below
	files map[uint32][]uint32 // by first cluster
}

// distance returns how many clusters lie between two marks of a file.
func distance(total uint32) uint32 { return max(minDistance, total/maxMarks+1) }

// before returns the last mark at or before a cluster of a file, which begins
// at cluster first and has total clusters: its index in the chain and its
// number.
func (m *marks) before(first, total, index uint32) (at, cluster uint32) {
	if index < distance(total) {
		return 0, first
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	known := m.files[first]
	i := min(index/distance(total), uint32(len(known)))
	if i == 0 {
		return 0, first
	}
	return i * distance(total), known[i-1]
}

// passed notes the number of a cluster of a file that was found on the way.
func (m *marks) passed(first, total, index, cluster uint32) {
	if index%distance(total) != 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.files == nil {
		m.files = map[uint32][]uint32{}
	}
	known, ok := m.files[first]
	for k := range m.files {
		if ok || len(m.files) < maxMarkedFiles {
			break
		}
		delete(m.files, k)
	}
	if index/distance(total) == uint32(len(known))+1 {
		m.files[first] = append(known, cluster)
	}
}
