// Package session is the state machine of one client: the exchanges of QoS 1
// and QoS 2 in both directions, packet identifiers, flow control, topic
// aliases, the queue of messages, and message expiry.
//
// Packets and time go in, bytes come out: every method that may have something
// to say to the client appends it to the caller's buffer. The package has no
// clock, no sockets, no goroutines and no locks; the shard that owns a session
// is its only caller.
//
// A Session outlives network connections. What belongs to one of them is its
// Link, which is nil while the client is not connected.
//
// Files, from the bottom up:
//
//	packetids.go  a set of packet identifiers
//	entry.go      a message as the session holds it
//	queue.go      messages that are queued
//	exchange.go   messages that are in flight
//	config.go     limits, and what the broker offers to those that connect
//	link.go       a network connection: what it takes, topic aliases, PUBLISH
//	journal.go    what a stored session writes down
//	session.go    the session: it begins, connects, disconnects
//	share.go      messages of shared subscriptions, which others may get
//	deliver.go    to the client
//	receive.go    from the client
//	content.go    contents that are on disk only
//	restore.go    stored sessions after a start, and when they end
package session

import "midge/internal/message"

// Session is what the broker has of a client, in 32 bytes while nothing is in
// flight or queued: most clients only publish, or only listen at QoS 0. The zero
// value is not ready for use; see New.
//
// A session with a number is stored: its messages above QoS 0 are on disk, or on
// their way there, and those that are queued take 16 bytes of memory each. Their
// content comes back by Wanted and Supply.
type Session struct {
	Link   *Link  // nil while the client is not connected
	Number uint64 // in the store; 0: the session is only in memory

	cfg   *Config
	*flow // nil while there is nothing to remember; see need
}

// flow is what is in flight between broker and client above QoS 0, and what is
// queued.
type flow struct {
	inflight exchanges // to the client
	queue    queue     // to the client, behind what is in flight
	via      *via      // of the last entry that had one
	received ids       // from the client
	maxSent  uint64    // highest number of a stored QoS 1 message that was or may have been sent
}

// New returns the session of a client that has none. number is its place in the
// store, 0 for none.
func New(cfg *Config, number uint64) Session { return Session{cfg: cfg, Number: number} }

// need makes sure that there is a flow to write to.
func (s *Session) need() {
	if s.flow == nil {
		s.flow = &flow{}
	}
}

// Queued is the number of queued messages.
func (s *Session) Queued() int {
	if s.flow == nil {
		return 0
	}
	return s.queue.len()
}

// QueuedBytes is their size.
func (s *Session) QueuedBytes() int64 {
	if s.flow == nil {
		return 0
	}
	return s.queue.bytes
}

// ContentBytes is the size of the messages whose content is in memory: in flight, and
// queued.
func (s *Session) ContentBytes() int64 {
	if s.flow == nil {
		return 0
	}
	queued := s.queue.bytes
	if s.Number != 0 {
		queued = int64(s.queue.loadedBytes)
	}
	return int64(s.inflight.content) + queued
}

// Inflight is the number of messages that are in flight to the client.
func (s *Session) Inflight() int {
	if s.flow == nil {
		return 0
	}
	return int(s.inflight.open)
}

// Clear forgets what is in flight and what is queued: the session, which is not
// stored, has ended (MQTT-3.1.2-4).
func (s *Session) Clear() { s.flow = nil }

// Attach begins a network connection; Resume follows once CONNACK is written.
func (s *Session) Attach(l *Link) {
	s.Link = l
	if s.flow == nil {
		return
	}
	for i := range s.inflight.all() {
		e := &s.inflight.all()[i]
		e.counted = false
		if e.state == awaitAck {
			s.inflight.setState(e, unsent)
		}
	}
}

// Detach ends the network connection.
func (s *Session) Detach() {
	s.Link = nil
	if s.flow == nil {
		return
	}
	if s.Queued()+s.Inflight() == 0 && len(s.received) == 0 {
		s.flow = nil
		return
	}
	for i := range s.inflight.all() {
		if e := &s.inflight.all()[i]; e.key != 0 {
			s.inflight.setContent(e, nil)
		}
	}
	s.queue.unload()
}

// ProblemInformation reports whether the client takes reason strings and user
// properties on any packet (MQTT-3.1.2-29).
func (s *Session) ProblemInformation() bool {
	return s.Link != nil && !s.Link.terms.quiet
}

// finish notes in the journal that the session has no more use for a message.
func (s *Session) finish(m message.Stored) {
	if m.Key != 0 {
		s.cfg.Journal.Finish(s.Number, m)
	}
}

// end ends an exchange with its message. compact follows.
func (s *Session) end(e *exchange) {
	if e.state < contentLost {
		s.finish(e.stored())
	}
	s.endExchange(e)
}

// endExchange ends an exchange, but not its message. compact follows.
func (s *Session) endExchange(e *exchange) {
	if e.counted && s.Link != nil {
		s.Link.inflight--
	}
	if e.key != 0 && e.qos() == 2 {
		s.cfg.Journal.End(s.Number, e.key)
	}
	s.inflight.end(e)
}
