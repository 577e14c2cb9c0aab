package hfsplus

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/isomount/isomount/pkg/binfmt"
	"github.com/isomount/isomount/pkg/fsys"
)

// Attributes are shown in the user namespace, whatever their name on the disc
// is: a disc must not be able to say what the kernel believes of security.* and
// system.*.
const (
	userPrefix      = "user."
	xattrResource   = "com.apple.ResourceFork"
	xattrFinder     = "com.apple.FinderInfo"
	xattrCompressed = "com.apple.decmpfs"
)

// Limits of Linux on what can be asked for: the value of one attribute, and
// all names together.
const (
	maxXattr     = 64 << 10
	maxXattrList = 64 << 10
)

// Kinds of records of the attributes file (TN1150 "Attributes File Data").
const (
	attrInline  = 0x10
	attrFork    = 0x20
	attrExtents = 0x30
)

// Xattrs implements [fsys.XattrFS]. What is too long for an attribute of Linux,
// as resource forks can be, is not listed.
func (v *FS) Xattrs(n fsys.Node) ([]string, error) {
	rec, err := v.at(n)
	if err != nil || isDot(n) {
		return nil, err
	}
	names, err := v.attributeNames(rec.cnid)
	if err != nil {
		return nil, err
	}
	if v.showsFinder(&rec) {
		names = append(names, userPrefix+xattrFinder)
	}
	if v.showsResource(&rec) && rec.rsrc.size <= maxXattr {
		names = append(names, userPrefix+xattrResource)
	}
	if c, err := v.compressed(&rec); c != nil || err != nil {
		names = slices.DeleteFunc(names, func(s string) bool { return s == userPrefix+xattrCompressed })
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// finderInfo returns the Finder information without what HFS+ keeps in its
// place for itself: the type of symbolic links, and in the extended half ids
// and counters of Mac OS X, which it does not show either (XNU
// hfs_zero_hidden_fields).
func (v *FS) finderInfo(r *record) [32]byte {
	f := r.finder
	if v.vol.isHFS() {
		return f
	}
	if r.typ() == fsys.TypeLink {
		clear(f[:8])
	}
	clear(f[16:24]) // document_id, date_added
	clear(f[28:32]) // write_gen_counter
	return f
}

func (v *FS) showsFinder(r *record) bool {
	return v.forks != ForksNone && v.finderInfo(r) != [32]byte{}
}

func (v *FS) showsResource(r *record) bool {
	return v.forks == ForksXattr && r.rsrc.size > 0 && r.ownerFlags&ownerCompressed == 0
}

// Xattr implements [fsys.XattrFS].
func (v *FS) Xattr(n fsys.Node, name string) ([]byte, error) {
	rec, err := v.at(n)
	if err != nil {
		return nil, err
	}
	short, ok := strings.CutPrefix(name, userPrefix)
	switch {
	case !ok || isDot(n):
		return nil, fsys.ErrNoXattr
	case short == xattrFinder && v.showsFinder(&rec):
		f := v.finderInfo(&rec)
		return f[:], nil
	case short == xattrResource && v.showsResource(&rec):
		return v.wholeFork(&rec.rsrc)
	}
	value, err := v.attribute(rec.cnid, short)
	if errors.Is(err, fsys.ErrNoXattr) {
		value, err = v.attribute(rec.cnid, name)
	}
	return value, err
}

// wholeFork reads a fork that is shown as an attribute.
func (v *FS) wholeFork(f *fork) ([]byte, error) {
	if f.size > maxXattr {
		return nil, fmt.Errorf("%d bytes are too many for an attribute: %w", f.size, fsys.ErrNotSupported)
	}
	b := make([]byte, f.size)
	if n, err := v.readFork(v.r, f, b, 0); n < len(b) {
		return nil, err
	}
	return b, nil
}

// An attrKey is the key of the attributes file. A long value has several
// records, each with the allocation block of the value that it begins at.
type attrKey struct {
	cnid  uint32
	block uint32
	name  []byte // UTF-16
}

func decodeAttrKey(key []byte) (attrKey, bool) {
	c := binfmt.At(key, 0)
	c.Skip(2) // pad
	k := attrKey{cnid: c.U32BE(), block: c.U32BE()}
	k.name = c.Bytes(2 * int(c.U16BE()))
	return k, c.Err() == nil
}

// eachAttribute calls yield for the records of a file until it returns false.
// What is damaged is passed over.
func (v *FS) eachAttribute(cnid uint32, yield func(k attrKey, data []byte) bool) error {
	t := v.attrs
	if t == nil {
		return nil
	}
	n := t.node()
	defer t.done(n)
	err := t.descend(n, func(key []byte) bool {
		k, ok := decodeAttrKey(key)
		return ok && k.cnid < cnid
	})
	w := walk{t: t, n: n}
	for more := err == nil; more && err == nil; more, err = w.next() {
		for i := range n.nrec {
			key, data, ok := t.record(n, i)
			if !ok {
				continue
			}
			k, ok := decodeAttrKey(key)
			if ok && k.cnid > cnid {
				return nil
			}
			if ok && k.cnid == cnid && !yield(k, data) {
				return nil
			}
		}
	}
	if damaged(err) {
		return nil
	}
	return err
}

// attributeNames lists the attributes that a file has in the attributes file,
// as shown.
func (v *FS) attributeNames(cnid uint32) ([]string, error) {
	var names []string
	total := 0
	err := v.eachAttribute(cnid, func(k attrKey, data []byte) bool {
		name := shownXattr(k.name)
		if name == userPrefix || strings.ContainsRune(name, 0) {
			return true
		}
		if !canShow(data) {
			return true
		}
		if total += len(name) + 1; total > maxXattrList {
			return false
		}
		names = append(names, name)
		return true
	})
	return names, err
}

// canShow tells whether a record holds a value that Linux can show, or leads to
// one.
func canShow(data []byte) bool {
	c := binfmt.At(data, 0)
	switch c.U32BE() {
	case attrInline:
		return true
	case attrFork:
		c.Skip(4) // reserved
		return c.U64BE() <= maxXattr && c.Err() == nil
	}
	return false
}

func shownXattr(raw []byte) string {
	units := make([]uint16, len(raw)/2)
	for i := range units {
		units[i] = binary.BigEndian.Uint16(raw[2*i:])
	}
	name := string(utf16.Decode(units))
	if strings.HasPrefix(name, userPrefix) {
		return name
	}
	return userPrefix + name
}

// attribute returns the value of an attribute of the attributes file.
func (v *FS) attribute(cnid uint32, name string) ([]byte, error) {
	raw := utf16Bytes(name)
	var value []byte
	var long *fork
	found := fsys.ErrNoXattr
	err := v.eachAttribute(cnid, func(k attrKey, data []byte) bool {
		if bytes.Equal(k.name, raw) && k.block == 0 {
			value, long, found = decodeAttribute(data)
			return false
		}
		return true
	})
	switch {
	case err != nil:
		return nil, err
	case found != nil:
		return nil, found
	case long != nil:
		return v.longAttribute(cnid, raw, long)
	}
	return value, nil
}

// decodeAttribute decodes a record: a value, or the fork that holds it.
func decodeAttribute(data []byte) ([]byte, *fork, error) {
	c := binfmt.At(data, 0)
	switch kind := c.U32BE(); kind {
	case attrInline:
		c.Skip(8) // reserved
		value := c.Bytes(int(c.U32BE()))
		return bytes.Clone(value), nil, c.Err()
	case attrFork:
		c.Skip(4) // reserved
		f := decodeFork(&c, 0, forkData)
		return nil, &f, c.Err()
	default:
		return nil, nil, fmt.Errorf("attribute record of kind %#x: %w", kind, fsys.ErrNotSupported)
	}
}

// longAttribute reads a value that has a fork of its own. Its further extents
// are not in the extents overflow file but in records beside the first.
func (v *FS) longAttribute(cnid uint32, raw []byte, f *fork) ([]byte, error) {
	if f.size > maxXattr {
		return nil, fmt.Errorf("attribute of %d bytes: %w", f.size, fsys.ErrNotSupported)
	}
	value := make([]byte, 0, f.size)
	value, err := v.appendExtents(value, &f.ext, f.size)
	if err != nil {
		return nil, err
	}
	var lost error
	err = v.eachAttribute(cnid, func(k attrKey, data []byte) bool {
		if !bytes.Equal(k.name, raw) || len(data) < 8 || binary.BigEndian.Uint32(data) != attrExtents {
			return true
		}
		var ext [extentsPlus]extent
		c := binfmt.At(data[8:], 0)
		decodeExtentsPlus(&c, &ext)
		value, lost = v.appendExtents(value, &ext, f.size)
		return lost == nil
	})
	if err = errors.Join(err, lost); err != nil {
		return nil, err
	}
	if int64(len(value)) < f.size {
		return nil, binfmt.Corrupt(v.vol.base, "attribute of file %d is cut short", cnid)
	}
	return value, nil
}

// appendExtents appends what lies in extents, up to size bytes in all.
func (v *FS) appendExtents(value []byte, ext *[extentsPlus]extent, size int64) ([]byte, error) {
	for _, e := range ext {
		n := min(int64(e.count)*v.vol.blockSize, size-int64(len(value)))
		at := len(value)
		value = append(value, make([]byte, n)...)
		pos := v.vol.base + int64(e.start)*v.vol.blockSize
		if _, err := binfmt.ReadPart(v.meta, v.size, value[at:], pos); err != nil && n > 0 {
			return value, err
		}
	}
	return value, nil
}

// utf16Bytes encodes a name as the disc has it.
func utf16Bytes(name string) []byte {
	var raw []byte
	for _, u := range utf16.Encode([]rune(name)) {
		raw = binary.BigEndian.AppendUint16(raw, u)
	}
	return raw
}
