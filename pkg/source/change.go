package source

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// What may happen to an image while it is in use. One that was only deleted is
// still whole.
var (
	ErrChanged = errors.New("the image was changed while it was in use")
	ErrDeleted = errors.New("the image was deleted while it was in use")
)

// An Identity tells a file, and one state of it, from all others: files of the
// same identity have the same bytes, unless somebody set a clock or a time of
// the file back.
type Identity struct {
	Dev, Ino uint64
	Size     int64 // bytes
	ModSec   int64 // when it was written last, since 1970; 0 of a device
	ModNsec  int64
}

// Identity returns what the image was when it was opened.
func (s *File) Identity() Identity { return s.id }

// Check tells whether the image is still what it was when it was opened: it
// returns ErrChanged if it may have other bytes, ErrDeleted if only its name is
// gone. Of a device it knows the size alone.
func (s *File) Check() error {
	now, err := s.identify()
	switch {
	case err != nil:
		return err
	case now.Size != s.id.Size:
		return fmt.Errorf("%w: it has %d bytes and had %d", ErrChanged, now.Size, s.id.Size)
	case now != s.id:
		return ErrChanged
	}
	return control(s.f, checkLinked)
}

func checkLinked(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Nlink == 0 {
		return ErrDeleted
	}
	return nil
}

func (s *File) identify() (Identity, error) {
	var id Identity
	err := control(s.f, func(fd int) error {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return err
		}
		id = Identity{Dev: uint64(st.Dev), Ino: st.Ino, Size: st.Size} //nolint:unconvert // 32 bits on mips
		if s.device {
			return id.setDeviceSize(fd)
		}
		id.ModSec, id.ModNsec = st.Mtim.Unix()
		return nil
	})
	return id, err
}

// setDeviceSize asks the driver, since stat(2) does not know.
func (id *Identity) setDeviceSize(fd int) error {
	size, err := unix.IoctlGetUint64(fd, unix.BLKGETSIZE64)
	if err != nil {
		return fmt.Errorf("size of the device: %w", err)
	}
	id.Size = int64(size)
	return nil
}
