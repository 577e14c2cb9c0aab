package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/isomount/isomount/pkg/binfmt"
)

// Tags of an ACL entry (Linux include/uapi/linux/posix_acl.h).
const (
	aclUserObj  = 0x01
	aclUser     = 0x02
	aclGroupObj = 0x04
	aclGroup    = 0x08
	aclMask     = 0x10
	aclOther    = 0x20

	aclVersion = 2 // include/uapi/linux/posix_acl_xattr.h
)

var errACL = errors.New("not an ACL")

// aclText writes an ACL, in the form that Linux has in attributes, as text that
// programs for ACLs read (acl(5)): user::rwx,user:1000:r--,group::r-x.
func aclText(value []byte) (string, error) {
	c := binfmt.At(value, 0)
	if c.U32LE() != aclVersion {
		return "", errACL
	}
	var entries []string
	for c.Err() == nil && c.Len() > 0 {
		tag, perm, id := c.U16LE(), c.U16LE(), c.U32LE()
		who, ok := aclWho(tag, id)
		if !ok || perm > 7 {
			return "", errACL
		}
		entries = append(entries, who+":"+modeText(uint32(perm))[7:])
	}
	return strings.Join(entries, ","), c.Err()
}

func aclWho(tag uint16, id uint32) (string, bool) {
	switch tag {
	case aclUserObj:
		return "user:", true
	case aclUser:
		return fmt.Sprintf("user:%d", id), true
	case aclGroupObj:
		return "group:", true
	case aclGroup:
		return fmt.Sprintf("group:%d", id), true
	case aclMask:
		return "mask:", true
	case aclOther:
		return "other:", true
	}
	return "", false
}
