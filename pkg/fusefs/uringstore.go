package fusefs

import "github.com/isomount/isomount/pkg/fsys"

// A worker of a ring that has answered must get the next request at once, for
// the kernel may have put it into its entry already. What is left to be stored
// ahead is therefore left to another goroutine.

// A storeQueue holds what is to be stored.
type storeQueue struct {
	free chan *storeJob
	todo chan *storeJob
}

// A storeJob is files, of which the first aheadSoon were stored, and their bytes.
type storeJob struct {
	list  [aheadMost]fsys.Neighbour
	count int
	buf   []byte // of Buffers
}

func (q *storeQueue) init() {
	q.free, q.todo = make(chan *storeJob, aheadWorkers), make(chan *storeJob, aheadWorkers)
	for range aheadWorkers {
		q.free <- new(storeJob)
	}
}

// put hands over files and the buffer with their bytes, unless there is too much
// to do already.
func (q *storeQueue) put(buf []byte, list []fsys.Neighbour) bool {
	select {
	case j := <-q.free:
		j.count, j.buf = copy(j.list[:], list), buf
		q.todo <- j // has room for all there are
		return true
	default:
		return false
	}
}

// storeRest stores what was put off until the connection ends.
func (s *Server) storeRest() {
	q := &s.rings.later
	for {
		select {
		case <-s.end:
			return
		case j := <-q.todo:
			s.storeFiles(j.buf, j.list[:j.count], aheadSoon, j.count)
			s.opts.Buffers.put(j.buf)
			j.buf = nil
			q.free <- j
		}
	}
}
