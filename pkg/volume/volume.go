// Package volume decides which of the trees on a disc is shown.
//
// A disc can hold the same files several times over: as plain ISO 9660, with
// Rock Ridge, with Joliet, as UDF, as HFS+. [Open] looks at all of them,
// chooses as docs/SEMANTICS.md says and tells in a [Report] what there was and
// why it chose.
package volume

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/isomount/isomount/pkg/binfmt"
	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/isofs"
)

// ErrNoTree reports a disc that does not have what was asked for.
var ErrNoTree = errors.New("not on this disc")

// ErrUnknown reports bytes in which no file system was recognised. It is a
// [binfmt.ErrMagic] that every line of the table gave.
var ErrUnknown error = unknownError{}

type unknownError struct{}

func (unknownError) Error() string { return "no file system that isomount knows is on it" }
func (unknownError) Unwrap() error { return binfmt.ErrMagic }

// A Volume is a disc of which one tree, or a view of all, is shown.
type Volume struct {
	FS     fsys.FS
	Report Report
}

// A Disc is what a volume is read from.
type Disc struct {
	Data io.ReaderAt // content of files
	Meta io.ReaderAt // the same bytes, for directories and metadata
	Size int64       // bytes

	// Blocks keeps what was decompressed; nil: each tree keeps a little itself.
	Blocks Blocks
}

// Open recognises what is on a disc and chooses a tree.
func Open(d Disc, o Options) (*Volume, error) {
	if d.Meta == nil {
		d.Meta = d.Data
	}
	found, err := survey(d, o)
	if err != nil {
		return nil, err
	}
	v := &Volume{Report: found.report()}
	if o.View == viewAll {
		v.FS, err = found.all(d, o)
		v.Report.FS, v.Report.Tree, v.Report.Why = viewAll, viewAll, "view=all was asked for"
		return v, err
	}
	chosen, why, err := found.choose(o)
	if err != nil {
		return nil, err
	}
	v.FS, err = chosen.open(o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", chosen.Name, err)
	}
	v.Report.shown(chosen, why)
	return v, nil
}

// A Tree is one tree on a disc.
type Tree struct {
	Name    string `json:"name"`    // "rockridge", "joliet", "udf" …
	FS      string `json:"fs"`      // as fs= names it
	Label   string `json:"label"`   // of the volume it belongs to
	Entries int    `json:"entries"` // in its root, as far as counted
	Error   string `json:"error,omitempty"`

	err  error // why it cannot be read
	open func(o Options) (fsys.FS, error)
}

// A family recognises the file systems of one kind.
type family struct {
	fs     string
	survey func(d Disc, o Options, s *surveyed) error // binfmt.ErrMagic: not on this disc
}

// families are tried in this order; each adds the trees it finds. To add a file
// system, add a line here and its trees to ranks.
var families = []family{
	{ISO9660, surveyISO},
	{UDF, surveyUDF},
	{HFSPlus, surveyHFS},
	{VFAT, surveyFAT},
}

// ranks is the order in which automatic choice prefers the trees.
var ranks = []string{"rockridge", "udf", "joliet", "enhanced", "iso9660", "highsierra", "hfsplus", "hfs", VFAT}

// surveyed is what was found on a disc.
type surveyed struct {
	trees   []Tree
	details Details
	notes   []string
	iso     *isofs.Volume // nil if there is none
}

// survey asks every family that the options admit.
func survey(d Disc, o Options) (*surveyed, error) {
	s := new(surveyed)
	for _, f := range families {
		if o.FS != "" && o.FS != Auto && o.FS != f.fs && o.View != viewAll {
			continue
		}
		err := f.survey(d, o, s)
		switch {
		case err == nil, errors.Is(err, binfmt.ErrMagic):
		case isDamage(err):
			s.trees = append(s.trees, Tree{Name: f.fs, FS: f.fs, err: err, Error: err.Error()})
		default:
			return nil, err
		}
	}
	s.partitions(d)
	return s, nil
}

// isDamage tells the errors that say something of the disc from those of the
// device or the options.
func isDamage(err error) bool {
	_, corrupt := errors.AsType[*binfmt.CorruptError](err)
	return corrupt || errors.Is(err, io.ErrUnexpectedEOF)
}

// choose picks the tree to show and says why.
func (s *surveyed) choose(o Options) (*Tree, string, error) {
	if len(s.trees) == 0 {
		if o.FS != "" && o.FS != Auto {
			return nil, "", fmt.Errorf("%s: %w", o.FS, ErrNoTree)
		}
		return nil, "", ErrUnknown
	}
	var passed []string
	var rest *Tree // the best of the stubs
	for _, t := range s.ranked() {
		switch {
		case !o.admits(t):
		case t.err != nil && !s.hasBetter(t, o):
			return nil, "", fmt.Errorf("%s: %w", t.Name, t.err)
		case t.err != nil:
			passed = append(passed, fmt.Sprintf("%s cannot be read: %v", t.Name, t.err))
		case s.isStub(t, o):
			passed = append(passed, fmt.Sprintf("%s is a stub of %d entries", t.Name, t.Entries))
			rest = cmp.Or(rest, t)
		default:
			return t, reason(t.Name, passed, o), nil
		}
	}
	if rest != nil { // a stub of something that was ruled out
		return rest, "nothing else was left", nil
	}
	return nil, "", fmt.Errorf("%w: the options rule out every tree of this disc (%s)", ErrNoTree, s.names())
}

// admits tells whether the options leave a tree to choose from.
func (o *Options) admits(t *Tree) bool {
	return (!o.NoRock || t.Name != "rockridge") && (!o.NoJoliet || t.Name != "joliet")
}

// hasBetter tells whether a tree that cannot be read has another form on the
// same volume, with the same files.
func (s *surveyed) hasBetter(t *Tree, o Options) bool {
	return slices.ContainsFunc(s.trees, func(u Tree) bool {
		return u.FS == t.FS && u.err == nil && u.Entries > 0 && o.admits(&u)
	})
}

// ranked gives the trees in the order of preference.
func (s *surveyed) ranked() []*Tree {
	var list []*Tree
	for _, name := range ranks {
		for i := range s.trees {
			if s.trees[i].Name == name {
				list = append(list, &s.trees[i])
			}
		}
	}
	return list
}

// isStub tells whether a tree is only a notice that the disc has another: its
// root lists less than the root of a tree that may be shown in its stead. HFS+
// lists files of its own, and FAT is for starting a computer: both say nothing
// about the others.
func (s *surveyed) isStub(t *Tree, o Options) bool {
	for i := range s.trees {
		u := &s.trees[i]
		if u.err != nil || u.FS == HFSPlus || u.FS == VFAT || !o.admits(u) {
			continue
		}
		if u.Entries > t.Entries && (t.FS != u.FS || t.Entries == 0) {
			return true
		}
	}
	return false
}

func reason(name string, passed []string, o Options) string {
	why := map[string]string{
		"rockridge":  "Rock Ridge keeps owners, modes and links",
		"udf":        "UDF is what Windows and film players read",
		"joliet":     "Joliet keeps long names",
		"enhanced":   "ISO 9660:1999 keeps long names",
		"iso9660":    "plain ISO 9660 is what the disc has",
		"highsierra": "High Sierra is what the disc has",
		"hfsplus":    "HFS+ is what the disc has",
		"hfs":        "HFS is what the disc has",
		VFAT:         "FAT is what the disc has",
	}[name]
	if o.FS != "" && o.FS != Auto {
		why = "fs=" + o.FS + " was asked for; " + why
	}
	if len(passed) > 0 {
		why += "; " + strings.Join(passed, "; ")
	}
	return why
}

// note keeps what a family finds odd.
func (s *surveyed) note(family string, notes []string) {
	for _, n := range notes {
		s.notes = append(s.notes, family+": "+n)
	}
}

func (s *surveyed) names() string {
	var names []string
	for _, t := range s.trees {
		names = append(names, t.Name)
	}
	return strings.Join(names, ", ")
}
