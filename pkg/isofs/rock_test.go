package isofs

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isomount/isomount/pkg/binfmt"
	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/fsys/fsystest"
)

func TestHardLinks(t *testing.T) {
	m := rockDisc(func(m *testImage) [][]byte {
		content := m.alloc([]byte("content"))
		file := func(name string, lba uint32, size int, entry []byte) []byte {
			return rec("F.;1", lba, size, withUse(nm(name), entry))
		}
		return [][]byte{
			file("serial a", content, 7, px(0o100644, 2, 0, 0, 77)), file("serial b", content, 7, px(0o100644, 2, 0, 0, 77)),
			file("other serial", content, 7, px(0o100644, 2, 0, 0, 78)),
			file("extent a", content, 7, px(0o100644, 2)), file("extent b", content, 7, px(0o100644, 2, 0, 0, 0)),
			file("single", content, 7, px(0o100644, 1)),
			file("empty a", 0, 0, px(0o100644, 2)), file("empty b", 0, 0, px(0o100644, 2)),
			file("none", content, 7, px(0o100644, 0)), file("most", content, 7, px(0o100644, 1<<32-1)),
		}
	})
	f := m.fs(t, RockRidge, TreeOptions{})
	for _, tt := range []struct {
		a, b string
		same bool
	}{
		{"serial a", "serial b", true},
		{"serial a", "other serial", false},
		{"serial a", "extent a", false},
		{"extent a", "extent b", true},
		{"extent a", "single", false},
		{"empty a", "empty b", false}, // nothing tells that they are one file
	} {
		_, a := lookup(t, f, tt.a)
		_, b := lookup(t, f, tt.b)
		if (a.Ino == b.Ino) != tt.same {
			t.Errorf("%s has inode %#x, %s %#x", tt.a, a.Ino, tt.b, b.Ino)
		}
	}
	for _, name := range []string{"none", "most"} {
		if _, a := lookup(t, f, name); a.Nlink != 1 {
			t.Errorf("%s: got link count %d, want 1", name, a.Nlink)
		}
	}
}

// What a mode of Rock Ridge says of the type counts only as far as it can be.
func TestFileTypes(t *testing.T) {
	for _, tt := range []struct {
		name string
		mode uint32
		dir  bool
		want uint32
	}{
		{"file", 0o100644, false, 0o100644},
		{"no type", 0o644, false, 0o100644},
		{"unknown type", 0o170644, false, 0o100644},
		{"bits beyond 16", 0o37700644, false, 0o100644},
		{"file that says directory", 0o040755, false, 0o100755},
		{"directory that says file", 0o100711, true, 0o040711},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := rockDisc(func(m *testImage) [][]byte {
				if tt.dir {
					lba, size := m.dir(px(tt.mode, 1))
					return [][]byte{rec("F", lba, size, isDir, withUse(nm("f")))}
				}
				return [][]byte{m.file("F.;1", "x", withUse(px(tt.mode, 1), nm("f")))}
			})
			if _, a := lookup(t, m.fs(t, RockRidge, TreeOptions{}), "f"); a.Mode != tt.want {
				t.Errorf("got mode %o, want %o", a.Mode, tt.want)
			}
		})
	}
}

func TestRockRidgeNames(t *testing.T) {
	long := strings.Repeat("long", 50)
	for _, tt := range []struct {
		name string
		use  []byte
		want string
	}{
		{"usual", nm("Name"), "Name"},
		{"in parts", join(nmPart("first-"), nm("second")), "first-second"},
		{"of 255 bytes", join(nmPart(long), nm(long[:55])), long + long[:55]},
		{"too long by a part", join(nmPart(long), nmPart("x"), nm(long)), long + "x"},
		{"ends at the last part", join(nm("Name"), nm("more")), "Name"},
		{"slash and NUL", nm("a/b\x00c"), "a_b_c"},
		{"not UTF-8", nm("\xff\xfe"), "\xff\xfe"},
		{"white space", nm(" \n"), " \n"},
		{"dot", nm("."), "file.txt"},
		{"parent directory", nm(".."), "file.txt"},
		{"empty", nm(""), "file.txt"},
		{"current", su("NM", []byte{2}), "file.txt"},
		{"parent", su("NM", []byte{4}), "file.txt"},
		{"host", su("NM", []byte{32}, []byte("x")), "file.txt"},
		{"none", nil, "file.txt"},
		{"after other entries", join(su("XX", []byte("?")), su("RR", []byte{0x89}), su("ST"), nm("Name")), "Name"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := rockDisc(func(m *testImage) [][]byte {
				return [][]byte{m.file("FILE.TXT;1", "x", withUse(ce(m.alloc(tt.use), 0, uint32(len(tt.use)))))}
			})
			f := m.fs(t, RockRidge, TreeOptions{})
			if diff := cmp.Diff(list(t, f, f.Root()), []string{tt.want}); diff != "" {
				t.Errorf("got - want +:\n%s", diff)
			}
			fsystest.Test(t, f, nil)
		})
	}
}

func TestLinks(t *testing.T) {
	for _, tt := range []struct {
		name string
		use  []byte
		want string // empty: an error
	}{
		{"relative", sl(0, "\x00", "a", "\x00", "b"), "a/b"},
		{"absolute", sl(0, "\x08", "", "\x00", "a"), "/a"},
		{"up", sl(0, "\x04", "", "\x04", "", "\x00", "x"), "../../x"},
		{"here", sl(0, "\x02", "", "\x00", "x"), "./x"},
		{"component in parts", sl(0, "\x01", "one-", "\x00", "two"), "one-two"},
		{"two entries", join(sl(1, "\x00", "head"), sl(0, "\x00", "tail")), "head/tail"},
		{"component across entries", join(sl(1, "\x01", "half-"), sl(0, "\x00", "whole")), "half-whole"},
		{"root twice", sl(0, "\x08", "", "\x08", ""), "//"},
		{"unfinished", sl(1, "\x00", "head"), "head/"},
		{"NUL", sl(0, "\x00", "ab\x00cd"), "ab"},
		{"reserved flag", sl(0, "\x10", ""), ""},
		{"no component", sl(0), ""},
		{"component too long", su("SL", []byte{0, 0, 200, 'x'}), ""},
		{"longer than a path", join(sl(1, "\x00", strings.Repeat("x", 240)), bytes.Repeat(sl(1, "\x00", strings.Repeat("x", 240)), 20)), ""},
		{"no SL", nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := rockDisc(func(m *testImage) [][]byte {
				return [][]byte{rec("L.;1", 0, 0, withUse(px(fsys.TypeLink|0o777, 1), nm("l"), ce(m.alloc(tt.use), 0, uint32(len(tt.use)))))}
			})
			f := m.fs(t, RockRidge, TreeOptions{})
			n, a := lookup(t, f, "l")
			got, err := f.Readlink(n)
			var corrupt *binfmt.CorruptError
			if string(got) != tt.want || errors.As(err, &corrupt) != (tt.want == "") {
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
			if err == nil && a.Size != int64(len(tt.want)) {
				t.Errorf("got size %d, want %d", a.Size, len(tt.want))
			}
		})
	}
}

func TestTimes(t *testing.T) {
	short := []byte{110, 5, 6, 7, 8, 9, 0}
	long := []byte("2012050607080900\x00")
	record, stamped, stampedLong := unix("2001-02-03T04:05:06Z"), unix("2010-05-06T07:08:09Z"), unix("2012-05-06T07:08:09Z")
	for _, tt := range []struct {
		name          string
		use           []byte
		mod, acc, chg fsys.Time
	}{
		{"none", nil, record, record, record},
		{"all", su("TF", []byte{0x0f}, short, short, short, short), stamped, stamped, stamped},
		{"modification", su("TF", []byte{2}, short), stamped, stamped, stamped},
		{"access", su("TF", []byte{4}, short), record, stamped, record},
		{"creation stands in for change", su("TF", []byte{1}, short), record, record, stamped},
		{"long form", su("TF", []byte{0x82}, long), stampedLong, stampedLong, stampedLong},
		{"backup and expiration are passed over", su("TF", []byte{0x32}, short, make([]byte, 7), make([]byte, 7)), stamped, stamped, stamped},
		{"two entries", join(su("TF", []byte{2}, short), su("TF", []byte{0x84}, long)), stamped, stampedLong, stamped},
		{"shorter than its flags say", su("TF", []byte{0x0e}, short), stamped, stamped, stamped},
		{"a date that cannot be", su("TF", []byte{2}, make([]byte, 7)), record, record, record},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := rockDisc(func(m *testImage) [][]byte {
				return [][]byte{m.file("F.;1", "x", withUse(nm("f"), tt.use))}
			})
			_, a := lookup(t, m.fs(t, RockRidge, TreeOptions{}), "f")
			if diff := cmp.Diff([]fsys.Time{a.ModTime, a.AccTime, a.ChgTime}, []fsys.Time{tt.mod, tt.acc, tt.chg}); diff != "" {
				t.Errorf("got - want +:\n%s", diff)
			}
		})
	}
}

func TestOwners(t *testing.T) {
	m := rockDisc(func(m *testImage) [][]byte {
		return [][]byte{
			m.file("A.;1", "x", withUse(px(0o100640, 1, 1000, 1<<32-1), nm("posix"))),
			m.file("B.;1", "x", withUse(nm("none"))),
		}
	})
	for _, tt := range []struct {
		name, file     string
		o              fsys.Owner
		uid, gid, mode uint32
	}{
		{"of the disc", "posix", fsys.Owner{UID: 5, GID: 6}, 1000, 65534, 0o640},
		{"forced", "posix", fsys.Owner{UID: 5, GID: 6, ForceUID: true, ForceGID: true}, 5, 6, 0o640},
		{"mode where the disc has one", "posix", fsys.Owner{FileMode: 0o400, SetFile: true}, 1000, 65534, 0o640},
		{"forced mode", "posix", fsys.Owner{FileMode: 0o400, SetFile: true, ForceMode: true}, 1000, 65534, 0o400},
		{"not of the disc", "none", fsys.Owner{UID: 5, GID: 6}, 5, 6, 0o555},
		{"mode where the disc has none", "none", fsys.Owner{FileMode: 0o400, SetFile: true}, 0, 0, 0o400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, a := lookup(t, m.fs(t, RockRidge, TreeOptions{Owner: tt.o}), tt.file)
			if a.UID != tt.uid || a.GID != tt.gid || a.Mode != fsys.TypeFile|tt.mode {
				t.Errorf("got %d:%d %o, want %d:%d %o", a.UID, a.GID, a.Mode, tt.uid, tt.gid, tt.mode)
			}
		})
	}
}
