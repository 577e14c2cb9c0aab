package master

import (
	"bytes"
	"crypto/md5"
	"fmt"
	"regexp"
	"strconv"
	"testing"

	"github.com/isomount/isomount/pkg/fsys/fsystest"
)

var tagForm = regexp.MustCompile(`^(libisofs_\w+) pos=(\d+) range_start=0 range_size=(\d+)(?: next=(\d+))? md5=([0-9a-f]{32}) self=([0-9a-f]{32})\n\x00`)

// TestMD5Tags follows the chain of tags as libisofs doc/checksums.txt tells.
func TestMD5Tags(t *testing.T) {
	for _, opt := range []Options{{MD5: true}, {MD5: true, UDF: UDF201}} {
		files := variety()
		image := imageOf(t, treeOf(t, files), opt)
		pos := bytes.Index(image, []byte("libisofs_sb_checksum_tag_v1")) / blockSize
		for _, id := range []string{"libisofs_sb_checksum_tag_v1", "libisofs_tree_checksum_tag_v1", "libisofs_checksum_tag_v1"} {
			m := tagForm.FindSubmatch(image[pos*blockSize:])
			if m == nil || string(m[1]) != id {
				t.Fatalf("no %s at block %d", id, pos)
			}
			if string(m[2]) != fmt.Sprint(pos) || string(m[3]) != fmt.Sprint(pos) {
				t.Errorf("%s at block %d tells pos %s, range %s", id, pos, m[2], m[3])
			}
			if want := fmt.Sprintf("%x", md5.Sum(image[:pos*blockSize])); string(m[5]) != want {
				t.Errorf("%s: md5 %s, want %s", id, m[5], want)
			}
			line, _, _ := bytes.Cut(image[pos*blockSize:], []byte(" self="))
			if want := fmt.Sprintf("%x", md5.Sum(line)); string(m[6]) != want {
				t.Errorf("%s: self %s, want %s", id, m[6], want)
			}
			if next := string(m[4]); next != "" {
				var err error
				if pos, err = strconv.Atoi(next); err != nil {
					t.Fatal(err)
				}
			}
		}
		checkArray(t, image, pos-1, files)
	}
}

// checkArray checks the array that lies in the block before the last tag.
func checkArray(t *testing.T, image []byte, block int, files []fsystest.File) {
	t.Helper()
	array := image[block*blockSize:][:blockSize]
	if got, want := array[:16], md5.Sum(image[:block*blockSize]); !bytes.Equal(got, want[:]) {
		t.Errorf("session sum % x, want % x", got, want)
	}
	count := 0
	for i := range files {
		if mode := files[i].Mode & 0o170000; mode != 0 && mode != 0o100000 || files[i].Link != "" {
			continue
		}
		count++
		if sum := md5.Sum(files[i].Data); !bytes.Contains(array, sum[:]) {
			t.Errorf("no sum of %.20s", files[i].Path)
		}
	}
	end := 16 * (count + 1)
	if got, want := array[end:end+16], md5.Sum(array[:end]); !bytes.Equal(got, want[:]) {
		t.Errorf("sum of the array % x, want % x", got, want)
	}
}
