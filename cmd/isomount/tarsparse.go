package main

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/isomount/isomount/pkg/fsys"
)

// sparseBytes is from how many bytes on holes are left out of an archive, at the
// price of a file that only GNU tar, bsdtar and their like unpack.
const sparseBytes = 64 << 10

// tarBlock is the size of a block of an archive.
const tarBlock = 512

// dataOf lists the parts of a file that are no holes, nil if it is not worth it.
func dataOf(ctx context.Context, f fsys.FS, p *place) []fsys.Extent {
	var list []fsys.Extent
	end, hollow := int64(0), int64(0)
	for _, h := range holesOf(ctx, f, p) {
		if h.Off > end {
			list = append(list, fsys.Extent{Off: end, Len: h.Off - end})
		}
		end = h.Off + h.Len
		hollow += h.Len
	}
	if hollow < sparseBytes {
		return nil
	}
	// The last part may be empty: it says where the file ends.
	return append(list, fsys.Extent{Off: end, Len: p.attr.Size - end})
}

// sparse appends a file without its holes, in the form that GNU tar calls 1.0
// (GNU tar manual, "PAX Format, Version 1.0"): the content is a list of the parts
// that are there, then these. archive/tar reads it and cannot write it.
func (t *tarball) sparse(ctx context.Context, h *tar.Header, p *place, data []fsys.Extent) error {
	list := fmt.Appendf(nil, "%d\n", len(data))
	size := int64(0)
	for _, d := range data {
		list = fmt.Appendf(list, "%d\n%d\n", d.Off, d.Len)
		size += d.Len
	}
	list = append(list, make([]byte, padding(int64(len(list))))...)
	var held bytes.Buffer
	if size <= heldFile {
		for _, d := range data {
			if err := copyPart(ctx, &held, t.job.fs, p.node, d.Off, d.Off+d.Len); err != nil {
				return &skipError{err}
			}
		}
	}
	if err := t.w.Flush(); err != nil {
		return err
	}
	stored := int64(len(list)) + size
	for _, b := range [][]byte{t.sparseHeader(h, stored), list, held.Bytes()} {
		if _, err := t.out.Write(b); err != nil {
			return err
		}
	}
	if size > heldFile {
		s := t.salvage(p, t.out)
		for _, d := range data {
			if err := s.copy(ctx, d.Off, d.Off+d.Len); err != nil {
				return err
			}
		}
		s.tell()
	}
	t.links.written(p)
	t.counted(h.Size)
	_, err := t.out.Write(make([]byte, padding(stored)))
	return err
}

// padding is what fills the last block of n bytes.
func padding(n int64) int64 { return -n & (tarBlock - 1) }

// sparseHeader is the header of a sparse file, behind one with records for it
// (POSIX, pax: "pax Header Block").
func (*tarball) sparseHeader(h *tar.Header, stored int64) []byte {
	records := maps.Clone(h.PAXRecords)
	maps.Copy(records, map[string]string{
		"GNU.sparse.major": "1", "GNU.sparse.minor": "0",
		"GNU.sparse.name": h.Name, "GNU.sparse.realsize": strconv.FormatInt(h.Size, 10),
		"mtime": fmt.Sprintf("%d.%09d", h.ModTime.Unix(), h.ModTime.Nanosecond()),
		"uid":   strconv.Itoa(h.Uid), "gid": strconv.Itoa(h.Gid), "size": strconv.FormatInt(stored, 10),
	})
	if h.ModTime.Unix() < 0 {
		records["mtime"] = strconv.FormatInt(h.ModTime.Unix(), 10)
	}
	var text strings.Builder
	for _, key := range slices.Sorted(maps.Keys(records)) {
		text.WriteString(paxRecord(key, records[key]))
	}
	b := ustarBlock("PaxHeaders.0/sparse", 'x', int64(text.Len()), 0o644)
	b = append(b, text.String()...)
	b = append(b, make([]byte, padding(int64(text.Len())))...)
	return append(b, ustarBlock("GNUSparseFile.0/sparse", tar.TypeReg, stored, h.Mode)...)
}

// paxRecord is "length key=value", the length being that of the whole record.
func paxRecord(key, value string) string {
	rest := " " + key + "=" + value + "\n"
	n := len(rest) + len(strconv.Itoa(len(rest)))
	if len(strconv.Itoa(n)) > len(strconv.Itoa(len(rest))) {
		n++ // the length itself has become longer
	}
	return strconv.Itoa(n) + rest
}

// maxUstar is the largest size that its field can hold; records hold others.
const maxUstar = 1<<33 - 1

// ustarBlock is a header block (POSIX, pax: "ustar Header Block").
func ustarBlock(name string, letter byte, size, mode int64) []byte {
	b := make([]byte, tarBlock)
	octal := func(at, width int, v int64) { copy(b[at:], fmt.Sprintf("%0*o", width-1, v)) }
	copy(b, name)
	octal(100, 8, mode)
	octal(108, 8, 0) // owner and time are in records
	octal(116, 8, 0)
	octal(124, 12, min(size, maxUstar))
	octal(136, 12, 0)
	copy(b[148:], "        ") // the checksum counts as spaces
	b[156] = letter
	copy(b[257:], "ustar\x0000")
	sum := int64(0)
	for _, c := range b {
		sum += int64(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
	return b
}
