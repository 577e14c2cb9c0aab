package volume_test

import (
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"

	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/fsys/fsystest"
	"github.com/isomount/isomount/pkg/volume"
)

func TestParseInf(t *testing.T) {
	for _, tt := range []struct {
		name, text        string
		open, icon, label string
	}{
		{"usual", "[autorun]\r\nopen=setup.exe /q\r\nicon=setup.exe,0\r\nlabel=My Disc\r\n", "setup.exe /q", "setup.exe,0", "My Disc"},
		{"any case and space", " [AutoRun] \n OPEN = a.exe \n", "a.exe", "", ""},
		{"another section", "[other]\nopen=no\n[autorun]\nicon=x\n[autorun.alpha]\nopen=no\n", "", "x", ""},
		{"comment", "[autorun]\n;open=no\nopen=yes\n", "yes", "", ""},
		{"the first counts", "[autorun]\nopen=1\nopen=2\n", "1", "", ""},
		{"shellexecute", "[autorun]\nshellexecute=index.html\n", "index.html", "", ""},
		{"open before shellexecute", "[autorun]\nshellexecute=index.html\nopen=a\n", "a", "", ""},
		{"Latin-1", "[autorun]\nlabel=Stra\xdfe\n", "", "", "Straße"},
		{"UTF-8 with mark", "\xef\xbb\xbf[autorun]\nlabel=Straße\n", "", "", "Straße"},
		{"UTF-16", utf16le("\ufeff[autorun]\r\nopen=ä.exe\r\n"), "ä.exe", "", ""},
		{"old Macintosh lines", "[autorun]\ropen=a\ricon=b", "a", "b", ""},
		{"no section", "open=a", "", "", ""},
		{"empty", "", "", "", ""},
		{"longer than any", "[autorun]\n" + strings.Repeat("; ...\n", 20000) + "open=a", "", "", ""},
	} {
		open, icon, label := volume.ParseInf([]byte(tt.text))
		if open != tt.open || icon != tt.icon || label != tt.label {
			t.Errorf("%s: got %q %q %q, want %q %q %q", tt.name, open, icon, label, tt.open, tt.icon, tt.label)
		}
	}
}

func utf16le(s string) string {
	var b strings.Builder
	for _, u := range utf16.Encode([]rune(s)) {
		b.WriteByte(byte(u))
		b.WriteByte(byte(u >> 8))
	}
	return b.String()
}

func FuzzParseInf(f *testing.F) {
	f.Add([]byte("[autorun]\nopen=a\n"))
	f.Add([]byte(utf16le("\ufeff[autorun]\nopen=a\n")))
	f.Fuzz(func(t *testing.T, b []byte) {
		open, icon, label := volume.ParseInf(b)
		for _, s := range []string{open, icon, label} {
			if strings.ContainsAny(s, "\r\n") {
				t.Errorf("a value of several lines: %q", s)
			}
		}
	})
}

func TestFindAutorun(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files []fsystest.File
		want  *volume.Autorun
	}{
		{"nothing", []fsystest.File{{Path: "a"}, {Path: "sub/autorun"}}, nil},
		{"program", []fsystest.File{{Path: "autorun.sh"}, {Path: "autorun"}}, &volume.Autorun{Program: "autorun"}},
		{"a directory is no program", []fsystest.File{{Path: "autorun/x"}}, nil},
		{"document", []fsystest.File{{Path: "autoopen"}, {Path: ".autoopen"}}, &volume.Autorun{Opens: ".autoopen"}},
		{
			"Windows",
			[]fsystest.File{{Path: "AutoRun.inf", Data: []byte("[autorun]\nopen=x.exe\n")}},
			&volume.Autorun{Inf: "AutoRun.inf", Open: "x.exe"},
		},
		{"a link", []fsystest.File{{Path: "autorun.inf", Mode: fsys.TypeLink, Target: "/etc/passwd"}}, nil},
	} {
		m, err := fsystest.NewMem(tt.files)
		if err != nil {
			t.Fatal(err)
		}
		got, err := volume.FindAutorun(m)
		if diff := cmp.Diff(got, tt.want); diff != "" || err != nil {
			t.Errorf("%s: error %v (-got +want):\n%s", tt.name, err, diff)
		}
	}
}
