// Package config is the configuration of a broker: its settings with their
// defaults and reasons, where each value came from, and the reference page.
//
// A value given by a flag wins over one from the environment, which wins over
// one from the file, which wins over the default. Load reports all faults at
// once. The package knows none of the parts that it configures: package app
// copies the values over.
package config

import "time"

// Config holds the settings of one broker. The table in settings.go says what
// each means, its unit and its range.
type Config struct {
	Listen         []string
	ListenWait     time.Duration
	AllowAnonymous bool

	Threads    int
	Shards     int
	Engine     string
	DataDir    string
	Durability string

	DurabilityInterval time.Duration

	Limits  Limits
	Session Session
	Strict  Strict
	Sys     Sys
	Log     Log
}

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

// Default returns the configuration of a broker of which nothing is set. The
// table in settings.go carries the reasons.
func Default() Config {
	return Config{
		Listen:     []string{"tcp://127.0.0.1:1883"},
		ListenWait: 30 * time.Second,
		Engine:     "auto",
		DataDir:    "midge-data",
		Durability: "commit",

		DurabilityInterval: time.Second,
		Limits: Limits{
			ConnectTimeout:   5 * time.Second,
			PacketSize:       1 << 20,
			ConnectSize:      128 << 10,
			PendingBytes:     1 << 20,
			MailboxBytes:     4 << 20,
			Subscriptions:    10_000,
			TopicLevels:      200,
			TopicLength:      65_535,
			TopicAliases:     16,
			RetainedMessages: 1_000_000,
			RetainedBytes:    1 << 30,
		},
		Session: Session{
			ReceiveMaximum: 100,
			Inflight:       1024,
			QueuedMessages: 1000,
			QueuedBytes:    1 << 20,
			StoredMessages: 1_000_000,
			StoredBytes:    1 << 30,
			QueueFull:      "drop-oldest",
			MaxExpiry:      0,
			SharedStrategy: "round-robin",
			SharedQueue:    "group",
		},
		Sys: Sys{Interval: 10 * time.Second},
		Log: Log{Level: "info", Format: "text", Connections: true, Banner: "auto"},
	}
}
