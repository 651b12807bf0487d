package broker

// readClock reads the clock, once a turn.
func (s *shard) readClock() {
	if !s.fresh {
		s.now, s.fresh = s.b.runner.Now(), true
	}
}
