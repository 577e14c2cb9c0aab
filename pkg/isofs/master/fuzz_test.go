package master

import (
	"bytes"
	"fmt"
	"path"
	"strings"
	"testing"

	"github.com/isomount/isomount/pkg/fsys"
	"github.com/isomount/isomount/pkg/fsys/fsystest"
	"github.com/isomount/isomount/pkg/isofs"
)

// A recipe is a source of decisions for a random tree.
type recipe struct{ b []byte }

func (r *recipe) next() int {
	if len(r.b) == 0 {
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return int(v)
}

func (r *recipe) bytes(n int) []byte {
	n = min(n, len(r.b))
	p := r.b[:n]
	r.b = r.b[n:]
	return bytes.Clone(p)
}

// name makes a name, of odd bytes or long and much like others, that is not in
// use in its directory.
func (r *recipe) name(dir string, used map[string]bool) string {
	var name string
	switch k := r.next(); {
	case k < 80:
		name = strings.Repeat("n", k*3) + fmt.Sprint(r.next()%4)
	case k < 120:
		name = strings.Repeat("日本 ", k%30) + "." + fmt.Sprint(r.next()%4)
	default:
		name = string(r.bytes(k % 60))
	}
	name = strings.Map(func(c rune) rune {
		if c == '/' || c == 0 {
			return '_'
		}
		return c
	}, name)
	name = name[:min(len(name), 253)]
	for name == "" || name == "." || name == ".." || used[path.Join(dir, name)] {
		name = fmt.Sprintf("%.240s%d", name, len(used))
	}
	used[path.Join(dir, name)] = true
	return path.Join(dir, name)
}

// tree makes the list of a tree.
func (r *recipe) tree() []fsystest.File {
	dirs := []string{""}
	used := map[string]bool{}
	var files []fsystest.File
	for len(r.b) > 0 && len(files) < 60 {
		dir := dirs[max(0, len(dirs)-1-r.next()%4)]
		kind := r.next() % 10
		f := fsystest.File{Path: r.name(dir, used)}
		switch kind {
		case 0, 1, 2:
			f.Mode = fsys.TypeDir | 0o700 | uint32(r.next())
			dirs = append(dirs, f.Path)
		case 3:
			f.Mode, f.Target = fsys.TypeLink|0o777, string(bytes.ReplaceAll(r.bytes(1+r.next()), []byte{0}, []byte{'/'}))+"x"
		case 4:
			f.Mode, f.Major, f.Minor = fsys.TypeChar|0o600, uint32(r.next()*r.next()), uint32(r.next()*r.next())
			if f.Major == 0 {
				f.Minor &= 0xFF // Rock Ridge can say no more
			}
		case 5:
			if last := len(files) - 1; last >= 0 && files[last].Mode == 0 && files[last].Link == "" {
				f.Link = files[last].Path
				break
			}
			fallthrough
		default:
			f.Data = bytes.Repeat(r.bytes(1+r.next()), r.next()%30)
			if size := r.next(); size > 0 {
				f.Xattrs = map[string]string{"user.x": strings.Repeat("x", size*20)}
			}
		}
		files = append(files, f)
	}
	return files
}

// FuzzRoundTrip writes random trees in all forms, and reads back what must be
// the same.
func FuzzRoundTrip(f *testing.F) {
	for seed := range uint64(8) {
		f.Add(noise(seed, 200+int(seed)*700), byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte, how byte) {
		files := (&recipe{b}).tree()
		tree := treeOf(t, files)
		opt := Options{Deep: how&1 != 0, LongJoliet: how&2 != 0, MD5: how&4 != 0, NoPadding: how&8 != 0}
		if how&16 != 0 {
			opt.UDF = UDF201
		}
		image := imageOf(t, tree, opt)
		fsystest.TestOptions(t, readISO(t, image, isofs.RockRidge), fsystest.Options{Want: files, Image: bytes.NewReader(image)})
		if err := fsystest.Check(readISO(t, image, isofs.Joliet), fsystest.Options{Image: bytes.NewReader(image)}); err != nil {
			t.Errorf("Joliet: %v", err)
		}
		if opt.UDF != 0 {
			if err := fsystest.Check(readUDF(t, image), fsystest.Options{Image: bytes.NewReader(image)}); err != nil {
				t.Errorf("UDF: %v", err)
			}
		}
		if !opt.Deep {
			if err := checkHierarchy(image); err != nil {
				t.Error(err)
			}
		}
	})
}
