package routing

import "midge/internal/packet"

// Permissions are what a client may do. Methods run on the threads of the shards,
// several at a time, and must not block. The slices they get are borrowed for
// the call. Answers to Publish and Receive are remembered with the route of a
// topic, until the client connects again or Table.Clear is called.
// Topics and filters are those that the client sees, without its mount point.
type Permissions interface {
	// Publish reports whether the client may publish to a topic; its will, too.
	Publish(topic []byte, qos packet.QoS, retain bool) bool

	// Subscribe reports whether the client may subscribe to a filter, which is
	// the inner one of a shared subscription.
	Subscribe(filter string) bool

	// Receive reports whether the client gets messages of a topic that one of its
	// subscriptions matches.
	Receive(topic []byte) bool
}

// Asking are Permissions some of whose answers somebody else has, who is asked when
// they are needed. A client waits for an answer before its packet is looked at.
type Asking interface {
	Permissions

	// ReadyToPublish reports whether Publish has its answer. If not, it is asked for,
	// and then is called once, from any goroutine, when it is there.
	ReadyToPublish(topic []byte, qos packet.QoS, retain bool, then func()) bool

	// ReadyToSubscribe is the same for all filters of a packet.
	ReadyToSubscribe(filters []string, then func()) bool
}

// Identity is who a client is and what it may do, as the last verdict says. A
// new verdict is a new Identity. nil is anybody, who may do everything; so is a
// session that was loaded, until its client comes back.
type Identity struct {
	Principal   string      // for the log; "" for nobody in particular
	Permissions Permissions // nil: the client may do everything
	Mount       int         // see Client
	Asking      Asking      // the same, if some of its answers are asked for; else nil
}

// Restricted reports whether the client may not do everything.
func (who *Identity) Restricted() bool { return who != nil && who.Permissions != nil }

// Name is the Principal; "" for anybody.
func (who *Identity) Name() string {
	if who == nil {
		return ""
	}
	return who.Principal
}

// MaySubscribe reports whether the client may subscribe to a filter, which begins with
// its mount point as all that follows.
func (who *Identity) MaySubscribe(filter string) bool {
	return !who.Restricted() || who.Permissions.Subscribe(filter[who.Mount:])
}

// MayReceive reports whether the client gets messages of a topic.
func (who *Identity) MayReceive(topic []byte) bool {
	return !who.Restricted() || who.Permissions.Receive(topic[who.Mount:])
}

// MayPublish reports whether the client may publish to a topic.
func (who *Identity) MayPublish(topic []byte, qos packet.QoS, retain bool) bool {
	return !who.Restricted() || who.Permissions.Publish(topic[who.Mount:], qos, retain)
}

// permits are the answers about publishing to the topic of a route, for those who came after
// Route.publisher.
type permits struct {
	last *Identity // that published last, and
	its  *permit
	all  map[*Identity]*permit
}

// permit has a bit for each QoS, without and with RETAIN.
type permit struct{ known, allowed uint8 }

// permitBytes is what an answer counts as in cache.bytes: with it, the Identity
// that it answers for stays in memory after the client has gone.
const permitBytes = 128

// permitOf finds what is known of a client. Most topics have one publisher, whose answers
// are found without looking anywhere else.
func (r *Route[C]) permitOf(who *Identity) (_ *permit, added bool) {
	switch {
	case r.publisher == who:
		return &r.its, false
	case r.publisher == nil:
		r.publisher = who
		return &r.its, true
	case r.permits == nil:
		r.permits = &permits{all: map[*Identity]*permit{}}
	}
	return r.permits.of(who)
}

func (p *permits) of(who *Identity) (_ *permit, added bool) {
	if p.last == who {
		return p.its, false
	}
	its := p.all[who]
	if added = its == nil; added {
		its = &permit{}
		p.all[who] = its
	}
	p.last, p.its = who, its
	return its, added
}

// MayPublish reports whether a client that is restricted may publish to a
// topic, from the answers that its route remembers. r is the route of the topic
// if that is in the cache, else nil. Answers that were asked for have an end, and
// are remembered elsewhere.
func (t *Table[C]) MayPublish(who *Identity, r *Route[C], name []byte, qos packet.QoS, retain bool) bool {
	if r == nil || who.Asking != nil {
		return who.MayPublish(name, qos, retain)
	}
	p, added := r.permitOf(who)
	if added {
		t.cache.bytes += permitBytes
	}
	bit := uint8(1) << (2 * qos)
	if retain {
		bit <<= 1
	}
	if p.known&bit == 0 {
		if p.known |= bit; who.MayPublish(name, qos, retain) {
			p.allowed |= bit
		}
	}
	return p.allowed&bit != 0
}
