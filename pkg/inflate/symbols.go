package inflate

import (
	"encoding/binary"
	"io"
)

// symbols decodes the rest of a block in which literals and matches take turns
// (RFC 1951 3.2.3). The state is in variables, which the compiler keeps in
// registers.
//
//nolint:cyclop,funlen // a call for each symbol would take half of the time
func (d *decoder) symbols() error {
	dst, src, n, pos, buf, have := d.dst, d.src, d.n, d.pos, d.buf, d.have
	var err error
loop:
	for {
		if pos+8 <= len(src) {
			buf |= binary.LittleEndian.Uint64(src[pos:]) << (have & 63)
			pos += int(63-have) >> 3
			have |= 56
		} else {
			for have <= 56 && pos < len(src) {
				buf |= uint64(src[pos]) << (have & 63)
				pos++
				have += 8
			}
		}
		e := d.literals[buf&(1<<literalBits-1)]
		if e.is(isLink) {
			e = d.literals[int(e.value())+int(buf>>literalBits&(1<<(maxBits-literalBits)-1))]
		}
		used := e.bits()
		if used > have {
			err = io.ErrUnexpectedEOF
			break
		}
		if e.is(isLiteral) {
			if n >= len(dst) {
				err = errFull
				break
			}
			dst[n] = byte(e.value())
			n++
			buf >>= used & 63
			have -= used
			// 56 bits are enough for another two from the first table.
			for range 2 {
				e = d.literals[buf&(1<<literalBits-1)]
				used = e.bits()
				if !e.is(isLiteral) || used > have || n >= len(dst) {
					continue loop
				}
				dst[n] = byte(e.value())
				n++
				buf >>= used & 63
				have -= used
			}
			continue
		}
		if e.is(isEnd) {
			buf >>= used & 63
			have -= used
			break
		}
		if e == 0 {
			err = ErrCorrupt
			break
		}
		// A match takes 48 bits at most: its length is a code of 15 and 5 more,
		// its distance a code of 15 and 13 more.
		length := int(e.value()) + int(buf>>(used&63)&(1<<e.extra()-1))
		total := used + e.extra()
		e = d.distances[buf>>(total&63)&(1<<distanceBits-1)]
		if e.is(isLink) {
			e = d.distances[int(e.value())+int(buf>>((total+distanceBits)&63)&(1<<(maxBits-distanceBits)-1))]
		}
		if e == 0 {
			err = ErrCorrupt
			if total >= have {
				err = io.ErrUnexpectedEOF
			}
			break
		}
		distance := int(e.value()) + int(buf>>((total+e.bits())&63)&(1<<e.extra()-1))
		total += e.bits() + e.extra()
		if total > have {
			err = io.ErrUnexpectedEOF
			break
		}
		if distance > n {
			err = ErrCorrupt
			break
		}
		buf >>= total & 63
		have -= total
		if length > len(dst)-n {
			n = repeat(dst, n, distance, len(dst)-n)
			err = errFull
			break
		}
		n = repeat(dst, n, distance, length)
	}
	d.n, d.pos, d.buf, d.have = n, pos, buf, have
	return err
}

// repeat appends length bytes that begin distance before n; they may overlap
// what they become. It returns the new n.
func repeat(dst []byte, n, distance, length int) int {
	end := n + length
	from := n - distance
	if distance >= length {
		copy(dst[n:end], dst[from:from+length])
		return end
	}
	if distance == 1 {
		c, to := dst[from], dst[n:end]
		for i := range to {
			to[i] = c
		}
		return end
	}
	for n < end {
		n += copy(dst[n:end], dst[from:n])
	}
	return end
}
