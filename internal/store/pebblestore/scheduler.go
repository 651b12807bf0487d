package pebblestore

import (
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// maxCompactions run at a time.
const maxCompactions = 2

// scheduler lets Pebble compact, as much at a time as it allows itself. It
// differs from Pebble's own in two ways. Nothing is compacted before the
// database is open: if opening fails while a compaction runs, that goes on
// with what was closed, and ends the process. And nothing ticks: compactions
// begin after a flush or after another one.
type scheduler struct {
	mu       sync.Mutex // never held in calls of db that take its lock
	db       pebble.DBForCompaction
	open     bool
	max      int // at a time
	closed   bool
	running  int
	granting bool // a goroutine is in grant
	again    bool // and shall look once more
	granted  *sync.Cond
}

func newScheduler() *scheduler {
	s := &scheduler{max: maxCompactions}
	s.granted = sync.NewCond(&s.mu)
	return s
}

// start allows compactions, and begins those that wait.
func (s *scheduler) start() {
	s.mu.Lock()
	s.open = true
	s.mu.Unlock()
	s.grant()
}

// limit sets how many compactions run at a time, at most as many as Pebble allows
// itself. Those that run go on.
func (s *scheduler) limit(n int) {
	s.mu.Lock()
	s.max = n
	s.mu.Unlock()
	s.grant()
}

// stop keeps new compactions from beginning for good.
func (s *scheduler) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for s.granting {
		s.granted.Wait()
	}
}

// Register is called by Pebble, with the database that opens.
func (s *scheduler) Register(_ int, db pebble.DBForCompaction) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.db = db
}

// Unregister is called by Pebble. From then on the database is not called.
func (s *scheduler) Unregister() { s.stop() }

// TrySchedule is called by Pebble, with its lock held, when there is something
// to compact.
func (s *scheduler) TrySchedule() (bool, pebble.CompactionGrantHandle) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.mayStart() {
		return false, nil
	}
	s.running++
	return true, s
}

// UpdateGetAllowedWithoutPermission is called by Pebble after a flush, right
// before it tries to schedule by itself.
func (s *scheduler) UpdateGetAllowedWithoutPermission() {}

// Started, MeasureCPU and CumulativeStats are called by compactions.
func (s *scheduler) Started() {}

// MeasureCPU is for schedulers that measure.
func (s *scheduler) MeasureCPU(pebble.CompactionGoroutineKind) {}

// CumulativeStats is for schedulers that measure.
func (s *scheduler) CumulativeStats(pebble.CompactionGrantHandleStats) {}

// Done is called when a compaction ends.
func (s *scheduler) Done() {
	s.mu.Lock()
	s.running--
	s.mu.Unlock()
	s.grant()
}

// mayStart reports whether one more compaction may run.
func (s *scheduler) mayStart() bool {
	return s.open && !s.closed && s.db != nil && s.running < min(s.max, s.db.GetAllowedWithoutPermission())
}

// grant begins compactions that wait.
func (s *scheduler) grant() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.again = true
	if s.granting {
		return
	}
	s.granting = true
	for s.again && s.mayStart() {
		s.running++
		s.again = false
		s.mu.Unlock()
		waiting, _ := s.db.GetWaitingCompaction()
		begun := waiting && s.db.Schedule(s)
		s.mu.Lock()
		if begun {
			s.again = true
		} else {
			s.running--
		}
	}
	s.granting = false
	s.granted.Broadcast()
}
