package isofs

import (
	"errors"
	"fmt"

	"github.com/isomount/isomount/pkg/binfmt"
)

// Kind names a tree that a volume can be seen as.
type Kind string

// Kinds of trees, in the order of preference.
const (
	RockRidge  Kind = "rockridge"
	Joliet     Kind = "joliet"
	Enhanced   Kind = "enhanced" // ISO 9660:1999
	Plain      Kind = "iso9660"
	HighSierra Kind = "highsierra"
)

// ErrNoTree reports a kind of tree that the volume does not have.
var ErrNoTree = errors.New("no such tree on this disc")

// maxCount is where counting the entries of a root ends.
const maxCount = 1000

// A Tree is a tree that the volume has.
type Tree struct {
	Kind        Kind   `json:"kind"`
	Label       string `json:"label"`
	Evidence    string `json:"evidence"`        // what says that it is there
	RootEntries int    `json:"rootEntries"`     // entries of its root, counted up to a thousand
	Error       string `json:"error,omitempty"` // why its root cannot be read
}

// Trees lists the trees of the volume, the one that tells most first.
func (v *Volume) Trees() []Tree {
	var trees []Tree
	for _, k := range []Kind{RockRidge, Joliet, Enhanced, Plain, HighSierra} {
		if d := v.descriptorOf(k); d != nil {
			trees = append(trees, v.describeTree(k, d))
		}
	}
	return trees
}

func (v *Volume) describeTree(k Kind, d *descriptor) Tree {
	t := Tree{Kind: k, Label: d.text[textLabel], Evidence: fmt.Sprintf("%s descriptor at sector %d", d.kind, d.off/sectorSize)}
	if k == RockRidge {
		t.Evidence = v.rock.evidence
	}
	n, err := v.countRoot(k)
	t.RootEntries = n
	if err != nil {
		t.Error = err.Error()
	}
	return t
}

// descriptorOf returns the descriptor of a tree, or nil if there is no such tree.
func (v *Volume) descriptorOf(k Kind) *descriptor {
	switch {
	case k == RockRidge && v.rock.present, k == Plain && !v.highSierra, k == HighSierra && v.highSierra:
		return v.primary
	case k == Joliet:
		return v.joliet
	case k == Enhanced:
		return v.enhanced
	}
	return nil
}

// countRoot counts the entries of a tree's root, up to maxCount.
func (v *Volume) countRoot(k Kind) (int, error) {
	f, err := v.tree(k, TreeOptions{ShowAssoc: true})
	if err != nil {
		return 0, err
	}
	s := getScratch()
	defer putScratch(s)
	d, err := f.directory(s, f.root)
	if err != nil {
		return 0, err
	}
	n := 0
	err = f.list(d, 0, s, false, func() bool {
		n++
		return n < maxCount
	})
	return n, err
}

// Choose says which tree to show, and why, when the user wants the best but may
// rule out Rock Ridge or Joliet. It is the choice of Linux, with two additions:
// Rock Ridge counts even where its ER entry is missing, and ISO 9660:1999 is
// known.
func (v *Volume) Choose(noRock, noJoliet bool) (Kind, string, error) {
	joliet := v.joliet != nil && !noJoliet
	switch {
	case v.highSierra:
		return HighSierra, "the disc is older than ISO 9660", nil
	case v.rock.present && !noRock:
		if joliet && v.isEmpty(RockRidge) && !v.isEmpty(Joliet) {
			return Joliet, "the root of the Rock Ridge tree is empty", nil
		}
		return RockRidge, "Rock Ridge keeps owners, modes and links (" + v.rock.evidence + ")", nil
	case joliet:
		return Joliet, "Joliet has the full names", nil
	case v.enhanced != nil:
		return Enhanced, "ISO 9660:1999 has the full names", nil
	case v.primary != nil:
		return Plain, "nothing better than ISO 9660 is there", nil
	}
	return "", "", fmt.Errorf("no primary descriptor: %w", ErrNoTree)
}

// isEmpty tells whether the root of a tree is known to hold nothing.
func (v *Volume) isEmpty(k Kind) bool {
	n, err := v.countRoot(k)
	return n == 0 && err == nil
}

// rootRecord returns the record of the root that a descriptor holds.
func (v *Volume) rootRecord(d *descriptor) (record, error) {
	var r record
	if !r.decode(d.root, d.rootOff, v.highSierra) {
		return r, binfmt.Corrupt(d.rootOff, "root directory record of %d bytes", d.root[0])
	}
	return r, nil
}

// extentOf returns the byte offset of a record's data, which comes after its
// extended attribute record.
func (v *Volume) extentOf(r *record) int64 {
	return v.block(r.extent) + int64(r.ear)*v.blockSize()
}
