package broker

import (
	"sync"

	"midge/internal/message"
)

// Counters are what a broker counts. Those that say "now" go up and down.
type Counters struct {
	Connections  uint64 // network connections now, with those before CONNECT
	Accepted     uint64 // network connections ever
	Connects     uint64 // CONNECT packets accepted ever
	Connected    uint64 // clients connected now
	Disconnected uint64 // sessions now whose client is away
	Expired      uint64 // sessions that ended because their time was over
	TakenOver    uint64 // connections that another one with the same client id ended

	PacketsReceived uint64
	PacketsSent     uint64
	BytesReceived   uint64
	BytesSent       uint64

	PublishReceived      uint64 // PUBLISH packets from clients
	PublishSent          uint64 // PUBLISH packets to clients
	PublishBytesReceived uint64 // payloads
	PublishBytesSent     uint64 // payloads

	Subscriptions       uint64 // now, without shared ones
	SharedSubscriptions uint64 // now

	Stored      uint64 // messages now that stored sessions have on disk, once for each receiver
	StoredBytes uint64 // their bytes now

	DroppedSlow    uint64 // QoS 0 messages for clients that read too slowly
	DroppedQueue   uint64 // messages that a session's queue had no room for
	DroppedAway    uint64 // QoS 0 messages for clients that were away
	DroppedExpired uint64 // messages whose time was over
	DroppedSize    uint64 // messages larger than the receiver takes
	DroppedMailbox uint64 // QoS 0 messages for a shard that was over its limit
	DroppedGroup   uint64 // messages for a shared subscription without a member to take them
	DroppedDamaged uint64 // stored messages that could not be read

	RefusedConnections   uint64 // over the limit in all
	RefusedPerIP         uint64 // over the limit of an address
	RefusedAccess        uint64 // CONNECT, PUBLISH and subscriptions that Access refused
	RefusedSubscriptions uint64 // over the limit of a client
	RefusedTopics        uint64 // names and filters over the limits of levels or length
	RefusedRetained      uint64 // retained messages over the limits
	RefusedSize          uint64 // packets over the limit of size
	RefusedStore         uint64 // what asked to be durable while the disk was full or had failed
	ConnectTimeouts      uint64 // connections whose CONNECT did not come in time
	KeepAliveTimeouts    uint64 // clients that were silent too long
	SlowDisconnects      uint64 // clients disconnected because they read too slowly
	PausedPublishers     uint64 // times that a publisher had to wait for a shard
	Faults               uint64 // connections ended by a violation of the standard

	// Of all shards together.
	Retained      uint64 // retained messages now
	RetainedBytes uint64 // their bytes now
	Damaged       uint64 // records that the start found and could not read
}

// fields lists what a shard counts.
func (c *Counters) fields() [40]*uint64 {
	return [...]*uint64{
		&c.Connections, &c.Accepted, &c.Connects, &c.Connected, &c.Disconnected, &c.Expired, &c.TakenOver,
		&c.PacketsReceived, &c.PacketsSent, &c.BytesReceived, &c.BytesSent,
		&c.PublishReceived, &c.PublishSent, &c.PublishBytesReceived, &c.PublishBytesSent,
		&c.Subscriptions, &c.SharedSubscriptions, &c.Stored, &c.StoredBytes,
		&c.DroppedSlow, &c.DroppedQueue, &c.DroppedAway, &c.DroppedExpired, &c.DroppedSize, &c.DroppedMailbox, &c.DroppedGroup, &c.DroppedDamaged,
		&c.RefusedConnections, &c.RefusedPerIP, &c.RefusedAccess, &c.RefusedSubscriptions, &c.RefusedTopics,
		&c.RefusedRetained, &c.RefusedSize, &c.RefusedStore, &c.ConnectTimeouts, &c.KeepAliveTimeouts, &c.SlowDisconnects,
		&c.PausedPublishers, &c.Faults,
	}
}

// wrote counts n receivers of a message that go to disk, gone is the reverse.
func (c *Counters) wrote(n, size int) {
	c.Stored += uint64(n)
	c.StoredBytes += uint64(n * size)
}

func (c *Counters) gone(m message.Stored) {
	c.Stored--
	c.StoredBytes -= uint64(m.Size)
}

// add adds what o has counted. Sums of numbers that go up and down are right
// although one shard's may have wrapped below zero.
func (c *Counters) add(o Counters) {
	from := o.fields()
	for i, to := range c.fields() {
		*to += *from[i]
	}
}

// Dropped is the number of messages that a receiver should have got and did not.
func (c *Counters) Dropped() uint64 {
	return c.DroppedSlow + c.DroppedQueue + c.DroppedExpired + c.DroppedSize + c.DroppedMailbox + c.DroppedGroup + c.DroppedDamaged
}

// published is a shard's counters as others may read them. The shard counts in
// plain memory and copies that here at the end of a turn.
type published struct {
	mu sync.Mutex
	c  Counters
}

func (p *published) store(c *Counters) {
	p.mu.Lock()
	p.c = *c
	p.mu.Unlock()
}

func (p *published) load() Counters {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.c
}
