package master

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/fsys/fsystest"
)

func TestISOFileNames(t *testing.T) {
	tests := []struct {
		name string
		seq  uint32
		want string
	}{
		{"readme.txt", 0, "README.TXT"},
		{"README", 0, "README."},
		{"archive.tar.gz", 0, "ARCHIVE_TAR.GZ"},
		{".bashrc", 0, "_BASHRC."},
		{"trailing.", 0, "TRAILING."},
		{"a b-c+d", 0, "A_B_C_D."},
		{"größe.txt", 0, "GR__E.TXT"},
		{"\xff\xfe", 0, "__."},
		{strings.Repeat("a", 40), 0, strings.Repeat("A", 30) + "."},
		{strings.Repeat("a", 40) + ".txt", 0, strings.Repeat("A", 27) + ".TXT"},
		{"short.extension_of_20_chars", 0, "SHORT.EXTENSION_OF_20_CHARS"},
		{"a_longer_name.extension_of_20_chars", 0, "A_LONGER_NAME.EXTENSIO"},
		{"x." + strings.Repeat("e", 40), 0, "X.EEEEEEEE"},
		{"readme.txt", 1, "README001.TXT"},
		{"readme.txt", 1234567, "README1234567.TXT"},
		{strings.Repeat("a", 40) + ".txt", 12, strings.Repeat("A", 24) + "012.TXT"},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%.20q %d", tt.name, tt.seq), func(t *testing.T) {
			got := string(appendISOFile(nil, tt.name, tt.seq))
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if len(got) > maxISOFile+1 {
				t.Errorf("%d characters, more than ECMA-119 7.5.1 allows", len(got))
			}
		})
	}
}

func TestISODirNames(t *testing.T) {
	tests := []struct {
		name string
		seq  uint32
		want string
	}{
		{"etc", 0, "ETC"},
		{"conf.d", 0, "CONF_D"},
		{strings.Repeat("d", 40), 0, strings.Repeat("D", 31)},
		{strings.Repeat("d", 40), 7, strings.Repeat("D", 28) + "007"},
	}
	for _, tt := range tests {
		if got := string(appendISODir(nil, tt.name, tt.seq)); got != tt.want {
			t.Errorf("%s, %d: got %q, want %q", tt.name, tt.seq, got, tt.want)
		}
	}
}

func TestJolietNames(t *testing.T) {
	tests := []struct {
		name  string
		limit int
		seq   uint32
		want  string
	}{
		{"Read me.txt", maxJoliet, 0, "Read me.txt"},
		{`a*b/c:d;e?f\g`, maxJoliet, 0, "a_b_c_d_e_f_g"},
		{"bell\a", maxJoliet, 0, "bell_"},
		{"日本.txt", maxJoliet, 3, "日本003.txt"},
		{"\xff.txt", maxJoliet, 0, "_.txt"},
		{"replacement \uFFFD", maxJoliet, 0, "replacement \uFFFD"},
		{strings.Repeat("a", 100) + ".text", maxJoliet, 0, strings.Repeat("a", 59) + ".text"},
		{strings.Repeat("a", 100) + ".text", maxJolietLong, 0, strings.Repeat("a", 98) + ".text"},
		{strings.Repeat("a", 63) + "😀", maxJoliet, 0, strings.Repeat("a", 63)},
		{strings.Repeat("a", 62) + "😀b", maxJoliet, 0, strings.Repeat("a", 62) + "😀"},
		{"a." + strings.Repeat("e", 100), maxJoliet, 0, "a.eeeeeeee"},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%.20q %d", tt.name, tt.seq), func(t *testing.T) {
			b := appendJoliet(nil, tt.name, tt.limit, tt.seq)
			if got := fromUCS2(b); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if len(b) > 2*tt.limit {
				t.Errorf("%d bytes, more than %d", len(b), 2*tt.limit)
			}
		})
	}
}

func fromUCS2(b []byte) string {
	var units []uint16
	for c := range slices.Chunk(b, 2) {
		units = append(units, uint16(c[0])<<8|uint16(c[1]))
	}
	return string(utf16.Decode(units))
}

func TestUDFNames(t *testing.T) {
	tests := []struct {
		name string
		seq  uint32
		form byte
		want string
	}{
		{"plain.txt", 0, 8, "plain.txt"},
		{"größe", 0, 8, "größe"},
		{"日本", 0, 16, "日本"},
		{"\xff\xfe", 0, 8, "__"},
		{strings.Repeat("a", 254), 0, 8, strings.Repeat("a", 254)},
		{strings.Repeat("a", 255), 0, 8, strings.Repeat("a", 254)},
		{strings.Repeat("a", 300) + ".txt", 5, 8, strings.Repeat("a", 247) + "005.txt"},
		{strings.Repeat("本", 130) + ".txt", 0, 16, strings.Repeat("本", 123) + ".txt"},
		{"x.txt", 2, 8, "x002.txt"},
		{"x." + strings.Repeat("e", 300), 0, 8, "x." + strings.Repeat("e", 126)},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%.20q %d", tt.name, tt.seq), func(t *testing.T) {
			b := udfName(nil, &Node{name: tt.name}, tt.seq)
			got := ""
			if b[0] == 16 {
				got = fromUCS2(b[1:])
			} else {
				for _, c := range b[1:] {
					got += string(rune(c))
				}
			}
			if got != tt.want || b[0] != tt.form {
				t.Errorf("got form %d %q, want %d %q", b[0], got, tt.form, tt.want)
			}
			if len(b) > maxUDFName {
				t.Errorf("%d bytes", len(b))
			}
		})
	}
}

// dirOf makes a directory of empty files.
func dirOf(tb testing.TB, names ...string) []*Node {
	tb.Helper()
	tree := NewTree(fsys.Attr{})
	for _, name := range names {
		a := fsys.Attr{Mode: fsys.TypeFile}
		if before, ok := strings.CutSuffix(name, "/"); ok {
			name, a.Mode = before, fsys.TypeDir
		}
		if _, err := tree.Add(tree.Root(), name, &a, nil, 0); err != nil {
			tb.Fatal(err)
		}
	}
	d := tree.Root().inode.dir
	d.sort()
	return d.children
}

func TestArrange(t *testing.T) {
	tests := []struct {
		name  string
		names []string
		want  []string // as isoKey makes them, in order
	}{
		{"order of ECMA-119 9.3", []string{"abc", "ab.x", "ab", "a_", "a1"}, []string{"A1.", "AB.", "AB.X", "ABC.", "A_."}},
		{"case", []string{"a", "A"}, []string{"A.", "A001."}},
		{"a number that is taken", []string{"x", "X", "x001"}, []string{"X.", "X001.", "X002."}},
		{"file and directory", []string{"data/", "DATA"}, []string{"DATA.", "DATA001."}},
		{"extensions apart", []string{"a.c", "A.c", "a.h", "A.h"}, []string{"A.C", "A.H", "A001.C", "A001.H"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, n := range arrange(dirOf(t, tt.names...), treeISO, isoKey, nil) {
				got = append(got, string(isoKey(nil, n, n.seq[treeISO])))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("names (-want +got):\n%s", diff)
			}
		})
	}
}

func TestArrangeFolded(t *testing.T) {
	nodes := dirOf(t, "Makefile", "makefile", "MAKEFILE", "größe", "GRÖSSE", "GRÖßE", "x")
	name := jolietNamer(maxJoliet)
	var got []string
	for _, n := range arrange(nodes, treeJoliet, name, foldJoliet) {
		got = append(got, fromUCS2(name(nil, n, n.seq[treeJoliet])))
	}
	want := []string{"GRÖSSE", "GRÖßE", "MAKEFILE", "Makefile001", "größe001", "makefile002", "x"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

// TestArrangeMany makes sure that clashes cost little: every pattern here once
// took some writer time in proportion to the square of the number of files.
func TestArrangeMany(t *testing.T) {
	const n = 20_000
	patterns := map[string]func(i int) string{
		"all the same stem": func(i int) string { return strings.Repeat("a", 40) + fmt.Sprint(i) },
		"stems that overlap": func(i int) string {
			return strings.Repeat("a", 22+i%9) + strings.Repeat("!", 1+i/9%80) + strings.Repeat("?", i/720)
		},
		"pairs":               func(i int) string { return fmt.Sprintf("aaaaaaaaaaaaaaaaaaaaaaaaa%05d%s", i/2, "xy"[i%2:i%2+1]) },
		"numbers as numbered": func(i int) string { return fmt.Sprintf("%c%03d", "aA"[i%2], i/2) },
	}
	for name, pattern := range patterns {
		t.Run(name, func(t *testing.T) {
			names := make([]string, n)
			for i := range names {
				names[i] = pattern(i)
			}
			nodes := dirOf(t, names...)
			start := cpuTime(t)
			for kind, name := range map[treeKind]namer{treeISO: isoKey, treeJoliet: jolietNamer(maxJoliet), treeUDF: udfName} {
				seen := map[string]bool{}
				for _, n := range arrange(nodes, kind, name, nil) {
					seen[string(name(nil, n, n.seq[kind]))] = true
				}
				if len(seen) != n {
					t.Errorf("tree %d: %d different names, want %d", kind, len(seen), n)
				}
			}
			if took := cpuTime(t) - start; took > 10*time.Second*fsystest.Slow {
				t.Errorf("took %v of processor time", took)
			}
		})
	}
}

// cpuTime returns how long this process has computed, which says more than a
// clock on a machine that is busy.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		t.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func FuzzNames(f *testing.F) {
	f.Add("readme.txt", "README.TXT", uint32(0))
	f.Add("日本.😀", "\xff", uint32(123456789))
	f.Add(strings.Repeat("n", 300)+"."+strings.Repeat("e", 300), ".", uint32(maxSeq))
	f.Fuzz(func(t *testing.T, a, b string, seq uint32) {
		if a == b || len(a) == 0 || len(b) == 0 {
			return
		}
		for kind, name := range map[treeKind]namer{treeISO: isoKey, treeJoliet: jolietNamer(maxJoliet), treeUDF: udfName} {
			x, y := &Node{name: a, inode: &inode{}}, &Node{name: b, inode: &inode{}}
			arrange([]*Node{x, y}, kind, name, nil)
			one, two := string(name(nil, x, x.seq[kind])), string(name(nil, y, y.seq[kind]))
			if one == two {
				t.Errorf("tree %d: %q and %q are both %q", kind, a, b, one)
			}
			limit := map[treeKind]int{treeISO: maxISOFile + 1, treeJoliet: 2 * maxJoliet, treeUDF: maxUDFName}[kind]
			if got := len(name(nil, x, seq)); got > limit {
				t.Errorf("tree %d: name %d of %q has %d bytes", kind, seq, a, got)
			}
		}
	})
}

func BenchmarkArrange(b *testing.B) {
	names := make([]string, 100_000)
	for i := range names {
		names[i] = fmt.Sprintf("a file with a rather long name %06d.dat", i)
	}
	nodes := dirOf(b, names...)
	b.ReportAllocs()
	for b.Loop() {
		arrange(nodes, treeISO, isoKey, nil)
	}
}
