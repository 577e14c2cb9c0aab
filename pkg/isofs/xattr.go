package isofs

import "github.com/isomount/isomount/pkg/fsys"

func (f *FS) Xattrs(n fsys.Node) ([]string, error) { return nil, nil }

func (f *FS) Xattr(n fsys.Node, name string) ([]byte, error) { return nil, fsys.ErrNoXattr }
