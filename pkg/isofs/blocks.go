package isofs

import "sync"

// recentBlocks is how many decompressed blocks are kept where the caller keeps
// none: enough for a few readers that go through files in order.
const recentBlocks = 8

// A recent keeps the blocks that were used last.
type recent struct {
	mu   sync.Mutex // guards the fields below
	list []recentBlock
}

type recentBlock struct {
	key  [2]uint64
	data []byte // not changed once it is here
}

// Get implements Blocks. Two that want the same block at the same time may both
// make it.
func (c *recent) Get(key [2]uint64, size int, fill func(dst []byte) error, use func(block []byte) error) error {
	data := c.find(key)
	if len(data) != size {
		data = make([]byte, size)
		if err := fill(data); err != nil {
			return err
		}
		c.add(key, data)
	}
	return use(data)
}

// find returns a block and moves it to the front.
func (c *recent) find(key [2]uint64) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, b := range c.list {
		if b.key == key {
			copy(c.list[1:i+1], c.list[:i])
			c.list[0] = b
			return b.data
		}
	}
	return nil
}

func (c *recent) add(key [2]uint64, data []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.list) < recentBlocks {
		c.list = append(c.list, recentBlock{})
	}
	copy(c.list[1:], c.list)
	c.list[0] = recentBlock{key, data}
}
