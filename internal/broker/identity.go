package broker

import (
	"sync/atomic"

	"midge/internal/engine"
	"midge/internal/packet"
)

// Authenticator decides who may connect, and what they may do then.
type Authenticator interface {
	// Connect decides about a connection, and calls done with its verdict: before it
	// returns, or later from any goroutine. The client waits meanwhile, for
	// Limits.ConnectTimeout at most. Only the first call counts, and none after
	// the client has gone.
	//
	// Connect runs on the threads of the shards, several at a time, and must not
	// block: all clients of the shard wait for it. The slices of r are borrowed
	// until it returns.
	Connect(r Request, done func(Verdict))
}

// Request is what an Authenticator decides about.
type Request struct {
	engine.Peer
	ClientID string // that CONNECT asks for, or one of ours if it leaves that to us
	UserName []byte // nil if there is none
	Password []byte // nil if there is none
}

// Verdict is what an Authenticator decides.
type Verdict struct {
	Code        packet.ReasonCode // Success, or why the connection is refused
	Principal   string            // who the client is, for the log; "" if that is nobody in particular
	Permissions Permissions       // nil: the client may do everything
	ClientID    string            // what counts instead of Request.ClientID; "" leaves that
}

// Permissions are what a client may do. Methods run on the threads of the shards,
// several at a time, and must not block. The slices they get are borrowed for
// the call. Answers to Publish and Receive are remembered with the route of a
// topic, until the client connects again or Broker.PermissionsChanged is called.
type Permissions interface {
	// Publish tells whether the client may publish to a topic; its will, too.
	Publish(topic []byte, qos packet.QoS, retain bool) bool

	// Subscribe tells whether the client may subscribe to a filter, which is
	// the inner one of a shared subscription.
	Subscribe(filter string) bool

	// Receive tells whether the client gets messages of a topic that one of its
	// subscriptions matches.
	Receive(topic []byte) bool
}

// identity is who a client is and what it may do, as the last verdict says. A
// new verdict is a new identity. nil is anybody, who may do everything; so is a
// session that was loaded, until its client comes back.
type identity struct {
	principal   string
	permissions Permissions // nil: it may do everything
}

func (v *Verdict) identity() *identity {
	if v.Principal == "" && v.Permissions == nil {
		return nil
	}
	return &identity{v.Principal, v.Permissions}
}

// restricted tells that the client may not do everything.
func (who *identity) restricted() bool { return who != nil && who.permissions != nil }

func (who *identity) maySubscribe(filter string) bool {
	return !who.restricted() || who.permissions.Subscribe(filter)
}

func (who *identity) mayReceive(topic []byte) bool {
	return !who.restricted() || who.permissions.Receive(topic)
}

func (who *identity) mayPublish(topic []byte, qos packet.QoS, retain bool) bool {
	return !who.restricted() || who.permissions.Publish(topic, qos, retain)
}

// permits are the answers about publishing to the topic of a route.
type permits struct {
	last *identity // that published last, and
	its  *permit
	all  map[*identity]*permit
}

// permit has a bit for each QoS, without and with RETAIN.
type permit struct{ known, allowed uint8 }

// permitBytes is what an answer counts as in routes.bytes: with it, what it
// answers for is kept after the client has gone.
const permitBytes = 128

// of finds what is known of a client.
func (p *permits) of(who *identity) (_ *permit, fresh bool) {
	if p.last == who {
		return p.its, false
	}
	its := p.all[who]
	if fresh = its == nil; fresh {
		its = &permit{}
		p.all[who] = its
	}
	p.last, p.its = who, its
	return its, fresh
}

// mayPublish tells whether a client that may not do everything may publish to a
// topic. r is the route of the topic, nil if it is not remembered.
func (s *shard) mayPublish(who *identity, r *route, name []byte, qos packet.QoS, retain bool) bool {
	if r == nil {
		return who.mayPublish(name, qos, retain)
	}
	if r.permits == nil {
		r.permits = &permits{all: map[*identity]*permit{}}
	}
	p, fresh := r.permits.of(who)
	if fresh {
		s.routes.bytes += permitBytes
	}
	bit := uint8(1) << (2 * qos)
	if retain {
		bit <<= 1
	}
	if p.known&bit == 0 {
		if p.known |= bit; who.mayPublish(name, qos, retain) {
			p.allowed |= bit
		}
	}
	return p.allowed&bit != 0
}

// identify takes note of who a client is. What was found out for who it was
// before does not count any more.
func (s *shard) identify(cl *client, who *identity) {
	if who == nil && cl.identity() == nil {
		return
	}
	cl.need().who = who
	for sub := range cl.subs.all {
		if sub.group != nil {
			s.share(sub, sub.group.name, true)
		} else {
			s.changes.add(sub.filter)
		}
	}
}

// PermissionsChanged tells that Permissions answer otherwise from now on. Each
// shard asks again from its next turn on. Subscriptions stay, but what their
// clients may not receive any more does not get to them.
func (b *Broker) PermissionsChanged() {
	for i, s := range b.shards {
		b.runner.Post(i, s.routes.clear)
	}
}

// question is what an Authenticator was asked. Its answer may come while it is
// asked, from the same thread or another one.
type question struct {
	answered atomic.Bool   // somebody has called done
	state    atomic.Uint32 // see below
	verdict  Verdict
}

const (
	asking     uint32 = iota // Connect has not returned
	unanswered               // it has, without an answer
	decided                  // the verdict is there
)

// ask asks the Authenticator. It reports false if the answer comes later, on the
// thread of the shard, by then.
func (q *question) ask(s *shard, a Authenticator, r Request, then func()) (now bool) {
	a.Connect(r, func(v Verdict) {
		if q.answered.Swap(true) {
			return
		}
		q.verdict = v
		if q.state.Swap(decided) == unanswered {
			s.b.runner.Post(s.index, then)
		}
	})
	return !q.state.CompareAndSwap(asking, unanswered)
}
