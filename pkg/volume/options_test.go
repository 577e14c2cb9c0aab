package volume

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isomount/isomount/pkg/fsys"
)

func TestParseOptions(t *testing.T) {
	me := fsys.Owner{UID: 1000, GID: 100}
	plain := Options{Owner: me, SBSector: -1}
	with := func(change func(*Options)) Options {
		o := plain
		change(&o)
		return o
	}
	for list, want := range map[string]Options{
		"": plain,
		"ro,nosuid,,defaults,x-systemd.automount": plain,
		"fs=iso9660,norock,nojoliet":              with(func(o *Options) { o.FS, o.NoRock, o.NoJoliet = ISO9660, true, true }),
		"fs=auto":                                 with(func(o *Options) { o.FS = Auto }),
		"map=off":                                 with(func(o *Options) { o.Map = "off" }),
		"map=o, check=s":                          with(func(o *Options) { o.Map, o.Check = "off", "strict" }),
		"sbsector=64":                             with(func(o *Options) { o.SBSector = 64 }),
		"sbsector=0":                              with(func(o *Options) { o.SBSector = 0 }),
		"session=2":                               with(func(o *Options) { o.Session = 2 }),
		"session=all":                             with(func(o *Options) { o.View = "all" }),
		"uid=5,gid=6":                             with(func(o *Options) { o.Owner = fsys.Owner{UID: 5, GID: 6, ForceUID: true, ForceGID: true} }),
		"mode=444,dmode=0555,overriderockperm": with(func(o *Options) {
			o.Owner.FileMode, o.Owner.SetFile, o.Owner.DirMode, o.Owner.SetDir, o.Owner.ForceMode = 0o444, true, 0o555, true, true
		}),
		"novrs,anchor=512,lastblock=900,bs=4096,umask=022": with(func(o *Options) {
			o.NoVRS, o.Anchor, o.LastBlock, o.BlockSize, o.Owner.Umask = true, 512, 900, 4096, 0o22
		}),
	} {
		got, err := ParseOptions(list, me)
		if err != nil {
			t.Errorf("%q: %v", list, err)
		}
		if diff := cmp.Diff(got, want); diff != "" {
			t.Errorf("%q: %s", list, diff)
		}
	}
}

func TestParseOptionsSaysWhatIsWrong(t *testing.T) {
	for list, want := range map[string]string{
		"rw":                   "cannot be written",
		"nosuch":               "is not known",
		"fs=ext4":              "not one of auto, iso9660",
		"fs":                   "needs a value",
		"norock=1":             "takes no value",
		"mode=999":             "octal",
		"uid=root":             "numeric id",
		"session=0":            "from 1 to 99",
		"sbsector=-5":          "not a number",
		"session=2,sbsector=1": "exclude each other",
	} {
		_, err := ParseOptions(list, fsys.Owner{})
		if !errors.Is(err, ErrOption) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want an ErrOption with %q", list, err, want)
		}
	}
}

func TestOptionsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/SEMANTICS.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range options() {
		name := "`" + o.name
		if o.value == hasValue {
			name += "="
		} else {
			name += "`"
		}
		if !strings.Contains(string(text), name) {
			t.Errorf("docs/SEMANTICS.md does not tell of %s", name)
		}
	}
}
