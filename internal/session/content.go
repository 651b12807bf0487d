package session

import "midge/internal/message"

// The content of stored messages is read ahead for this many messages or, if
// that is less, about as many bytes.
const (
	ahead      = 128
	aheadBytes = 64 << 10
)

// Wanted appends the messages whose content is needed next, if it is time to
// read more of them.
func (s *Session) Wanted(all []message.Stored) []message.Stored {
	if s.flow == nil || s.Link == nil {
		return all
	}
	start, size := len(all), int(s.inflight.content)
	want := func(e *entry) (more bool) {
		if e.missing() {
			all = append(all, e.stored())
			size += e.size()
		}
		return len(all)-start < ahead && size < aheadBytes
	}
	// What is to be sent again counts as long as it is in memory: a client that
	// reads nothing must not make us read it all.
	if s.inflight.unsent > 0 {
		for i := range s.inflight.all() {
			e := &s.inflight.all()[i]
			if e.state != unsent {
				continue
			}
			if e.m != nil && size >= aheadBytes || !want(&e.entry) {
				return all
			}
		}
	}
	q := &s.queue
	if q.whole() {
		return all
	}
	if front := q.front(); front.missing() || q.loaded < ahead/2 && q.loadedBytes < aheadBytes/2 {
		seen := 0
		for e := range q.all {
			if seen++; seen > ahead || !want(&e) {
				break
			}
		}
	}
	return all
}

// Supply gives a message its content, which stays in memory until it is
// sent. Messages that it does not wait for any more are passed over.
func (s *Session) Supply(k message.Key, m *message.Message) {
	if s.flow == nil {
		return
	}
	if s.inflight.unsent > 0 {
		for i := range s.inflight.all() {
			if e := &s.inflight.all()[i]; e.key == k && e.state == unsent {
				s.inflight.setContent(e, m)
				return
			}
		}
	}
	s.queue.supply(k, m)
}

// Lost gives up a stored message whose content can't be read. If the client may
// have it, at QoS 2, PUBREL must reach it before the identifier is used again
// (MQTT-2.2.1-4). It reports false if the message is not waited for, because it
// has ended or gone to another session.
func (s *Session) Lost(k message.Key) (waited bool) {
	if s.flow == nil {
		return false
	}
	for i := range s.inflight.all() {
		e := &s.inflight.all()[i]
		if e.key != k || e.state != unsent {
			continue
		}
		if e.qos() == 2 && !e.neverSent {
			s.cfg.Journal.AwaitPubcomp(s.Number, k, e.id)
			s.finish(e.stored())
			s.inflight.setContent(e, nil)
			s.inflight.setState(e, contentLost)
			return true
		}
		s.end(e)
		s.inflight.compact()
		return true
	}
	e, waited := s.queue.lose(k)
	if waited {
		s.finish(e.stored())
	}
	return waited
}
