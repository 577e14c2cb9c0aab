package udf

import (
	"github.com/isomount/isomount/pkg/binfmt"
)

// File types (ECMA-167 4/14.6.6, UDF 2.3.5.2).
const (
	fileUnknown        = 0
	fileDir            = 4
	fileRegular        = 5
	fileBlock          = 6
	fileChar           = 7
	fileEA             = 8
	fileFifo           = 9
	fileSocket         = 10
	fileSymlink        = 12
	fileStreamDir      = 13
	fileVAT            = 248
	fileRealTime       = 249
	fileMetadata       = 250
	fileMetadataMirror = 251
)

// Flags of an ICB (ECMA-167 4/14.6.8).
const (
	flagAllocMask = 7
	flagSetUID    = 0x40
	flagSetGID    = 0x80
	flagSticky    = 0x100
)

// Kinds of allocation descriptors, the low bits of the flags.
const (
	allocShort    = 0
	allocLong     = 1
	allocExtended = 2
	allocEmbedded = 3
)

// noID is the owner of a file that has none (UDF 2.3.6.1).
const noID = 0xffffffff

// maxSize is the largest file size taken for one.
const maxSize = int64(1) << 60

// maxIndirect is how many indirect entries are followed, as in Linux.
const maxIndirect = 1024

// An icb is a file entry or an extended file entry (ECMA-167 4/14.9 and
// 4/14.17). Its slices point into the buffer that it was read into.
type icb struct {
	addr             // where it lies; not where a directory says, when strategy 4096 moved it
	off       int64  // byte offset in the image
	strategy  uint16 // 4/14.6.2
	fileType  uint8  // 4/14.6.6
	flags     uint16 // 4/14.6.8
	uid, gid  uint32
	perms     uint32
	links     uint16
	size      int64  // information length
	blocks    uint64 // logical blocks recorded
	accessed  timestamp
	modified  timestamp
	changed   timestamp
	eaICB     longAD
	streams   longAD // stream directory ICB; extended file entries only
	ea        []byte // extended attribute space
	alloc     []byte // allocation descriptors, or the embedded data
	allocKind uint8
}

// parseICB decodes the block b at byte offset off of the image, which must
// hold the entry of address a.
func parseICB(b []byte, off int64, a addr) (icb, error) {
	t, err := checkTag(b, off, a.block)
	if err != nil {
		return icb{}, err
	}
	if t.ident != tagFile && t.ident != tagExtFile {
		return icb{}, binfmt.Corrupt(off, "descriptor %d where a file entry should be", t.ident)
	}
	e := icb{addr: a, off: off}
	c := binfmt.At(b, off)
	c.Skip(tagSize)
	e.parseICBTag(&c)   // RBP 16
	e.uid = c.U32LE()   // RBP 36
	e.gid = c.U32LE()   // RBP 40
	e.perms = c.U32LE() // RBP 44
	e.links = c.U16LE() // RBP 48
	c.Skip(6)           // RBP 50: record format, display attributes, record length
	size := c.U64LE()   // RBP 56
	extended := t.ident == tagExtFile
	if extended {
		c.Skip(8) // RBP 64: object size
	}
	e.blocks = c.U64LE()            // RBP 64, 72
	e.accessed = parseTimestamp(&c) // RBP 72, 80
	e.modified = parseTimestamp(&c) // RBP 84, 92
	if extended {
		c.Skip(12) // RBP 104: creation
	}
	e.changed = parseTimestamp(&c) // RBP 96, 116
	c.Skip(4)                      // RBP 108, 128: checkpoint
	if extended {
		c.Skip(4) // RBP 132: reserved
	}
	e.eaICB = parseLongAD(&c) // RBP 112, 136
	if extended {
		e.streams = parseLongAD(&c) // RBP 152
	}
	c.Skip(32 + 8)      // RBP 128, 168: implementation identifier, unique id
	nEA := c.U32LE()    // RBP 168, 208
	nAlloc := c.U32LE() // RBP 172, 212
	if size > uint64(maxSize) || int64(nEA)+int64(nAlloc) > int64(c.Len()) {
		return icb{}, binfmt.Corrupt(off, "file entry with lengths %d, %d and %d", size, nEA, nAlloc)
	}
	e.size = int64(size)
	e.ea = c.Bytes(int(nEA))
	e.alloc = c.Bytes(int(nAlloc))
	return e, e.check(&c)
}

// parseICBTag decodes an ICB tag (ECMA-167 4/14.6).
func (e *icb) parseICBTag(c *binfmt.Cursor) {
	c.Skip(4)              // RBP 0: prior recorded number of direct entries
	e.strategy = c.U16LE() // RBP 4
	c.Skip(2 + 2 + 1)      // RBP 6: strategy parameter, maximum number of entries, reserved
	e.fileType = c.U8()    // RBP 11
	c.Skip(6)              // RBP 12: parent ICB location
	e.flags = c.U16LE()    // RBP 18
	e.allocKind = uint8(e.flags & flagAllocMask)
}

// check refuses what cannot be read right.
func (e *icb) check(c *binfmt.Cursor) error {
	if err := c.Err(); err != nil {
		return err
	}
	if e.strategy != 4 && e.strategy != 4096 {
		return binfmt.Corrupt(e.off, "ICB strategy %d", e.strategy)
	}
	if e.allocKind > allocEmbedded {
		return binfmt.Corrupt(e.off, "allocation descriptors of type %d", e.allocKind)
	}
	if e.allocKind == allocEmbedded && e.size != int64(len(e.alloc)) {
		return binfmt.Corrupt(e.off, "embedded file of %d bytes in %d", e.size, len(e.alloc))
	}
	return nil
}

// isDir tells whether the entry is a directory of files or of streams.
func (e *icb) isDir() bool { return e.fileType == fileDir || e.fileType == fileStreamDir }

// readBlock reads logical block a.
func (f *FS) readBlock(w *window, a addr) (b []byte, off int64, err error) {
	off, _, err = f.locate(a, 0)
	if err != nil {
		return nil, 0, err
	}
	b, err = w.read(off, int(f.block))
	return b, off, err
}

// readICB reads the file entry that prevails at address a.
func (f *FS) readICB(w *window, a addr) (icb, error) {
	e, err := f.readEntry(w, a)
	if err != nil || e.strategy != 4096 {
		return e, err
	}
	return f.followICB(w, a)
}

// readEntry reads the file entry in block a, from the metadata mirror if it
// is damaged and there is a copy.
func (f *FS) readEntry(w *window, a addr) (icb, error) {
	b, off, err := f.readBlock(w, a)
	if err == nil {
		var e icb
		if e, err = parseICB(b, off, a); err == nil {
			return e, nil
		}
	}
	if e, ok := f.readMirrored(w, a); ok {
		return e, nil
	}
	return icb{}, err
}

func (f *FS) readMirrored(w *window, a addr) (icb, bool) {
	if int(a.ref) >= len(f.parts) || f.parts[a.ref].mirror.end == 0 {
		return icb{}, false
	}
	off, _, err := f.parts[a.ref].mirror.locate(int64(a.block) * f.block)
	if err != nil {
		return icb{}, false
	}
	b, err := w.read(off, int(f.block))
	if err != nil {
		return icb{}, false
	}
	e, err := parseICB(b, off, a)
	return e, err == nil
}

// followICB goes through an ICB of strategy 4096: each direct entry has an
// indirect entry in the block after it, which leads to a newer one as long as
// there is one (UDF 1.50 6.6).
func (f *FS) followICB(w *window, a addr) (icb, error) {
	good := a
	seen := map[addr]bool{a: true}
	for range maxIndirect {
		next, ok := f.indirect(w, good)
		if !ok || seen[next] {
			break
		}
		seen[next] = true
		e, err := f.readEntry(w, next)
		if err != nil {
			break // never recorded: the one before prevails
		}
		good = next
		if e.strategy != 4096 {
			break
		}
	}
	return f.readEntry(w, good)
}

// indirect reads the indirect entry (ECMA-167 4/14.7) in the block after a.
func (f *FS) indirect(w *window, a addr) (addr, bool) {
	off, _, err := f.locate(a, f.block)
	if err != nil {
		return addr{}, false
	}
	b, err := w.read(off, int(f.block))
	if err != nil {
		return addr{}, false
	}
	t, err := checkTag(b, off, a.block+1)
	if err != nil || t.ident != tagIndirect {
		return addr{}, false
	}
	c := binfmt.At(b, off)
	c.Skip(tagSize + 20) // RBP 16: ICB tag
	next := parseLongAD(&c)
	return next.addr, c.Err() == nil && next.length > 0
}
