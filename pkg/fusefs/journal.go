package fusefs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// A Journal is the memory into which the kernel's requests are read: a memfd
// that outlives the process when somebody else holds its descriptor. A
// successor finds there how the connection was set up and every request that
// was taken from the kernel and not answered.
//
// Layout, little-endian, one header page and then one slot a worker:
//
//	0    8  "isomount"
//	8    4  version of this layout
//	12   4  number of slots
//	16   4  version of the node ids
//	20   4  length of the INIT request, 0 until it was answered
//	24  232 the INIT request as the kernel sent it
//	256 16n per slot, about the request that a successor found in it: its
//	        unique (8), how many processes died while they repeated it (4),
//	        how many of those failed of themselves (3 bytes), 1 while it is on
//	        trial (1); see poison.go
//	512  8  about the opening of the image; see opening.go
//	4096 4  length of the note, see Journal.SetNote
//	4100    the note
//	20480   slots of slotBytes: a request as the kernel sent it; its length
//	        field is 0 while there is none
//
// Slots are page-aligned and touched before the kernel fills them, because a
// killed thread cannot fault a page in and the request would be lost.
type Journal struct {
	file  *os.File
	mem   []byte
	fresh bool // made by this process; looking at its slots would give them memory
}

const (
	journalMagic   = "isomount"
	journalVersion = 1

	// NodeVersion changes when node ids come to mean something else; a
	// mount's ids are only understood by a process of the same version.
	NodeVersion = 1

	slotCount    = 16
	slotBytes    = 8192 // FUSE_MIN_READ_BUFFER of include/uapi/linux/fuse.h
	headerBytes  = 4096
	noteBytes    = 16384
	slotsOff     = headerBytes + noteBytes
	journalBytes = slotsOff + slotCount*slotBytes

	offVersion = 8
	offSlots   = 12
	offNodes   = 16
	offInitLen = 20
	offInit    = 24
	offTable   = 256
	initMax    = offTable - offInit
)

// ErrJournal reports a journal that this program does not understand. Nothing
// of it may be guessed.
var ErrJournal = errors.New("journal of an unknown version")

// NewJournal makes an empty journal.
func NewJournal() (*Journal, error) {
	fd, err := unix.MemfdCreate("isomount-journal", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	f := os.NewFile(uintptr(fd), "journal")
	if err := f.Truncate(journalBytes); err != nil {
		_ = f.Close()
		return nil, err
	}
	seals := unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("seal the journal: %w", err)
	}
	j, err := mapJournal(f)
	if err != nil {
		return nil, err
	}
	j.fresh = true
	copy(j.mem, journalMagic)
	j.put(offVersion, journalVersion)
	j.put(offSlots, slotCount)
	j.put(offNodes, NodeVersion)
	return j, nil
}

// OpenJournal takes over the journal that f holds and owns f from then on.
// It fails with [ErrJournal] when another version wrote it.
func OpenJournal(f *os.File) (*Journal, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if st.Size() != journalBytes {
		return nil, fmt.Errorf("%w: %d bytes long", ErrJournal, st.Size())
	}
	j, err := mapJournal(f)
	if err != nil {
		return nil, err
	}
	version, nodes := j.get(offVersion), j.get(offNodes)
	if string(j.mem[:len(journalMagic)]) != journalMagic || version != journalVersion || nodes != NodeVersion || j.get(offSlots) != slotCount {
		_ = unix.Munmap(j.mem)
		return nil, fmt.Errorf("%w: layout %d, nodes %d; this program has %d, %d", ErrJournal, version, nodes, journalVersion, NodeVersion)
	}
	return j, nil
}

func mapJournal(f *os.File) (*Journal, error) {
	mem, err := unix.Mmap(int(f.Fd()), 0, journalBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("map the journal: %w", err)
	}
	return &Journal{file: f, mem: mem}, nil
}

// File returns the descriptor to keep or to pass on; it stays the journal's.
func (j *Journal) File() *os.File { return j.file }

// Close lets go of the journal. No server may use it any more.
func (j *Journal) Close() error {
	return errors.Join(unix.Munmap(j.mem), j.file.Close())
}

func (j *Journal) get(off int) uint32    { return binary.LittleEndian.Uint32(j.mem[off:]) }
func (j *Journal) put(off int, v uint32) { binary.LittleEndian.PutUint32(j.mem[off:], v) }

// maxNote is how long a note can be.
const maxNote = noteBytes - 4

// SetNote keeps a text of the journal's owner, in which a successor finds what
// the mount is. It replaces the one before and fails when it is too long.
func (j *Journal) SetNote(note []byte) error {
	if len(note) > maxNote {
		return fmt.Errorf("note of %d bytes: the journal has room for %d", len(note), maxNote)
	}
	j.put(headerBytes, 0) // a note is whole or not there
	copy(j.mem[headerBytes+4:slotsOff], note)
	j.put(headerBytes, uint32(len(note)))
	return nil
}

// Note returns what SetNote kept, or nil.
func (j *Journal) Note() []byte {
	n := int(j.get(headerBytes))
	if n == 0 || n > maxNote {
		return nil
	}
	return append([]byte(nil), j.mem[headerBytes+4:headerBytes+4+n]...)
}

// slot returns the memory of a slot.
func (j *Journal) slot(i int) []byte {
	off := slotsOff + i*slotBytes
	return j.mem[off : off+slotBytes : off+slotBytes]
}

// initRequest returns the INIT request that was answered, or nil.
func (j *Journal) initRequest() []byte {
	n := int(j.get(offInitLen))
	if n == 0 || n > initMax {
		return nil
	}
	return j.mem[offInit : offInit+n]
}

// setInit keeps the INIT request; it must be called before INIT is answered.
func (j *Journal) setInit(request []byte) error {
	if len(request) > initMax {
		return fmt.Errorf("INIT request of %d bytes", len(request))
	}
	copy(j.mem[offInit:], request)
	j.put(offInitLen, uint32(len(request)))
	return nil
}
