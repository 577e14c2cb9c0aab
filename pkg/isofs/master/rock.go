package master

import (
	"errors"
	"strings"

	"github.com/isomount/isomount/pkg/fsys"
)

// rockRidge builds System Use entries (SUSP 4, RRIP 4). Every method gives its
// entries one after the other, in a buffer that the next call uses again. A nil
// *rockRidge gives none.
type rockRidge struct {
	buf      []byte
	relocDir *Node // the directory that holds relocated ones, or nil
	sums     *sums // checksums to announce, or nil
}

// Flags of NM and SL entries (RRIP 4.1.4, 4.1.3).
const (
	suContinue  = 0x01
	slCurrent   = 0x02
	slParent    = 0x04
	slRoot      = 0x08
	maxSUEntry  = 255
	suEntryHead = 5 // signature, length, version, flags
)

// self gives the entries of the "." record of a directory.
func (k *rockRidge) self(d *dirLayout) []byte {
	if k == nil {
		return nil
	}
	k.buf = k.buf[:0]
	root := d.number == 1
	if root {
		k.buf = append(k.buf, 'S', 'P', 7, 1, 0xBE, 0xEF, 0) // SUSP 5.3
	}
	k.attributes(d.node)
	if root {
		k.appendER()
	}
	k.appendAL(d.node, root)
	return k.buf
}

// parent gives the entries of the ".." record of a directory.
func (k *rockRidge) parent(d *dirLayout) []byte {
	if k == nil {
		return nil
	}
	k.buf = k.buf[:0]
	if tree := d.node.inode.dir; tree.relocated {
		real := tree.node.parent
		k.attributes(real)
		k.appendLink('P', 'L', real.inode.dir.iso.lba)
		return k.buf
	}
	k.attributes(d.parent.node)
	return k.buf
}

// entry gives the entries of a record in its directory.
func (k *rockRidge) entry(n *Node) []byte {
	if k == nil {
		return nil
	}
	k.buf = k.buf[:0]
	k.attributes(n)
	k.relocation(n)
	k.appendNM(n.name)
	switch n.inode.mode & fsys.TypeMask {
	case fsys.TypeLink:
		k.appendSL(n.inode.more().target)
	case fsys.TypeChar, fsys.TypeBlock:
		k.appendPN(n.inode.more())
	}
	k.appendAL(n, false)
	return k.buf
}

// relocation adds what tells readers of a moved directory (RRIP 4.1.5): where
// it went, in its old place; that it is not to be shown, in its new one.
func (k *rockRidge) relocation(n *Node) {
	d := n.inode.dir
	switch {
	case d == nil:
	case d.relocated && d.node == n:
		k.appendLink('C', 'L', d.iso.lba)
	case d.relocated, k.isRelocDir(n):
		k.buf = append(k.buf, 'R', 'E', 4, 1)
	}
}

// isRelocDir tells whether a node is the directory of relocated ones.
func (k *rockRidge) isRelocDir(n *Node) bool { return k != nil && k.relocDir == n }

// attributes adds PX and TF. The PX has the serial number of RRIP 1.12, but ER
// tells of RRIP 1.10, because older BSDs and Solaris ignore Rock Ridge
// under its newer name; they skip what they do not know of PX.
func (k *rockRidge) attributes(n *Node) {
	i := n.inode
	k.buf = append(k.buf, 'P', 'X', 44, 1) // RRIP 4.1.1
	k.buf = appendBoth32(k.buf, i.mode)
	k.buf = appendBoth32(k.buf, i.links())
	k.buf = appendBoth32(k.buf, i.uid)
	k.buf = appendBoth32(k.buf, i.gid)
	k.buf = appendBoth32(k.buf, i.serial)
	const modifyAccessAttributes = 0x0E
	k.buf = append(k.buf, 'T', 'F', 26, 1, modifyAccessAttributes) // RRIP 4.1.6
	k.buf = appendRecordDate(k.buf, i.mtime)
	k.buf = appendRecordDate(k.buf, i.atime)
	k.buf = appendRecordDate(k.buf, i.ctime)
}

// appendLink adds CL or PL: the place of another directory.
func (k *rockRidge) appendLink(sig0, sig1 byte, lba uint32) {
	k.buf = append(k.buf, sig0, sig1, 12, 1)
	k.buf = appendBoth32(k.buf, lba)
}

// appendPN adds the device number (RRIP 4.1.2). The standard wants a dev_t in
// two halves; Linux and libarchive read a small one, with the minor number in
// its low byte, the same way. A larger one is written as mkisofs does, for
// Linux alone: major number in the high half, minor in the low.
func (k *rockRidge) appendPN(x *extra) {
	high, low := x.major, x.minor
	if x.major <= 0xFFF && x.minor <= 0xFF {
		high, low = 0, x.major<<8|x.minor
	}
	k.buf = append(k.buf, 'P', 'N', 20, 1)
	k.buf = appendBoth32(k.buf, high)
	k.buf = appendBoth32(k.buf, low)
}

// maxLinuxName is the longest name that Linux puts together from several NM
// entries (fs/isofs/rock.c get_rock_ridge_filename).
const maxLinuxName = 253

// ErrLongName reports a name of which Linux's isofs shows the beginning only.
var ErrLongName = errors.New("name is longer than 253 bytes, Linux shows 250 of them")

// appendNM adds the name (RRIP 4.1.4), in pieces when it is long.
func (k *rockRidge) appendNM(name string) {
	for {
		part := name[:min(len(name), maxSUEntry-suEntryHead)]
		name = name[len(part):]
		var flags byte
		if name != "" {
			flags = suContinue
		}
		k.buf = append(k.buf, 'N', 'M', byte(suEntryHead+len(part)), 1, flags)
		k.buf = append(k.buf, part...)
		if name == "" {
			return
		}
	}
}

// appendSL adds the target of a symbolic link (RRIP 4.1.3).
func (k *rockRidge) appendSL(target string) {
	w := componentWriter{b: k.buf, sig: [2]byte{'S', 'L'}}
	if rest, ok := strings.CutPrefix(target, "/"); ok {
		w.special(slRoot)
		if target = rest; target == "" {
			k.buf = w.finish()
			return
		}
	}
	for part := range strings.SplitSeq(target, "/") {
		switch part {
		case ".":
			w.special(slCurrent)
		case "..":
			w.special(slParent)
		default:
			w.component(part)
		}
	}
	k.buf = w.finish()
}

// A componentWriter writes SL entries, and AL entries, which have the same form:
// components that may go on from one entry to the next.
type componentWriter struct {
	b    []byte
	sig  [2]byte
	head int // where the current entry starts, plus one
}

// room makes sure that the current entry has n free bytes and returns how many
// it has.
func (w *componentWriter) room(n int) int {
	if w.head > 0 && w.left() >= n {
		return w.left()
	}
	if w.head > 0 {
		w.b[w.head-1+4] |= suContinue
		w.close()
	}
	w.head = len(w.b) + 1
	w.b = append(w.b, w.sig[0], w.sig[1], 0, 1, 0)
	return w.left()
}

func (w *componentWriter) left() int { return maxSUEntry - (len(w.b) - (w.head - 1)) }

func (w *componentWriter) close() { w.b[w.head-1+2] = byte(len(w.b) - (w.head - 1)) }

// special writes a component that is a flag alone.
func (w *componentWriter) special(flag byte) {
	w.room(2)
	w.b = append(w.b, flag, 0)
}

// component writes one with content, in pieces where entries end.
func (w *componentWriter) component(s string) {
	for {
		part := s[:min(len(s), w.room(min(len(s), 1)+2)-2)]
		s = s[len(part):]
		var flags byte
		if s != "" {
			flags = suContinue
		}
		w.b = append(w.b, flags, byte(len(part)))
		w.b = append(w.b, part...)
		if s == "" {
			return
		}
	}
}

func (w *componentWriter) finish() []byte {
	if w.head > 0 {
		w.close()
	}
	return w.b
}

// appendER adds the announcement of Rock Ridge (SUSP 5.5, RRIP 4.3).
func (k *rockRidge) appendER() {
	const (
		id  = "RRIP_1991A"
		des = "THE ROCK RIDGE INTERCHANGE PROTOCOL PROVIDES SUPPORT FOR POSIX FILE SYSTEM SEMANTICS"
		src = "PLEASE CONTACT DISC PUBLISHER FOR SPECIFICATION SOURCE.  SEE PUBLISHER IDENTIFIER IN PRIMARY VOLUME DESCRIPTOR FOR CONTACT INFORMATION."
	)
	k.buf = append(k.buf, 'E', 'R', byte(8+len(id)+len(des)+len(src)), 1, byte(len(id)), byte(len(des)), byte(len(src)), 1)
	k.buf = append(k.buf, id+des+src...)
}

// links returns the link count: of a directory, 2 and its subdirectories.
func (i *inode) links() uint32 {
	if i.dir == nil {
		return i.nlink
	}
	return 2 + i.dir.subdirs
}
