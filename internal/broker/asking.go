package broker

import (
	"errors"

	"midge/internal/packet"
	"midge/internal/routing"
	"midge/internal/topic"
)

// Somebody may have to be asked whether a client has a right: see routing.Asking. The packet
// that needs it stays where it is, and nothing behind it is read. When the answer is there, the
// engine offers the packet again.

// errAsked is what becomes of a packet meanwhile. Nothing was changed for it.
var errAsked = errors.New("somebody is asked about it")

// asksAboutPublish reports whether a PUBLISH must wait for an answer.
func (s *shard) asksAboutPublish(c *conn, a routing.Asking, p *packet.Publish) bool {
	cl := c.client
	name := cl.session.TopicOf(p)
	if name == nil || s.checkName(name) != nil || !fits(cl.Mount(), len(name)) || reserved(name, cl.clientID()) {
		return false
	}
	return s.asks(c, func(then func()) bool { return a.ReadyToPublish(name, p.QoS, p.Retain, then) })
}

// asksAboutSubscribe reports whether a SUBSCRIBE must wait for answers: as many as a client
// may have subscriptions.
func (s *shard) asksAboutSubscribe(c *conn, a routing.Asking, p *packet.Subscribe) bool {
	var filters []string
	for i := range p.Subscriptions[:min(len(p.Subscriptions), s.settings.Limits.Subscriptions)] {
		filter := string(p.Subscriptions[i].Filter)
		_, inner, _, err := topic.ParseShared(filter)
		if err == nil && topic.ValidFilter(filter, s.settings.topics) == nil && fits(c.client.Mount(), len(filter)) {
			filters = append(filters, inner)
		}
	}
	return s.asks(c, func(then func()) bool { return a.ReadyToSubscribe(filters, then) })
}

// asks asks, and makes the connection wait if the answer is not there.
func (s *shard) asks(c *conn, ready func(then func()) bool) (wait bool) {
	if ready(func() { s.b.runner.Post(s.index, func() { s.resumeAsked(c) }) }) {
		return false
	}
	s.count.PausedAccess++
	s.pause(c, forLeave)
	return true
}

// resumeAsked goes on with the packet that an answer was asked for.
func (s *shard) resumeAsked(c *conn) {
	s.readClock()
	s.resume(c, forLeave)
}
