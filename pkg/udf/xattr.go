package udf

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/isomount/isomount/pkg/binfmt"
	"github.com/isomount/isomount/pkg/fsys"
)

const (
	xattrPrefix   = "user."
	maxXattrName  = 255      // bytes, as in Linux
	maxXattrValue = 64 << 10 // bytes, as in Linux
	maxXattrs     = 1000     // of a file
	maxStreams    = 4000     // entries of a stream directory
	maxEAFile     = 1 << 20  // bytes of a file of extended attributes
)

// An xattr is one extended attribute as users see it.
type xattr struct {
	name  string
	value []byte // of an extended attribute of the file entry
	icb   longAD // of a named stream, whose content is the value
}

// Xattrs implements [fsys.XattrFS]. Named streams are "user.NAME". Extended
// attributes in the sense of ECMA-167 4/14.10 are "user.udf.impl.IDENTIFIER",
// "user.udf.app.IDENTIFIER" and "user.udf.ea.TYPE.SUBTYPE", with the bytes that
// are on the disc. A stream that is longer than Linux allows is left out.
func (f *FS) Xattrs(n fsys.Node) ([]string, error) {
	all, err := f.xattrs(n)
	names := make([]string, len(all))
	for i := range all {
		names[i] = all[i].name
	}
	return names, err
}

// Xattr implements [fsys.XattrFS].
func (f *FS) Xattr(n fsys.Node, name string) ([]byte, error) {
	if !strings.HasPrefix(name, xattrPrefix) {
		return nil, fsys.ErrNoXattr // the kernel asks for others all the time
	}
	all, err := f.xattrs(n)
	for i := range all {
		if all[i].name == name {
			return f.xattrValue(&all[i])
		}
	}
	if err != nil {
		return nil, err
	}
	return nil, fsys.ErrNoXattr
}

func (f *FS) xattrValue(x *xattr) ([]byte, error) {
	if x.icb.length == 0 {
		return x.value, nil
	}
	w := f.window()
	defer f.release(w)
	in, err := f.loadInode(w, x.icb.addr)
	if err != nil {
		return nil, err
	}
	return f.content(in, maxXattrValue)
}

// content reads a whole small file that is no file for users.
func (f *FS) content(in *inode, limit int64) ([]byte, error) {
	if in.size > limit {
		return nil, binfmt.Corrupt(in.off, "%d bytes where at most %d can be", in.size, limit)
	}
	b := make([]byte, in.size)
	if _, err := in.readAt(f.meta, b, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return b, nil
}

// xattrs lists the extended attributes of a node; with an error those that
// could be found.
func (f *FS) xattrs(n fsys.Node) ([]xattr, error) {
	in, err := f.inode(n)
	if err != nil {
		return nil, err
	}
	c := xattrCollector{f: f, names: map[string]bool{}}
	c.space(in.ea)
	c.file(in.eaICB)
	c.streams(in.streams)
	return c.all, c.err
}

// An xattrCollector gathers the extended attributes of a file.
type xattrCollector struct {
	f     *FS
	all   []xattr
	names map[string]bool
	err   error
}

// add takes an attribute under its name, or one with a number if that is
// taken.
func (c *xattrCollector) add(x xattr) bool {
	name := x.name
	for n := 2; c.names[x.name]; n++ {
		x.name = fmt.Sprintf("%.*s~%d", maxXattrName-6, name, n)
	}
	c.names[x.name] = true
	c.all = append(c.all, x)
	return len(c.all) < maxXattrs
}

// space collects from an extended attribute space.
func (c *xattrCollector) space(b []byte) {
	eachEA(b, func(a attribute) bool {
		if a.kind == eaDevice {
			return true // shown as device numbers
		}
		x, ok := a.xattr()
		return !ok || c.add(x)
	})
}

// xattr names an attribute. Free space is none.
func (a *attribute) xattr() (xattr, bool) {
	kind := map[uint32]string{eaImpl: "impl", eaApp: "app"}[a.kind]
	if kind == "" {
		return xattr{name: fmt.Sprintf("%sudf.ea.%d.%d", xattrPrefix, a.kind, a.subtype), value: a.data}, true
	}
	// ECMA-167 4/14.10.8 and 4/14.10.9
	c := binfmt.At(a.data, 0)
	n := int64(c.U32LE())   // RBP 12: length of the use
	id := parseRegID(&c)    // RBP 16
	use := c.Bytes(c.Len()) // RBP 48
	if c.Err() != nil || strings.HasPrefix(id.ident, "*UDF FreeEASpace") || strings.HasPrefix(id.ident, "*UDF FreeAppEASpace") {
		return xattr{}, false
	}
	return xattr{name: xattrPrefix + "udf." + kind + "." + id.ident, value: use[:min(n, int64(len(use)))]}, true
}

// file collects from a file of extended attributes (ECMA-167 4/14.9.14).
func (c *xattrCollector) file(icb longAD) {
	if icb.length == 0 {
		return
	}
	w := c.f.window()
	defer c.f.release(w)
	in, err := c.f.loadInode(w, icb.addr)
	if err == nil && in.fileType != fileEA {
		err = binfmt.Corrupt(in.off, "file of type %d in place of extended attributes", in.fileType)
	}
	if err != nil {
		c.err = err
		return
	}
	b, err := c.f.content(in, maxEAFile)
	if err != nil {
		c.err = err
		return
	}
	c.space(b)
}

// streams collects the named streams in a stream directory (UDF 3.3.5).
func (c *xattrCollector) streams(icb longAD) {
	if icb.length == 0 {
		return
	}
	w := c.f.window()
	defer c.f.release(w)
	in, err := c.f.loadInode(w, icb.addr)
	if err == nil && !in.isDir() {
		err = binfmt.Corrupt(in.off, "file of type %d in place of a stream directory", in.fileType)
	}
	if err != nil {
		c.err = err
		return
	}
	s := c.f.scan(in, 0)
	defer s.stop()
	names := namer{max: maxXattrName - len(xattrPrefix)}
	for n := 0; n < maxStreams && s.next(); n++ {
		if s.flags&(fidParent|fidDeleted) != 0 || s.icb.length == 0 {
			continue
		}
		e, err := c.f.readICB(&s.icbs, s.icb.addr)
		if err != nil || e.size > maxXattrValue {
			continue
		}
		s.name = names.append(append(s.name[:0], xattrPrefix...), s.ident)
		if !c.add(xattr{name: string(s.name), icb: s.icb}) {
			return
		}
	}
	if s.err != nil {
		c.err = s.err
	}
}
