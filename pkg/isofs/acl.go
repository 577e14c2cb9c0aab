package isofs

import (
	"cmp"
	"encoding/binary"
	"slices"
)

// Names of the attributes that Linux shows access control lists as.
var (
	accessACL  = []byte("system.posix_acl_access")
	defaultACL = []byte("system.posix_acl_default")
)

// Types of entries in AAIP's form of an access control list ("Specification of
// binary ACL representation").
const (
	aaipUserObj  = 1
	aaipGroupObj = 3
	aaipMask     = 5
	aaipOther    = 6
	aaipSwitch   = 8 // the entries after it are of the default list
	aaipUser     = 10
	aaipGroup    = 12
	aaipFuture   = 15 // this is not the format that is described
)

// Tags of entries in Linux's form (include/uapi/linux/posix_acl.h), in the
// order in which Linux wants the entries.
const (
	aclUserObj  = 0x01
	aclUser     = 0x02
	aclGroupObj = 0x04
	aclGroup    = 0x08
	aclMask     = 0x10
	aclOther    = 0x20

	aclVersion = 2
	aclNoID    = 1<<32 - 1
	maxACL     = 1024 // entries
)

var aclTags = [16]uint16{
	aaipUserObj: aclUserObj, aaipUser: aclUser, aaipGroupObj: aclGroupObj,
	aaipGroup: aclGroup, aaipMask: aclMask, aaipOther: aclOther,
}

// An aclEntry is an entry in Linux's form.
type aclEntry struct {
	tag, perm uint16
	id        uint32
}

// visitACLs calls visit for the access list and for the default list in AAIP's
// form, as far as they are there. It tells whether to go on.
func visitACLs(b []byte, mode uint32, visit func(name, value []byte) bool) bool {
	access, rest, more := readACL(b)
	if len(access) > 0 && !visit(accessACL, encodeACL(complete(access, mode))) {
		return false
	}
	if !more {
		return true
	}
	byDefault, _, _ := readACL(rest)
	return len(byDefault) == 0 || visit(defaultACL, encodeACL(complete(byDefault, mode)))
}

// readACL reads the entries of a list, and tells whether the default list
// follows. Entries of unknown types are passed over.
func readACL(b []byte) (list []aclEntry, rest []byte, more bool) {
	for len(b) > 0 && len(list) < maxACL {
		head := b[0]
		typ := head >> 4
		e := aclEntry{tag: aclTags[typ], perm: uint16(head & 7), id: aclNoID}
		b = b[1:]
		if head&8 != 0 {
			var ok bool
			if e.id, b, ok = readQualifier(b); !ok {
				return nil, nil, false
			}
		}
		switch {
		case typ == aaipSwitch:
			return list, b, true
		case typ == aaipFuture:
			return nil, nil, false
		case e.tag != 0:
			list = append(list, e)
		}
	}
	return list, nil, false
}

// readQualifier reads a numeric id: records of up to 127 bytes, the most
// significant byte first.
func readQualifier(b []byte) (id uint32, rest []byte, ok bool) {
	for len(b) > 0 {
		more, n := b[0]&0x80 != 0, int(b[0]&0x7f)
		if n > len(b)-1 {
			break
		}
		for _, c := range b[1 : 1+n] {
			id = id<<8 | uint32(c)
		}
		if b = b[1+n:]; !more {
			return id, b, true
		}
	}
	return 0, nil, false
}

// complete adds the entries that every list must have. Writers may leave out
// those that say the same as the mode.
func complete(list []aclEntry, mode uint32) []aclEntry {
	for _, must := range []aclEntry{
		{aclUserObj, uint16(mode >> 6 & 7), aclNoID},
		{aclGroupObj, uint16(mode >> 3 & 7), aclNoID},
		{aclOther, uint16(mode & 7), aclNoID},
	} {
		if !slices.ContainsFunc(list, func(e aclEntry) bool { return e.tag == must.tag }) {
			list = append(list, must)
		}
	}
	slices.SortStableFunc(list, func(a, b aclEntry) int {
		return cmp.Or(cmp.Compare(a.tag, b.tag), cmp.Compare(a.id, b.id))
	})
	return list
}

// encodeACL writes a list as the value of Linux's attribute.
func encodeACL(list []aclEntry) []byte {
	b := binary.LittleEndian.AppendUint32(nil, aclVersion)
	for _, e := range list {
		b = binary.LittleEndian.AppendUint16(b, e.tag)
		b = binary.LittleEndian.AppendUint16(b, e.perm)
		b = binary.LittleEndian.AppendUint32(b, e.id)
	}
	return b
}
