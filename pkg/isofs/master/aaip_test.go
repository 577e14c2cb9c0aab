package master

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isomount/isomount/pkg/fsys"
)

// An aclEntry is an entry of an ACL as linux/posix_acl_xattr.h has it.
type aclEntry struct {
	tag, perm uint16
	id        uint32
}

func linuxACL(entries ...aclEntry) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range entries {
		b = binary.LittleEndian.AppendUint16(b, e.tag)
		b = binary.LittleEndian.AppendUint16(b, e.perm)
		b = binary.LittleEndian.AppendUint32(b, e.id)
	}
	return b
}

const noID = 0xFFFFFFFF

// TestEncodeACLs has the two examples of AAIP 2.0, "Specification of binary ACL
// representation".
func TestEncodeACLs(t *testing.T) {
	access := linuxACL(aclEntry{1, 6, noID}, aclEntry{2, 6, 123}, aclEntry{4, 4, noID}, aclEntry{8, 6, 65534}, aclEntry{16, 4, noID}, aclEntry{32, 4, noID})
	dirAccess := linuxACL(aclEntry{1, 7, noID}, aclEntry{4, 5, noID}, aclEntry{32, 5, noID})
	dirDefault := linuxACL(aclEntry{1, 7, noID}, aclEntry{4, 5, noID}, aclEntry{16, 7, noID}, aclEntry{32, 5, noID}, aclEntry{2, 7, 123})
	tests := []struct {
		name        string
		access, def []byte
		want        []byte
		ok          bool
	}{
		{"none", nil, nil, nil, false},
		{"access", access, nil, []byte{0x16, 0xAE, 1, 123, 0x34, 0xCE, 2, 255, 254, 0x54, 0x64}, true},
		{"both", dirAccess, dirDefault, []byte{0x17, 0x35, 0x65, 0x81, 0x17, 0x35, 0x57, 0x65, 0xAF, 1, 123}, true},
		{"default alone", nil, dirAccess, []byte{0x81, 0x17, 0x35, 0x65}, true},
		{"user 0", linuxACL(aclEntry{2, 1, 0}), nil, []byte{0xA9, 1, 0}, true},
		{"large id", linuxACL(aclEntry{2, 1, 0x01020304}), nil, []byte{0xA9, 4, 1, 2, 3, 4}, true},
		{"cut short", access[:len(access)-1], nil, nil, false},
		{"unknown version", append([]byte{3}, access[1:]...), nil, nil, false},
		{"unknown tag", linuxACL(aclEntry{64, 1, 0}), nil, nil, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := encodeACLs(tt.access, tt.def)
			if ok != tt.ok {
				t.Fatalf("ok %v, want %v", ok, tt.ok)
			}
			if ok && !bytes.Equal(got, tt.want) {
				t.Errorf("got % x, want % x", got, tt.want)
			}
		})
	}
}

func TestAttributeList(t *testing.T) {
	acl := linuxACL(aclEntry{1, 6, noID}, aclEntry{4, 4, noID}, aclEntry{32, 4, noID})
	n := &Node{inode: &inode{mode: fsys.TypeFile}}
	n.SetXattrs([]Xattr{
		{aclAccess, acl},
		{"trusted.t", []byte("T")},
		{"user.name", bytes.Repeat([]byte("long"), 200)},
		{"\x02odd", nil},
		{"other.space", []byte("o")},
	})
	var k rockRidge
	k.appendAL(n, false)
	want := []string{
		"", "\x16\x34\x64", "\x05t", "T", "\x03name", string(bytes.Repeat([]byte("long"), 200)), "\x01\x02odd", "", "other.space", "o",
	}
	if diff := cmp.Diff(want, components(t, k.buf, "AL")); diff != "" {
		t.Errorf("attributes (-want +got):\n%s", diff)
	}
}

func TestBadACLStaysAttribute(t *testing.T) {
	n := &Node{inode: &inode{}}
	n.SetXattrs([]Xattr{{aclAccess, []byte("nonsense")}})
	var k rockRidge
	k.appendAL(n, false)
	if diff := cmp.Diff([]string{"\x02posix_acl_access", "nonsense"}, components(t, k.buf, "AL")); diff != "" {
		t.Errorf("attributes (-want +got):\n%s", diff)
	}
}
