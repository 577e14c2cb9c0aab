package main

import (
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/isomount/isomount/pkg/binfmt"
)

// Positions in the primary volume descriptor (ECMA-119 8.4), at sector 16.
const (
	primaryOff    = 16 * blockBytes
	appUseOff     = primaryOff + 883 // 8.4.32
	appUseLen     = 512
	isomd5Chunk   = 32 << 10 // that isomd5sum computes sums of parts at
	isomd5Most    = 60       // digits of all of them
	isomd5Sectors = 1 << 20  // most that can be left out at the end
)

// isomd5Spans returns the checksum that isomd5sum has implanted, if there is one
// (isomd5sum libcheckisomd5.c, utilities.c).
func isomd5Spans(r io.ReaderAt, size int64) ([]*span, error) {
	d := make([]byte, blockBytes)
	if size < primaryOff+blockBytes {
		return nil, nil
	}
	if err := binfmt.ReadFull(r, d, primaryOff); err != nil {
		return nil, err
	}
	fields := parseIsomd5(d[appUseOff-primaryOff:][:appUseLen])
	text := fields["ISO MD5SUM"]
	if d[0] != 1 || string(d[1:6]) != "CD001" || text == "" {
		return nil, nil
	}
	want, err := hex.DecodeString(text)
	skip, skipErr := strconv.ParseInt(fields["SKIPSECTORS"], 10, 64)
	if err != nil || len(want) != md5.Size || skipErr != nil || skip < 0 || skip > isomd5Sectors {
		return nil, binfmt.Corrupt(appUseOff, "checksum of isomd5sum that cannot be read")
	}
	to := (int64(binary.LittleEndian.Uint32(d[80:])) - skip) * blockBytes // 8.4.8
	s := &span{
		check: checkISOMD5, what: "image", to: to, want: want, hash: md5.New(),
		blank: [2]int64{appUseOff, appUseOff + appUseLen},
	}
	if to > size {
		s.void = fmt.Sprintf("it covers %d bytes, the image has %d", to, size)
	}
	s.parts = newIsomd5Parts(fields["FRAGMENT SUMS"], fields["FRAGMENT COUNT"])
	return []*span{s}, nil
}

// parseIsomd5 reads what isomd5sum writes: fields "NAME = VALUE" that end in
// semicolons.
func parseIsomd5(b []byte) map[string]string {
	fields := map[string]string{}
	for item := range strings.SplitSeq(string(b), ";") {
		name, value, ok := strings.Cut(item, "=")
		name = strings.TrimSpace(name)
		if _, twice := fields[name]; ok && !twice {
			fields[name] = strings.TrimSpace(value)
		}
	}
	return fields
}

// An isomd5Parts compares the checksums of growing parts, to tell where damage
// begins.
type isomd5Parts struct {
	digits string // all that are left to compare
	each   int    // digits of a part
	count  int64
	last   int64    // number of the part before
	good   int64    // bytes up to here are as they should be
	damage [2]int64 // bytes among which the damage begins; [0, 0] for none found
}

// newIsomd5Parts returns nil if there are no such checksums.
func newIsomd5Parts(digits, count string) *isomd5Parts {
	n, err := strconv.ParseInt(count, 10, 32)
	if err != nil || n*md5.Size < isomd5Most || n > isomd5Most || len(digits) > isomd5Most {
		return nil // a part has a digit of each byte at most
	}
	return &isomd5Parts{digits: digits, each: int(isomd5Most / n), count: n}
}

func (f *isomd5Parts) feed(s *span, p []byte, off int64) {
	for len(p) > 0 {
		n := min(int64(len(p)), isomd5Chunk-off%isomd5Chunk)
		s.hash.Write(p[:n])
		p, off = p[n:], off+n
		if off%isomd5Chunk == 0 || off == s.to {
			f.compare(s, (off-1)/isomd5Chunk*isomd5Chunk, off)
		}
	}
}

// compare looks at the part that ends with the chunk from start to end.
func (f *isomd5Parts) compare(s *span, start, end int64) {
	now := start * (f.count + 1) / s.to
	if now == f.last || f.damage[1] > 0 {
		return
	}
	f.last = now
	if len(f.digits) < f.each {
		return
	}
	var got []byte
	for _, b := range s.hash.Sum(nil)[:f.each] {
		got = append(got, strconv.FormatUint(uint64(b), 16)[0]) // no leading zeros, and the first digit only
	}
	if string(got) != f.digits[:f.each] {
		f.damage = [2]int64{f.good, end}
		return
	}
	f.digits, f.good = f.digits[f.each:], end
}
