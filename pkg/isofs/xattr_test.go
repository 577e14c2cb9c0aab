package isofs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isomount/isomount/pkg/fsys"
)

// al makes AL entries of a list of attributes: names and values. Entries of at
// most size bytes are filled to the end, so that components and even their
// records go across them.
func al(size int, attributes ...string) []byte {
	var stream []byte
	for _, a := range attributes {
		for {
			part := a[:min(len(a), 255)]
			a = a[len(part):]
			more := byte(0)
			if len(a) > 0 {
				more = 1
			}
			stream = append(append(stream, more, byte(len(part))), part...)
			if more == 0 {
				break
			}
		}
	}
	var out []byte
	for {
		part := stream[:min(len(stream), size-5)]
		stream = stream[len(part):]
		more := byte(0)
		if len(stream) > 0 {
			more = 1
		}
		out = append(out, su("AL", []byte{more}, part)...)
		if more == 0 {
			return out
		}
	}
}

// withAttributes makes a disc of a file "a" that has attributes in a
// continuation area.
func withAttributes(entries []byte) *testImage {
	return rockDisc(func(m *testImage) [][]byte {
		return [][]byte{m.file("A.;1", "x", withUse(px(0o100640, 1), nm("a"), ce(m.alloc(entries), 0, uint32(len(entries)))))}
	})
}

func xattrs(tb testing.TB, f *FS, n fsys.Node) map[string]string {
	tb.Helper()
	names, err := f.Xattrs(n)
	if err != nil {
		tb.Errorf("Xattrs: %v", err)
	}
	m := map[string]string{}
	for _, name := range names {
		v, err := f.Xattr(n, name)
		if err != nil {
			tb.Errorf("Xattr(%q): %v", name, err)
		}
		m[name] = string(v)
	}
	return m
}

func TestXattrs(t *testing.T) {
	long := strings.Repeat("v", 3000)
	for _, tt := range []struct {
		name    string
		entries []byte
		want    map[string]string
	}{
		{"short name", al(255, "\x03comment", "hello"), map[string]string{"user.comment": "hello"}},
		{"long name", al(255, "user.comment", "hello"), map[string]string{"user.comment": "hello"}},
		{"empty value", al(255, "\x03empty", ""), map[string]string{"user.empty": ""}},
		{"across entries", al(40, "\x03long", long, "\x03b", "binary\x00"), map[string]string{"user.long": long, "user.b": "binary\x00"}},
		{"other namespaces", al(255, "\x02sys", "1", "\x04cs", "2", "\x05t", "3", "\x06s", "4", "\x01\x03x", "5", "plain", "6", "security.x", "7"), map[string]string{}},
		{"twice", al(255, "\x03a", "first", "user.a", "second"), map[string]string{"user.a": "first"}},
		{"no name", al(255, "\x03", "x"), map[string]string{}},
		{"NUL in the name", al(255, "\x03a\x00b", "x"), map[string]string{}},
		{"no value", al(255, "\x03a", "1", "\x03b"), map[string]string{"user.a": "1"}},
		{"cut short", al(255, "\x03a", "1", "\x03b", "2")[:12], map[string]string{}},
		{"component too long", su("AL", []byte{0, 0, 200, 'x'}), map[string]string{}},
		{"nothing", su("AL"), map[string]string{}},
		{"none", nil, map[string]string{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := withAttributes(tt.entries).fs(t, RockRidge, TreeOptions{})
			n, _ := lookup(t, f, "a")
			if diff := cmp.Diff(xattrs(t, f, n), tt.want); diff != "" {
				t.Errorf("got - want +:\n%s", diff)
			}
			if _, err := f.Xattr(n, "user.none"); !errors.Is(err, fsys.ErrNoXattr) {
				t.Errorf("got error %v, want no such attribute", err)
			}
			exerciseTree(t, f)
		})
	}
}

// acl makes the value of Linux's attribute: tag, permissions, id.
func acl(entries ...uint32) string {
	b := binary.LittleEndian.AppendUint32(nil, 2)
	for i := 0; i < len(entries); i += 3 {
		b = binary.LittleEndian.AppendUint16(b, uint16(entries[i]))
		b = binary.LittleEndian.AppendUint16(b, uint16(entries[i+1]))
		b = binary.LittleEndian.AppendUint32(b, entries[i+2])
	}
	return string(b)
}

func TestACLs(t *testing.T) {
	const none = 1<<32 - 1
	for _, tt := range []struct {
		name, value       string
		access, byDefault string
	}{
		// The examples of the document.
		{
			"access", "\x16\xae\x01\x7b\x34\xce\x02\xff\xfe\x54\x64",
			acl(1, 6, none, 2, 6, 123, 4, 4, none, 8, 6, 65534, 16, 4, none, 32, 4, none), "",
		},
		{
			"both", "\x17\x35\x65\x81\x17\x35\x57\x65\xaf\x01\x7b",
			acl(1, 7, none, 4, 5, none, 32, 5, none),
			acl(1, 7, none, 2, 7, 123, 4, 5, none, 16, 7, none, 32, 5, none),
		},
		{
			"what the mode says is added", "\xae\x01\x7b\x54",
			acl(1, 6, none, 2, 6, 123, 4, 4, none, 16, 4, none, 32, 0, none), "",
		},
		{
			"in Linux's order", "\x64\xae\x01\x09\xae\x01\x07\x54\x34\x16",
			acl(1, 6, none, 2, 6, 7, 2, 6, 9, 4, 4, none, 16, 4, none, 32, 4, none), "",
		},
		{
			"id of two records", "\xae\x81\x01\x01\x02\x54",
			acl(1, 6, none, 2, 6, 0x102, 4, 4, none, 16, 4, none, 32, 0, none), "",
		},
		{
			"names are not taken", "\x08\x0d\x00\x7b\x00\x00\x00\x00\x00\x00\x7blisa\x16",
			acl(1, 6, none, 4, 4, none, 32, 0, none), "",
		},
		{"unknown types", "\x20\x40\x90\x16", acl(1, 6, none, 4, 4, none, 32, 0, none), ""},
		{"future version", "\x16\xf0", "", ""},
		{"qualifier cut short", "\xae\x05\x01", "", ""},
		{"empty", "", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := withAttributes(al(255, "", tt.value)).fs(t, RockRidge, TreeOptions{})
			n, _ := lookup(t, f, "a")
			want := map[string]string{}
			if tt.access != "" {
				want["system.posix_acl_access"] = tt.access
			}
			if tt.byDefault != "" {
				want["system.posix_acl_default"] = tt.byDefault
			}
			if diff := cmp.Diff(xattrs(t, f, n), want); diff != "" {
				t.Errorf("got - want +:\n%s", diff)
			}
		})
	}
}

// libisofs puts the attributes of a directory into the record that leads there.
func TestDirectoryXattrs(t *testing.T) {
	m := newImage()
	sub, subSize := m.dir(px(fsys.TypeDir|0o755, 2))
	other, otherSize := m.dir(px(fsys.TypeDir|0o755, 2))
	root, size := m.dir(join(sp(0), px(fsys.TypeDir|0o755, 2), er(), al(255, "\x04nt", "x", "\x03on-root", "r")),
		rec("OTHER", other, otherSize, isDir, withUse(nm("other"))),
		rec("SUB", sub, subSize, isDir, withUse(nm("sub"), al(255, "\x03on-dir", "d"))))
	m.volume(16, 1, root, size)
	m.end(17)
	f := m.fs(t, RockRidge, TreeOptions{})
	for _, tt := range []struct {
		path []string
		want map[string]string
	}{
		{nil, map[string]string{"user.on-root": "r"}},
		{[]string{"sub"}, map[string]string{"user.on-dir": "d"}},
		{[]string{"other"}, map[string]string{}},
	} {
		n := f.Root()
		if tt.path != nil {
			n, _ = lookup(t, f, tt.path...)
		}
		if diff := cmp.Diff(xattrs(t, f, n), tt.want); diff != "" {
			t.Errorf("%q: got - want +:\n%s", tt.path, diff)
		}
	}
}

func FuzzAttributes(f *testing.F) {
	f.Add(al(40, "\x03long", strings.Repeat("v", 300), "", "\x16\xae\x01\x7b\x81\x17"))
	f.Fuzz(func(t *testing.T, entries []byte) {
		if len(entries) > sectorSize {
			return
		}
		exerciseTree(t, withAttributes(entries).fs(t, RockRidge, TreeOptions{}))
		access, rest, _ := readACL(entries)
		if len(access) > maxACL || !bytes.HasSuffix(entries, rest) {
			t.Errorf("readACL gave %d entries and left %x", len(access), rest)
		}
	})
}
