package cache

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync/atomic"
)

// Blocks keeps blocks that are expensive to make, each under a key that means
// something to the caller only. A block is made once, however many ask for it,
// and again when it had to give way to others.
type Blocks struct {
	owner

	cache *Cache
	last  atomic.Uint64 // hash of the key that Get was last called with
}

var _ io.Closer = (*Blocks)(nil)

// Blocks returns a store of blocks, with keys of its own.
func (c *Cache) Blocks() *Blocks {
	b := &Blocks{cache: c}
	b.id = c.owners.Add(1)
	return b
}

// Stats returns what was done with the blocks.
func (b *Blocks) Stats() Stats { return b.cache.statsOf(&b.owner) }

// Close drops all blocks.
func (b *Blocks) Close() error {
	b.cache.dropOwner(&b.owner)
	return nil
}

// Get calls use with the block of a key, which has size bytes, at most
// [MaxBlock]. fill makes it when it is not there, in memory that holds anything;
// if fill returns an error, so does Get, and nothing is kept. Neither function
// may keep the slice, and fill must not wait for a block of the same key.
func (b *Blocks) Get(key [2]uint64, size int, fill, use func(b []byte) error) error {
	from := 0
	if h := b.key(key).hash(); b.last.Swap(h) == h {
		from = size // as if it went on: most likely it is read in pieces
	}
	e, first, err := b.pin(key, size, from, size)
	if err != nil {
		return err
	}
	defer b.unpin(e)
	mem, err := b.block(e, first, size, fill)
	if err != nil {
		return err
	}
	return use(mem)
}

// ReadAt copies to p from byte offset off of a block, see [Blocks.Get]. From the
// offset the cache can tell a block that is read once in pieces from one that is
// read again, even if others are read between.
func (b *Blocks) ReadAt(key [2]uint64, size int, p []byte, off int, fill func(b []byte) error) (int, error) {
	if off < 0 {
		return 0, fs.ErrInvalid
	}
	n := max(min(len(p), size-off), 0)
	if n > 0 {
		if err := b.copyBlock(p[:n], key, size, off, fill); err != nil {
			return 0, err
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (b *Blocks) copyBlock(p []byte, key [2]uint64, size, off int, fill func(b []byte) error) error {
	e, first, err := b.pin(key, size, off, off+len(p))
	if err != nil {
		return err
	}
	defer b.unpin(e)
	mem, err := b.block(e, first, size, fill)
	if err != nil {
		return err
	}
	copy(p, mem[off:])
	return nil
}

// minBlocks is how many blocks must fit into the budget, or one would push out
// all else.
const minBlocks = 4

// pin is [Cache.pin], with a nil entry for a block that is too large to keep.
func (b *Blocks) pin(k [2]uint64, size, from, to int) (e *entry, first bool, err error) {
	if size <= 0 || size > MaxBlock {
		return nil, false, fmt.Errorf("cache: block of %d bytes: %w", size, fs.ErrInvalid)
	}
	if int64(classSize(classOf(size))) > b.cache.arena.budget/minBlocks {
		return nil, false, nil
	}
	return b.cache.pin(&b.owner, b.key(k), from, to, false)
}

func (b *Blocks) key(k [2]uint64) key { return key{b.id, k[0], k[1]} }

func (b *Blocks) unpin(e *entry) {
	if e != nil {
		b.cache.release(e)
	}
}

// block returns the bytes of a block that was pinned.
func (b *Blocks) block(e *entry, first bool, size int, fill func(b []byte) error) ([]byte, error) {
	if e == nil {
		return makeBlock(size, fill)
	}
	if first {
		b.load(e, size, fill)
	}
	switch {
	case errors.Is(e.err, errBypass):
		count(&e.shard.bypassed, &b.bypassed, 1)
		return makeBlock(size, fill)
	case e.err != nil:
		return nil, e.err
	case len(e.mem) != size:
		return nil, fmt.Errorf("cache: block of %d bytes was kept with %d: %w", size, len(e.mem), fs.ErrInvalid)
	}
	return e.mem, nil
}

func (b *Blocks) load(e *entry, size int, fill func(b []byte) error) {
	b.cache.load(e, size, size, func(mem []byte) (int, error) {
		if err := fill(mem); err != nil {
			return 0, err
		}
		return len(mem), nil
	})
}

// makeBlock makes a block for one use.
func makeBlock(size int, fill func(b []byte) error) ([]byte, error) {
	mem := make([]byte, size)
	return mem, fill(mem)
}
