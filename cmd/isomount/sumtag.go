package main

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/isomount/isomount/pkg/binfmt"
)

// tagSearch is how many sectors after the first descriptor are searched for the
// tag that ends the descriptors.
const tagSearch = 48

// A sumTag is a tag of libisofs: a line of text that tells the checksum of a
// range of blocks (libisofs doc/checksums.txt).
type sumTag struct {
	kind                 string
	pos, start, size     int64 // blocks
	next, session        int64 // blocks, 0 if not told
	sum, self, selfWants string
}

// parseTag reads a tag; not ok if there is none.
func parseTag(b []byte) (t sumTag, ok bool) {
	line, _, ok := bytes.Cut(b, []byte("\n"))
	kind, rest, has := strings.Cut(string(line), " ")
	if !ok || !has || !strings.HasPrefix(kind, "libisofs_") || !strings.HasSuffix(kind, "_tag_v1") {
		return t, false
	}
	t.kind = strings.TrimSuffix(strings.TrimPrefix(kind, "libisofs_"), "_tag_v1")
	numbers := map[string]*int64{"pos": &t.pos, "range_start": &t.start, "range_size": &t.size, "next": &t.next, "session_start": &t.session}
	for field := range strings.FieldsSeq(rest) {
		name, value, _ := strings.Cut(field, "=")
		switch n := numbers[name]; {
		case n != nil:
			v, err := strconv.ParseUint(value, 10, 32)
			if err != nil {
				return t, false
			}
			*n = int64(v)
		case name == "md5":
			t.sum = value
		case name == "self":
			t.self = value
		}
	}
	own, _, _ := strings.Cut(string(line), " self=")
	t.selfWants = fmt.Sprintf("%x", md5.Sum([]byte(own)))
	return t, true
}

// libisofsSpans returns the checksums of the tags: of the descriptors, of the
// directories, and of the whole session.
func libisofsSpans(r io.ReaderAt, size int64) ([]*span, error) {
	t, ok, err := findTag(r, size, 0)
	if err != nil || !ok {
		return nil, err
	}
	var spans []*span
	for steps := 0; ok && steps < 8; steps++ { // there are four kinds
		s, err := t.span(size)
		if err != nil {
			return spans, err
		}
		spans = append(spans, s)
		switch {
		case t.session > 0:
			t, ok, err = findTag(r, size, t.session)
		case t.next > t.pos:
			at := t.next
			t, ok, err = readTag(r, size, at)
			if err == nil && !ok {
				err = binfmt.Corrupt(at*blockBytes, "no checksum tag where one should be")
			}
		default:
			ok = false
		}
		if err != nil {
			return spans, err
		}
	}
	return spans, nil
}

// findTag searches behind the descriptors of the session that begins at a block.
func findTag(r io.ReaderAt, size, session int64) (sumTag, bool, error) {
	for at := session + 16; at < session+16+tagSearch && (at+1)*blockBytes <= size; at++ {
		t, ok, err := readTag(r, size, at)
		if ok || err != nil {
			return t, ok, err
		}
	}
	return sumTag{}, false, nil
}

func readTag(r io.ReaderAt, size, block int64) (t sumTag, ok bool, err error) {
	b := make([]byte, blockBytes)
	if (block+1)*blockBytes > size {
		return t, false, nil
	}
	if err := binfmt.ReadFull(r, b, block*blockBytes); err != nil {
		return t, false, err
	}
	t, ok = parseTag(b)
	return t, ok && t.pos == block, nil
}

func (t *sumTag) span(size int64) (*span, error) {
	names := map[string]string{"rlsb32_checksum": "descriptors at 16", "sb_checksum": "descriptors", "tree_checksum": "directories", "checksum": "session"}
	want, err := hex.DecodeString(t.sum)
	if err != nil || len(want) != md5.Size || t.self != t.selfWants {
		return nil, binfmt.Corrupt(t.pos*blockBytes, "checksum tag that does not match its own checksum")
	}
	what := names[t.kind]
	if what == "" {
		what = t.kind
	}
	s := &span{check: checkLibisofs, what: what, from: t.start * blockBytes, to: (t.start + t.size) * blockBytes, want: want, hash: md5.New()}
	if s.to > size {
		s.void = fmt.Sprintf("it covers %d bytes, the image has %d", s.to, size)
	}
	return s, nil
}
