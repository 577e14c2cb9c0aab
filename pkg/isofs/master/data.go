package master

import (
	"crypto/md5"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
)

// A checker is a file that knows whether it is still what was scanned.
type checker interface {
	// Check returns ErrGrew or ErrChanged if it is not.
	Check() error
}

// writeFiles writes the content of all files.
func (m *image) writeFiles(o *output) error {
	for _, n := range m.files {
		if err := m.writeFile(o, n); err != nil {
			return err
		}
	}
	return nil
}

func (m *image) writeFile(o *output, n *Node) error {
	var sum hash.Hash
	if m.sums != nil {
		sum = md5.New()
	}
	if n.inode.size > 0 {
		if err := m.copyFile(o, n, sum); err != nil {
			return &fs.PathError{Op: "write", Path: n.Path(), Err: err}
		}
	}
	if sum != nil {
		sum.Sum(m.sums.files[n.inode.sum][:0])
	}
	return o.align()
}

// copyFile copies as many bytes as the file had when it was scanned: what came
// since is noted and left out, what is missing is an error.
func (m *image) copyFile(o *output, n *Node, sum hash.Hash) error {
	r, err := n.inode.content.Open(n)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", ErrGone, err)
	}
	if err != nil {
		return err
	}
	err = copyN(o, r, n, sum)
	if err == nil {
		err = m.check(r, n)
	}
	return errors.Join(err, r.Close())
}

func copyN(o *output, r io.Reader, n *Node, sum hash.Hash) error {
	size := n.inode.size
	for done := int64(0); done < size; {
		p, err := o.space()
		if err != nil {
			return err
		}
		k, err := r.Read(p[:min(int64(len(p)), size-done)])
		took := o.took(k)
		n.inode.applyPatches(took, done)
		if sum != nil {
			sum.Write(took)
		}
		done += int64(k)
		switch {
		case done == size:
		case errors.Is(err, io.EOF):
			return fmt.Errorf("%w: %d bytes instead of %d", ErrShort, done, size)
		case err != nil:
			return err
		}
	}
	return nil
}

// check notes whether a file was changed since it was scanned.
func (m *image) check(r io.Reader, n *Node) error {
	c, ok := r.(checker)
	if !ok {
		return nil
	}
	err := c.Check()
	if errors.Is(err, ErrGrew) || errors.Is(err, ErrChanged) {
		m.note(n, err)
		return nil
	}
	return err
}

func (m *image) note(n *Node, err error) {
	m.result.Notes = append(m.result.Notes, Note{n.Path(), err})
}
