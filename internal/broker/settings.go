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

// follow works out what is the shard's own of its settings. All its sessions look
// at s.session.
func (s *shard) follow() {
	s.session = s.settings.session
	s.session.Journal = &s.disk
}
