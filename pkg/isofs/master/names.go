package master

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// A treeKind is one of the directory trees of an image.
type treeKind int

const (
	treeISO treeKind = iota
	treeJoliet
	treeUDF
)

// A namer appends the identifier that a node gets in one of the trees. seq is
// 0, or a number to work into the name because the plain one is taken.
type namer func(b []byte, n *Node, seq uint32) []byte

// arrange gives every node a name that no other of them has, and returns them
// in the order of these names. The nodes come in the order of their real names,
// so the outcome depends on nothing else. fold, if not nil, makes names the
// same that readers take for the same.
func arrange(nodes []*Node, kind treeKind, name namer, fold func(name []byte)) []*Node {
	u := uniquer{name: name, fold: fold, kind: kind, used: make(map[string]struct{}, len(nodes)), taken: make([]named, 0, len(nodes))}
	var clash []*Node
	for _, n := range nodes {
		if !u.take(n, 0) {
			clash = append(clash, n)
		}
	}
	for _, n := range clash {
		u.number(n)
	}
	return u.sorted()
}

// A uniquer hands out names within one directory.
type uniquer struct {
	name  namer
	fold  func([]byte)
	kind  treeKind
	used  map[string]struct{} // folded
	taken []named
	next  map[string]uint32 // last number tried, by the name with the largest number
	buf   []byte
}

// A named is a node with the name that it got.
type named struct {
	id string
	n  *Node
}

func (u *uniquer) take(n *Node, seq uint32) bool {
	u.buf = u.name(u.buf[:0], n, seq)
	id := string(u.buf)
	key := id
	if u.fold != nil {
		u.fold(u.buf)
		key = string(u.buf)
	}
	if _, taken := u.used[key]; taken {
		return false
	}
	u.used[key] = struct{}{}
	u.taken = append(u.taken, named{id, n})
	n.seq[u.kind] = seq
	return true
}

// number takes the first free numbered name. Names that are cut to the same
// stem share a counter, so many clashes stay cheap.
func (u *uniquer) number(n *Node) {
	if u.next == nil {
		u.next = map[string]uint32{}
	}
	u.buf = u.name(u.buf[:0], n, maxSeq)
	if u.fold != nil {
		u.fold(u.buf)
	}
	stem := string(u.buf)
	seq := u.next[stem] + 1
	for !u.take(n, seq) {
		seq++
	}
	u.next[stem] = seq
}

// maxSeq has as many digits as a number in a name can have.
const maxSeq = 4294967295

func (u *uniquer) sorted() []*Node {
	slices.SortFunc(u.taken, func(a, b named) int { return strings.Compare(a.id, b.id) })
	nodes := make([]*Node, len(u.taken))
	for i := range u.taken {
		nodes[i] = u.taken[i].n
	}
	return nodes
}

// appendSeq appends the number that tells a name from others, with three
// digits at least.
func appendSeq(b []byte, seq uint32) []byte {
	if seq == 0 {
		return b
	}
	for limit := uint32(100); limit > 1 && seq < limit; limit /= 10 {
		b = append(b, '0')
	}
	return strconv.AppendUint(b, uint64(seq), 10)
}

const (
	maxISOFile = 30 // characters of name and extension together (ECMA-119 7.5.1)
	maxISODir  = 31 // characters (ECMA-119 7.6.3)
	maxISOExt  = 8  // of an extension that must be shortened to make room
)

// appendISOFile appends a file identifier without its version: name, dot,
// extension, of d-characters (ECMA-119 7.5.1). The dot is always there.
// Bytewise order of such identifiers is the order of ECMA-119 9.3, because the
// dot comes before every d-character.
func appendISOFile(b []byte, name string, seq uint32) []byte {
	stem, ext := splitExt(name)
	extLen := min(utf8.RuneCountInString(ext), maxISOFile)
	if utf8.RuneCountInString(stem)+extLen+seqLen(seq) > maxISOFile {
		extLen = min(extLen, maxISOExt)
	}
	b = appendDChars(b, stem, maxISOFile-extLen-seqLen(seq))
	b = appendSeq(b, seq)
	b = append(b, '.')
	return appendDChars(b, ext, extLen)
}

// appendISODir appends a directory identifier (ECMA-119 7.6).
func appendISODir(b []byte, name string, seq uint32) []byte {
	b = appendDChars(b, name, maxISODir-seqLen(seq))
	return appendSeq(b, seq)
}

func seqLen(seq uint32) int {
	if seq == 0 {
		return 0
	}
	var digits [10]byte
	return len(appendSeq(digits[:0], seq))
}

// splitExt cuts a name at its last dot; a dot in front does not count.
func splitExt(name string) (stem, ext string) {
	if i := strings.LastIndexByte(name, '.'); i > 0 {
		return name[:i], name[i+1:]
	}
	return name, ""
}

// appendDChars appends at most limit characters of s, each made a d-character
// (ECMA-119 7.4.1).
func appendDChars(b []byte, s string, limit int) []byte {
	for _, r := range s {
		if limit--; limit < 0 {
			break
		}
		b = append(b, dChar(r))
	}
	return b
}

func dChar(r rune) byte {
	switch {
	case r >= 'a' && r <= 'z':
		return byte(r - 'a' + 'A')
	case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		return byte(r)
	}
	return '_'
}

// jolietForbidden are the characters that Joliet names may not have, beside
// control characters.
const jolietForbidden = `*/:;?\`

// Longest Joliet names in UTF-16 units, without the version.
const (
	maxJoliet     = 64  // Joliet "directory record file identifier length"
	maxJolietLong = 103 // what fits into a directory record
)

// appendJoliet appends a Joliet identifier without its version: UCS-2, big
// endian, with surrogate pairs for what UCS-2 lacks.
func appendJoliet(b []byte, name string, limit int, seq uint32) []byte {
	if seq == 0 && len(name) <= limit && isPlainJoliet(name) {
		for i := range len(name) {
			b = append(b, 0, name[i])
		}
		return b
	}
	stem, ext := splitExt(name)
	s, e := jolietUnits(stem), jolietUnits(ext)
	if ext != "" {
		e = append([]uint16{'.'}, e...)
	}
	if len(s)+len(e)+seqLen(seq) > limit {
		e = cutUnits(e, maxISOExt+1)
		s = cutUnits(s, limit-len(e)-seqLen(seq))
	}
	b = appendUnits(b, s)
	for _, digit := range appendSeq(nil, seq) {
		b = append(b, 0, digit)
	}
	return appendUnits(b, e)
}

// isPlainJoliet tells whether a name is of ASCII that Joliet allows: most are.
func isPlainJoliet(name string) bool {
	for i := range len(name) {
		if c := name[i]; c < ' ' || c >= utf8.RuneSelf || strings.IndexByte(jolietForbidden, c) >= 0 {
			return false
		}
	}
	return true
}

func appendUnits(b []byte, units []uint16) []byte {
	for _, u := range units {
		b = append(b, byte(u>>8), byte(u))
	}
	return b
}

// jolietUnits makes a name UTF-16, with an underscore for everything that
// Joliet forbids and for bytes that are not UTF-8.
func jolietUnits(s string) []uint16 {
	units := make([]uint16, 0, len(s)+1)
	for i, r := range s {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD"),
			r < ' ', strings.ContainsRune(jolietForbidden, r):
			r = '_'
		}
		units = utf16.AppendRune(units, r)
	}
	return units
}

// cutUnits shortens a name, but not in the middle of a surrogate pair.
func cutUnits(s []uint16, limit int) []uint16 {
	if len(s) <= limit {
		return s
	}
	if limit > 0 && utf16.IsSurrogate(rune(s[limit-1])) && s[limit-1] < 0xDC00 {
		limit--
	}
	return s[:limit]
}

// isoID appends the complete identifier in a directory record of the ISO tree.
func isoID(b []byte, n *Node) []byte {
	return appendVersion(isoName(b, n, n.seq[treeISO]), n, ";1")
}

func isoName(b []byte, n *Node, seq uint32) []byte {
	if n.isISODir() {
		return appendISODir(b, n.name, seq)
	}
	return appendISOFile(b, n.name, seq)
}

// isoKey is isoName in a form in which a file and a directory clash if they
// differ only in the dot: readers drop it.
func isoKey(b []byte, n *Node, seq uint32) []byte {
	b = isoName(b, n, seq)
	if n.isISODir() {
		b = append(b, '.')
	}
	return b
}

// isISODir tells whether the node is a directory where it stands in the ISO
// tree: a directory that was moved elsewhere leaves a file in its place.
func (n *Node) isISODir() bool {
	d := n.inode.dir
	return d != nil && (!d.relocated || d.node != n)
}

func appendVersion(b []byte, n *Node, version string) []byte {
	if n.isISODir() {
		return b
	}
	return append(b, version...)
}

// jolietNamer returns the namer of the Joliet tree.
func jolietNamer(limit int) namer {
	return func(b []byte, n *Node, seq uint32) []byte { return appendJoliet(b, n.name, limit, seq) }
}

// foldJoliet makes a Joliet identifier upper case: Windows, and Linux too, look
// names up without regard to case in this tree, so of two files whose names
// differ in nothing else one could not be reached.
func foldJoliet(name []byte) {
	for i := 0; i+1 < len(name); i += 2 {
		r := unicode.ToUpper(rune(name[i])<<8 | rune(name[i+1]))
		if r <= 0xFFFF {
			name[i], name[i+1] = byte(r>>8), byte(r)
		}
	}
}

// jolietID appends the complete identifier in a directory record.
func jolietID(name namer) func(b []byte, n *Node) []byte {
	version := []byte("\x00;\x001")
	return func(b []byte, n *Node) []byte {
		b = name(b, n, n.seq[treeJoliet])
		if n.IsDir() {
			return b
		}
		return append(b, version...)
	}
}

// appendPadded appends s in a field of n bytes, cut or filled up with pad.
func appendPadded(b, s []byte, n int, pad []byte) []byte {
	s = s[:min(len(s), n)]
	b = append(b, s...)
	return append(b, bytes.Repeat(pad, (n-len(s))/len(pad)+1)[:n-len(s)]...)
}
