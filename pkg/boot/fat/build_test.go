package fat

import (
	"encoding/binary"
	"testing"
	"unicode/utf16"
)

// A builder makes small file systems in memory, with the damage that no tool
// makes. Linux and mtools read what it makes.
type builder struct {
	tb          testing.TB
	bits        int
	clusterSize int
	fat         []uint32
	clusters    [][]byte // from number 2 on
	root        []byte   // of FAT12 and FAT16
	gap         int      // clusters left out between those of a file
	label       string
	edit        func(boot []byte)
}

const (
	builderReserved = 4
	builderRoot     = 512 // entries
)

func newBuilder(tb testing.TB, bits, clusterSize int) *builder {
	tb.Helper()
	b := &builder{tb: tb, bits: bits, clusterSize: clusterSize, fat: []uint32{0x0FFFFFF8, 0x0FFFFFFF}, label: "LABEL"}
	if bits == 32 {
		b.alloc(make([]byte, b.clusterSize)) // of the root directory
	}
	return b
}

// alloc stores content and returns its first cluster.
func (b *builder) alloc(content []byte) uint32 {
	if len(content) == 0 {
		return 0
	}
	first, last := uint32(0), uint32(0)
	for len(content) > 0 {
		n := uint32(len(b.fat))
		block := make([]byte, b.clusterSize)
		content = content[copy(block, content):]
		b.clusters = append(b.clusters, block)
		b.fat = append(b.fat, 0x0FFFFFFF)
		if last != 0 {
			b.fat[last] = n
		} else {
			first = n
		}
		last = n
		for range b.gap {
			b.fat = append(b.fat, 0)
			b.clusters = append(b.clusters, make([]byte, b.clusterSize))
		}
	}
	return first
}

// A file is a file or directory for the builder.
type file struct {
	name  string // long; "" for none
	short string // 11 characters; made from a number if ""
	data  []byte
	dir   []file // entries of a directory
	isDir bool
	attr  byte
	nt    byte // DIR_NTRes
	day   uint16
	clock uint16
	raw   []byte // a slot as it is
	start uint32 // first cluster, if not allocated
	size  uint32 // if not that of data
}

const (
	builderDay   = 2<<5 | 14 | 21<<9 // 2001-02-14
	builderClock = 3<<11 | 4<<5 | 3  // 03:04:06
)

// slots makes the slots of a directory.
func (b *builder) slots(files []file, self, parent uint32, root bool) []byte {
	var d []byte
	if !root {
		d = append(d, slot(file{short: ".          ", attr: attrDir}, self, 0)...)
		d = append(d, slot(file{short: "..         ", attr: attrDir}, parent, 0)...)
	} else if b.label != "" {
		d = append(d, slot(file{short: (b.label + "           ")[:11], attr: attrVolume}, 0, 0)...)
	}
	for i, f := range files {
		if f.raw != nil {
			d = append(d, f.raw...)
			continue
		}
		if f.short == "" {
			f.short = "FILE" + string([]byte{'0' + byte(i/1000%10), '0' + byte(i/100%10), '0' + byte(i/10%10), '0' + byte(i%10)}) + "TXT"
		}
		d = append(d, longSlots(f.name, f.short)...)
		start, size := b.store(f, self)
		d = append(d, slot(f, start, size)...)
	}
	return d
}

// store allocates what an entry stands for.
func (b *builder) store(f file, self uint32) (start, size uint32) {
	switch {
	case f.start != 0:
		return f.start, f.size
	case f.isDir:
		start = b.alloc(make([]byte, b.dirSize(f.dir)))
		b.fill(start, b.slots(f.dir, start, self, false))
		return start, 0
	}
	return b.alloc(f.data), uint32(len(f.data))
}

// dirSize returns how many bytes a directory needs, at least one cluster.
func (b *builder) dirSize(files []file) int {
	n := 2
	for _, f := range files {
		n += 1 + len(longSlots(f.name, "           "))/slotSize + len(f.raw)/slotSize
	}
	return max(n*slotSize, 1)
}

// fill writes content into a chain.
func (b *builder) fill(cluster uint32, content []byte) {
	for len(content) > 0 {
		content = content[copy(b.clusters[cluster-2], content):]
		cluster = b.fat[cluster]
	}
}

func slot(f file, start, size uint32) []byte {
	s := make([]byte, slotSize)
	copy(s, f.short)
	s[11], s[12] = f.attr, f.nt
	if f.isDir {
		s[11] |= attrDir
	}
	if f.day == 0 {
		f.day, f.clock = builderDay, builderClock
	}
	le.PutUint16(s[18:], f.day)
	le.PutUint16(s[20:], uint16(start>>16))
	le.PutUint16(s[22:], f.clock)
	le.PutUint16(s[24:], f.day)
	le.PutUint16(s[26:], uint16(start))
	le.PutUint32(s[28:], size)
	return s
}

// longSlots makes the slots of a long name.
func longSlots(name, short string) []byte {
	if name == "" {
		return nil
	}
	units := utf16.Encode([]rune(name))
	if len(units)%slotUnits != 0 {
		units = append(units, 0)
	}
	for len(units)%slotUnits != 0 {
		units = append(units, 0xFFFF)
	}
	n := len(units) / slotUnits
	var d []byte
	for i := n; i > 0; i-- {
		s := make([]byte, slotSize)
		s[0], s[11], s[13] = byte(i), attrLong, checksum([]byte(short))
		if i == n {
			s[0] |= lastSlot
		}
		at := []int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30}
		for k, u := range units[(i-1)*slotUnits : i*slotUnits] {
			le.PutUint16(s[at[k]:], u)
		}
		d = append(d, s...)
	}
	return d
}

// image finishes the file system.
func (b *builder) image(files ...file) []byte {
	d := b.slots(files, 0, 0, true)
	if b.bits == 32 {
		if more := len(d) - b.clusterSize; more > 0 {
			b.fat[2] = b.alloc(make([]byte, more))
		}
		b.fill(2, d)
	} else {
		if len(d) > builderRoot*slotSize {
			b.tb.Fatal("root directory is full")
		}
		b.root = make([]byte, builderRoot*slotSize)
		copy(b.root, d)
	}
	if len(b.clusters) == 0 {
		b.alloc(make([]byte, 1))
	}
	table := b.table()
	var img []byte
	img = append(img, b.boot(len(table)/512)...)
	img = append(img, make([]byte, (builderReserved-1)*512)...)
	img = append(append(img, table...), table...)
	img = append(img, b.root...)
	for _, c := range b.clusters {
		img = append(img, c...)
	}
	return img
}

// count returns how many clusters the boot sector tells of: enough for the
// kind of file system.
func (b *builder) count() int {
	n := len(b.clusters)
	if b.bits == 16 {
		n = max(n, 4085)
	}
	return n
}

// table makes the allocation table, in whole sectors.
func (b *builder) table() []byte {
	n := (b.count() + 2) * b.bits / 8
	t := make([]byte, (n+1+511)/512*512)
	for i, x := range b.fat {
		switch b.bits {
		case 12:
			x &= 0xFFF
			old := le.Uint16(t[i*3/2:])
			if i%2 == 0 {
				le.PutUint16(t[i*3/2:], old&0xF000|uint16(x))
			} else {
				le.PutUint16(t[i*3/2:], old&0xF|uint16(x<<4))
			}
		case 16:
			le.PutUint16(t[2*i:], uint16(x))
		default:
			le.PutUint32(t[4*i:], x)
		}
	}
	return t
}

func (b *builder) boot(fatSectors int) []byte {
	h := make([]byte, 512)
	copy(h, "\xEB\x3C\x90")
	copy(h[3:], "mkfs.fat")
	le.PutUint16(h[11:], 512)
	h[13] = byte(b.clusterSize / 512)
	le.PutUint16(h[14:], builderReserved)
	h[16], h[21] = 2, 0xF8
	sectors := builderReserved + 2*fatSectors + b.count()*b.clusterSize/512
	extended := 36
	if b.bits == 32 {
		le.PutUint32(h[36:], uint32(fatSectors))
		le.PutUint32(h[44:], 2)
		extended = 64
	} else {
		sectors += builderRoot * slotSize / 512
		le.PutUint16(h[17:], builderRoot)
		le.PutUint16(h[22:], uint16(fatSectors))
	}
	if sectors < 0x10000 && b.bits != 32 {
		le.PutUint16(h[19:], uint16(sectors))
	} else {
		le.PutUint32(h[32:], uint32(sectors))
	}
	h[extended+2] = 0x29
	binary.LittleEndian.PutUint32(h[extended+3:], 0x1234ABCD)
	copy(h[extended+7:], "BOOT LABEL ")
	copy(h[510:], "\x55\xAA")
	if b.edit != nil {
		b.edit(h)
	}
	return h
}
