package drive

import (
	"fmt"
	"slices"

	"github.com/isomount/isomount/pkg/fusefs"
)

// A drive that uses io_uring cannot be taken over: what the kernel handed over
// through a ring is lost with the process. So nothing of it is stored, and it
// ends with the process.

// uringNote is what its user should know.
const uringNote = "this drive ends when isomountd does, also when that is only restarted (transport=uring)"

// maxRingThreads is how many threads drives that use io_uring may have together.
const maxRingThreads = 8192

// admitRings counts the threads of a drive that uses io_uring against the limit.
// The caller holds mu.
func (m *Manager) admitRings() error {
	n := 1
	for _, d := range m.drives {
		if d.uring {
			n++
		}
	}
	if each := fusefs.RingThreads(); n*each > maxRingThreads {
		return fmt.Errorf("%w: of those with transport=uring, each of which may need %d threads, there can be %d", ErrLimit, each, maxRingThreads/each)
	}
	return nil
}

// describeRings adds to the description of a drive what is different about it.
func (d *drive) describeRings(i *Info) {
	if d.uring {
		i.EndsEarly = true
		i.Report.Notes = append(slices.Clone(i.Report.Notes), uringNote)
	}
}
