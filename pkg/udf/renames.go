package udf

import (
	"bytes"
	"hash/maphash"
	"slices"
	"strconv"
	"unicode/utf8"
)

// maxRenames bounds the memory that equal names in one directory take; entries
// beyond are not shown.
const maxRenames = 1 << 16

// renames are the names that a directory's entries get because another one
// before them has theirs: "report~2.txt" for the second "report.txt". A nil
// renames has none.
type renames struct {
	names  map[int64][]byte // by position in the directory; nil: the name stays
	places map[string]int64 // by new name
	census *census
}

// apply returns what the entry at pos is called that the disc calls name, nil
// if it is not shown.
func (r *renames) apply(pos int64, name []byte) []byte {
	if r == nil || !r.census.twice[r.census.hash(name)] {
		return name
	}
	other, ok := r.names[pos]
	switch {
	case !ok:
		return nil
	case other == nil:
		return name
	}
	return other
}

func (r *renames) byName(name []byte) (int64, bool) {
	if r == nil {
		return 0, false
	}
	pos, ok := r.places[string(name)]
	return pos, ok
}

// renames finds the names that a directory has more than once. It goes
// through the directory once, and once more if there seem to be some.
func (f *FS) renames(in *inode) *renames {
	in.renameOnce.Do(func() {
		var c census
		c.seed = maphash.MakeSeed()
		// Where the medium fails, what can be read is looked at.
		_ = f.eachName(in, func(name []byte, _ uint64) { c.add(name) })
		if c.count() {
			in.renamed = f.rename(in, &c)
		}
		c.all = nil
	})
	return in.renamed
}

// A census knows which names a directory has, by their hashes, and which of
// those it has more than once.
type census struct {
	seed  maphash.Seed
	all   []uint64
	twice map[uint64]bool
}

func (c *census) hash(name []byte) uint64 { return maphash.Bytes(c.seed, name) }

func (c *census) add(name []byte) { c.all = append(c.all, c.hash(name)) }

// count ends the adding and tells whether a name was there twice.
func (c *census) count() bool {
	slices.Sort(c.all)
	for i := 1; i < len(c.all); i++ {
		if c.all[i] != c.all[i-1] {
			continue
		}
		if c.twice == nil {
			c.twice = map[uint64]bool{}
		}
		c.twice[c.all[i]] = true
	}
	return c.twice != nil
}

func (c *census) has(name []byte) bool {
	_, found := slices.BinarySearch(c.all, c.hash(name))
	return found
}

// rename gives new names to all but the first of the entries with the same
// name.
func (f *FS) rename(in *inode, c *census) *renames {
	r := &renames{names: map[int64][]byte{}, places: map[string]int64{}, census: c}
	last := map[string]int{} // the highest number given out for a name
	_ = f.eachName(in, func(name []byte, pos uint64) {
		if !c.twice[c.hash(name)] || len(r.names) >= maxRenames {
			return
		}
		n := last[string(name)] + 1
		if n == 1 {
			r.names[int64(pos)] = nil
		}
		for ; n > 1; n++ {
			other := numbered(name, n)
			if _, taken := r.places[string(other)]; !taken && !c.has(other) {
				r.names[int64(pos)], r.places[string(other)] = other, int64(pos)
				break
			}
		}
		last[string(name)] = n
	})
	return r
}

// numbered puts ~n before the extension of a name.
func numbered(name []byte, n int) []byte {
	suffix := append([]byte{'~'}, strconv.Itoa(n)...)
	if dot := bytes.LastIndexByte(name, '.'); dot > 0 {
		suffix = append(suffix, name[dot:]...)
		name = name[:dot]
	}
	keep := min(len(name), max(maxName-len(suffix), 0))
	for keep > 0 && keep < len(name) && !utf8.RuneStart(name[keep]) {
		keep--
	}
	out := append(slices.Clone(name[:keep]), suffix...)
	return out[:min(len(out), maxName)]
}
