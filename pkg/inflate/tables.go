package inflate

import "math/bits"

// Sizes of codes and their tables.
const (
	maxBits      = 15 // of a code
	maxLiterals  = 288
	maxDistances = 32

	literalBits  = 11 // that the first table decides by
	distanceBits = 8

	// Behind the first table there is one for each start that longer codes
	// share. There are at least two of them, or the code is incomplete.
	literalTable  = 1<<literalBits + maxLiterals/2<<(maxBits-literalBits)
	distanceTable = 1<<distanceBits + maxDistances/2<<(maxBits-distanceBits)
)

// An entry of a table says what the next bits mean, 0 that they mean nothing.
type entry uint32

// Flags of an entry; a length or distance has none.
const (
	isLiteral entry = 1 << 8
	isEnd     entry = 1 << 9  // of the block
	isLink    entry = 1 << 10 // value is where the table for more bits begins
)

func (e entry) is(flag entry) bool { return e&flag != 0 }

// bits is how long the code is.
func (e entry) bits() uint { return uint(e & 15) }

// extra is how many bits behind the code are added to the value.
func (e entry) extra() uint { return uint(e >> 4 & 15) }

// value is a byte, or the lowest length or distance.
func (e entry) value() uint32 { return uint32(e >> 16) }

// literal returns the entry of a literal or length (RFC 1951 3.2.5).
func literal(symbol int) entry {
	switch {
	case symbol < 256:
		return entry(symbol)<<16 | isLiteral
	case symbol == 256:
		return isEnd
	case symbol < 265:
		return entry(symbol-257+3) << 16
	case symbol < 285:
		extra := (symbol - 261) / 4
		return entry((4+(symbol-265)%4)<<extra+3)<<16 | entry(extra)<<4
	case symbol == 285:
		return 258 << 16
	}
	return 0
}

// distance returns the entry of a distance (RFC 1951 3.2.5).
func distance(symbol int) entry {
	switch {
	case symbol < 4:
		return entry(symbol+1) << 16
	case symbol < 30:
		extra := symbol/2 - 1
		return entry((2+symbol%2)<<extra+1)<<16 | entry(extra)<<4
	}
	return 0
}

// build fills a table with the canonical code (RFC 1951 3.2.2) of which the
// symbols have these lengths, 0 for those that have none. It fails for a code that is
// over-subscribed, and for one that is incomplete unless it is of one bit.
func build(table []entry, first uint, lengths []uint8, meaning func(symbol int) entry) error {
	var count, next [maxBits + 1]int
	for _, l := range lengths {
		count[l]++
	}
	count[0] = 0
	code, most := 0, 0
	for l := 1; l <= maxBits; l++ {
		code = (code + count[l-1]) << 1
		next[l] = code
		if count[l] > 0 {
			most = l
		}
	}
	clear(table[:1<<first])
	if most == 0 {
		return nil // an error only if it is used
	}
	if sum := next[most] + count[most]; sum != 1<<most && (sum != 1 || most != 1) {
		return ErrCorrupt
	}
	free := 1 << first
	for symbol, l := range lengths {
		if l == 0 {
			continue
		}
		e := meaning(symbol)
		if e != 0 {
			e |= entry(l)
		}
		n := uint(l)
		at := int(bits.Reverse16(uint16(next[l])) >> (16 - n)) //nolint:gosec // a code has 15 bits
		next[l]++
		if n <= first {
			for ; at < 1<<first; at += 1 << n {
				table[at] = e
			}
			continue
		}
		link := &table[at&(1<<first-1)]
		size := 1 << (maxBits - first)
		if *link == 0 {
			*link = isLink | entry(free)<<16
			clear(table[free : free+size])
			free += size
		}
		more := table[link.value():][:size]
		for at >>= first; at < size; at += 1 << (n - first) {
			more[at] = e
		}
	}
	return nil
}

// fixed makes the tables that need no description (RFC 1951 3.2.6).
func (d *decoder) fixed() error {
	l := d.lengths[:maxLiterals]
	for i := range l {
		switch {
		case i < 144:
			l[i] = 8
		case i < 256:
			l[i] = 9
		case i < 280:
			l[i] = 7
		default:
			l[i] = 8
		}
	}
	if err := build(d.literals[:], literalBits, l, literal); err != nil {
		return err
	}
	for i := range maxDistances {
		l[i] = 5
	}
	return build(d.distances[:], distanceBits, l[:maxDistances], distance)
}

// lengthOrder is the order in which the lengths of the code of lengths come
// (RFC 1951 3.2.7).
var lengthOrder = [...]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// dynamic reads the description of the tables (RFC 1951 3.2.7).
func (d *decoder) dynamic() error {
	head, err := d.take(14)
	if err != nil {
		return err
	}
	literals, distances, codes := int(head&31)+257, int(head>>5&31)+1, int(head>>10)+4
	if literals > 286 || distances > 30 {
		return ErrCorrupt
	}
	var lengths [len(lengthOrder)]uint8
	for _, at := range lengthOrder[:codes] {
		v, err := d.take(3)
		if err != nil {
			return err
		}
		lengths[at] = uint8(v)
	}
	// The table of distances is not needed yet.
	err = build(d.distances[:], lengthBits, lengths[:], func(symbol int) entry { return isLiteral | entry(symbol)<<16 })
	if err != nil {
		return err
	}
	all := d.lengths[:literals+distances]
	if err := d.readLengths(all); err != nil {
		return err
	}
	if err := build(d.literals[:], literalBits, all[:literals], literal); err != nil {
		return err
	}
	return build(d.distances[:], distanceBits, all[literals:], distance)
}

// lengthBits is how long a code of a length is at most.
const lengthBits = 7

// readLengths reads lengths of codes, which are in a code themselves.
func (d *decoder) readLengths(all []uint8) error {
	for i := 0; i < len(all); {
		d.fill()
		e := d.distances[d.buf&(1<<lengthBits-1)]
		if e == 0 && d.have >= lengthBits {
			return ErrCorrupt
		}
		if _, err := d.take(max(e.bits(), 1)); err != nil {
			return err
		}
		if e == 0 {
			return ErrCorrupt
		}
		symbol := e.value()
		if symbol < 16 {
			all[i] = uint8(symbol)
			i++
			continue
		}
		n, err := d.lengthRun(symbol)
		if err != nil {
			return err
		}
		if n > len(all)-i || symbol == 16 && i == 0 {
			return ErrCorrupt
		}
		value := uint8(0)
		if symbol == 16 {
			value = all[i-1]
		}
		for range n {
			all[i] = value
			i++
		}
	}
	return nil
}

// lengthRun reads how often a length is repeated.
func (d *decoder) lengthRun(symbol uint32) (int, error) {
	least, n := 3, uint(2)
	switch symbol {
	case 17:
		n = 3
	case 18:
		least, n = 11, 7
	}
	more, err := d.take(n)
	return least + int(more), err
}
