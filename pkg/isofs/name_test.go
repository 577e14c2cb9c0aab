package isofs

import (
	"strings"
	"testing"
)

func TestPlainNames(t *testing.T) {
	for _, tt := range []struct{ name, id, want string }{
		{"version 1 goes", "README.TXT;1", "readme.txt"},
		{"with the dot before it", "README.;1", "readme"},
		{"also without a dot", "README;1", "readme"},
		{"other versions stay", "README.TXT;2", "readme.txt.2"},
		{"only the last one goes", "A;1;1", "a.1"},
		{"only one dot goes", "DOTS...;1", "dots.."},
		{"no version", "MiXeD", "mixed"},
		{"slash of Acorn", "A/B;1", "a.b"},
		{"padding", "PAD\x00\x00", "pad"},
		{"bytes beyond ASCII", "\xc4\xe4;1", "\xc4\xe4"},
		{"nothing but a version", ";1", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(appendPlain(nil, []byte(tt.id))); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestJolietNames(t *testing.T) {
	for _, tt := range []struct{ name, id, want string }{
		{"version 1 goes", utf16be("a;1"), "a"},
		{"and dots at the end", utf16be("e...;1"), "e"},
		{"one character stays", utf16be("."), "."},
		{"a version alone stays", utf16be(";1"), ";1"},
		{"beyond ASCII", utf16be("ﬁé"), "ﬁé"},
		{"surrogates", "\xd8\x3d\xde\x00\x00x", "😀x"},
		{"high surrogate alone", "\xd8\x3d\x00x", "\uFFFDx"},
		{"high surrogate at the end", "\x00x\xd8\x3d", "x\uFFFD"},
		{"low surrogate alone", "\xde\x00\x00x", "\uFFFDx"},
		{"padding", utf16be("a\x00\x00"), "a"},
		{"odd length", utf16be("a") + "\x00", "a"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(appendJoliet(nil, []byte(tt.id), nil)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestAcornNames(t *testing.T) {
	acorn := func(typ uint16, flags byte) []byte {
		b := make([]byte, 32)
		copy(b, "ARCHIMEDES")
		b[11], b[12], b[13] = byte(typ), 0xf0|byte(typ>>8), 0xff
		b[19] = flags
		return b
	}
	untyped := acorn(0xfff, 0)
	untyped[13] = 0
	for _, tt := range []struct {
		name, id, want string
		use            []byte
		dir            bool
	}{
		{"type", "TEXT;1", "text,fff", acorn(0xfff, 0), false},
		{"all digits", "OBEY;1", "obey,feb", acorn(0xfeb, 0), false},
		{"directories have none", "DIR", "dir", acorn(0xffd, 0), true},
		{"no type", "DATA;1", "data", untyped, false},
		{"application", "_APP", "!app", acorn(0, 1), true},
		{"no mark", "_APP", "_app", acorn(0, 0), true},
		{"not Acorn's", "TEXT;1", "text", make([]byte, 32), false},
		{"short", "TEXT;1", "text", []byte("ARCHIMEDES"), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &record{name: []byte(tt.id), use: tt.use}
			if tt.dir {
				r.flags = flagDirectory
			}
			if got := string(appendAcorn(nil, r)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestCleanNames(t *testing.T) {
	long := strings.Repeat("é", 200)
	for _, tt := range []struct {
		name, in, want string
		ok             bool
	}{
		{"good", "name", "name", true},
		{"slash", "a/b", "a_b", true},
		{"NUL", "a\x00b", "a_b", true},
		{"dot", ".", ".", false},
		{"parent", "..", "..", false},
		{"three dots", "...", "...", true},
		{"empty", "", "", false},
		{"too long", long, long[:254], true},
		{"too long and no text", strings.Repeat("\x80", 300), strings.Repeat("\x80", 255), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := clean([]byte(tt.in))
			if string(got) != tt.want || ok != tt.ok {
				t.Errorf("got %q, %t, want %q, %t", got, ok, tt.want, tt.ok)
			}
		})
	}
}

func TestTwinNames(t *testing.T) {
	for _, tt := range []struct {
		name string
		n    uint32
		want string
	}{
		{"report.txt", 2, "report~2.txt"},
		{"noext", 3, "noext~3"},
		{".profile", 2, ".profile~2"},
		{"a.tar.gz", 10, "a.tar~10.gz"},
		{strings.Repeat("x", 255), 2, strings.Repeat("x", 253) + "~2"},
	} {
		t.Run(tt.name[:min(len(tt.name), 20)], func(t *testing.T) {
			got := string(appendTwin(nil, []byte(tt.name), tt.n))
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if len(tt.name) == maxName {
				return
			}
			if base, n := splitTwin([]byte(got)); string(base) != tt.name || n != tt.n {
				t.Errorf("splitTwin(%q) = %q, %d", got, base, n)
			}
		})
	}
	for _, name := range []string{"a", "a~", "a~1", "~2", "a~x.txt", "a~99999999999"} {
		if base, n := splitTwin([]byte(name)); n != 0 {
			t.Errorf("splitTwin(%q) = %q, %d, want none", name, base, n)
		}
	}
}

func FuzzNames(f *testing.F) {
	for _, s := range []string{"README.TXT;1", utf16be("x;1"), "\xd8\x3d", "a/b\x00", ""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 222 {
			b = b[:222]
		}
		names := [][]byte{appendPlain(nil, b), appendJoliet(nil, b, nil), appendAcorn(nil, &record{name: b, use: b}), appendEnhanced(nil, b)}
		for _, name := range names {
			got, ok := clean(name)
			if len(got) > maxName || ok == isReserved(got) || strings.ContainsAny(string(got), "/\x00") {
				t.Errorf("clean(%q) = %q, %t", b, got, ok)
			}
			twin := appendTwin(nil, got, 2)
			if len(twin) > maxName {
				t.Errorf("appendTwin(%q) has %d bytes", got, len(twin))
			}
		}
	})
}
