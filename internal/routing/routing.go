// Package routing finds who gets the messages of a topic name. It has the topic
// filters that shards have subscribers of (Interest), the subscriptions of each
// shard with the routes that it remembers (Table), the members of shared
// subscriptions (Group), and what clients are permitted to do (Identity).
//
// It knows no connection, session, or store, and sends nothing: it returns
// receivers and members, and its caller delivers. What a client is, is the
// caller's business as well; see Client.
//
// A Table, its routes and subscriptions belong to the thread of one shard. All
// shards share Interest and the groups, which have locks, because a lookup there is
// far rarer than a message; docs/design/broker.md says why.
//
// Files, from the bottom up: routing.go, permission.go, index.go,
// subscription.go, interest.go, group.go, route.go, cache.go, table.go.
package routing

// Client is a session that subscribes, in the form in which the caller knows it:
// usually a pointer.
type Client interface {
	comparable

	// Identity returns who the client is, nil for somebody who may do
	// everything. It is called on the thread of the client's shard.
	Identity() *Identity

	// Mount returns the length of the client's mount point in bytes, 0 if it has none:
	// its filters, and the names that it publishes to, begin with that, and the client
	// does not see it. It does not change.
	Mount() int
}
