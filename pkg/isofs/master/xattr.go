package master

import (
	"errors"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// xattrs reads the extended attributes and ACLs of something that was found.
func (s *scanner) xattrs(n *Node, f *found) error {
	if s.opt.NoXattrs || (f.st.Mode&unix.S_IFMT == unix.S_IFLNK && !s.opt.AllXattrs) {
		return nil // a symbolic link can have none of the ordinary ones
	}
	list, err := s.readXattr(func(p []byte) (int, error) { return listXattr(f, p) })
	if err != nil || len(list) == 0 {
		return err
	}
	var xattrs []Xattr
	for name := range strings.SplitSeq(strings.TrimSuffix(string(list), "\x00"), "\x00") {
		if !s.wanted(name) {
			continue
		}
		value, err := s.readXattr(func(p []byte) (int, error) { return getXattr(f, name, p) })
		if err != nil {
			return err
		}
		xattrs = append(xattrs, Xattr{name, slices.Clone(value)})
	}
	slices.SortFunc(xattrs, func(a, b Xattr) int { return strings.Compare(a.Name, b.Name) })
	n.SetXattrs(xattrs)
	return nil
}

// wanted tells whether an attribute goes into the image.
func (s *scanner) wanted(name string) bool {
	return s.opt.AllXattrs || strings.HasPrefix(name, "user.") || name == "security.capability" ||
		name == aclAccess || name == aclDefault
}

func listXattr(f *found, p []byte) (int, error) {
	if f.via {
		return unix.Listxattr(f.path, p)
	}
	return unix.Llistxattr(f.path, p)
}

func getXattr(f *found, name string, p []byte) (int, error) {
	if f.via {
		return unix.Getxattr(f.path, name, p)
	}
	return unix.Lgetxattr(f.path, name, p)
}

// maxXattr is the most that Linux lets one attribute, or the list of them, have.
const maxXattr = 1 << 16

// readXattr calls one of the above with the scanner's buffer, which it makes
// larger once. What a file system does not have is empty.
func (s *scanner) readXattr(call func([]byte) (int, error)) ([]byte, error) {
	if s.buf == nil {
		s.buf = make([]byte, 4096)
	}
	n, err := call(s.buf)
	if errors.Is(err, unix.ERANGE) && len(s.buf) < maxXattr {
		s.buf = make([]byte, maxXattr)
		n, err = call(s.buf)
	}
	switch {
	case errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.ENODATA):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return s.buf[:n], nil
}
