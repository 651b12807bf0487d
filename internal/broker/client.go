package broker

import (
	"math"
	"time"

	"midge/internal/routing"
	"midge/internal/session"
)

// What package routing has, for the clients of a broker.
type (
	subscription = routing.Subscription[*client]
	route        = routing.Route[*client]
	receiver     = routing.Receiver[*client]
	group        = routing.Group[*client]
	member       = routing.Member[*client]
)

// client is a session as its shard sees it, with what the pure session does
// not know: connection, subscriptions, will, and when it ends. Its fields fill
// 96 bytes with two to spare; more would cost 16.
type client struct {
	id       string
	session  session.Session
	conn     *conn // nil while the client is away
	subs     routing.Subscriptions[*client]
	rare     *rare  // nil for most
	away     *away  // nil while the client is connected
	expiry   uint32 // Session Expiry Interval, seconds; never: it does not end
	fetching bool   // contents of waiting messages are being read
	kept     bool   // the session is on disk
}

// rare is what few clients have.
type rare struct {
	will   *will
	who    *routing.Identity
	shared uint32 // shared subscriptions
	bridge bool   // see setBridge
	routing.Consumer
}

// need makes sure that there is a rare to write to.
func (cl *client) need() *rare {
	if cl.rare == nil {
		cl.rare = &rare{}
	}
	return cl.rare
}

// setBridge tells that the client is a bridge, by which a broker passes on what
// it gets. Before 5.0 it can't say so with each subscription; so its
// subscriptions are No Local and Retain As Published, which keeps messages from
// going round and lets retained ones stay what they are.
func (cl *client) setBridge(is bool) {
	if is || cl.rare != nil {
		cl.need().bridge = is
	}
}

// bridges tells what setBridge has told.
func (cl *client) bridges() bool { return cl.rare != nil && cl.rare.bridge }

// will is the client's will, nil if it has none.
func (cl *client) will() *will {
	if cl.rare == nil {
		return nil
	}
	return cl.rare.will
}

// Identity implements routing.Client.
func (cl *client) Identity() *routing.Identity {
	if cl.rare == nil {
		return nil
	}
	return cl.rare.who
}

// shares tells whether the client has shared subscriptions.
func (cl *client) shares() bool { return cl.rare != nil && cl.rare.shared > 0 }

// stored tells whether the session is on disk.
func (cl *client) stored() bool { return cl.session.Number != 0 }

// online is the client's connection if CONNACK has been sent on it.
func (cl *client) online() *conn {
	if cl.conn == nil || cl.conn.waits&forAnswer != 0 {
		return nil
	}
	return cl.conn
}

// away is what a session needs only while its client is not connected.
type away struct {
	client *client
	timer  timer         // the session's end, or its will's delay
	ends   time.Duration // when the session ends
}

// forever is a time that never comes.
const forever = time.Duration(math.MaxInt64)

// never is the Session Expiry Interval of a session that does not end.
const never = math.MaxUint32

// capExpiry applies the setting for the longest time to an interval in seconds.
func (s *shard) capExpiry(seconds uint32) uint32 {
	if most := s.settings.Session.MaxExpiry / time.Second; most > 0 && most < never {
		return min(seconds, uint32(most))
	}
	return seconds
}

// setExpiry changes how long the session of a client that leaves is kept
// (MQTT 5.0 section 3.14.2.2.2). Until that is on disk, no CONNECT may build on
// it.
func (s *shard) setExpiry(cl *client, seconds uint32) {
	if seconds == cl.expiry {
		return
	}
	cl.expiry = seconds
	if !cl.stored() || seconds == 0 { // 0: it ends now
		return
	}
	s.writeSession(cl, s.now)
	cl.kept = false
	s.promise(promise{then: func() { cl.kept = cl.stored() }})
}

// detach is what follows the end of a client's network connection. will tells
// that it was not ended in order (MQTT-3.1.2-8).
func (s *shard) detach(cl *client, will bool) {
	cl.conn = nil
	s.count.Connected--
	s.count.Disconnected++
	cl.session.Detach()
	s.stopWalking(cl)
	s.setOnline(cl, false)
	if !will {
		s.setWill(cl, nil) // MQTT-3.1.2-10
	}
	if cl.expiry == 0 {
		s.endSession(cl)
		return
	}
	s.writeSession(cl, s.now)
	s.leave(cl, s.now)
	if w := cl.will(); w != nil && w.delay == 0 {
		s.publishWill(cl)
	}
	s.arm(cl.away)
}

// leave begins the time that a client is away. since may be before the process
// began.
func (s *shard) leave(cl *client, since time.Duration) {
	cl.away = &away{client: cl, ends: forever}
	cl.away.timer.owner = cl.away
	if cl.expiry != never {
		cl.away.ends = since + time.Duration(cl.expiry)*time.Second
	}
	if w := cl.will(); w != nil {
		w.due = since + w.delay
	}
}

// arm sets the timer of a client that is away.
func (s *shard) arm(a *away) {
	at := a.ends
	if w := a.client.will(); w != nil {
		at = min(at, w.due)
	}
	if at != forever {
		s.timers.start(&a.timer, at)
	}
}

// expire implements expirer.
func (a *away) expire(s *shard) {
	cl := a.client
	if a.ends <= s.now {
		s.count.Expired++
		s.endSession(cl)
		return
	}
	if w := cl.will(); w != nil && w.due <= s.now {
		s.publishWill(cl)
	}
	s.arm(a)
}

// back ends the time that the client was away.
func (s *shard) back(cl *client) {
	if cl.away != nil {
		s.timers.stop(&cl.away.timer)
		cl.away = nil
	}
}

// endSession forgets a session whose client is away. Its will is published
// now, if that has not been done (MQTT-3.1.3.2.2), and what it had of shared
// subscriptions goes to other members.
func (s *shard) endSession(cl *client) {
	s.back(cl)
	if s.clients.Get(cl.id) == cl {
		s.clients.Remove(cl.id)
	}
	s.count.Disconnected--
	s.publishWill(cl)
	e := &ending{number: cl.session.Number}
	for sub := range cl.subs.All {
		switch {
		case !cl.stored():
		case sub.Group != nil:
			e.shares = append(e.shares, sub.Filter)
		default:
			s.disk().DropSubscription(cl.session.Number, sub.Filter)
		}
		s.drop(sub)
	}
	s.handOverAll(cl, e)
	s.tellQueues(cl)
	cl.subs = routing.Subscriptions[*client]{}
	if !cl.stored() {
		cl.session.Clear() // a route that nobody publishes to may hold the client for long
		return
	}
	if e.sealed = true; e.any {
		cl.expiry = 0 // so that a start ends it again
		s.writeSession(cl, s.now)
	}
	e.finish(s)
	s.books.graves = append(s.books.graves, cl)
}

// mostBuried is how many messages of ended sessions are deleted in a turn.
const mostBuried = 2000

// dig deletes messages of sessions that have ended, and reports whether there
// are more.
func (s *shard) dig() (more bool) {
	graves := s.books.graves
	if len(graves) == 0 {
		return false
	}
	if !graves[0].session.Delete(mostBuried) {
		graves[0] = nil
		s.books.graves = graves[1:]
	}
	return len(s.books.graves) > 0
}
