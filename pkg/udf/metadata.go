package udf

import (
	"fmt"

	"github.com/isomount/isomount/pkg/binfmt"
)

// loadMetadata finds the metadata file of partition i, or its mirror (UDF
// 2.2.10 and 2.2.13).
func (f *FS) loadMetadata(maps []partMap, i int) error {
	if err := f.findBase(maps, i); err != nil {
		return err
	}
	m, p := &maps[i].metadata, &f.parts[i]
	w := f.window()
	defer f.release(w)
	main, err := f.metadataFile(w, addr{m.main, uint16(p.base)}, fileMetadata)
	mirror, mirrorErr := f.metadataFile(w, addr{m.mirror, uint16(p.base)}, fileMetadataMirror)
	switch {
	case err == nil:
		p.meta = main
		if mirrorErr != nil {
			f.notef("metadata mirror file lost: %v", mirrorErr)
		} else if m.duplicated {
			p.mirror = mirror
		}
	case mirrorErr == nil:
		f.notef("metadata main file lost, mirror used: %v", err)
		p.meta = mirror
	default:
		return fmt.Errorf("metadata file: %w; its mirror: %w", err, mirrorErr)
	}
	p.length = p.meta.end
	return nil
}

func (f *FS) metadataFile(w *window, a addr, fileType uint8) (extentList, error) {
	e, err := f.readICB(w, a)
	if err != nil {
		return extentList{}, err
	}
	if e.fileType != fileType || e.allocKind == allocEmbedded {
		return extentList{}, binfmt.Corrupt(e.off, "file of type %d in place of the metadata file", e.fileType)
	}
	return f.extents(w, &e), nil
}
