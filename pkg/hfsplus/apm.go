package hfsplus

import (
	"bytes"
	"fmt"
	"io"
	"slices"

	"golang.org/x/text/encoding/charmap"

	"github.com/isomount/isomount/pkg/binfmt"
)

// A MapEntry is an entry of an Apple partition map (Inside Macintosh: Devices
// 3-12).
type MapEntry struct {
	Number int    // place in its map, from 1 on
	Name   string // pmPartName, e.g. "MRCHARLIE"
	Type   string // pmParType, e.g. "Apple_HFS"
	Off    int64  // byte offset of the partition
	Size   int64  // bytes
	Status uint32 // pmPartStatus
	Unit   int64  // bytes in a block of the map that the entry is in
}

// maxMap bounds the entries of a map; real ones have a handful.
const maxMap = 256

const (
	sigDriverMap = 0x4552 // "ER" in block 0
	sigMapEntry  = 0x504D // "PM"
	typeMap      = "Apple_partition_map"
)

// PartitionMap reads the Apple partition maps of an image: one with blocks of
// 512 bytes and, on discs that have a second for CD-ROM drives, one with blocks
// of 2048. Entries that both have are returned once. The error is
// binfmt.ErrMagic when there is no map.
func PartitionMap(r io.ReaderAt, size int64) ([]MapEntry, error) {
	entries, err := readMap(r, size, 512)
	if err != nil {
		return nil, err
	}
	// The fourth entry of the first map lies where a second map would begin, so
	// that has to show that it is one.
	large, err := readMap(r, size, 2048)
	if err != nil {
		return nil, err
	}
	if len(large) > 0 && (len(entries) == 0 || isOwnMap(large)) {
		entries = append(entries, large...)
	}
	if len(entries) == 0 {
		return nil, binfmt.ErrMagic
	}
	return dropSame(entries), nil
}

// isOwnMap tells whether entries that were read with one block size were meant
// to: they describe themselves first.
func isOwnMap(entries []MapEntry) bool {
	first := &entries[0]
	return first.Type == typeMap && first.Off == first.Unit
}

// dropSame drops entries for the same bytes as an earlier one.
func dropSame(entries []MapEntry) []MapEntry {
	var kept []MapEntry
	for _, e := range entries {
		same := func(k MapEntry) bool { return k.Off == e.Off && k.Size == e.Size && k.Type == e.Type }
		if !slices.ContainsFunc(kept, same) {
			kept = append(kept, e)
		}
	}
	return kept
}

// readMap reads the map with blocks of unit bytes, as far as it goes.
func readMap(r io.ReaderAt, size, unit int64) ([]MapEntry, error) {
	var entries []MapEntry
	count := int64(1)
	for i := int64(1); i <= min(count, maxMap) && (i+1)*unit <= size; i++ {
		var b [128]byte
		if err := binfmt.ReadFull(r, b[:], i*unit); err != nil {
			return nil, fmt.Errorf("read partition map: %w", err)
		}
		e, n, ok := decodeMapEntry(b[:], unit)
		if !ok {
			break
		}
		if i == 1 {
			count = int64(n)
		}
		e.Number = int(i)
		entries = append(entries, e)
	}
	return entries, nil
}

// decodeMapEntry decodes an entry and the number of entries, which each has.
func decodeMapEntry(b []byte, unit int64) (e MapEntry, count uint32, ok bool) {
	c := binfmt.At(b, 0)
	if c.U16BE() != sigMapEntry {
		return MapEntry{}, 0, false
	}
	c.Skip(2) // pmSigPad
	count = c.U32BE()
	e = MapEntry{Unit: unit, Off: int64(c.U32BE()) * unit, Size: int64(c.U32BE()) * unit}
	e.Name = mapString(c.Bytes(32))
	e.Type = mapString(c.Bytes(32))
	c.Skip(8) // pmLgDataStart, pmDataCnt
	e.Status = c.U32BE()
	return e, count, c.Err() == nil
}

// mapString decodes a string that ends at the first NUL.
func mapString(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	var s []rune
	for _, x := range b {
		s = append(s, charmap.Macintosh.DecodeByte(x))
	}
	return string(s)
}
