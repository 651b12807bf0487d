package broker

// mostBuried is how many messages of ended sessions are deleted in a turn.
const mostBuried = 2000

// dig deletes messages of sessions that have ended, and reports whether there
// are more.
func (s *shard) dig() (more bool) {
	graves := s.books.graves
	if len(graves) == 0 {
		return false
	}
	if !graves[0].session.Delete(mostBuried) {
		graves[0] = nil
		s.books.graves = graves[1:]
	}
	return len(s.books.graves) > 0
}

// bury forgets a stored session and, some in each turn, its messages.
func (s *shard) bury(cl *client) {
	if cl.stored() {
		s.disk().DropSession(cl.session.Number)
		s.books.graves = append(s.books.graves, cl)
	}
}
