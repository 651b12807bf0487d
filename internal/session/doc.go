// Package session is the state machine of one client: the exchanges of QoS 1
// and QoS 2 in both directions, packet identifiers, flow control, topic
// aliases, the queue of messages, and message expiry.
//
// Packets and time go in, bytes come out: every method that may have something
// to say to the client appends it to the caller's buffer. The package has no
// clock, no sockets, no goroutines and no locks; the shard that owns a session
// is its only caller.
//
// A Session outlives network connections. What belongs to one of them is its
// Link, which is nil while the client is not connected.
//
// Files, from the bottom up:
//
//	packetids.go  a set of packet identifiers
//	entry.go      a message as the session holds it
//	queue.go      messages that are queued
//	exchange.go   messages that are in flight
//	config.go     limits, and what the broker offers to those that connect
//	link.go       a network connection: what it takes, topic aliases, PUBLISH
//	journal.go    what a stored session writes down
//	session.go    the session: it begins, connects, disconnects
//	share.go      messages of shared subscriptions, which others may get
//	deliver.go    to the client
//	receive.go    from the client
//	content.go    contents that are on disk only
//	restore.go    stored sessions after a start, and when they end
package session
