package broker

// promise has p kept once all that was written so far is committed: at once if
// it is.
func (s *shard) promise(p promise) {
	if s.disk.promise(p) {
		s.keep(&p)
	}
}

// promiseBytes sends packets once all that was written so far is committed.
func (s *shard) promiseBytes(c *conn, out []byte) {
	packets := append([]byte(nil), out...)
	s.promise(promise{c: c, then: func() { s.send(c, packets) }})
}

// keep does what was promised.
func (s *shard) keep(p *promise) {
	switch {
	case p.c != nil && p.c.closing:
	case p.then != nil:
		p.then()
	default:
		s.send(p.c, p.c.client.session.Acknowledge(s.out[:0], p.id, p.qos, p.code))
	}
}
