package broker

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Config tunes a Broker. The zero value is ready for use.
type Config struct {
	// Shards is the number of shards, 1 to 64; 0 means 4. A set of shards is
	// one machine word, hence the most.
	Shards int

	Limits  Limits
	Session SessionConfig
	Strict  Strict

	// Sys is how often the topics under $SYS are published; 0 means 10 s,
	// which is what dashboards made for Mosquitto expect, negative means never.
	Sys time.Duration

	// Version is what $SYS/broker/version says; "" means "midge".
	Version string

	Store  Store        // nil keeps everything in memory
	Disk   func() Disk  // figures of where the Store keeps it; nil: there are none
	Access Access       // nil allows everything
	Logger *slog.Logger // nil logs nothing

	// QuietConnections leaves the lines about clients that come and go to the
	// debug level.
	QuietConnections bool
}

// Disk are figures of a data directory.
type Disk struct {
	Bytes       int64 // of the database
	LogBytes    int64 // of these, what the next start has to read again
	Quarantines int   // directories with what was damaged
}

// Strict is what the broker refuses although most others take it.
type Strict struct {
	ClientIDs       bool // client ids of more than 23 characters (3.1)
	TopicCharacters bool // control characters in topic names and filters
	KeepAlive       bool // a Keep Alive above SessionConfig.KeepAlive, or none, of who can't be told (before 5.0)
}

// Limits bound what clients can make the broker hold.
type Limits struct {
	// Connections at one time; 0 means no limit but the operating system's.
	Connections int

	// Refusing is how many connections over these limits are kept at one time
	// until they have sent CONNECT, which CONNACK can then refuse; 0 means
	// MostRefusing, negative means none. A flood fills them, and costs no more
	// descriptors; what is over is closed at once.
	Refusing int

	// ConnectionsPerIP at one time; 0 means no limit, because a gateway puts
	// all its clients behind one address.
	ConnectionsPerIP int

	// ConnectTimeout is the time from accepting a connection to its complete
	// CONNECT; 0 means 5 s: ten round trips over a poor mobile link.
	ConnectTimeout time.Duration

	// PacketSize is the largest control packet taken, in bytes; 0 means 1 MiB,
	// far above what sensors send.
	PacketSize int

	// ConnectSize is the largest CONNECT taken, in bytes; 0 means 128 KiB: a
	// will of the largest size and as much again for everything else. It
	// bounds what a peer can make us hold that has not said who it is.
	ConnectSize int

	// PendingBytes is how many bytes may wait for a client that reads too
	// slowly; 0 means 1 MiB, a second of a 10 Mbit/s link. Past it QoS 0
	// messages for the client are dropped, and those of QoS 1 and 2 stay in
	// its session. A client that takes nothing for long (slowPatience), or that
	// asks for as many bytes of answers and takes less, is disconnected (0x97).
	PendingBytes int

	// MailboxBytes is how many bytes may wait for one shard; 0 means 4 MiB,
	// some milliseconds of a busy shard. Past it publishers are paused, and
	// past twice as much QoS 0 messages for that shard are dropped.
	MailboxBytes int

	// Subscriptions of one client; 0 means 10,000, ten times of what a client
	// uses that lists its devices one by one. A long filter counts as several.
	Subscriptions int

	TopicLevels int // in a name or filter; 0 means 200, real names have 10
	TopicLength int // in bytes; 0 means 65,535, all that the standard allows

	// TopicAliases that a client may set, and that the broker sets for a client
	// at most; 0 means 16, negative means none.
	TopicAliases int

	// RetainedMessages of all topics; 0 means 1,000,000 (one for each device
	// of a large fleet), negative means that retained messages are not kept.
	RetainedMessages int

	// RetainedBytes of all retained messages; 0 means 1 GiB.
	RetainedBytes int64
}

// SessionConfig shapes and bounds what the broker does for one client.
type SessionConfig struct {
	// ReceiveMaximum is how many QoS 1 and 2 messages a client may send
	// without having an answer; 0 means 100; see bench/results/receive-maximum.md.
	ReceiveMaximum int

	// Inflight is the same for the broker towards a client; 0 means 1024.
	Inflight int

	// QueuedMessages that wait for one client in memory, because its session
	// is not stored; 0 means 1000, negative none.
	QueuedMessages int

	// QueuedBytes of them; 0 means 1 MiB: 1000 messages of 1 KiB.
	QueuedBytes int

	// StoredMessages that wait for one client on disk; 0 means 1,000,000, which
	// take 16 MiB of memory; negative none.
	StoredMessages int

	// StoredBytes of them; 0 means 1 GiB.
	StoredBytes int64

	// RefuseNew makes a full queue drop the new message and not the one that
	// has waited longest. The newest reading is usually worth more.
	RefuseNew bool

	// MaxExpiry is the longest time that a session outlives its connection; 0
	// means what the client asks for.
	MaxExpiry time.Duration

	// KeepAlive is the longest Keep Alive of 5.0 clients, in whole seconds; 0
	// means what the client asks for.
	KeepAlive time.Duration

	// ResponseInformation is what a 5.0 client is told that asks for it
	// (MQTT 5.0 section 3.2.2.3.15); "" means nothing.
	ResponseInformation string

	// Strategy chooses among the members of a shared subscription.
	Strategy Strategy

	// WaitWithMember makes messages for a shared subscription wait with one of
	// its members if none can take them now. Else they wait with the group, and
	// go to whoever comes first.
	WaitWithMember bool
}

// Strategy chooses the member of a shared subscription that gets a message.
type Strategy uint8

// The strategies.
const (
	RoundRobin    Strategy = iota // each in turn
	Sticky                        // the same as before while it is connected
	LeastInflight                 // the one with the fewest unacknowledged messages
)

// mostShards is the number of shards that fit a set of shards.
const mostShards = 64

func (c Config) withDefaults() Config {
	c.Shards = cmp.Or(c.Shards, 4)
	c.Sys = cmp.Or(c.Sys, 10*time.Second)
	c.Version = cmp.Or(c.Version, "midge")
	if c.Access == nil {
		c.Access = allowAll{}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	l, s := &c.Limits, &c.Session
	l.ConnectTimeout = cmp.Or(l.ConnectTimeout, 5*time.Second)
	l.Refusing = cmp.Or(l.Refusing, MostRefusing)
	l.PacketSize = cmp.Or(l.PacketSize, 1<<20)
	l.ConnectSize = min(cmp.Or(l.ConnectSize, 128<<10), l.PacketSize)
	l.PendingBytes = cmp.Or(l.PendingBytes, 1<<20)
	l.MailboxBytes = cmp.Or(l.MailboxBytes, 4<<20)
	l.Subscriptions = cmp.Or(l.Subscriptions, 10_000)
	l.TopicLevels = cmp.Or(l.TopicLevels, 200)
	l.TopicLength = cmp.Or(l.TopicLength, 65_535)
	l.TopicAliases = max(cmp.Or(l.TopicAliases, 16), 0)
	l.RetainedMessages = max(cmp.Or(l.RetainedMessages, 1_000_000), 0)
	l.RetainedBytes = cmp.Or(l.RetainedBytes, 1<<30)
	s.ReceiveMaximum = cmp.Or(s.ReceiveMaximum, 100)
	s.Inflight = cmp.Or(s.Inflight, 1024)
	s.QueuedMessages = cmp.Or(s.QueuedMessages, 1000)
	s.QueuedBytes = cmp.Or(s.QueuedBytes, 1<<20)
	s.StoredMessages = cmp.Or(s.StoredMessages, 1_000_000)
	s.StoredBytes = cmp.Or(s.StoredBytes, 1<<30)
	return c
}

// Validate joins all faults, each beginning with the field's name.
func (c Config) Validate() error {
	var errs []error
	within := func(name string, v, least, most int64) {
		if v < least || v > most {
			errs = append(errs, fmt.Errorf("%s: %d is outside %d to %d", name, v, least, most))
		}
	}
	l, s := c.Limits, c.Session
	const huge = 1 << 50
	within("Shards", int64(c.Shards), 0, mostShards)
	within("Limits.Connections", int64(l.Connections), 0, huge)
	within("Limits.Refusing", int64(l.Refusing), -1, 20_000)
	within("Limits.ConnectionsPerIP", int64(l.ConnectionsPerIP), 0, huge)
	within("Limits.ConnectTimeout", int64(l.ConnectTimeout), 0, int64(time.Hour))
	within("Limits.PacketSize", int64(l.PacketSize), 0, 268_435_460)
	within("Limits.ConnectSize", int64(l.ConnectSize), 0, 268_435_460)
	within("Limits.PendingBytes", int64(l.PendingBytes), 0, 1<<30)
	within("Limits.MailboxBytes", int64(l.MailboxBytes), 0, 1<<40)
	within("Limits.Subscriptions", int64(l.Subscriptions), 0, huge)
	within("Limits.TopicLevels", int64(l.TopicLevels), 0, 65_535)
	within("Limits.TopicLength", int64(l.TopicLength), 0, 65_535)
	within("Limits.TopicAliases", int64(l.TopicAliases), -1, 65_535)
	within("Limits.RetainedMessages", int64(l.RetainedMessages), -1, huge)
	within("Limits.RetainedBytes", l.RetainedBytes, 0, huge)
	within("Session.ReceiveMaximum", int64(s.ReceiveMaximum), 0, 65_535)
	within("Session.Inflight", int64(s.Inflight), 0, 65_535)
	within("Session.QueuedMessages", int64(s.QueuedMessages), -1, huge)
	within("Session.QueuedBytes", int64(s.QueuedBytes), 0, huge)
	within("Session.StoredMessages", int64(s.StoredMessages), -1, huge)
	within("Session.StoredBytes", s.StoredBytes, 0, huge)
	within("Session.MaxExpiry", int64(s.MaxExpiry), 0, 1<<62)
	within("Session.KeepAlive", int64(s.KeepAlive), 0, int64(65_535*time.Second))
	within("Session.Strategy", int64(s.Strategy), 0, int64(LeastInflight))
	return errors.Join(errs...)
}
