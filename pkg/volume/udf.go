package volume

import (
	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/udf"
)

// surveyUDF adds the tree of a UDF volume.
func surveyUDF(d Disc, o Options, s *surveyed) error {
	f, err := udf.Open(d.Data, d.Size, udf.Options{
		Owner: o.Owner, Meta: d.Meta, NoVRS: o.NoVRS, Anchor: o.Anchor, LastBlock: o.LastBlock, BlockSize: o.BlockSize,
		Session: max(o.SBSector, 0), Undelete: o.Undelete, Charset: o.Charset,
	})
	if err != nil {
		return err
	}
	info := f.Info()
	s.details.UDF = &info
	s.note("udf", info.Notes)
	s.trees = append(s.trees, Tree{
		Name: UDF, FS: UDF, Label: info.Label, Entries: f.RootEntries(),
		open: func(Options) (fsys.FS, error) { return f, nil },
	})
	return nil
}
