package routing

import (
	"slices"

	"midge/internal/packet"
)

// Route is what a shard knows about a topic name: who gets its messages. A
// change of subscriptions makes it stale, and Table.Renew renews it. Its slices
// are borrowed until the next call of the Table.
type Route[C Client] struct {
	name      string
	local     uint64           // Table.changes.epoch when Receivers were found
	global    uint64           // Interest.epoch when Shards and Groups were found
	Receivers []Receiver[C]    // of this shard; they don't change
	list      *receiverList[C] // where they lie if the route is cached; nil: nobody
	Shards    uint64           // set of other shards with subscribers
	Persisted uint64           // set of shards, this one too, with receivers whose messages are persisted
	Groups    []*Group[C]
	publisher *Identity // who was first asked about, nil: nobody; only of one that is cached
	permits   *permits  // of others, nil: nobody else
	its       permit    // of publisher
	gone      bool      // it is not in the cache any more, and must not be used again
}

// Receiver is a session that gets one copy of each message (MQTT 5.0 section
// 3.3.4): at the maximum QoS of all its matching subscriptions and with all
// their identifiers (MQTT-3.3.4-2, -3, -4).
type Receiver[C Client] struct {
	Client C
	Grant
	mixed bool   // has subscriptions with No Local
	own   *Grant // what counts for messages of its own if mixed; nil: none
}

// Grant is what the subscriptions of a receiver add up to.
type Grant struct {
	QoS               packet.QoS
	RetainAsPublished bool
	IDs               []uint32 // Subscription Identifiers; they don't change
}

// merge adds what a subscription grants.
func merge[C Client](g *Grant, sub *Subscription[C]) {
	g.QoS = max(g.QoS, sub.QoS)
	g.RetainAsPublished = g.RetainAsPublished || sub.RetainAsPublished
	if sub.ID != 0 && !slices.Contains(g.IDs, sub.ID) {
		g.IDs = append(g.IDs, sub.ID)
	}
}

// GrantFrom is what counts for messages that a client has published, nil if the
// receiver does not get them: No Local (MQTT-3.8.3-3).
func (rc *Receiver[C]) GrantFrom(publisher C) *Grant {
	if rc.mixed && rc.Client == publisher {
		return rc.own
	}
	return &rc.Grant
}

// Is reports whether the route is of a topic name, and is in the cache still. A nil
// one is of none.
func (r *Route[C]) Is(name []byte) bool { return r != nil && !r.gone && r.name == string(name) }

// Empty reports whether nobody gets the messages.
func (r *Route[C]) Empty() bool {
	return len(r.Receivers) == 0 && r.Shards == 0 && len(r.Groups) == 0
}

// Persists reports whether messages of the route are persisted for anybody.
func (r *Route[C]) Persists() bool {
	return r.Persisted != 0 || slices.ContainsFunc(r.Groups, (*Group[C]).Persists)
}
