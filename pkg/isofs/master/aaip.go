package master

import (
	"encoding/binary"
	"slices"
	"strings"
)

// aaipSpaces are the namespaces that AAIP 2.0 has a byte for.
var aaipSpaces = []struct{ space, short string }{
	{"system.", "\x02"},
	{"user.", "\x03"},
	{"isofs.", "\x04"},
	{"trusted.", "\x05"},
	{"security.", "\x06"},
}

// Names under which Linux keeps ACLs.
const (
	aclAccess  = "system.posix_acl_access"
	aclDefault = "system.posix_acl_default"
)

// appendAL adds the extended attributes and ACLs of a node as AL entries
// (AAIP 2.0), and what libisofs wants to know of checksums. It announces AAIP
// by no ER entry, as libisofs does beside RRIP 1.10.
func (k *rockRidge) appendAL(n *Node, root bool) {
	w := componentWriter{b: k.buf, sig: [2]byte{'A', 'L'}}
	if x := n.inode.extra; x != nil && len(x.xattrs) > 0 {
		w.attributes(x.xattrs)
	}
	if k.sums != nil {
		k.sums.appendTo(&w, n, root)
	}
	k.buf = w.finish()
}

// attributes writes pairs of name and value, the ACLs first under the empty name.
func (w *componentWriter) attributes(xattrs []Xattr) {
	access, def := findXattr(xattrs, aclAccess), findXattr(xattrs, aclDefault)
	acl, isACL := encodeACLs(access, def)
	if isACL {
		w.component("")
		w.component(string(acl))
	}
	for _, x := range xattrs {
		if isACL && (x.Name == aclAccess || x.Name == aclDefault) {
			continue
		}
		w.component(aaipName(x.Name))
		w.component(string(x.Value))
	}
}

func findXattr(xattrs []Xattr, name string) []byte {
	for _, x := range xattrs {
		if x.Name == name {
			return x.Value
		}
	}
	return nil
}

// aaipName shortens the namespace of a name.
func aaipName(name string) string {
	for _, s := range aaipSpaces {
		if rest, ok := strings.CutPrefix(name, s.space); ok {
			return s.short + rest
		}
	}
	if name != "" && name[0] < 0x20 {
		return "\x01" + name
	}
	return name
}

// encodeACLs converts ACLs from the form in which Linux keeps them to AAIP's.
// It tells whether there are any and all are well formed.
func encodeACLs(access, def []byte) (acl []byte, ok bool) {
	if access == nil && def == nil {
		return nil, false
	}
	if access != nil {
		if acl, ok = appendACL(acl, access); !ok {
			return nil, false
		}
	}
	if def != nil {
		const switchMark = 0x81
		acl, ok = appendACL(append(acl, switchMark), def)
	}
	return acl, ok
}

// aclTypes are the tags of Linux (linux/posix_acl_xattr.h) and AAIP's.
var aclTypes = [...]byte{
	0x01: 1,  // owner
	0x02: 10, // user
	0x04: 3,  // owning group
	0x08: 12, // group
	0x10: 5,  // mask
	0x20: 6,  // others
}

// appendACL appends AAIP's form of one ACL: an entry is a byte with type and
// permissions, followed by a user or group id if the type wants one.
func appendACL(b, acl []byte) ([]byte, bool) {
	const (
		head    = 4
		entry   = 8
		version = 2
	)
	if len(acl) < head || (len(acl)-head)%entry != 0 || binary.LittleEndian.Uint32(acl) != version {
		return nil, false
	}
	for e := range slices.Chunk(acl[head:], entry) {
		tag := int(binary.LittleEndian.Uint16(e))
		if tag >= len(aclTypes) || aclTypes[tag] == 0 {
			return nil, false
		}
		kind := aclTypes[tag]
		flags := kind<<4 | e[2]&7
		if kind != 10 && kind != 12 {
			b = append(b, flags)
			continue
		}
		const qualifier = 0x08
		id := shortest(binary.LittleEndian.Uint32(e[4:]))
		b = append(b, flags|qualifier, byte(len(id)))
		b = append(b, id...)
	}
	return b, true
}

// shortest returns a number in as few bytes as it needs, one at least, the most
// significant first.
func shortest(v uint32) []byte {
	id := binary.BigEndian.AppendUint32(nil, v)
	for len(id) > 1 && id[0] == 0 {
		id = id[1:]
	}
	return id
}
