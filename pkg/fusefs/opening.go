package fusefs

// Opening an image runs parsers over bytes that may have changed since the
// mount was made, and can end a process as a request can. Then its successor
// opens the image, and dies as well, and no other drive is served ever again.
//
// So the journal says whether its image is being opened, and what is said of
// requests in poison.go holds here as well: the predecessor's own failure is
// evidence, a kill is none, and an opening that is suspected is tried alone.
// One more thing counts as evidence, since the kernel's kill for want of memory
// leaves no text: that the process had grown while it opened the image.

// Bytes of the journal's header about the opening of the image.
const (
	offOpening = offTable + 16*slotCount // 1 while a process opens it
	offTrial   = offOpening + 1          // 1 while it does so on trial
	offGrew    = offOpening + 2          // 1 when that took much memory
	offCrashes = offOpening + 3          // processes that ended by it, of themselves
	offDeaths  = offOpening + 4          // processes in a row that ended during it; 4 bytes
)

// BeginOpen notes that this process is about to open the image of the mount. It
// tells whether it may: not if that has ended two processes, or many have died
// while they did it. The caller ends what it began with [Journal.EndOpen].
func (j *Journal) BeginOpen() bool {
	if j.mem[offCrashes] >= convicted || j.get(offDeaths) >= maxDeaths {
		return false
	}
	j.put(offDeaths, j.get(offDeaths)+1)
	if j.mem[offCrashes] > 0 {
		j.mem[offTrial] = 1
	}
	j.mem[offOpening] = 1
	return true
}

// EndOpen notes that the image was opened, whether it could be read or not, or
// that this process ends for another reason. What is suspected is forgotten.
func (j *Journal) EndOpen() {
	clear(j.mem[offOpening : offDeaths+4])
}

// Grew notes that the process takes much more memory since it opens the image.
func (j *Journal) Grew() {
	if j.mem[offOpening] != 0 {
		j.mem[offGrew] = 1
	}
}

// EndTrial notes that others are served again although the image is still being
// opened: what ends the process from now on may be theirs. One that takes much
// memory stays on trial, because that is how it would end the process.
func (j *Journal) EndTrial() {
	if j.mem[offGrew] == 0 {
		j.mem[offTrial] = 0
	}
}

// SuspectsOpening tells whether opening the image may have ended a process. The
// successor calls it before [Journal.BeginOpen], after [Journal.Accuse].
func (j *Journal) SuspectsOpening() bool {
	if j.mem[offGrew] != 0 {
		j.accuseOpening()
	}
	return j.mem[offCrashes] > 0
}

// accuseOpening notes that the predecessor failed, or was out of memory, while
// it opened the image. A second call changes nothing.
func (j *Journal) accuseOpening() {
	switch {
	case j.mem[offOpening] == 0:
	case j.mem[offTrial] != 0:
		j.mem[offCrashes] = convicted
	case j.mem[offCrashes] == 0:
		j.mem[offCrashes] = 1
	}
	j.mem[offTrial], j.mem[offGrew] = 0, 0
}
