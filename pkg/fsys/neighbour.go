package fsys

import "io"

// A Neighbour is a regular file that lies close to another on the disc.
type Neighbour struct {
	Node Node
	Size int64 // bytes of its content, more than 0
	Pos  int64 // byte offset of the content in the image; Encoded if it is not there in one piece
}

// A NeighbourFS can tell which files will be read next by whoever reads the
// files of a directory one after the other.
type NeighbourFS interface {
	// Neighbours fills list with the files that follow the file n in its
	// directory, as far as that can be told cheaply, and returns how many. It
	// may guess: a node that was never handed out may be among them, but what
	// is told of one that was is true.
	Neighbours(n Node, list []Neighbour) int

	// ReadImage reads bytes of the image like an io.ReaderAt.
	ReadImage(p []byte, off int64) (int, error)
}

// maxGap is how many bytes that nobody wants are read along rather than
// starting another read.
const maxGap = 32 << 10

// ReadNeighbours reads the files at the beginning of list that lie behind each
// other on the disc, as many as buf has room for, in one read. It returns how
// many they are; buf then holds the image from the first one's Pos on.
func ReadNeighbours(fs NeighbourFS, list []Neighbour, buf []byte) (int, error) {
	n, end := 0, int64(0)
	for i, f := range list {
		if f.Pos < 0 || f.Size > int64(len(buf)) || i > 0 && (f.Pos < end || f.Pos-end > maxGap) {
			break
		}
		if f.Pos+f.Size-list[0].Pos > int64(len(buf)) {
			break
		}
		n, end = i+1, f.Pos+f.Size
	}
	if n == 0 {
		return 0, nil
	}
	want := int(end - list[0].Pos)
	got, err := fs.ReadImage(buf[:want], list[0].Pos)
	if got == want {
		return n, nil
	}
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return 0, err
}
