package master

import "fmt"

// sequence makes a volume descriptor sequence (ECMA-167 3/8.4.2) at a block.
func (u *udfPlan) sequence(block uint32) []byte {
	var b []byte
	for i, d := range []struct {
		tag  uint16
		make func(w *udfWriter)
	}{
		{tagPrimary, u.primary},
		{tagImplementation, u.implementationUse},
		{tagPartition, u.partition},
		{tagLogicalVolume, u.logicalVolume},
		{tagUnallocated, func(w *udfWriter) { w.u32(0) }},
	} {
		w := udfWriter{}
		w.zeros(tagLen)
		w.u32(uint32(i + 1)) // volume descriptor sequence number
		d.make(&w)
		b = appendBlock(b, u.seal(w.b, d.tag, block+uint32(i)))
	}
	return append(b, u.terminator(block+uint32(len(b)/blockSize))...)
}

// primary appends the primary volume descriptor (ECMA-167 3/10.1). The volume
// set identifier must begin with eight hexadecimal digits that tell the set
// from others (UDF 2.2.2.5).
func (u *udfPlan) primary(w *udfWriter) {
	o := &u.m.opt
	w.u32(0) // descriptor number
	w.dstring(o.VolumeID, 32)
	w.u16(1) // volume sequence number
	w.u16(1) // maximum
	w.u16(2) // interchange level
	w.u16(2) // maximum
	w.u32(1) // character sets
	w.u32(1) // maximum
	unique := uint64(u.m.date.UnixMicro())
	w.dstring(fmt.Sprintf("%016X%s", unique, o.VolumeSetID), 128)
	w.charset()
	w.charset()
	w.extent(0, 0) // abstract
	w.extent(0, 0) // copyright
	w.entity("*isomount")
	w.timestamp(u.m.date)
	w.implementer()
	w.fill()
}

// implementationUse appends the descriptor that UDF 2.2.7 asks for.
func (u *udfPlan) implementationUse(w *udfWriter) {
	w.entity("*UDF LV Info", byte(u.revision), byte(u.revision>>8))
	w.charset()
	w.dstring(u.m.opt.VolumeID, 128)
	w.dstring("", 36)
	w.dstring("", 36)
	w.dstring("", 36)
	w.implementer()
	w.fill()
}

// partition appends the partition descriptor (ECMA-167 3/10.5).
func (u *udfPlan) partition(w *udfWriter) {
	w.u16(1) // space is allocated
	w.u16(0) // partition number
	contents := "+NSR02"
	if u.revision >= UDF201 {
		contents = "+NSR03"
	}
	w.entity(contents)
	w.zeros(128)
	w.u32(1) // read only
	w.u32(udfStart)
	w.u32(uint32(u.size))
	w.implementer()
	w.fill()
}

// logicalVolume appends the logical volume descriptor (ECMA-167 3/10.6).
func (u *udfPlan) logicalVolume(w *udfWriter) {
	w.charset()
	w.dstring(u.m.opt.VolumeID, 128)
	w.u32(blockSize)
	u.domain(w)
	w.longAD(2*blockSize, 0, 0) // file set
	w.u32(6)                    // length of the partition maps
	w.u32(1)                    // number of them
	w.implementer()
	w.zeros(128)
	w.extent(2*blockSize, udfIntegrity)
	w.u8(1) // a partition map of type 1 (3/10.7.2)
	w.u8(6)
	w.u16(1) // volume sequence number
	w.u16(0) // partition number
}

// integrity makes the integrity sequence, which says that the volume is
// closed (ECMA-167 3/10.10, UDF 2.2.6).
func (u *udfPlan) integrity() []byte {
	w := udfWriter{}
	w.zeros(tagLen)
	w.timestamp(u.m.date)
	w.u32(1)       // closed
	w.extent(0, 0) // next
	w.u64(uint64(len(u.inodes)) + firstUnique + 1)
	w.zeros(24)
	w.u32(1) // partitions
	w.u32(46)
	w.u32(0) // free blocks
	w.u32(uint32(u.size))
	w.implementer()
	w.u32(uint32(len(u.inodes) - len(u.dirs)))
	w.u32(uint32(len(u.dirs)))
	w.u16(uint16(u.revision)) // to read
	w.u16(uint16(u.revision)) // to write
	w.u16(uint16(u.revision)) // most that wrote
	b := appendBlock(nil, u.seal(w.b, tagIntegrity, udfIntegrity))
	return append(b, u.terminator(udfIntegrity+1)...)
}

// anchor makes an anchor volume descriptor pointer (ECMA-167 3/10.2).
func (u *udfPlan) anchor(block uint32) []byte {
	w := udfWriter{}
	w.zeros(tagLen)
	w.extent(udfSequence*blockSize, udfMain)
	w.extent(udfSequence*blockSize, udfReserve)
	w.fill()
	return u.seal(w.b, tagAnchor, block)
}
