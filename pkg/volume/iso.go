package volume

import (
	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/isofs"
)

// surveyISO adds the trees of an ISO 9660 volume.
func surveyISO(d Disc, o Options, s *surveyed) error {
	v, err := isofs.Open(d.Data, d.Size, isofs.Options{Session: o.Session, SBSector: o.SBSector, Meta: d.Meta, Blocks: d.Blocks})
	if err != nil {
		return err
	}
	info := v.Info()
	s.iso, s.details.ISO = v, &info
	s.note("iso9660", info.Notes)
	for _, t := range v.Trees() {
		tree := Tree{Name: string(t.Kind), FS: ISO9660, Label: t.Label, Entries: t.RootEntries, Error: t.Error}
		if t.Error != "" {
			_, tree.err = v.FS(t.Kind, isoOptions(o)) // the same error, with its kind
		}
		tree.open = func(o Options) (fsys.FS, error) { return v.FS(t.Kind, isoOptions(o)) }
		s.trees = append(s.trees, tree)
	}
	return nil
}

// isoMaps and isoChecks have the names of the values of map= and check=.
func isoMaps() map[string]isofs.Map {
	return map[string]isofs.Map{"": isofs.MapNormal, "normal": isofs.MapNormal, "off": isofs.MapOff, "acorn": isofs.MapAcorn}
}

func isoChecks() map[string]isofs.Check {
	return map[string]isofs.Check{"": isofs.CheckDefault, "relaxed": isofs.CheckRelaxed, "strict": isofs.CheckStrict}
}

func isoOptions(o Options) isofs.TreeOptions {
	return isofs.TreeOptions{
		Owner: o.Owner, Map: isoMaps()[o.Map], Check: isoChecks()[o.Check], Charset: o.Charset,
		ShowAssoc: o.Unhide, NoZisofs: o.Raw,
	}
}
