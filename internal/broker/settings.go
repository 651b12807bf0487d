package broker

import (
	"maps"
	"time"

	"midge/internal/engine"
	"midge/internal/rate"
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

	topics  topic.Limits   // of topic names and filters
	session session.Config // without a Journal
	sharing routing.Sharing
	pending int // bytes that may wait for a client that reads too slowly
	mailbox int64

	connectRate rate.Limit // of all connections
	reconnects  rate.Limit // of a client id from an address
	retains     bool       // whether there are retained messages at all

	admission                    // of connections whose listener has nothing of its own
	listeners map[int]*admission // of others, by listener
}

// admission is what holds for the connections of a listener.
type admission struct {
	packetSize     int // the largest packet from a client, in bytes,
	connectSize    int // and the largest CONNECT
	connectTimeout time.Duration
	offer          *session.Offer
	connections    int // that it may have; 0: no limit of its own
	perIP          int // that may come from one address; 0: no limit
	ownPerIP       bool
	mounts         bool // clients may have mount points

	connectRate  rate.Limit // its own; none: it has none
	perIPRate    rate.Limit // of connections from one address
	ownPerIPRate bool

	flow    flow // of what its clients send
	metered bool // flow has a limit
}

// byAddress reports whether there are limits that count by address.
func (a *admission) byAddress() bool { return a.perIP > 0 || a.perIPRate.On() }

// admit returns what holds for a network connection.
func (f *inForce) admit(n engine.Conn) *admission {
	if len(f.listeners) > 0 {
		if a := f.listeners[n.Listener()]; a != nil {
			return a
		}
	}
	return &f.admission
}

// newAdmission works out what holds for connections with such limits.
func newAdmission(c *settings.Core, l *settings.Limits, retains bool) admission {
	return admission{
		packetSize:     int(l.PacketSize),
		connectSize:    int(min(l.ConnectSize, l.PacketSize)),
		connectTimeout: l.ConnectTimeout,
		perIP:          c.Limits.ConnectionsPerIP,
		flow:           flow{own: flowOf(l.MessageRate, l.ByteRate)},
		perIPRate:      rate.PerSecond(int64(c.Limits.ConnectRatePerIP), c.Limits.ConnectBurst),
		offer: &session.Offer{
			ReceiveMaximum: uint16(c.Session.ReceiveMaximum), TopicAliasMaximum: uint16(l.TopicAliases),
			MaximumPacketSize: int(l.PacketSize), RetainAvailable: retains,
		},
	}
}

// follow works out what follows from settings, which are within the ranges that
// package settings has for them.
func follow(c settings.Core) *inForce {
	l := &c.Limits
	f := &inForce{
		Core:    c,
		topics:  topic.Limits{Levels: l.TopicLevels, Bytes: l.TopicLength, NoControl: c.Strict.TopicCharacters},
		pending: int(l.PendingBytes),
		mailbox: int64(l.MailboxBytes),
		retains: l.RetainedMessages > 0 && l.RetainedBytes > 0,
		sharing: routing.Sharing{Window: int32(c.Session.Inflight)},
		session: session.Config{
			MaxInflight: uint16(c.Session.Inflight), AliasesOut: uint16(l.TopicAliases),
			QueueMessages: c.Session.QueuedMessages, QueueBytes: int64(c.Session.QueuedBytes),
			StoredMessages: c.Session.StoredMessages, StoredBytes: int64(c.Session.StoredBytes),
			QueuePolicy: session.DropOldest, PendingBytes: int(l.PendingBytes),
		},
	}
	f.connectRate = rate.PerSecond(int64(l.ConnectRate), l.ConnectBurst)
	if l.Reconnects > 0 {
		f.reconnects = rate.Limit{Events: 1, Per: l.ReconnectInterval, Burst: int64(l.Reconnects)}
	}
	f.admission = newAdmission(&c, l, f.retains)
	f.metered = f.flow.on()
	f.session.Offer = f.offer
	if len(c.Listeners) > 0 {
		f.listeners = map[int]*admission{}
	}
	for number, own := range c.Listeners {
		a := newAdmission(&c, &own.Limits, f.retains)
		a.mounts = own.Mounts
		if own.Own != nil {
			a.connections = *own.Own
		}
		if own.OwnPerIP != nil {
			a.perIP, a.ownPerIP = *own.OwnPerIP, true
		}
		if own.OwnConnectRate != nil {
			a.connectRate = rate.PerSecond(int64(*own.OwnConnectRate), l.ConnectBurst)
		}
		if own.OwnConnectRatePerIP != nil {
			a.perIPRate, a.ownPerIPRate = rate.PerSecond(int64(*own.OwnConnectRatePerIP), l.ConnectBurst), true
		}
		a.flow.total = flowOf(own.TotalMessageRate, own.TotalByteRate)
		a.metered = a.flow.on()
		f.listeners[number] = &a
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

// flow are the limits of how much the clients of a listener may send in a time.
type flow struct {
	own   flowLimits // of each client
	total flowLimits // of all together
}

// flowLimits count requests: PUBLISH, SUBSCRIBE and UNSUBSCRIBE packets.
type flowLimits struct{ messages, bytes rate.Limit }

func (f *flow) on() bool { return f.own.on() || f.total.on() }

func (f *flowLimits) on() bool { return f.messages.On() || f.bytes.On() }

// flowOf are limits of so much a second, a second's worth at once.
func flowOf(messages int, bytes settings.Size) flowLimits {
	return flowLimits{rate.PerSecond(int64(messages), time.Second), rate.PerSecond(int64(bytes), time.Second)}
}

// sameFlow reports whether clients may send as much as before.
func (f *inForce) sameFlow(before *inForce) bool {
	same := func(a, b *admission) bool { return a.flow == b.flow }
	return same(&f.admission, &before.admission) && maps.EqualFunc(f.listeners, before.listeners, same)
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
	s.links = map[*admission]*session.Config{&s.settings.admission: &s.session}
}

// linkConfig is what the link of a connection is made from.
func (s *shard) linkConfig(a *admission) *session.Config {
	cfg := s.links[a]
	if cfg == nil {
		own := s.settings.session
		own.Offer = a.offer
		cfg = &own
		s.links[a] = cfg
	}
	return cfg
}
