package broker

import (
	"midge/internal/settings"
)

// Apply puts other settings in force, in the same ranges as those of New. It
// returns at once: each shard goes by them from its next turn on. What a change of
// each means for those that are connected says the table in package settings. Call
// it after Start, and not twice at a time.
func (b *Broker) Apply(next settings.Core) {
	f := follow(next)
	f.limitRetained(b.retained)
	b.gate.limit.Store(int64(f.Limits.Connections))
	for i, s := range b.shards {
		b.runner.Post(i, func() { s.apply(f) })
	}
}

// apply makes the shard go by other settings. What was promised to clients that
// are connected stays: what CONNACK told them (session.Offer), the Keep Alive that
// is in force, the interval after which a session ends, and a time that runs.
func (s *shard) apply(f *inForce) {
	s.readClock()
	before := s.settings
	s.settings = f
	s.follow()
	s.budget.setMaxPending(f.pending)
	if f.topics != before.topics {
		s.routes.Clear() // the names in it were checked against others
	}
	if !f.sameFlow(before) {
		s.resumeMeters()
	}
	if s.index == 0 {
		s.sys.follow(s)
	}
}
