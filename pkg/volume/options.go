package volume

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/hfsplus"
)

// ErrOption reports a mount option that is not known or has a value that
// cannot be.
var ErrOption = errors.New("mount option")

// File systems of the option fs=, as mount -t names them.
const (
	Auto    = "auto"
	ISO9660 = "iso9660"
	UDF     = "udf"
	HFSPlus = "hfsplus"
	VFAT    = "vfat"
)

// Views of the option view=.
const (
	viewAll = "all" // every tree side by side
	viewOne = "one"
)

// Values of the option transport=.
const (
	TransportDevice = "device"
	TransportURing  = "uring"
)

// Options choose a tree and how it is shown. The zero value chooses by the
// disc and gives everything to root.
type Options struct {
	FS       string // Auto ("" too), ISO9660, UDF, HFSPlus or VFAT
	View     string // "" for one tree, "all" for every tree side by side
	NoRock   bool   // leave Rock Ridge aside
	NoJoliet bool   // leave Joliet aside
	Map      string // "normal" ("" too), "off" or "acorn": how plain ISO 9660 names are shown
	Check    string // "relaxed" or "strict": whether case matters in a lookup; "": as the tree is made
	Charset  string // of names that are not UTF-8; "": guess
	Unhide   bool   // show associated files, and what UDF marks as hidden
	Undelete bool   // show what UDF marks as deleted
	Raw      bool   // do not decompress zisofs (nocompress)
	Forks    string // how HFS+ shows resource forks: "xattr" ("" too), "dot" or "none"

	Session  int   // 0: the last; from 1 on
	SBSector int64 // first block of the session, in units of 2048 bytes; -1: by Session

	NoVRS     bool  // read UDF without its volume recognition sequence
	Anchor    int64 // block of the UDF anchor; 0: look for it
	LastBlock int64 // last block of the UDF session; 0: by the size
	BlockSize int64 // of UDF, in bytes; 0: try all

	Transport string // TransportDevice ("" too) or TransportURing: how requests come from the kernel

	Owner fsys.Owner
}

// An option is a line of the table of mount options.
type option struct {
	name  string
	value valueKind
	set   func(o *Options, v string) error
}

type valueKind int

const (
	noValue valueKind = iota
	hasValue
)

// options are the mount options, with the names that Linux's isofs and udf
// use. To add one, add a line, and one to docs/SEMANTICS.md.
func options() []option {
	return []option{
		{"fs", hasValue, choice(func(o *Options) *string { return &o.FS }, Auto, ISO9660, UDF, HFSPlus, VFAT)},
		{"view", hasValue, choice(func(o *Options) *string { return &o.View }, viewAll, viewOne)},
		{"norock", noValue, func(o *Options, _ string) error { o.NoRock = true; return nil }},
		{"nojoliet", noValue, func(o *Options, _ string) error { o.NoJoliet = true; return nil }},
		{"map", hasValue, choice(func(o *Options) *string { return &o.Map }, "normal", "off", "acorn", "n", "o", "a")},
		{"check", hasValue, choice(func(o *Options) *string { return &o.Check }, "relaxed", "strict", "r", "s")},
		{"iocharset", hasValue, func(o *Options, v string) error { o.Charset = v; return nil }},
		{"utf8", noValue, func(o *Options, _ string) error { o.Charset = "utf8"; return nil }},
		{"unhide", noValue, func(o *Options, _ string) error { o.Unhide = true; return nil }},
		{"showassoc", noValue, func(o *Options, _ string) error { o.Unhide = true; return nil }},
		{"undelete", noValue, func(o *Options, _ string) error { o.Undelete = true; return nil }},
		{"nocompress", noValue, func(o *Options, _ string) error { o.Raw = true; return nil }},
		{"forks", hasValue, choice(func(o *Options) *string { return &o.Forks }, hfsplus.ForksXattr, hfsplus.ForksDot, hfsplus.ForksNone)},
		{"session", hasValue, setSession},
		{"sbsector", hasValue, number(func(o *Options) *int64 { return &o.SBSector })},
		{"novrs", noValue, func(o *Options, _ string) error { o.NoVRS = true; return nil }},
		{"anchor", hasValue, number(func(o *Options) *int64 { return &o.Anchor })},
		{"lastblock", hasValue, number(func(o *Options) *int64 { return &o.LastBlock })},
		{"bs", hasValue, number(func(o *Options) *int64 { return &o.BlockSize })},
		{"uid", hasValue, setID(func(o *Options, id uint32) { o.Owner.UID, o.Owner.ForceUID = id, true })},
		{"gid", hasValue, setID(func(o *Options, id uint32) { o.Owner.GID, o.Owner.ForceGID = id, true })},
		{"mode", hasValue, setMode(func(o *Options, m uint32) { o.Owner.FileMode, o.Owner.SetFile = m, true })},
		{"dmode", hasValue, setMode(func(o *Options, m uint32) { o.Owner.DirMode, o.Owner.SetDir = m, true })},
		{"overriderockperm", noValue, func(o *Options, _ string) error { o.Owner.ForceMode = true; return nil }},
		{"umask", hasValue, setMode(func(o *Options, m uint32) { o.Owner.Umask = m })},
		{"transport", hasValue, choice(func(o *Options) *string { return &o.Transport }, TransportDevice, TransportURing)},
	}
}

// noise are options that say what is so anyway, or that only mount(8) and
// /etc/fstab read; they and all that begin with "x-" are passed over.
var noise = []string{
	"", "ro", "defaults", "auto", "noauto", "user", "nouser", "users", "nofail", "_netdev", "owner", "group",
	"suid", "nosuid", "dev", "nodev", "exec", "noexec", "sync", "async", "atime", "noatime", "relatime", "norelatime",
	"diratime", "nodiratime", "strictatime", "lazytime", "nolazytime", "loop", "allow_other", "allow_root", "default_permissions",
	"cruft", "block=512", "block=1024", "block=2048", "shortad", "longad", "adinicb", "noadinicb", "nostrict", "utf8=1",
}

// ParseOptions reads a list of mount options separated by commas. owner is who
// mounts. The error names the option and is an [ErrOption].
func ParseOptions(list string, owner fsys.Owner) (Options, error) {
	o := Options{Owner: owner, SBSector: -1}
	known := options()
	for item := range strings.SplitSeq(list, ",") {
		item = strings.TrimSpace(item)
		if slices.Contains(noise, item) || strings.HasPrefix(item, "x-") || strings.HasPrefix(item, "X-") {
			continue
		}
		if err := o.apply(known, item); err != nil {
			return Options{}, err
		}
	}
	return o, o.check()
}

func (o *Options) apply(known []option, item string) error {
	name, value, given := strings.Cut(item, "=")
	if name == "rw" {
		return fmt.Errorf("%w %q: a disc cannot be written; leave it out", ErrOption, item)
	}
	i := slices.IndexFunc(known, func(x option) bool { return x.name == name })
	if i < 0 {
		return fmt.Errorf("%w %q is not known; known are %s", ErrOption, item, optionNames(known))
	}
	switch x := known[i]; {
	case x.value == hasValue && value == "":
		return fmt.Errorf("%w %q needs a value: %s=…", ErrOption, item, name)
	case x.value == noValue && given:
		return fmt.Errorf("%w %q takes no value", ErrOption, item)
	default:
		if err := x.set(o, value); err != nil {
			return fmt.Errorf("%w %q: %w", ErrOption, item, err)
		}
	}
	return nil
}

// check looks for options that contradict each other.
func (o *Options) check() error {
	if o.Session > 0 && o.SBSector >= 0 {
		return fmt.Errorf("%w: session= and sbsector= exclude each other", ErrOption)
	}
	return nil
}

func optionNames(known []option) string {
	names := make([]string, len(known))
	for i, x := range known {
		names[i] = x.name
		if x.value == hasValue {
			names[i] += "="
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// choice accepts one of some words, or the first letter of one of the first
// where the kernel takes that.
func choice(field func(*Options) *string, words ...string) func(*Options, string) error {
	return func(o *Options, v string) error {
		for _, w := range words {
			if w != v {
				continue
			}
			for _, long := range words {
				if strings.HasPrefix(long, v) {
					*field(o) = long
					return nil
				}
			}
		}
		return fmt.Errorf("not one of %s", strings.Join(words, ", "))
	}
}

func number(field func(*Options) *int64) func(*Options, string) error {
	return func(o *Options, v string) error {
		n, err := strconv.ParseUint(v, 10, 32)
		if err != nil {
			return errors.New("not a number from 0 to 4294967295")
		}
		*field(o) = int64(n)
		return nil
	}
}

// setSession reads session=; the kernel counts from 0, people and the tools
// that write discs from 1.
func setSession(o *Options, v string) error {
	if v == "all" {
		o.View = viewAll
		return nil
	}
	n, err := strconv.ParseUint(v, 10, 16)
	if err != nil || n == 0 || n > 99 {
		return errors.New("not a number from 1 to 99, nor all")
	}
	o.Session = int(n)
	return nil
}

func setID(set func(*Options, uint32)) func(*Options, string) error {
	return func(o *Options, v string) error {
		n, err := strconv.ParseUint(v, 10, 32)
		if err != nil {
			return errors.New("not a numeric id")
		}
		set(o, uint32(n))
		return nil
	}
}

// setMode reads permission bits, in octal always: the kernel takes 444 for a
// decimal number, which is never what was meant.
func setMode(set func(*Options, uint32)) func(*Options, string) error {
	return func(o *Options, v string) error {
		n, err := strconv.ParseUint(v, 8, 16)
		if err != nil || n > 0o7777 {
			return errors.New("not an octal mode such as 444")
		}
		set(o, uint32(n))
		return nil
	}
}
