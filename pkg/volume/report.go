package volume

import "github.com/isomount/isomount/pkg/udf"

// A Report tells what is on a disc and what is shown of it. Its JSON form is
// what `isomount info --json` prints and is stable.
type Report struct {
	Label   string   `json:"label"`           // of the tree that is shown, else of any
	FS      string   `json:"fs"`              // of the tree that is shown, as fs= names it
	Tree    string   `json:"tree"`            // its name, one of Trees
	Why     string   `json:"why"`             // why this one
	Trees   []Tree   `json:"trees"`           // all there are
	Notes   []string `json:"notes,omitempty"` // what is odd about the disc
	Details Details  `json:"details"`
}

// Details are what the readers tell of their structures, each only if the disc
// has it.
type Details struct {
	UDF *udf.Info `json:"udf,omitempty"`
}

// report tells what was found, before anything is chosen.
func (s *surveyed) report() Report {
	r := Report{Trees: s.trees, Notes: s.notes, Details: s.details}
	for _, t := range s.trees {
		if r.Label == "" {
			r.Label = t.Label
		}
	}
	return r
}

// shown notes which tree was chosen.
func (r *Report) shown(t *Tree, why string) {
	r.FS, r.Tree, r.Why = t.FS, t.Name, why
	if t.Label != "" {
		r.Label = t.Label
	}
}

// Shown names what is shown in a few words, e.g. "iso9660 (rockridge)".
func (r *Report) Shown() string {
	if r.FS == r.Tree {
		return r.FS
	}
	return r.FS + " (" + r.Tree + ")"
}

// A Line is one fact of a report for people.
type Line struct{ Name, Value string }

// Lines gives the details in the order in which people want to read them.
func (d *Details) Lines() []Line { return nil }
