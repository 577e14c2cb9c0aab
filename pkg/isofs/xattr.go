package isofs

import (
	"bytes"
	"encoding/binary"

	"github.com/isomount/isomount/pkg/fsys"
)

// tagAL marks the attributes of a file (Arbitrary Attribute Interchange
// Protocol 2.0, libisofs doc/susp_aaip_2_0.txt).
var tagAL = newTag("AL")

// maxAttributes is how many bytes of attributes a file may have.
const maxAttributes = 1 << 20

// Prefixes of attribute names: one byte stands for a namespace.
const (
	spaceEscape = 0x01 // the next byte is none of these
	spaceUser   = 0x03
	spaceLast   = 0x1f // all others are of no use here
)

// Xattrs lists the extended attributes of a node: those of the namespace
// "user.", and access control lists. Namespaces that give a file power over the
// system ("security.", "trusted.") are not taken from a disc.
func (f *FS) Xattrs(n fsys.Node) ([]string, error) {
	var names []string
	err := f.eachXattr(n, func(name, _ []byte) bool {
		names = append(names, string(name))
		return true
	})
	return names, err
}

// Xattr returns the value of an extended attribute.
func (f *FS) Xattr(n fsys.Node, name string) ([]byte, error) {
	var value []byte
	found := false
	err := f.eachXattr(n, func(k, v []byte) bool {
		if found = string(k) == name; found {
			value = bytes.Clone(v)
		}
		return !found
	})
	if err == nil && !found {
		err = fsys.ErrNoXattr
	}
	return value, err
}

// eachXattr calls visit for the attributes of a node until it returns false.
// Of attributes with the same name the first counts.
func (f *FS) eachXattr(n fsys.Node, visit func(name, value []byte) bool) error {
	s := getScratch()
	defer putScratch(s)
	if err := f.load(s, n); err != nil {
		return err
	}
	if s.rock.has&hasAttributes == 0 {
		if ok, err := f.loadAbove(s); !ok {
			return err
		}
	}
	seen := map[string]bool{}
	once := func(name, value []byte) bool {
		if seen[string(name)] {
			return true
		}
		seen[string(name)] = true
		return visit(name, value)
	}
	for parts := (components{f.attributes(s)}); ; {
		key, value, ok := parts.pair()
		switch {
		case !ok:
			return s.err
		case len(key) == 0:
			if !visitACLs(value, s.rock.mode, once) {
				return nil
			}
		default:
			if name := userName(key); name != nil && !once(name, value) {
				return nil
			}
		}
	}
}

// loadAbove replaces the directory's record of itself in s by the one of the
// directory above, and tells whether that has attributes: libisofs puts them
// there. To look for it is worth while only where the root has some.
func (f *FS) loadAbove(s *scratch) (bool, error) {
	if !s.rec.isDot() || !f.v.rock.attributes || s.rec.off == f.rootStart {
		return false, nil
	}
	start := s.rec.off
	parent, err := f.Parent(fsys.Node(start))
	if err != nil {
		return false, err
	}
	d, err := f.directory(s, parent)
	if err != nil {
		return false, err
	}
	found, err := f.index.Find(f.subdirs|d.node, dirKey(start), f.scanSubdirs(d))
	if err != nil || len(found) == 0 {
		return false, err
	}
	ok := f.recordAt(s, d.start+int64(found[0].Pos)) && f.parseUse(s, false)
	return ok && s.rock.has&hasAttributes != 0, s.err
}

// scanSubdirs returns the function that lists the directories in a directory
// for the index, by where they begin.
func (f *FS) scanSubdirs(d dirRef) fsys.Scan {
	return func(add func(name []byte, pos uint64)) error {
		s := getScratch()
		defer putScratch(s)
		err := f.list(d, 0, s, false, func() bool {
			switch {
			case s.rock.has&hasChild != 0:
				add(dirKey(f.v.block(s.rock.child)), uint64(s.at))
			case s.rec.isDir():
				add(dirKey(f.v.extentOf(&s.rec)), uint64(s.at))
			}
			return true
		})
		if isTruncated(err) {
			return nil
		}
		return err
	}
}

// dirKey is what the index knows the directory that begins at start by.
func dirKey(start int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(start)) }

// attributes returns the component areas of the AL entries of the record in s,
// one after the other.
func (f *FS) attributes(s *scratch) []byte {
	s.susp.start(f.v, f.v.rock.area(s.rec.use, s.rec.off == f.rootStart))
	s.susp.limit = maxAttributes
	var list []byte
	for {
		e, ok := s.susp.next()
		if !ok {
			s.fail(s.susp.err)
			return list
		}
		if e.tag != tagAL || len(e.data) < 1 {
			continue
		}
		list = append(list, e.data[1:]...)
		if e.data[0]&1 == 0 {
			return list // the last one
		}
	}
}

// components reads component records: flags, length, content. They have the
// form of those of SL, and may go across the ends of entries.
type components struct{ rest []byte }

// pair reads a name and its value.
func (c *components) pair() (name, value []byte, ok bool) {
	if name, ok = c.next(); ok {
		value, ok = c.next()
	}
	return name, value, ok
}

// next reads a component, which consists of one or more records.
func (c *components) next() ([]byte, bool) {
	var whole []byte
	for {
		if len(c.rest) < 2 || len(c.rest) < 2+int(c.rest[1]) {
			return nil, false
		}
		more, part := c.rest[0]&1 != 0, c.rest[2:2+int(c.rest[1])]
		c.rest = c.rest[2+len(part):]
		if !more && whole == nil {
			return part, true
		}
		if whole = append(whole, part...); !more {
			return whole, true
		}
	}
}

// userName returns the full form of a name in the namespace "user.", or nil for
// any other.
func userName(key []byte) []byte {
	const user = "user."
	switch c := key[0]; {
	case c == spaceUser:
		key = append([]byte(user), key[1:]...)
	case c == spaceEscape, c <= spaceLast, !bytes.HasPrefix(key, []byte(user)):
		return nil
	}
	if len(key) == len(user) || len(key) > maxName || bytes.IndexByte(key, 0) >= 0 {
		return nil
	}
	return key
}
