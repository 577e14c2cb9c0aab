package mount

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestParseTable(t *testing.T) {
	tests := []struct {
		name, line string
		want       Entry
	}{
		{
			"plain", "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue",
			Entry{
				ID: 36, Parent: 35, Major: 98, Root: "/mnt1", Point: "/mnt2", Options: "rw,noatime",
				Tags: []string{"master:1"}, Type: "ext3", Source: "/dev/root", Super: "rw,errors=continue",
			},
		},
		{
			"no and many tags", "1 2 0:39 / /a ro shared:1 master:2 unbindable - fuse.isomount /x.iso ro,user_id=7",
			Entry{
				ID: 1, Parent: 2, Minor: 39, Root: "/", Point: "/a", Options: "ro",
				Tags: []string{"shared:1", "master:2", "unbindable"}, Type: "fuse.isomount", Source: "/x.iso", Super: "ro,user_id=7",
			},
		},
		{
			"escapes", `1 2 0:3 / /a\040b\011c\012d\134e\043f rw - tmpfs a\134040b rw`,
			Entry{ID: 1, Parent: 2, Minor: 3, Root: "/", Point: "/a b\tc\nd\\e#f", Options: "rw", Type: "tmpfs", Source: `a\040b`, Super: "rw"},
		},
		{
			"not an escape", `1 2 0:3 / /a\999\04 rw - tmpfs x rw`,
			Entry{ID: 1, Parent: 2, Minor: 3, Root: "/", Point: `/a\999\04`, Options: "rw", Type: "tmpfs", Source: "x", Super: "rw"},
		},
		{
			"empty source", "1 2 0:3 / /a rw - fuse  rw",
			Entry{ID: 1, Parent: 2, Minor: 3, Root: "/", Point: "/a", Options: "rw", Type: "fuse", Super: "rw"},
		},
		{
			"mount point named dash", "1 2 0:3 / /- rw - fuse x rw",
			Entry{ID: 1, Parent: 2, Minor: 3, Root: "/", Point: "/-", Options: "rw", Type: "fuse", Source: "x", Super: "rw"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseTable(strings.NewReader(tt.line + "\n"))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(got, Table{tt.want}); diff != "" {
				t.Errorf("(-got +want):\n%s", diff)
			}
		})
	}
}

func TestParseTableRejects(t *testing.T) {
	for _, line := range []string{
		"", "-", "36 35 98:0 /mnt1 /mnt2 rw", "36 35 98:0 /mnt1 /mnt2 rw - ext3 /dev/root",
		"x 35 98:0 / / rw - a b c", "1 x 98:0 / / rw - a b c", "1 2 98 / / rw - a b c", "1 2 -1:0 / / rw - a b c",
	} {
		if got, err := ParseTable(strings.NewReader(line + "\n")); err == nil {
			t.Errorf("%q: got %+v, want an error", line, got)
		}
	}
}

func TestTableAt(t *testing.T) {
	table := Table{
		{ID: 1, Parent: 0, Point: "/"},
		{ID: 9, Parent: 1, Point: "/a", Type: "fuse.isomount"},
		{ID: 3, Parent: 9, Point: "/a", Type: "tmpfs"}, // over 9, with an id that was used before
	}
	if got := table.At("/a"); got == nil || got.ID != 3 {
		t.Errorf("got %+v, want the mount on top", got)
	}
	if got := table.At("/b"); got != nil {
		t.Errorf("got %+v, want none", got)
	}
	if got := table.Ours(); len(got) != 1 || got[0].ID != 9 {
		t.Errorf("got %+v, want mount 9", got)
	}
	if got := table.on(9); len(got) != 1 || got[0].ID != 3 {
		t.Errorf("got %+v, want mount 3", got)
	}
}

func TestEntryKinds(t *testing.T) {
	tests := []struct {
		entry      Entry
		fuse, ours bool
		uid        uint32
		known      bool
	}{
		{Entry{Type: "fuse.isomount", Super: "ro,user_id=1000,group_id=5"}, true, true, 1000, true},
		{Entry{Type: "fuse.isomount", Super: "ro"}, true, true, 0, false},
		{Entry{Type: "fuse", Super: "ro,user_id=99999999999"}, true, false, 0, false},
		{Entry{Type: "fuseblk"}, true, false, 0, false},
		{Entry{Type: "fusectl"}, false, false, 0, false},
	}
	for _, tt := range tests {
		uid, known := tt.entry.UserID()
		if tt.entry.IsFUSE() != tt.fuse || tt.entry.IsOurs() != tt.ours || known != tt.known || (known && uid != tt.uid) {
			t.Errorf("%+v: got fuse %v, ours %v, uid %d %v", tt.entry, tt.entry.IsFUSE(), tt.entry.IsOurs(), uid, known)
		}
	}
}

// TestReadTable compares what is read with what the kernel says of a directory.
func TestReadTable(t *testing.T) {
	table, err := ReadTable()
	if err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat("/proc", &st); err != nil {
		t.Fatal(err)
	}
	e := table.At("/proc")
	if e == nil || e.Type != "proc" || st.Dev != unix.Mkdev(e.Major, e.Minor) {
		t.Fatalf("got %+v, want proc on device %d", e, st.Dev)
	}
	if got := table.ByDevice(e.Major, e.Minor); len(got) == 0 {
		t.Error("not found by its device")
	}
	id, err := mountID(unix.AT_FDCWD, "/proc")
	if err != nil || id != e.ID {
		t.Errorf("got mount id %d, %v, want %d", id, err, e.ID)
	}
	old, err := mountIDFromProc(unix.AT_FDCWD, "/proc")
	if err != nil || old != e.ID {
		t.Errorf("from fdinfo: got mount id %d, %v, want %d", old, err, e.ID)
	}
}

func FuzzParseTable(f *testing.F) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(b))
	f.Add(`1 2 0:3 / /a\040\999 rw - fuse  rw`)
	f.Fuzz(func(t *testing.T, s string) {
		table, err := ParseTable(strings.NewReader(s))
		if err != nil {
			return
		}
		for _, e := range table {
			_, _ = e.UserID()
			if strings.Contains(e.Options, " ") || len(e.Point) > len(s) {
				t.Errorf("got %+v", e)
			}
			if got := table.At(e.Point); got == nil || got.Point != e.Point {
				t.Errorf("%q is not found", e.Point)
			}
		}
	})
}

// BenchmarkReadTable reads the table of this machine.
func BenchmarkReadTable(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ReadTable(); err != nil {
			b.Fatal(err)
		}
	}
}
