package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/volume"
)

// A treeVisitor is told of everything in a tree. An error ends the walk.
type treeVisitor struct {
	entry  func(path string, n fsys.Node, a *fsys.Attr) (enter bool, err error)
	failed func(path string, err error) // what cannot be read
}

// A treePlace is a directory that is still to be listed.
type treePlace struct {
	path string
	node fsys.Node
}

// visitTree walks a tree from its root, without recursion: it may be deep. A
// directory is entered once, wherever else it turns up.
func visitTree(ctx context.Context, f fsys.FS, v treeVisitor) error {
	seen := map[fsys.Node]bool{}
	for stack := []treePlace{{"", f.Root()}}; len(stack) > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		d := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if seen[d.node] {
			v.failed(d.path, errors.New("this directory is also found elsewhere"))
			continue
		}
		seen[d.node] = true
		var stop error
		err := f.ReadDir(d.node, 0, func(e *fsys.Entry) bool {
			path := d.path + "/" + string(e.Name)
			if e.Node == 0 {
				_, _, err := f.Lookup(d.node, e.Name)
				v.failed(path, cmp.Or(err, fsys.ErrStale))
				return true
			}
			a := e.Attr
			enter, err := v.entry(path, e.Node, &a)
			if enter && a.IsDir() && err == nil {
				stack = append(stack, treePlace{path, e.Node})
			}
			stop = err
			return err == nil
		})
		if stop != nil {
			return stop
		}
		if err != nil {
			v.failed(cmp.Or(d.path, "/"), err)
		}
	}
	return nil
}

// A structureCheck looks at every tree of a disc.
type structureCheck struct {
	*verifyJob

	fs      fsys.FS
	extents fsys.ExtentFS // of fs, or nil
	shown   string        // name of the tree that is shown
	entries int
	behind  map[int64]int // problems of extents behind the end, by where they begin
}

// structure walks every tree and looks where each file lies.
func (j *verifyJob) structure(ctx context.Context) error {
	r := &j.disc.volume.Report
	for _, t := range r.Trees {
		if t.Error != "" {
			j.problem(problem{Check: checkStructure, Tree: t.Name, Error: "cannot be read: " + t.Error})
		}
	}
	v, err := volume.Open(volume.Disc{Data: j.disc.image, Size: j.disc.image.Size()}, volume.Options{View: "all", SBSector: -1})
	if err != nil {
		j.fails(checkStructure, "", "", err)
		j.result(checkStructure, "")
		return nil
	}
	j.meter.start("directories", 0)
	c := &structureCheck{verifyJob: j, fs: v.FS, shown: r.Tree, behind: map[int64]int{}}
	if x, ok := v.FS.(fsys.ExtentFS); ok {
		c.extents = x
	}
	if err := visitTree(ctx, v.FS, treeVisitor{c.entry, c.failed}); err != nil {
		return err
	}
	j.result(checkStructure, fmt.Sprintf("%s, %s", counted(len(r.Trees), "tree", "trees"), counted(c.entries, "entry", "entries")))
	return nil
}

// split takes the name of the tree off a path; it is "" for the tree that is shown.
func (c *structureCheck) split(path string) (tree, rest string) {
	tree, rest, _ = strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if tree == c.shown {
		tree = ""
	}
	return tree, "/" + rest
}

func (c *structureCheck) failed(path string, err error) {
	tree, rest := c.split(path)
	c.fails(checkStructure, rest, tree, err)
}

func (c *structureCheck) entry(path string, n fsys.Node, a *fsys.Attr) (bool, error) {
	c.entries++
	if x, ok := c.fs.(fsys.XattrFS); ok {
		if _, err := x.Xattrs(n); err != nil {
			c.failed(path, err)
		}
	}
	switch a.Mode & fsys.TypeMask {
	case fsys.TypeLink:
		if _, err := c.fs.Readlink(n); err != nil {
			c.failed(path, err)
		}
	case fsys.TypeFile:
		c.file(path, n, a)
	}
	return true, nil
}

// file looks where a file lies. What is not stored as it is must be read; the
// rest has been read already.
func (c *structureCheck) file(path string, n fsys.Node, a *fsys.Attr) {
	encoded := c.extents == nil
	if c.extents != nil {
		err := c.extents.Extents(n, 0, func(x fsys.Extent) bool {
			if x.Pos == fsys.Encoded {
				encoded = true
				return false
			}
			return x.Pos < 0 || c.extent(path, x)
		})
		if err != nil {
			c.failed(path, err)
			return
		}
	}
	if !encoded {
		return
	}
	if err := readThrough(c.fs, n, a.Size, io.Discard); err != nil {
		c.failed(path, err)
	}
}

// extent looks at a run of a file's bytes, and tells whether to go on.
func (c *structureCheck) extent(path string, x fsys.Extent) bool {
	tree, rest := c.split(path)
	if x.Len > c.sweep.size-x.Pos {
		c.cutOff(tree, rest, x)
		return false
	}
	if tree != "" {
		return true // its bytes are told of in the tree that is shown
	}
	for _, b := range c.sweep.within(x.Pos, x.Pos+x.Len) {
		from, to := max(b.from, x.Pos), min(b.to, x.Pos+x.Len)
		c.problem(problem{
			Check: checkSectors, Path: rest, Offset: from, Bytes: to - from,
			Error: fmt.Sprintf("bytes %d-%d cannot be read, %s", x.Off+from-x.Pos, x.Off+to-x.Pos-1, sectorsText(from, to)),
		})
	}
	return true
}

// cutOff tells of an extent behind the end of the image, once of all trees that
// share it, and by its path in the one that is shown.
func (c *structureCheck) cutOff(tree, path string, x fsys.Extent) {
	p := problem{
		Check: checkStructure, Path: path, Tree: tree, Offset: x.Pos, Bytes: x.Len,
		Error: fmt.Sprintf("%s of it lie behind the end of the image", bytesText(x.Pos+x.Len-max(x.Pos, c.sweep.size))),
	}
	i, told := c.behind[x.Pos]
	switch {
	case !told:
		c.behind[x.Pos] = len(c.done.Problems)
		c.problem(p)
	case tree == "":
		c.done.Problems[i] = p
	}
}

// readThrough copies the content of a file.
func readThrough(f fsys.FS, n fsys.Node, size int64, w io.Writer) error {
	p := make([]byte, min(size, 256<<10))
	for off := int64(0); off < size; {
		q := p[:min(int64(len(p)), size-off)]
		k, err := f.ReadAt(n, q, off)
		if k < len(q) {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("at byte %d: %w", off+int64(k), err)
		}
		if _, err := w.Write(q); err != nil {
			return err
		}
		off += int64(len(q))
	}
	return nil
}

// collect adds the checksums of a kind to what is computed while the image is read.
func (j *verifyJob) collect(check string, find func(io.ReaderAt, int64) ([]*span, error)) {
	spans, err := find(j.disc.image, j.disc.image.Size())
	if err != nil {
		j.fails(check, "", "", err)
	}
	j.sweep.spans = append(j.sweep.spans, spans...)
}

// ofCheck returns the spans of a check, compared.
func (j *verifyJob) ofCheck(check string) (spans []*span) {
	for _, s := range j.sweep.spans {
		if s.check == check {
			j.finish(s)
			spans = append(spans, s)
		}
	}
	return spans
}

// isomd5 tells of the checksum of isomd5sum, and where damage begins.
func (j *verifyJob) isomd5(ctx context.Context) error {
	spans := j.ofCheck(checkISOMD5)
	if len(spans) == 0 {
		j.none(checkISOMD5, "none implanted")
		return nil
	}
	s := spans[0]
	if s.void == "" && !s.matches() && s.parts != nil && s.parts.damage[1] > 0 {
		if err := j.damagedFiles(ctx, s.parts.damage); err != nil {
			return err
		}
	}
	j.result(checkISOMD5, fmt.Sprintf("of %s", bytesText(s.to)))
	return nil
}

// none tells that there is nothing to compare with, unless it cannot be read.
func (j *verifyJob) none(check, detail string) {
	for i := range j.done.Problems {
		if j.done.Problems[i].Check == check {
			j.result(check, "")
			return
		}
	}
	j.absent(check, detail)
}

// maxDamaged is how many files are named in which damage may lie.
const maxDamaged = 20

// damagedFiles names the files that lie in the run of bytes where damage begins.
func (j *verifyJob) damagedFiles(ctx context.Context, where [2]int64) error {
	j.problem(problem{
		Check: checkISOMD5, Offset: where[0], Bytes: where[1] - where[0],
		Error: "damage begins in " + sectorsText(where[0], where[1]),
	})
	x, ok := j.disc.volume.FS.(fsys.ExtentFS)
	if !ok {
		return nil
	}
	var names []string
	err := visitTree(ctx, j.disc.volume.FS, treeVisitor{func(path string, n fsys.Node, a *fsys.Attr) (bool, error) {
		if a.IsRegular() && overlaps(x, n, where) {
			names = append(names, path)
		}
		return len(names) <= maxDamaged, nil
	}, func(string, error) {}})
	for i, name := range names {
		if i == maxDamaged {
			break
		}
		j.problem(problem{Check: checkISOMD5, Path: name, Error: "is, in part, where the damage begins"})
	}
	return err
}

func overlaps(f fsys.ExtentFS, n fsys.Node, where [2]int64) (hit bool) {
	// A file that cannot be read is told of elsewhere.
	_ = f.Extents(n, 0, func(x fsys.Extent) bool {
		hit = x.Pos >= 0 && x.Pos < where[1] && x.Pos+x.Len > where[0]
		return !hit
	})
	return hit
}
