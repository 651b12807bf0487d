package engines

import (
	"time"

	"midge/internal/engine"
)

// Shard is an engine.Shard but for Data, for tests that have little to say of the rest.
type Shard struct {
	Ended chan error // gets the error of each Closed; nil: nobody asks
}

// Open implements engine.Shard.
func (*Shard) Open(engine.Conn) {}

// Drained implements engine.Shard.
func (*Shard) Drained(engine.Conn) {}

// Closed implements engine.Shard.
func (s *Shard) Closed(_ engine.Conn, err error) {
	if s.Ended != nil {
		s.Ended <- err
	}
}

// Turn implements engine.Shard.
func (*Shard) Turn(time.Duration) time.Duration { return engine.Never }
