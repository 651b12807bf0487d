package broker

import (
	"midge/internal/retained"
	"midge/internal/routing"
	"midge/internal/session"
	"midge/internal/settings"
	"midge/internal/topic"
)

// inForce are the settings that a shard goes by, and all that follows from them.
// Nobody changes one: Apply gives each shard another.
type inForce struct {
	settings.Core

	topics      topic.Limits   // of topic names and filters
	session     session.Config // without a Journal
	sharing     routing.Sharing
	packetSize  int // the largest packet from a client, in bytes,
	connectSize int // and the largest CONNECT
	pending     int // bytes that may wait for a client that reads too slowly
	mailbox     int64
	retains     bool // whether there are retained messages at all
}

// follow works out what follows from settings, which are within the ranges that
// package settings has for them.
func follow(c settings.Core) *inForce {
	l := &c.Limits
	f := &inForce{
		Core:        c,
		topics:      topic.Limits{Levels: l.TopicLevels, Bytes: l.TopicLength, NoControl: c.Strict.TopicCharacters},
		packetSize:  int(l.PacketSize),
		connectSize: int(min(l.ConnectSize, l.PacketSize)),
		pending:     int(l.PendingBytes),
		mailbox:     int64(l.MailboxBytes),
		retains:     l.RetainedMessages > 0 && l.RetainedBytes > 0,
		sharing:     routing.Sharing{Window: int32(c.Session.Inflight)},
		session: session.Config{
			MaxInflight: uint16(c.Session.Inflight), AliasesOut: uint16(l.TopicAliases),
			QueueMessages: c.Session.QueuedMessages, QueueBytes: int64(c.Session.QueuedBytes),
			StoredMessages: c.Session.StoredMessages, StoredBytes: int64(c.Session.StoredBytes),
			QueuePolicy: session.DropOldest, PendingBytes: int(l.PendingBytes),
		},
	}
	f.session.Offer = &session.Offer{
		ReceiveMaximum: uint16(c.Session.ReceiveMaximum), TopicAliasMaximum: uint16(l.TopicAliases),
		MaximumPacketSize: f.packetSize, RetainAvailable: f.retains,
	}
	if c.Session.QueueFull == settings.RefuseNew {
		f.session.QueuePolicy = session.RefuseNew
	}
	switch c.Session.SharedStrategy {
	case settings.Sticky:
		f.sharing.Strategy = routing.Sticky
	case settings.LeastInflight:
		f.sharing.Strategy = routing.LeastInflight
	}
	return f
}

// limitRetained sets the limits of retained messages.
func (f *inForce) limitRetained(r *retained.Messages) {
	r.Limit(f.Limits.RetainedMessages, int64(f.Limits.RetainedBytes))
}

// Apply puts other settings in force, in the same ranges as those of New. It
// returns at once: each shard goes by them from its next turn on. What a change of
// each means for those that are connected says the table in package settings. Call
// it after Start, and not twice at a time.
func (b *Broker) Apply(next settings.Core) {
	f := follow(next)
	f.limitRetained(b.retained)
	for i, s := range b.shards {
		b.runner.Post(i, func() { s.apply(f) })
	}
}

// apply makes the shard go by other settings. What was promised to clients that
// are connected stays: what CONNACK told them (session.Offer), the Keep Alive that
// is in force, the interval after which a session ends, and a time that runs.
func (s *shard) apply(f *inForce) {
	s.tell()
	before := s.settings
	s.settings = f
	s.follow()
	s.press(s.pressure)
	if f.topics != before.topics {
		s.routes.Clear() // the names in it were checked against others
	}
	if s.index == 0 {
		s.sys.follow(s)
	}
}

// follow works out what is the shard's own of its settings. All its sessions look
// at s.session.
func (s *shard) follow() {
	s.session = s.settings.session
	s.session.Journal = s
}
