package master

import (
	"crypto/md5"
	"encoding/binary"
	"fmt"
)

// sums are the checksums that libisofs can record (libisofs doc/checksums.txt):
// an array at the end of the session, with one entry for the session, one for
// each file, and one for the array itself, and tags in the stream of blocks.
type sums struct {
	files   [][md5.Size]byte // entry 0 is the session's
	area    uint32           // first block of the array
	sbTag   uint32           // block of the tag behind the volume descriptors
	treeTag uint32           // block of the tag behind the directories
	endTag  uint32           // block of the tag behind everything
}

func newSums(files int) *sums { return &sums{files: make([][md5.Size]byte, files+1)} }

// blocks returns how many blocks the array takes.
func (s *sums) blocks() int64 { return blocksOf(int64(len(s.files)+1) * md5.Size) }

// appendTo adds the attributes by which libisofs finds the checksums: of the
// root, where the array lies ("isofs.ca"); of a file, its place in it ("isofs.cx").
func (s *sums) appendTo(w *componentWriter, n *Node, root bool) {
	if root {
		v := []byte{4, 0, 0, 0, 0, 4}
		v = binary.BigEndian.AppendUint32(v, s.area)
		v = append(v, 4)
		v = binary.BigEndian.AppendUint32(v, uint32(len(s.files)+1))
		v = append(v, 1, md5.Size)
		v = append(v, "MD5"...)
		w.component(aaipName("isofs.ca"))
		w.component(string(v))
	}
	if n.inode.sum > 0 {
		w.component(aaipName("isofs.cx"))
		w.component(string(binary.BigEndian.AppendUint32(nil, n.inode.sum)))
	}
}

// writeArray writes the array. Nothing may have been written behind its start.
func (s *sums) writeArray(w *output) error {
	session, err := w.sum()
	if err != nil {
		return err
	}
	s.files[0] = session
	all := md5.New()
	for i := range s.files {
		all.Write(s.files[i][:])
		if _, err := w.Write(s.files[i][:]); err != nil {
			return err
		}
	}
	_, err = w.Write(all.Sum(nil))
	return err
}

// writeTag writes one of the tags: a line of text that tells where it is, what
// it covers, and the checksum of all blocks before it.
func writeTag(w *output, id string, pos, next uint32) error {
	sum, err := w.sum()
	if err != nil {
		return err
	}
	line := fmt.Sprintf("%s pos=%d range_start=0 range_size=%d", id, pos, pos)
	if next != 0 {
		line += fmt.Sprintf(" next=%d", next)
	}
	line += fmt.Sprintf(" md5=%x", sum)
	line += fmt.Sprintf(" self=%x\n", md5.Sum([]byte(line)))
	_, err = w.Write([]byte(line))
	return err
}
