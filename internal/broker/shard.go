package broker

import (
	"log/slog"
	"time"

	"midge/internal/bufpool"
	"midge/internal/engine"
	"midge/internal/message"
	"midge/internal/named"
	"midge/internal/packet"
	"midge/internal/rate"
	"midge/internal/routing"
	"midge/internal/session"
)

// shard implements engine.Shard. What it holds belongs to the thread that runs
// it, except for inbox and published.
type shard struct {
	b     *Broker
	index int
	log   *slog.Logger

	settings      *inForce
	session       session.Config                 // settings.session, with this shard as its Journal
	links         map[*admission]*session.Config // what links are made from
	authenticator Authenticator                  // nil: everybody may do everything

	now   time.Duration // of this turn
	fresh bool          // now has been read in this turn

	clients    *named.Table[client]
	routes     *routing.Table[*client]
	queues     queues
	timers     wheel
	handshakes handshakes
	drains     drains
	contests   contests
	walks      walks
	yielded    []*conn       // have used up their work in this turn
	rested     []*conn       // had, in the one before
	work       int           // of this turn; see turnWork
	worked     time.Duration // the turn that it was counted for
	intact     bool          // the packet that is on has changed nothing; see guard
	first      byte          // its first byte
	stalled    []*conn       // publishers that wait for another shard
	slow       slowReaders
	lapses     lapses
	enhanced   authentications
	meters     meters
	reconnects rate.Table // see holdOff
	budget     memoryShare
	unserved   []*conn // publishers that wait for the next round, and had none in this
	input      input
	sys        sys // shard 0 only
	logTimer   logTimer
	sweeper    sweeper // shard 0 only
	review     review

	inbox         mailbox
	reading       reading
	outgoing      []*batch // by shard, nil where there is nothing
	disk          durable
	planned       plan            // of the last message that was routed
	waited        bool            // the message that is on has waited before: to give it to another takes no more memory
	payloadBuffer *bufpool.Buffer // that the payload of the message which is on may lie in; nil: in none that can be shared
	count         Counters
	published     published

	// Memory that is used again and again; nothing of it outlives a call.
	packets   packets
	message   message.Message
	unpacked  message.Message
	fanout    fanout
	mounted   []byte // see fullName
	out       []byte
	outBuffer *bufpool.Buffer // see outFor
}

func newShard(b *Broker, index int, f *inForce) *shard {
	s := &shard{
		b: b, index: index, log: b.cfg.Logger,
		settings: f, authenticator: b.cfg.Authenticator,
		clients:  named.New(func(cl *client) string { return cl.id }),
		routes:   routing.NewTable(b.interest, index, b.cfg.Authenticator != nil),
		outgoing: make([]*batch, b.cfg.Shards),
	}
	s.disk.init(b.cfg.Store, index, &s.count, s.log)
	s.budget.init(&b.memory, f.pending)
	s.slow.init()
	s.handshakes.init()
	s.meters.init()
	s.reconnects = rate.New(maxReconnects)
	s.input.arriving = map[*conn]*arriving{}
	s.queues.byGroup = map[*group]*queue{}
	s.walks.byClient = map[*client]*walker{}
	s.contests.init(&s.timers)
	s.drains.init(&s.timers)
	s.follow()
	return s
}

// Turn implements engine.Shard.
func (s *shard) Turn(now time.Duration) (next time.Duration) {
	defer s.guardTurn()
	s.now, s.fresh = now, true
	more := s.keepPromises()
	more = s.receive() || more
	s.timers.run(now, func(e expirer) { e.expire(s) })
	walk := s.resumeWalks()
	more = s.slow.release(&s.budget.shut, s.pump) || more
	more = s.deal() || more
	more = s.goOnReviewing() || more
	more = s.disk.deleteEnded() || more
	s.flush()
	s.unstall()
	more = s.unyield() || more
	s.budget.round = false
	if s.input.sips {
		s.sip()
	}
	if s.input.large {
		s.forgetLarge()
	}
	s.routes.Trim()
	s.published.store(&s.count)
	s.fresh = false
	if now != s.worked { // the engine may give several turns before it looks at sockets
		s.work, s.worked = 0, now
	}
	if more {
		return now
	}
	return min(s.timers.next(), walk)
}

// keepPromises keeps those whose turns are committed, and reports whether it left
// some of them for the next turn.
func (s *shard) keepPromises() (more bool) {
	if s.disk.promises.empty() {
		return false
	}
	if s.b.cfg.Store.Failed() {
		s.breakPromises()
		return false
	}
	committed, limit := s.disk.committed.Load(), s.allowance()
	for s.disk.promises.due(committed) {
		if s.work >= limit {
			return true
		}
		s.work++
		p, relieved := s.disk.promises.take()
		s.keep(&p)
		if relieved {
			s.resume(p.c, forDisk)
		}
	}
	return false
}

// breakPromises ends the connections that wait for a disk that has failed for
// good. Acknowledgements keep their order, so that these clients would not even
// get a refusal; after CONNECT they do.
func (s *shard) breakPromises() {
	for _, p := range s.disk.promises.takeAll() {
		if p.c != nil {
			s.end(p.c, packet.QuotaExceeded, "the server's disk has failed")
		}
	}
}

// Drained implements engine.Shard: a slow reader has caught up.
func (s *shard) Drained(n engine.Conn) {
	s.readClock()
	c := connOf(n)
	if c.client == nil || c.closing {
		return
	}
	if c.pace != inTime {
		s.slow.caughtUp(c)
		s.pump(c)
	}
}

// forgetLarge forgets what was decoded and delivered last, which is borrowed from a
// large packet: each shard would keep one in memory until the next one comes.
func (s *shard) forgetLarge() {
	s.input.large = false
	s.packets.publish, s.fanout.head = packet.Publish{}, packet.Publish{}
	s.packets.connect, s.packets.subscribe, s.packets.unsubscribe = packet.Connect{}, packet.Subscribe{}, packet.Unsubscribe{}
	s.message, s.unpacked, s.fanout.cloner = message.Message{}, message.Message{}, session.Cloner{}
}
