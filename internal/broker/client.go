package broker

import (
	"hash/fnv"
	"math"
	"time"

	"midge/internal/routing"
	"midge/internal/session"
	"midge/internal/store"
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
// 96 bytes; more would cost 16.
type client struct {
	id        string // see store.MountedID
	session   session.Session
	conn      *conn // nil while the client is away
	subs      routing.Subscriptions[*client]
	rare      *rare  // nil for most
	away      *away  // nil while the client is connected
	expiry    uint32 // Session Expiry Interval, seconds; never: it does not end
	fetching  bool   // contents of waiting messages are being read
	persisted bool   // the session is on disk
	mount     uint16 // length of its mount point, with which id begins
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

// setBridge notes whether the client is a bridge, by which a broker passes on what
// it gets. Before 5.0 it can't say so with each subscription; so its
// subscriptions are No Local and Retain As Published, which keeps messages from
// going round and lets retained ones stay what they are.
func (cl *client) setBridge(is bool) {
	if is || cl.rare != nil {
		cl.need().bridge = is
	}
}

// bridges reports what setBridge has noted.
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

// Mount implements routing.Client.
func (cl *client) Mount() int { return int(cl.mount) }

// mountPoint is what the names and filters of the client begin with, "" if they are
// as it writes them.
func (cl *client) mountPoint() string { return cl.id[:cl.mount] }

// clientID is the client identifier as the client has it.
func (cl *client) clientID() string {
	_, own := store.SplitID(cl.id)
	return own
}

// filterOf is the filter that the broker has for one that the client writes.
func (cl *client) filterOf(written string) string { return routing.FilterOf(written, cl.mountPoint()) }

// shares reports whether the client has shared subscriptions.
func (cl *client) shares() bool { return cl.rare != nil && cl.rare.shared > 0 }

// stored reports whether the session is on disk.
func (cl *client) stored() bool { return cl.session.Number != 0 }

// online is the client's connection if CONNACK has been sent on it.
func (cl *client) online() *conn {
	if cl.conn == nil || cl.conn.waits&forAnswer != 0 {
		return nil
	}
	return cl.conn
}

// forever is a time that never comes.
const forever = time.Duration(math.MaxInt64)

// never is the Session Expiry Interval of a session that does not end.
const never = math.MaxUint32

// shardOf is the shard where a session lives.
func shardOf(clientID []byte, shards int) int {
	h := fnv.New64a()
	h.Write(clientID)
	sum := h.Sum64()
	return int((sum ^ sum>>32) % uint64(shards))
}
