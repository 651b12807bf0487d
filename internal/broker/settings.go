package broker

import (
	"midge/internal/session"
	"midge/internal/settings"
	"midge/internal/topic"
)

// inForce are the settings that a shard goes by, and all that follows from them.
// Nobody changes one.
type inForce struct {
	settings.Core

	topics      topic.Limits   // of topic names and filters
	session     session.Config // without a Journal
	strategy    strategy
	packetSize  int // the largest packet from a client, in bytes,
	connectSize int // and the largest CONNECT
	pending     int // bytes that may wait for a client that reads too slowly
	mailbox     int64
	retains     bool // whether there are retained messages at all
}

// strategy chooses the member of a shared subscription that gets a message.
type strategy uint8

const (
	roundRobin    strategy = iota // each in turn
	sticky                        // the same as before while it is connected
	leastInflight                 // the one with the fewest unacknowledged messages
)

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
		session: session.Config{
			ReceiveMaximum: uint16(c.Session.ReceiveMaximum), MaxInflight: uint16(c.Session.Inflight),
			TopicAliasMaximum: uint16(l.TopicAliases), AliasesOut: uint16(l.TopicAliases),
			QueueMessages: c.Session.QueuedMessages, QueueBytes: int64(c.Session.QueuedBytes),
			StoredMessages: c.Session.StoredMessages, StoredBytes: int64(c.Session.StoredBytes),
			QueuePolicy: session.DropOldest, PendingBytes: int(l.PendingBytes),
		},
	}
	if c.Session.QueueFull == settings.RefuseNew {
		f.session.QueuePolicy = session.RefuseNew
	}
	switch c.Session.SharedStrategy {
	case settings.Sticky:
		f.strategy = sticky
	case settings.LeastInflight:
		f.strategy = leastInflight
	}
	return f
}
