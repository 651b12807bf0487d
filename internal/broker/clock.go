package broker

// tell reads the clock, once a turn.
func (s *shard) tell() {
	if !s.fresh {
		s.now, s.fresh = s.b.runner.Now(), true
	}
}
