package app

import (
	"midge/internal/broker"
	"midge/internal/config"
)

// coreConfig copies the settings that are the broker's business.
func (b *Broker) coreConfig(version string) broker.Config {
	return broker.Config{
		Shards:  b.shards(),
		Limits:  coreLimits(&b.cfg.Limits, b.files),
		Session: coreSession(&b.cfg.Session),
		Strict:  broker.Strict(b.cfg.Strict),
		Sys:     orOff(b.cfg.Sys.Interval),
		Version: version,
		Logger:  b.log,

		QuietConnections: !b.cfg.Log.Connections,
	}
}

func coreLimits(l *config.Limits, files descriptors) broker.Limits {
	core := broker.Limits{
		Connections:      files.connections,
		Refusing:         orOff(files.refusing),
		ConnectionsPerIP: l.ConnectionsPerIP,
		ConnectTimeout:   l.ConnectTimeout,
		PacketSize:       int(l.PacketSize),
		ConnectSize:      int(l.ConnectSize),
		PendingBytes:     int(l.PendingBytes),
		MailboxBytes:     int(l.MailboxBytes),
		Subscriptions:    l.Subscriptions,
		TopicLevels:      l.TopicLevels,
		TopicLength:      l.TopicLength,
		TopicAliases:     orOff(l.TopicAliases),
		RetainedMessages: orOff(l.RetainedMessages),
		RetainedBytes:    int64(l.RetainedBytes),
	}
	if l.RetainedBytes == 0 {
		core.RetainedMessages = -1
	}
	return core
}

func coreSession(s *config.Session) broker.SessionConfig {
	core := broker.SessionConfig{
		ReceiveMaximum:      s.ReceiveMaximum,
		Inflight:            s.Inflight,
		QueuedMessages:      orOff(s.QueuedMessages),
		QueuedBytes:         int(s.QueuedBytes),
		StoredMessages:      orOff(s.StoredMessages),
		StoredBytes:         int64(s.StoredBytes),
		RefuseNew:           s.QueueFull == "refuse-new",
		WaitWithMember:      s.SharedQueue == "member",
		MaxExpiry:           s.MaxExpiry,
		KeepAlive:           s.KeepAlive,
		ResponseInformation: s.ResponseInformation,
	}
	if s.QueuedBytes == 0 {
		core.QueuedMessages = -1
	}
	if s.StoredBytes == 0 {
		core.StoredMessages = -1
	}
	switch s.SharedStrategy {
	case "sticky":
		core.Strategy = broker.Sticky
	case "least-inflight":
		core.Strategy = broker.LeastInflight
	}
	return core
}

// orOff translates a setting: 0 switches off in a file, where package broker
// takes 0 for its default and a negative value for off.
func orOff[T ~int | ~int64](v T) T {
	if v == 0 {
		return -1
	}
	return v
}
