package fsys_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isomount/isomount/pkg/fsys"
)

func TestOwnerApply(t *testing.T) {
	file := fsys.Attr{Mode: fsys.TypeFile | 0o4640, UID: 1, GID: 2}
	dir := fsys.Attr{Mode: fsys.TypeDir | 0o750, UID: 1, GID: 2}
	for _, tt := range []struct {
		name              string
		owner             fsys.Owner
		attr              fsys.Attr
		hasOwner, hasMode bool
		want              fsys.Attr
	}{
		{"disc says all", fsys.Owner{UID: 7, GID: 8}, file, true, true, file},
		{"disc says nothing", fsys.Owner{UID: 7, GID: 8}, file, false, false, fsys.Attr{Mode: fsys.TypeFile | 0o555, UID: 7, GID: 8}},
		{"directory without mode", fsys.Owner{}, dir, true, false, fsys.Attr{Mode: fsys.TypeDir | 0o555, UID: 1, GID: 2}},
		{"uid= wins over the disc", fsys.Owner{UID: 7, GID: 8, ForceUID: true}, file, true, true, fsys.Attr{Mode: file.Mode, UID: 7, GID: 2}},
		{"gid= wins over the disc", fsys.Owner{UID: 7, GID: 8, ForceGID: true}, file, true, true, fsys.Attr{Mode: file.Mode, UID: 1, GID: 8}},
		{"uid=0 wins over the disc", fsys.Owner{ForceUID: true}, file, true, true, fsys.Attr{Mode: file.Mode, UID: 0, GID: 2}},
		{"mode= where the disc has none", fsys.Owner{FileMode: 0o444, SetFile: true}, file, true, false, fsys.Attr{Mode: fsys.TypeFile | 0o444, UID: 1, GID: 2}},
		{"mode= yields to the disc", fsys.Owner{FileMode: 0o444, SetFile: true}, file, true, true, file},
		{"mode=0 is a mode", fsys.Owner{SetFile: true}, file, true, false, fsys.Attr{Mode: fsys.TypeFile, UID: 1, GID: 2}},
		{"mode= is not for directories", fsys.Owner{FileMode: 0o444, SetFile: true, ForceMode: true}, dir, true, true, dir},
		{"dmode= with overriderockperm", fsys.Owner{DirMode: 0o711, SetDir: true, ForceMode: true}, dir, true, true, fsys.Attr{Mode: fsys.TypeDir | 0o711, UID: 1, GID: 2}},
		{"mode= with overriderockperm takes set-uid away", fsys.Owner{FileMode: 0o444, SetFile: true, ForceMode: true}, file, true, true, fsys.Attr{Mode: fsys.TypeFile | 0o444, UID: 1, GID: 2}},
		{"overriderockperm alone", fsys.Owner{ForceMode: true}, file, true, true, file},
		{"mode= cannot change the type", fsys.Owner{FileMode: 0o170444, SetFile: true}, file, true, false, fsys.Attr{Mode: fsys.TypeFile | 0o444, UID: 1, GID: 2}},
		{"umask", fsys.Owner{Umask: 0o027}, dir, true, true, dir},
		{"umask takes away", fsys.Owner{Umask: 0o222}, file, false, false, fsys.Attr{Mode: fsys.TypeFile | 0o555}},
		{"umask leaves type and set-uid", fsys.Owner{Umask: 0o177777}, file, true, true, fsys.Attr{Mode: fsys.TypeFile | 0o4000, UID: 1, GID: 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.attr
			tt.owner.Apply(&got, tt.hasOwner, tt.hasMode)
			if diff := cmp.Diff(got, tt.want); diff != "" {
				t.Errorf("attributes (-got +want):\n%s", diff)
			}
		})
	}
}
