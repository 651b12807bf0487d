// Package settings has all settings of a broker in one table: what each does, its
// default and the reason for it, its range, and what zero means.
//
// A value means the same wherever it is read: zero is zero, or what the table
// says of it. Package config reads values from files, the environment and flags;
// package app gives those that are its business to the engine and the store, and
// the Core to package broker.
//
// Files, from the bottom up: size.go, address.go, acme.go, tls.go, hook.go, ldap.go, auth.go, acl.go, rates.go,
// bans.go, etcd.go, table.go, settings.go.
package settings

import (
	"net/netip"
	"time"
)

// Settings are the settings of one broker. The table in table.go says what each
// means, its unit and its range.
type Settings struct {
	Listen         []string
	ListenWait     time.Duration
	AllowAnonymous bool
	MountPoint     string

	Listener Listener // in the settings of one listener: see Section.Listener

	Threads    int
	Shards     int
	Engine     string
	DataDir    string
	Durability string

	DurabilityInterval time.Duration

	Auth      Auth
	LDAP      LDAP
	Hook      Hook
	TLS       TLS
	WebSocket WebSocket
	Bans      Bans
	Etcd      Etcd

	Core
}

// Listener is what only one listener has.
type Listener struct {
	Name       string
	Address    string
	SocketMode string

	ProxyProtocol []string

	TotalMessageRate int
	TotalByteRate    Size
}

// Proxies are the addresses of ProxyProtocol.
func (l *Listener) Proxies() (all []netip.Prefix) { return prefixes(l.ProxyProtocol) }

// Core are the sections that package broker goes by.
type Core struct {
	Limits  Limits
	Session Session
	Strict  Strict
	Sys     Sys
	Log     Log
	ACL     ACL

	// Listeners has what differs for the connections of listeners, by their number.
	Listeners map[int]ListenerLimits
}

// ListenerLimits are limits of a listener that has some of its own.
type ListenerLimits struct {
	// Limits are those in force for its connections. Those that may not stand in a
	// listener, and those with an own one below, are not looked at.
	Limits

	// Own and OwnPerIP are its own limits of connections, and of those from one address;
	// nil: it has none. Its connections count in all, too, but not for the general
	// limit of an address if it has one.
	Own, OwnPerIP *int

	// OwnConnectRate and OwnConnectRatePerIP are those of rates in the same way.
	OwnConnectRate, OwnConnectRatePerIP *int

	// Mounts: an Authenticator may give its clients mount points.
	Mounts bool

	// TotalMessageRate and TotalByteRate are those of all of its clients together; 0:
	// there is no limit.
	TotalMessageRate int
	TotalByteRate    Size
}

// Default returns the settings of a broker of which nothing is set.
func Default() (s Settings) {
	for _, row := range All() {
		row.reset(&s)
	}
	return s
}

const (
	// MaxShards is the largest number of shards: a set of them is one machine word.
	MaxShards = 64

	// MaxConnections is the limit of connections where neither the user nor the
	// system sets one. At 700 bytes for each, so many that are idle take 700 MB.
	// Guess.
	MaxConnections = 1_000_000

	// MaxRefusing is how many connections over the limits are kept at one time,
	// where there are descriptors enough, until they have sent CONNECT and can be
	// told.
	MaxRefusing = 64
)

// What Session.QueueFull, Session.SharedStrategy and Session.SharedQueue may be.
const (
	DropOldest = "drop-oldest"
	RefuseNew  = "refuse-new"

	RoundRobin    = "round-robin"
	Sticky        = "sticky"
	LeastInflight = "least-inflight"

	WithGroup  = "group"
	WithMember = "member"
)

// Limits bound what clients can make the broker hold.
type Limits struct {
	Memory           Size
	Connections      int
	ConnectionsPerIP int
	ConnectTimeout   time.Duration
	PacketSize       Size
	ConnectSize      Size
	PendingBytes     Size
	MailboxBytes     Size
	Subscriptions    int
	TopicLevels      int
	TopicLength      int
	TopicAliases     int
	RetainedMessages int
	RetainedBytes    Size

	// How often: see rates.go.
	ConnectRate       int
	ConnectRatePerIP  int
	ConnectBurst      time.Duration
	Reconnects        int
	ReconnectInterval time.Duration
	MessageRate       int
	ByteRate          Size
}

// Session bounds and shapes the sessions of clients.
type Session struct {
	ReceiveMaximum int
	Inflight       int
	QueuedMessages int
	QueuedBytes    Size
	StoredMessages int
	StoredBytes    Size
	QueueFull      string
	MaxExpiry      time.Duration
	KeepAlive      time.Duration
	SharedStrategy string
	SharedQueue    string

	ResponseInformation string
}

// Strict is what the broker refuses although most others take it.
type Strict struct {
	ClientIDs       bool
	TopicCharacters bool
	KeepAlive       bool
}

// Sys shapes the topics under $SYS.
type Sys struct {
	Interval time.Duration
}

// Log shapes the log.
type Log struct {
	Level       string
	Format      string
	Connections bool
	Banner      string
}
