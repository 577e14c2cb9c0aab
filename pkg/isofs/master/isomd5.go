package master

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/isomount/isomount/pkg/binfmt"
)

// ErrImplanted reports an image whose application use field is not empty.
var ErrImplanted = errors.New("application use field of the volume descriptor is in use")

// How isomd5sum works (isomd5sum libimplantisomd5.c, utilities.h): a checksum
// over all but the last 15 sectors, with the field that holds it blank, and 20
// more of growing parts, of which three digits each are kept.
const (
	implantOff    = 16*blockSize + 883 // ECMA-119 8.4.32
	implantLen    = 512
	implantSkip   = 15 // sectors at the end
	implantChunk  = 32 << 10
	implantParts  = 20
	implantDigits = 3 // of each part
)

// ReadWriterAt is what ImplantMD5 works on, such as an *os.File.
type ReadWriterAt interface {
	io.ReaderAt
	io.WriterAt
}

// ImplantMD5 writes the checksum of an image into it, as implantisomd5 does,
// for checkisomd5 and for installers' media checks. force replaces one that is
// there. supported sets the flag that tells an installer to check without
// being asked.
func ImplantMD5(ctx context.Context, f ReadWriterAt, supported, force bool, progress Progress) error {
	size, err := implantSize(f)
	if err != nil {
		return err
	}
	field := make([]byte, implantLen)
	if err := binfmt.ReadFull(f, field, implantOff); err != nil {
		return err
	}
	blank := bytes.Repeat([]byte{' '}, implantLen)
	switch {
	case bytes.Equal(field, blank):
	case !force:
		return ErrImplanted
	default:
		if _, err := f.WriteAt(blank, implantOff); err != nil {
			return err
		}
	}
	sum, parts, err := implantSums(ctx, f, size, progress)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(implantField(sum, parts, supported), implantOff)
	return err
}

// implantSize returns how much of an image is covered.
func implantSize(r io.ReaderAt) (int64, error) {
	d := make([]byte, 88)
	if err := binfmt.ReadFull(r, d, 16*blockSize); err != nil {
		return 0, err
	}
	if d[0] != descPrimary || string(d[1:6]) != "CD001" {
		return 0, binfmt.ErrMagic
	}
	blocks := int64(binary.LittleEndian.Uint32(d[80:]))
	if blocks <= implantSkip {
		return 0, binfmt.Corrupt(16*blockSize+80, "volume of %d blocks", blocks)
	}
	return (blocks - implantSkip) * blockSize, nil
}

// implantSums reads the image and returns its checksum and the digits of the parts.
func implantSums(ctx context.Context, r io.ReaderAt, size int64, progress Progress) (sum [md5.Size]byte, parts string, err error) {
	h := md5.New()
	p := make([]byte, implantChunk)
	part := int64(0)
	for off := int64(0); off < size; off += int64(len(p)) {
		if err := ctx.Err(); err != nil {
			return sum, "", err
		}
		p = p[:min(int64(len(p)), size-off)]
		if err := binfmt.ReadFull(r, p, off); err != nil {
			return sum, "", err
		}
		h.Write(p)
		if now := off * (implantParts + 1) / size; now != part {
			part = now
			parts += partDigits(h.Sum(nil))
		}
		if progress != nil {
			progress(off+int64(len(p)), size)
		}
	}
	h.Sum(sum[:0])
	return sum, parts, nil
}

// partDigits takes the first digit of each of three bytes written without
// leading zeros.
func partDigits(sum []byte) string {
	digits := make([]byte, implantDigits)
	for i := range digits {
		digits[i] = fmt.Sprintf("%x", sum[i])[0]
	}
	return string(digits)
}

func implantField(sum [md5.Size]byte, parts string, supported bool) []byte {
	status := 0
	if supported {
		status = 1
	}
	text := fmt.Sprintf("ISO MD5SUM = %x;SKIPSECTORS = %d;RHLISOSTATUS=%d;FRAGMENT SUMS = %s;FRAGMENT COUNT = %d;"+
		"THIS IS NOT THE SAME AS RUNNING MD5SUM ON THIS ISO!!", sum, implantSkip, status, parts, implantParts)
	return appendPadded(nil, []byte(text), implantLen, []byte{' '})
}
