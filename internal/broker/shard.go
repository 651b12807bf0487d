package broker

import (
	"log/slog"
	"sync/atomic"
	"time"

	"midge/internal/bufpool"
	"midge/internal/engine"
	"midge/internal/message"
	"midge/internal/named"
	"midge/internal/packet"
	"midge/internal/routing"
	"midge/internal/session"
	"midge/internal/store"
)

// shard implements engine.Shard. What it holds belongs to the thread that runs
// it, except for inbox and published.
type shard struct {
	b     *Broker
	index int
	log   *slog.Logger

	settings *inForce
	session  session.Config // settings.session, with this shard as its Journal

	now   time.Duration // of this turn
	fresh bool          // now has been read in this turn

	clients     *named.Table[client]
	routes      *routing.Table[*client]
	queues      map[*group]*queue // of groups that have their home here
	timers      wheel
	unconnected map[*conn]struct{}    // connections before CONNECT
	joining     map[*conn]*connecting // those whose CONNECT was read and waits
	hearings    map[*conn]*hearing    // of connections that are heard out
	contests    map[string]*contest   // by client id
	crowd       int                   // most in unconnected since it was made
	walkers     map[*client]*walker   // those that are owed retained messages
	walking     []*walker             // in the order of their turns
	yielded     []*conn               // have used up their work in this turn
	rested      []*conn               // had, in the one before
	work        int                   // of this turn; see turnWork
	worked      time.Duration         // the turn that it was counted for
	intact      bool                  // the packet that is on has changed nothing; see guard
	first       byte                  // its first byte
	stalled     []*conn               // publishers that wait for another shard
	behind      map[*conn]*lagging    // slow readers
	held        []*conn               // of these, those of which it is not known yet whether Drained will come
	stillHeld   []*conn               // memory of release
	dealing     []*queue              // those that may have something for members with room
	pressure    Pressure              // see Broker.SetPressure
	round       bool                  // publishers that wait for memory may go on for a packet, in this turn
	pending     int                   // bytes that may wait for a client; -1: nothing may be sent that stays
	credit      int                   // bytes that may be taken on; see draw
	shut        bool                  // the budget is used up: nothing is taken on in this round
	unserved    []*conn               // publishers that wait for the next round, and had none in this
	arrivals    map[*conn]*arriving   // of packets that are not small, or have to wait
	large       bool                  // a large packet was handled, or a message of one; see forgetLarge
	sips        bool                  // the engine reads little at once; see Runner.Throttle
	stalling    map[*conn]stalling    // who has room that others wait for,
	lookedAt    time.Duration         // when that was looked at
	sys         sys                   // shard 0 only
	logTimer    logTimer
	sweeper     sweeper // shard 0 only

	inbox         mailbox
	taken         []*batch      // from inbox, and
	batch         int           // where receive goes on in them,
	letterAt      int           // and in that batch
	outgoing      []*batch      // by shard, nil where there is nothing
	opened        []*store.Turn // of the batch whose letters are being read
	books         books
	planned       plan            // of the last message that was routed
	payloadBuffer *bufpool.Buffer // that the payload of the message which is on may lie in; nil: in none that can be shared
	released      atomic.Uint64   // turns of this shard that are on disk
	count         Counters
	published     published

	// Memory that is used again and again; nothing of it outlives a call.
	publish     packet.Publish
	frame0      packet.Publish
	connect     packet.Connect
	attempt     connecting // to connect, by s.connect
	accepted    packet.Connack
	ack         packet.Ack
	subscribe   packet.Subscribe
	suback      packet.Suback
	unsubscribe packet.Unsubscribe
	disconnect  packet.Disconnect
	auth        packet.Auth
	codes       []packet.ReasonCode
	message     message.Message
	letter      message.Message
	frames      frames
	found       []*message.Message
	walker      *walker
	keeper      session.Cloner
	out         []byte
}

func newShard(b *Broker, index int, f *inForce) *shard {
	s := &shard{
		b: b, index: index, log: b.cfg.Logger,
		settings:    f,
		pending:     f.pending,
		clients:     named.New(func(cl *client) string { return cl.id }),
		walkers:     map[*client]*walker{},
		unconnected: map[*conn]struct{}{},
		queues:      map[*group]*queue{},
		routes:      routing.NewTable(b.interest, index, b.cfg.Authenticator != nil),
		joining:     map[*conn]*connecting{},
		hearings:    map[*conn]*hearing{},
		behind:      map[*conn]*lagging{},
		arrivals:    map[*conn]*arriving{},
		contests:    map[string]*contest{},
		outgoing:    make([]*batch, b.cfg.Shards),
		books: books{
			owed: map[*conn]int{}, left: map[message.Key]left{}, done: map[message.Key][]uint64{},
		},
	}
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
	walk := s.goOnWalking()
	more = s.release() || more
	more = s.deal() || more
	more = s.dig() || more
	s.flush()
	s.unstall()
	more = s.unyield() || more
	s.round = false
	if s.sips {
		s.sip()
	}
	if s.large {
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

// Drained implements engine.Shard: a slow reader has caught up.
func (s *shard) Drained(n engine.Conn) {
	s.tell()
	c := connOf(n)
	if c.client == nil || c.closing {
		return
	}
	if c.pace != inTime {
		s.caughtUp(c)
		s.pump(c)
	}
}

// forgetLarge forgets what was decoded and delivered last, which is borrowed from a
// large packet: each shard would keep one in memory until the next one comes.
func (s *shard) forgetLarge() {
	s.large = false
	s.publish, s.frame0 = packet.Publish{}, packet.Publish{}
	s.connect, s.subscribe, s.unsubscribe = packet.Connect{}, packet.Subscribe{}, packet.Unsubscribe{}
	s.message, s.letter, s.keeper = message.Message{}, message.Message{}, session.Cloner{}
}
