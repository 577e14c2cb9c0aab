package master

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseSource(t *testing.T) {
	tests := []struct {
		arg  string
		want Source
	}{
		{"dir", Source{Path: "dir"}},
		{"/boot/grub=build/grub", Source{Path: "build/grub", Target: "/boot/grub"}},
		{"=dir", Source{Path: "dir", Target: "/"}},
		{`a\=b`, Source{Path: "a=b"}},
		{`a\=b=c=d`, Source{Path: "c=d", Target: "a=b"}},
		{`back\\slash=x\\y`, Source{Path: `x\y`, Target: `back\slash`}},
		{`dos\path`, Source{Path: `dos\path`}},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, ParseSource(tt.arg)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.arg, diff)
		}
	}
}

func TestReadSources(t *testing.T) {
	tests := []struct {
		name string
		list string
		zero bool
		want []Source
		err  error
	}{
		{"lines", "./a\nb/c\n\n/etc/fstab", false, []Source{
			{Path: "./a", Target: "/a", Shallow: true}, {Path: "b/c", Target: "/b/c", Shallow: true}, {Path: "/etc/fstab", Target: "/etc/fstab", Shallow: true},
		}, nil},
		{"root", ".\n", false, []Source{{Path: ".", Target: "/", Shallow: true}}, nil},
		{"zero bytes", "a\nb\x00c=d\x00", true, []Source{
			{Path: "a\nb", Target: "/a\nb", Shallow: true}, {Path: "c=d", Target: "/c=d", Shallow: true},
		}, nil},
		{"inner dots", "a/../b\n", false, []Source{{Path: "a/../b", Target: "/b", Shallow: true}}, nil},
		{"out of the image", "ok\n../x\n", false, nil, fs.ErrInvalid},
		{"nothing", "", false, nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ReadSources(strings.NewReader(tt.list), tt.zero)
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if _, err := ReadSources(strings.NewReader(strings.Repeat("x", maxListed+1)), false); err == nil {
		t.Error("a line without end is taken")
	}
}

func TestMatch(t *testing.T) {
	tests := []struct {
		pattern, name string
		want          bool
	}{
		{"*.o", "a.o", true},
		{"*.o", "dir/a.o", true},
		{"*.o", "a.c", false},
		{"dir/*.o", "dir/a.o", true},
		{"dir/*.o", "x/dir/a.o", false},
		{"dir/*.o", "dir/sub/a.o", false},
		{"/top", "top", true},
		{"/top", "dir/top", false},
		{"**/top", "top", true},
		{"**/top", "a/b/top", true},
		{"a/**/z", "a/z", true},
		{"a/**/z", "a/b/c/z", true},
		{"a/**/z", "b/z", false},
		{"a/**", "a/b/c", true},
		{"**/x/**/y", "x/x/y/y", true},
		{"**/x/**/y", "x/x/z", false},
		{"[", "[", false},
	}
	for _, tt := range tests {
		if got := Match(tt.pattern, tt.name); got != tt.want {
			t.Errorf("Match(%q, %q) = %v", tt.pattern, tt.name, got)
		}
	}
}

func FuzzMatch(f *testing.F) {
	f.Add("**/*a*/**/b/**", strings.Repeat("a/", 100)+"b")
	f.Add("a[", "a")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if Match(pattern, name) && checkPattern(pattern) != nil && !strings.Contains(pattern, "/") {
			t.Errorf("malformed %q matches %q", pattern, name)
		}
	})
}
