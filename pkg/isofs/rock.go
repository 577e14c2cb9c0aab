package isofs

import (
	"bytes"
	"encoding/binary"

	"github.com/isomount/isomount/pkg/binfmt"
	"github.com/isomount/isomount/pkg/fsys"
)

// Rock Ridge entries (Rock Ridge Interchange Protocol, IEEE P1282), and those
// of the SUSP that tell that they are there.
var (
	tagSP = newTag("SP") // SUSP 5.3: how many bytes to skip in each area
	tagER = newTag("ER") // SUSP 5.5: which extensions are used
	tagPX = newTag("PX") // 4.1.1: POSIX mode, links, owner
	tagPN = newTag("PN") // 4.1.2: device number
	tagSL = newTag("SL") // 4.1.3: symbolic link
	tagNM = newTag("NM") // 4.1.4: name
	tagCL = newTag("CL") // 4.1.5.1: where a relocated directory is
	tagPL = newTag("PL") // 4.1.5.2: where its parent is
	tagRE = newTag("RE") // 4.1.5.3: this directory was relocated to here
	tagTF = newTag("TF") // 4.1.6: times
	tagSF = newTag("SF") // 4.1.7: sparse file
)

const (
	maxName = 255  // bytes, as the kernel allows in a directory entry
	maxLink = 4095 // bytes, as the kernel allows in a symbolic link
)

// Bits of rock.has.
const (
	hasPX = 1 << iota
	hasSerial
	hasModTime
	hasAccTime
	hasChgTime
	hasLink
	hasChild
	hasParent
	hasRelocated
	hasSparse
	hasZisofs
	hasAttributes
)

// A rock is what the system use area of a record says.
type rock struct {
	has uint16

	name     []byte
	nameDone bool // no more parts follow

	mode, nlink, uid, gid, serial uint32
	major, minor                  uint32
	mod, acc, chg                 fsys.Time

	link    []byte
	linkBad bool // the target is damaged or too long

	child  uint32 // logical block of the directory that CL names
	parent uint32 // logical block of the directory that PL names

	sparse sparseEntry
	zisofs zisofsEntry
}

func (x *rock) reset() {
	*x = rock{name: x.name[:0], link: x.link[:0]}
}

// parse reads the entries of a system use area into x. If only the name is
// wanted it stops when the name is complete.
func (x *rock) parse(s *susp, nameOnly bool) {
	x.reset()
	for {
		e, ok := s.next()
		switch {
		case !ok:
			return
		case !nameOnly:
			x.add(e)
		case e.tag == tagNM, e.tag == tagRE:
			x.add(e)
			if x.nameDone {
				return
			}
		}
	}
}

func (x *rock) add(e entry) {
	switch e.tag {
	case tagNM:
		x.addName(e.data)
	case tagPX:
		x.addPosix(e.data)
	case tagTF:
		x.addTimes(e.data)
	case tagSL:
		x.addLink(e.data)
	case tagPN:
		x.addDevice(e.data)
	case tagCL:
		x.child = x.location(e.data, hasChild)
	case tagPL:
		x.parent = x.location(e.data, hasParent)
	case tagRE:
		x.has |= hasRelocated
	case tagSF:
		x.addSparse(e.data)
	case tagZF, tagZ2:
		x.addZisofs(e.data)
	case tagAL:
		x.has |= hasAttributes
	}
}

// addName appends a part of the name. Names of the flags CURRENT, PARENT and
// HOST are left to the file identifier, as Linux does; so is what would make
// the name too long.
func (x *rock) addName(data []byte) {
	const (
		more  = 1
		known = 1
	)
	if len(data) < 1 || x.nameDone || data[0]&^known != 0 {
		return
	}
	if len(x.name)+len(data)-1 > maxName {
		x.nameDone = true
		return
	}
	x.name = append(x.name, data[1:]...)
	x.nameDone = data[0]&more == 0
}

// addPosix reads PX, which is longer by a serial number since RRIP 1.12.
func (x *rock) addPosix(data []byte) {
	if len(data) < 32 {
		return
	}
	c := binfmt.At(data, 0)
	x.mode, x.nlink, x.uid, x.gid = c.U32Both(), c.U32Both(), c.U32Both(), c.U32Both()
	x.has |= hasPX
	if c.Len() >= 8 {
		x.serial = c.U32Both()
		x.has |= hasSerial
	}
}

// addDevice reads PN. Systems whose device numbers are 32 bits wide put all of
// it into the low half (RRIP 4.1.2); Linux spreads the minor number around the
// major one in it.
func (x *rock) addDevice(data []byte) {
	if len(data) < 16 {
		return
	}
	c := binfmt.At(data, 0)
	x.major, x.minor = c.U32Both(), c.U32Both()
	if dev := x.minor; x.major == 0 && dev > 0xff {
		x.major, x.minor = dev>>8&0xfff, dev&0xff|dev>>12&0xfff00
	}
}

func (x *rock) location(data []byte, bit uint16) uint32 {
	if len(data) < 8 {
		return 0
	}
	x.has |= bit
	return binary.LittleEndian.Uint32(data)
}

// addTimes reads TF: stamps in the order of their flags. The time of creation
// stands in for that of the last change of attributes: some writers confuse
// them.
func (x *rock) addTimes(data []byte) {
	const longForm = 1 << 7
	if len(data) < 1 {
		return
	}
	flags, stamps := data[0], data[1:]
	size, read := 7, recordDate
	if flags&longForm != 0 {
		size, read = 17, longDate
	}
	for bit := range 7 {
		if flags>>bit&1 == 0 {
			continue
		}
		if len(stamps) < size {
			return
		}
		if t, ok := read(stamps[:size]); ok {
			x.addTime(bit, t)
		}
		stamps = stamps[size:]
	}
}

// addTime takes the stamp of a bit of TF's flags.
func (x *rock) addTime(bit int, t fsys.Time) {
	switch bit {
	case 0, 3: // creation, attributes
		x.chg = t
		x.has |= hasChgTime
	case 1:
		x.mod = t
		x.has |= hasModTime
	case 2:
		x.acc = t
		x.has |= hasAccTime
	}
}

// Flags of SL and of its components.
const (
	linkContinue = 1 << 0
	linkCurrent  = 1 << 1
	linkParent   = 1 << 2
	linkRoot     = 1 << 3
)

// addLink appends the components of an SL entry to the link's target.
func (x *rock) addLink(data []byte) {
	x.has |= hasLink
	if len(data) < 1 {
		return
	}
	goesOn := data[0]&linkContinue != 0
	for parts := data[1:]; len(parts) >= 2; {
		flags, n := parts[0], int(parts[1])
		if n > len(parts)-2 {
			x.linkBad = true
			return
		}
		last := len(parts)-2-n < 2
		x.addComponent(flags, parts[2:2+n])
		if flags&(linkRoot|linkContinue) == 0 && (!last || goesOn) {
			x.link = append(x.link, '/')
		}
		parts = parts[2+n:]
	}
	if len(x.link) > maxLink {
		x.link, x.linkBad = x.link[:maxLink], true
	}
}

func (x *rock) addComponent(flags byte, text []byte) {
	switch flags &^ linkContinue {
	case 0:
		x.link = append(x.link, text...)
	case linkCurrent:
		x.link = append(x.link, '.')
	case linkParent:
		x.link = append(x.link, ".."...)
	case linkRoot:
		x.link = append(x.link, '/')
	}
}

// target returns where the link leads. A string cannot hold more than what
// stands before a NUL.
func (x *rock) target() ([]byte, bool) {
	link, _, _ := bytes.Cut(x.link, []byte{0})
	return link, len(link) > 0 && !x.linkBad
}

// A rockRidge says how Rock Ridge is used on a disc.
type rockRidge struct {
	present  bool
	evidence string // what told so
	id       string // of the ER entry
	skip     int    // bytes to skip in the system use area of each record
	rootSkip int    // the same for the root's record of itself

	attributes bool // the root has attributes, so that others may have too
}

// area returns the entries of a record.
func (k *rockRidge) area(use []byte, root bool) []byte {
	skip := k.skip
	if root {
		skip = k.rootSkip
	}
	return use[min(skip, len(use)):]
}

const xaSize = 14 // bytes of CD-XA attributes

// hasXA tells whether a system use area begins with the attributes of a CD-XA
// disc (Green Book, chapter II.7).
func hasXA(use []byte) bool {
	return len(use) >= xaSize && use[6] == 'X' && use[7] == 'A'
}

// findRock looks for Rock Ridge: an ER entry in the root's record of itself or,
// on discs whose writer forgot it, PX or NM there or in the first records.
func (v *Volume) findRock() (rockRidge, error) {
	s := getScratch()
	defer putScratch(s)
	k := rockRidge{}
	var root record
	if !root.decode(v.primary.root, v.primary.rootOff, false) {
		return k, nil
	}
	s.scan.open(v, v.extentOf(&root), sectorSize, 0)
	for n := 0; n < 16 && s.scan.next(&s.rec); n++ {
		if n == 0 && s.rec.isDot() {
			k.fromRoot(v, s)
		} else {
			k.fromRecord(v, s)
		}
		s.fail(s.susp.err)
		if k.present {
			break
		}
	}
	s.fail(s.scan.err)
	return k, s.err
}

// fromRoot looks at the root's record of itself.
func (k *rockRidge) fromRoot(v *Volume, s *scratch) {
	if hasXA(s.rec.use) {
		k.skip, k.rootSkip = xaSize, xaSize
	}
	s.susp.start(v, k.area(s.rec.use, true))
	posix := false
	for {
		e, ok := s.susp.next()
		if !ok {
			break
		}
		switch {
		case e.tag == tagSP && len(e.data) >= 3 && e.data[0] == 0xbe && e.data[1] == 0xef:
			k.skip = int(e.data[2])
		case e.tag == tagER && !k.present:
			k.present, k.evidence, k.id = true, "ER entry", identifier(e.data)
		case e.tag == tagPX && len(e.data) >= 32:
			posix = true
		case e.tag == tagAL:
			k.attributes = true
		}
	}
	if posix && !k.present {
		k.present, k.evidence = true, "PX entry of the root"
	}
}

// fromRecord looks at a record of the root.
func (k *rockRidge) fromRecord(v *Volume, s *scratch) {
	s.susp.start(v, k.area(s.rec.use, false))
	s.rock.parse(&s.susp, false)
	switch {
	case s.rock.has&hasPX != 0:
		k.present, k.evidence = true, "PX entry in the root"
	case len(s.rock.name) > 0:
		k.present, k.evidence = true, "NM entry in the root"
	}
}

// identifier returns the extension identifier of an ER entry.
func identifier(data []byte) string {
	if len(data) < 4 {
		return ""
	}
	return trimText(data[4:min(4+int(data[0]), len(data))])
}
