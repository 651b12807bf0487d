package broker

import "time"

// sweeper is the timer by which shard 0 removes retained messages whose time is
// over. Nobody gets them in the meantime.
type sweeper struct{ timer timer }

const (
	sweepEvery = time.Second
	sweepIdle  = 10 * time.Second // so often it looks whether some have come
)

func (y *sweeper) start(s *shard) {
	y.timer.owner = y
	s.timers.start(&y.timer, 0)
}

// expire implements expirer.
func (y *sweeper) expire(s *shard) {
	next := s.now + sweepEvery
	if s.failing() == nil && !s.diskBusy() {
		due, more := s.b.retained.Sweep(s.now)
		switch {
		case !more:
			next = s.now + sweepIdle
		case due > s.now:
			next = min(max(due, s.now+sweepEvery), s.now+sweepIdle)
		default:
			next = s.now + tick
		}
	}
	s.timers.start(&y.timer, next)
}
