package broker

// promise has p kept once all that was written so far is committed: at once if
// it is. Who waits for too many of them is not read meanwhile.
func (s *shard) promise(p promise) {
	switch now, bytes := s.disk.promise(p); {
	case now:
		s.keep(&p)
	case bytes > maxPromised && p.c.waits&forDisk == 0:
		s.count.PausedDisk++
		s.pause(p.c, forDisk)
	}
}

// promiseBytes sends packets once all that was written so far is committed.
func (s *shard) promiseBytes(c *conn, out []byte) {
	packets := append([]byte(nil), out...)
	s.promise(promise{c: c, size: uint32(len(packets)), then: func() { s.send(c, packets) }})
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
