package cache

import (
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

// resident returns how many bytes of memory the arena of a cache holds, as the
// kernel counts them.
func resident(tb testing.TB, c *Cache) int64 {
	tb.Helper()
	var total int64
	for i := range c.arena.regions {
		if mem := c.arena.regions[i].mem; mem != nil {
			total += residentAt(tb, mem)
		}
	}
	return total
}

// residentAt counts the pages of mem that /proc/self/pagemap (see proc_pid_pagemap(5))
// says are there, or swapped out.
func residentAt(tb testing.TB, mem []byte) int64 {
	tb.Helper()
	f, err := os.Open("/proc/self/pagemap")
	if err != nil {
		tb.Skip(err)
	}
	defer f.Close()
	first, err := strconv.ParseInt(strings.TrimPrefix(fmt.Sprintf("%p", mem), "0x"), 16, 64)
	if err != nil {
		tb.Fatal(err)
	}
	page := int64(os.Getpagesize())
	flags := make([]byte, int64(len(mem))/page*8)
	if _, err := f.ReadAt(flags, first/page*8); err != nil {
		tb.Skip(err)
	}
	var total int64
	for ; len(flags) > 0; flags = flags[8:] {
		if binary.NativeEndian.Uint64(flags)>>62 != 0 {
			total += page
		}
	}
	return total
}

// Memory is taken when it is used, never more than the budget, and given back
// when its reader is closed.
func TestMemory(t *testing.T) {
	const budget = 16 << 20
	c := newCache(t, budget)
	if got := resident(t, c); got != 0 {
		t.Errorf("an empty cache holds %d bytes", got)
	}
	src := &pattern{}
	r := c.Reader(src, 1<<40)
	for i := range int64(10) {
		mustRead(t, r, 1, i*PageSize)
	}
	if got := resident(t, c); got != 10*PageSize {
		t.Errorf("10 pages take %d bytes", got)
	}
	for i := range int64(2 * budget / PageSize) {
		mustRead(t, r, 1, i*PageSize)
	}
	if got := resident(t, c); got != budget || c.Stats().Held != budget {
		t.Errorf("a full cache has %d bytes and says %d, want its budget of %d", got, c.Stats().Held, budget)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if got := resident(t, c); got != 0 || c.Stats().Held != 0 {
		t.Errorf("after its reader is closed a cache has %d bytes and says %d", got, c.Stats().Held)
	}
}

// Pages and blocks of all sizes share the budget, and the memory follows.
func TestMemoryOfMixedSizes(t *testing.T) {
	const budget = 8 << 20
	c := newCache(t, budget)
	r, b := c.Reader(nothing, 1<<40), c.Blocks()
	touch := func(mem []byte) error { clear(mem); return nil }
	for round := range 10 {
		size := 3000 << round // up to 1.5 MB
		for i := range 2*budget/size + 1 {
			k := [2]uint64{uint64(round), uint64(i)}
			if err := b.Get(k, size, touch, func([]byte) error { return nil }); err != nil {
				t.Fatal(err)
			}
			if _, err := r.ReadAt(make([]byte, 1), int64(round*10_000+i)*PageSize); err != nil {
				t.Fatal(err)
			}
		}
		held, got := c.Stats().Held, resident(t, c)
		if held > budget || held < budget*3/4 || got > held {
			t.Errorf("blocks of %d bytes: the cache has %d bytes and says %d, with a budget of %d", size, got, held, budget)
		}
	}
}
