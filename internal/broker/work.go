package broker

// Work is counted so that no client can take a thread for longer than others
// can wait. A unit is about what one receiver of a small message costs, a tenth
// of a microsecond: a packet, a receiver of it, a topic that a walk looks at.
// A packet is not cut: its size has a limit, and its work is counted to the
// turn, so that others are served before the next one.
const (
	// turnWork is what may be done in a turn before the thread writes what was
	// sent and looks at its sockets: about four milliseconds. Less would make
	// bursts to many receivers dearer, for each turn writes to all of them.
	turnWork = 32 << 10

	// minWork is what each connection may do in a turn, also if others have
	// used it up.
	minWork = turnWork / 64

	// setupWork is that of a change of a subscription or a session, and of
	// retaining a message.
	setupWork = 8
)

// allowance is how far s.work may go in the call that begins.
func (s *shard) allowance() int { return max(turnWork, s.work+minWork) }

// yield makes a connection wait that has used up its work: for the end of this
// turn, and for the next, so that the engine looks at other sockets between.
func (s *shard) yield(c *conn) {
	s.pause(c, forTurn)
	s.yielded = append(s.yielded, c)
	s.count.Yielded++
}

// unyield lets those go on that have waited, and reports whether there are more.
func (s *shard) unyield() (more bool) {
	if len(s.yielded)+len(s.rested) == 0 {
		return false
	}
	for _, c := range s.rested {
		s.resume(c, forTurn)
	}
	clear(s.rested)
	s.rested, s.yielded = s.yielded, s.rested[:0]
	return len(s.rested) > 0
}
