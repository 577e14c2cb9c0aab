package udf

import (
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/isomount/isomount/pkg/binfmt"
)

// cs0 encodes a name with 8 or 16 bits a character, as it needs.
func cs0(name string) []byte {
	wide := false
	for _, r := range name {
		wide = wide || r > 0xff
	}
	if !wide {
		out := []byte{cs0Bytes}
		for _, r := range name {
			out = append(out, byte(r))
		}
		return out
	}
	out := []byte{cs0Words}
	for _, u := range utf16.Encode([]rune(name)) {
		out = append(out, byte(u>>8), byte(u))
	}
	return out
}

func TestNames(t *testing.T) {
	tests := []struct {
		name string
		id   []byte
		want string
	}{
		{"ascii", cs0("readme.txt"), "readme.txt"},
		{"latin-1 in 8 bits", cs0("grüße"), "grüße"},
		{"16 bits", cs0("日本語.txt"), "日本語.txt"},
		{"surrogate pair", cs0("emoji-😀"), "emoji-😀"},
		{"leading dots", cs0("..two"), "..two"},
		{"hidden", cs0(".profile"), ".profile"},
		{"dot", cs0("."), ".#" + hexCRC(".")},
		{"two dots", cs0(".."), "..#" + hexCRC("..")},
		{"slash", cs0("a/b.txt"), "a_b#" + hexCRC("a/b.txt") + ".txt"},
		{"run of bad characters", cs0("a//\x00b"), "a_b#" + hexCRC("a//\x00b")},
		{"slash in extension", cs0("a.b/c"), "a#" + hexCRC("a.b/c") + ".b_c"},
		{"extension of five is none", cs0("a/b.12345"), "a_b.12345#" + hexCRC("a/b.12345")},
		{"dot at the end", cs0("a/b."), "a_b.#" + hexCRC("a/b.")},
		{"lone high surrogate", []byte{cs0Words, 0xd8, 0x00, 0, 'x'}, "_x#" + hexCRC("\xd8\x00\x00x")},
		{"lone low surrogate", []byte{cs0Words, 0, 'x', 0xdc, 0x00}, "x_#" + hexCRC("\x00x\xdc\x00")},
		{"half a character", []byte{cs0Words, 0, 'x', 'y'}, "x#" + hexCRC("\x00x")},
		{"unknown compression", []byte{9, 'x'}, "x#" + hexCRC("x")},
		{"deleted", []byte{cs0DeletedBytes, 'x'}, "x"},
		{"no characters", []byte{cs0Bytes}, "#" + hexCRC("")},
		{"nothing at all", nil, "#" + hexCRC("")},
		{"255 bytes", cs0(strings.Repeat("日", 85)), strings.Repeat("日", 85)},
		{
			"258 bytes", cs0(strings.Repeat("日", 86)),
			strings.Repeat("日", 83) + "#" + hexCRC(string(cs0(strings.Repeat("日", 86))[1:])),
		},
		{
			"258 bytes and extension", cs0(strings.Repeat("日", 86) + ".txt"),
			strings.Repeat("日", 81) + "#" + hexCRC(string(cs0(strings.Repeat("日", 86) + ".txt")[1:])) + ".txt",
		},
		{
			"bad character in 255 bytes", cs0(strings.Repeat("n", 249) + "/.txt"),
			strings.Repeat("n", 245) + "#" + hexCRC(strings.Repeat("n", 249)+"/.txt") + ".txt",
		},
		{"255 bytes with extension", cs0(strings.Repeat("n", 250) + ".text"), strings.Repeat("n", 250) + ".text"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var n namer
			if got := string(n.append(nil, tt.id)); got != tt.want {
				t.Errorf("name of % x = %q, want %q", tt.id, got, tt.want)
			}
			if got := string(n.append([]byte("before/"), tt.id)); got != "before/"+tt.want {
				t.Errorf("appended name = %q, want %q", got, "before/"+tt.want)
			}
		})
	}
}

func hexCRC(id string) string {
	const hex = "0123456789ABCDEF"
	v := binfmt.CRC16([]byte(id)) // which has a test of its own
	return string([]byte{hex[v>>12], hex[v>>8&15], hex[v>>4&15], hex[v&15]})
}

func TestNamesInCharset(t *testing.T) {
	for _, tt := range []struct{ charset, name, want string }{
		{"iso8859-1", "grüße", "gr\xfc\xdfe"},
		{"cp437", "ü", "\x81"},
		{"cp1252", "€", "\x80"},
		{"sjis", "日本", "\x93\xfa\x96\x7b"},
		{"koi8-r", "日.txt", "?#" + hexCRC("\x65\xe5\x00.\x00t\x00x\x00t") + ".txt"},
		{"utf8", "ü", "ü"},
	} {
		cs, err := charset(tt.charset)
		if err != nil {
			t.Errorf("charset %s: %v", tt.charset, err)
			continue
		}
		n := namer{charset: cs}
		if got := string(n.append(nil, cs0(tt.name))); got != tt.want {
			t.Errorf("%s in %s = %q, want %q", tt.name, tt.charset, got, tt.want)
		}
	}
	if _, err := charset("no such set"); err == nil {
		t.Error("charset of an unknown name gave no error")
	}
}

// usableName tells whether Linux takes a name from a file system.
func usableName(name []byte) bool {
	return len(name) > 0 && len(name) <= 255 && string(name) != "." && string(name) != ".." &&
		!strings.ContainsAny(string(name), "/\x00")
}

func FuzzName(f *testing.F) {
	for _, s := range []string{"", "\x08", "\x08.", "\x08..", "\x08a/b.txt", "\x10\xd8\x00", "\x10\x00a\x00.\x00b", "\xfe\x00"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, id []byte) {
		var n namer
		name := n.append(nil, id[:min(len(id), 255)])
		if !usableName(name) {
			t.Errorf("name of % x = %q", id, name)
		}
		if !utf8.Valid(name) {
			t.Errorf("name of % x is not UTF-8: %q", id, name)
		}
		_ = cs0String(id)
	})
}

func BenchmarkName(b *testing.B) {
	for _, name := range []string{"entry-0000-with-a-name-of-some-length", "日本語のファイル名.txt"} {
		id := cs0(name)
		b.Run(name, func(b *testing.B) {
			var n namer
			var buf []byte
			b.ReportAllocs()
			for b.Loop() {
				buf = n.append(buf[:0], id)
			}
		})
	}
}
