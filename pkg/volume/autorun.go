package volume

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/isomount/isomount/pkg/fsys"
)

// An Autorun is what a disc would like to be done when it is inserted. Nothing
// here does it.
type Autorun struct {
	Program string `json:"program,omitempty"` // file in the root that the freedesktop Autostart specification runs
	Opens   string `json:"opens,omitempty"`   // file in the root that names a document to open
	Inf     string `json:"inf,omitempty"`     // name of the Windows file, of which the rest is
	Open    string `json:"open,omitempty"`    // command line
	Icon    string `json:"icon,omitempty"`
	Label   string `json:"label,omitempty"`
}

// Names that the freedesktop Autostart specification looks for in the root, the
// first that exists counts ("Autostart Of Applications After Mount").
var (
	AutorunNames  = []string{".autorun", "autorun", "autorun.sh"}
	AutoopenNames = []string{".autoopen", "autoopen"}
)

// infName is the file that Windows looks for, in any case.
const infName = "autorun.inf"

// maxInf is how large an autorun.inf may be, in bytes; real ones have a few hundred.
const maxInf = 64 << 10

// FindAutorun looks for what a disc would like to be done; nil if there is
// nothing of that kind. A file that cannot be read is passed over.
func FindAutorun(f fsys.FS) (*Autorun, error) {
	found, inf := map[string]bool{}, fsys.Node(0)
	a := new(Autorun)
	err := f.ReadDir(f.Root(), 0, func(e *fsys.Entry) bool {
		switch name := string(e.Name); {
		case e.Node == 0 || e.Attr.IsDir():
		case strings.EqualFold(name, infName) && e.Attr.IsRegular() && inf == 0:
			inf, a.Inf = e.Node, name
		default:
			found[name] = true
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	a.Program, a.Opens = firstOf(AutorunNames, found), firstOf(AutoopenNames, found)
	if inf != 0 {
		if text, err := readInf(f, inf); err == nil {
			a.Open, a.Icon, a.Label = ParseInf(text)
		}
	}
	if *a == (Autorun{}) {
		return nil, nil //nolint:nilnil // most discs have nothing of that kind
	}
	return a, nil
}

func firstOf(names []string, found map[string]bool) string {
	for _, n := range names {
		if found[n] {
			return n
		}
	}
	return ""
}

func readInf(f fsys.FS, n fsys.Node) ([]byte, error) {
	p := make([]byte, maxInf)
	k, err := f.ReadAt(n, p, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return p[:k], err
}

// ParseInf reads the open=, icon= and label= of the section [autorun] of an
// autorun.inf: lines of name=value, in any case, of a Windows code page or
// UTF-16 with a byte order mark (Microsoft, "Autorun.inf Entries"). shellexecute=
// counts as open= where that is missing.
func ParseInf(text []byte) (open, icon, label string) {
	keys := map[string]string{}
	inside := false
	for line := range strings.SplitSeq(infText(text), "\n") {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			inside = strings.EqualFold(line, "[autorun]")
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		name = strings.ToLower(strings.TrimSpace(name))
		if _, again := keys[name]; !ok || !inside || again || strings.HasPrefix(name, ";") {
			continue
		}
		keys[name] = strings.TrimSpace(value)
	}
	open = keys["open"]
	if open == "" {
		open = keys["shellexecute"]
	}
	return open, keys["icon"], keys["label"]
}

// infText decodes the file. Bytes that are not UTF-8 are taken for Latin-1.
func infText(b []byte) string {
	b = b[:min(len(b), maxInf)]
	if rest, ok := bytes.CutPrefix(b, []byte("\xff\xfe")); ok {
		units := make([]uint16, len(rest)/2)
		for i := range units {
			units[i] = uint16(rest[2*i]) | uint16(rest[2*i+1])<<8
		}
		return strings.ReplaceAll(string(utf16.Decode(units)), "\r", "\n")
	}
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))
	b = bytes.ReplaceAll(b, []byte("\r"), []byte("\n"))
	if utf8.Valid(b) {
		return string(b)
	}
	runes := make([]rune, len(b))
	for i, c := range b {
		runes[i] = rune(c)
	}
	return string(runes)
}
