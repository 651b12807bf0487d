package broker

import (
	"sync"

	"midge/internal/message"
)

// Counters are what a broker counts. What each field means, and whether it goes
// up and down, is in its row of counterTable.
type Counters struct {
	Connections  uint64
	Accepted     uint64
	Connects     uint64
	Connected    uint64
	Disconnected uint64
	Expired      uint64

	PacketsReceived uint64
	PacketsSent     uint64
	BytesReceived   uint64
	BytesSent       uint64

	PublishReceived      uint64
	PublishSent          uint64
	PublishBytesReceived uint64
	PublishBytesSent     uint64

	Subscriptions       uint64
	SharedSubscriptions uint64

	Stored          uint64
	StoredBytes     uint64
	Retained        uint64 // of all shards together
	RetainedBytes   uint64 // of all shards together
	RetainedExpired uint64 // of all shards together
	Damaged         uint64 // of all shards together

	DroppedSlow    uint64
	DroppedQueue   uint64
	DroppedAway    uint64
	DroppedExpired uint64
	DroppedSize    uint64
	DroppedMailbox uint64
	DroppedGroup   uint64
	DroppedRight   uint64
	DroppedDamaged uint64
	DroppedMemory  uint64

	RefusedConnections   uint64
	RefusedListener      uint64
	RefusedPerIP         uint64
	RefusedRate          uint64
	RefusedListenerRate  uint64
	RefusedPerIPRate     uint64
	RefusedReconnects    uint64
	RefusedBanned        uint64
	RefusedProxy         uint64 // counted by the engine's layer
	Bans                 uint64 // of all shards together
	BansFailed           uint64 // counted by whoever reads the file
	Reloads              uint64 // counted by whoever reads the configuration, as is
	ReloadsFailed        uint64
	RefusedAccess        uint64
	RefusedCredentials   uint64
	RefusedAnonymous     uint64
	RefusedAttempts      uint64
	RefusedNotChecked    uint64
	RefusedIdentifier    uint64
	RefusedMethod        uint64
	RefusedSubscriptions uint64
	RefusedTopics        uint64
	RefusedRetained      uint64
	RefusedSize          uint64
	RefusedStore         uint64
	RefusedUnanswered    uint64
	RefusedMemory        uint64

	Reauthenticated   uint64
	Delayed           uint64
	HeldOff           uint64
	TakenOver         uint64
	ConnectTimeouts   uint64
	KeepAliveTimeouts uint64
	Lapsed            uint64
	Revoked           uint64
	SlowDisconnects   uint64
	ClosedMemory      uint64
	ClosedBanned      uint64
	ClosedArrivals    uint64
	Faults            uint64
	Panics            uint64

	PausedPublishers   uint64
	Yielded            uint64
	PausedMemory       uint64
	PausedArrivals     uint64
	PausedRate         uint64
	PausedListenerRate uint64
	PausedAccess       uint64
	PausedDisk         uint64

	HookAsked       uint64 // these of authentication
	HookFailed      uint64
	HookRemembered  uint64
	HookUnavailable uint64
	HookBusy        uint64
	KeysFailed      uint64

	TLSHandshakes     uint64 // these of the layers
	TLSResumed        uint64
	TLSCompact        uint64
	TLSWaiting        uint64
	TLSNotTLS         uint64
	TLSParameters     uint64
	TLSCertificate    uint64
	TLSByClient       uint64
	TLSGone           uint64
	TLSLate           uint64
	TLSOther          uint64
	WebSockets        uint64
	WebSocketsRefused uint64
	BrokenFiles       uint64 // of the process, as is
	BrokenAccess      uint64 // this

	MemoryUsed   uint64 // of the process
	MemoryBudget uint64 // of the process
}

// counter describes a field of Counters. The sum over the shards, $SYS and the
// page of its topics go by counterTable alone.
type counter struct {
	topic string // under $SYS/broker
	help  string
	kind  counterKind
	of    func(*Counters) *uint64
}

type counterKind uint8

const (
	total   counterKind = iota // goes up only
	dropped                    // so too: messages that a receiver should have got and did not
	gauge                      // goes up and down
)

var counterTable = []counter{
	{"connections/count", "network connections now, with those before CONNECT", gauge, func(c *Counters) *uint64 { return &c.Connections }},
	{"connections/accepted", "network connections ever", total, func(c *Counters) *uint64 { return &c.Accepted }},
	{"connections/connects", "CONNECT packets that were accepted", total, func(c *Counters) *uint64 { return &c.Connects }},
	{"clients/connected", "clients connected now", gauge, func(c *Counters) *uint64 { return &c.Connected }},
	{"clients/disconnected", "sessions now whose client is away", gauge, func(c *Counters) *uint64 { return &c.Disconnected }},
	{"clients/expired", "sessions that ended because their time was over", total, func(c *Counters) *uint64 { return &c.Expired }},

	{"messages/received", "control packets of all types from clients", total, func(c *Counters) *uint64 { return &c.PacketsReceived }},
	{"messages/sent", "control packets of all types to clients", total, func(c *Counters) *uint64 { return &c.PacketsSent }},
	{"bytes/received", "bytes of all control packets from clients", total, func(c *Counters) *uint64 { return &c.BytesReceived }},
	{"bytes/sent", "bytes of all control packets to clients", total, func(c *Counters) *uint64 { return &c.BytesSent }},

	{"publish/messages/received", "PUBLISH packets from clients", total, func(c *Counters) *uint64 { return &c.PublishReceived }},
	{"publish/messages/sent", "PUBLISH packets to clients", total, func(c *Counters) *uint64 { return &c.PublishSent }},
	{"publish/bytes/received", "bytes of the payloads from clients", total, func(c *Counters) *uint64 { return &c.PublishBytesReceived }},
	{"publish/bytes/sent", "bytes of the payloads to clients", total, func(c *Counters) *uint64 { return &c.PublishBytesSent }},

	{"subscriptions/count", "subscriptions now, without shared ones", gauge, func(c *Counters) *uint64 { return &c.Subscriptions }},
	{"shared_subscriptions/count", "shared subscriptions now", gauge, func(c *Counters) *uint64 { return &c.SharedSubscriptions }},

	{"store/queued/count", "messages that wait on disk now, once for each receiver", gauge, func(c *Counters) *uint64 { return &c.Stored }},
	{"store/queued/bytes", "their bytes now", gauge, func(c *Counters) *uint64 { return &c.StoredBytes }},
	{"retained messages/count", "retained messages now", gauge, func(c *Counters) *uint64 { return &c.Retained }},
	{"retained messages/bytes", "their bytes now", gauge, func(c *Counters) *uint64 { return &c.RetainedBytes }},
	{"retained messages/expired", "retained messages whose Message Expiry Interval was over", total, func(c *Counters) *uint64 { return &c.RetainedExpired }},
	{"store/damaged/start", "records that the last start found and could not read", total, func(c *Counters) *uint64 { return &c.Damaged }},

	{"publish/messages/dropped/slow", "QoS 0 messages for clients that read too slowly: `limits.pending_bytes`", dropped, func(c *Counters) *uint64 { return &c.DroppedSlow }},
	{"publish/messages/dropped/queue", "messages that a queue had no room for: `session.queued_messages`, `session.queued_bytes`, `session.stored_messages`, `session.stored_bytes`", dropped, func(c *Counters) *uint64 { return &c.DroppedQueue }},
	{"publish/messages/dropped/expired", "messages whose Message Expiry Interval was over", dropped, func(c *Counters) *uint64 { return &c.DroppedExpired }},
	{"publish/messages/dropped/size", "messages larger than the receiver takes (its Maximum Packet Size)", dropped, func(c *Counters) *uint64 { return &c.DroppedSize }},
	{"publish/messages/dropped/mailbox", "QoS 0 messages for a shard that was far over its limit: `limits.mailbox_bytes`", dropped, func(c *Counters) *uint64 { return &c.DroppedMailbox }},
	{"publish/messages/dropped/group", "messages for a shared subscription without a member to take them", dropped, func(c *Counters) *uint64 { return &c.DroppedGroup }},
	{"publish/messages/dropped/right", "messages for a shared subscription none of whose members may receive them", dropped, func(c *Counters) *uint64 { return &c.DroppedRight }},
	{"publish/messages/dropped/damaged", "stored messages that could not be read", dropped, func(c *Counters) *uint64 { return &c.DroppedDamaged }},
	{"publish/messages/dropped/memory", "QoS 0 messages for clients that were behind, and others that would have waited in memory, while it was short: `limits.memory`", dropped, func(c *Counters) *uint64 { return &c.DroppedMemory }},
	{"publish/messages/away", "QoS 0 messages for clients that were away: nobody promised them", total, func(c *Counters) *uint64 { return &c.DroppedAway }},

	{"refused/connections", "connections over the limit in all: `limits.connections`", total, func(c *Counters) *uint64 { return &c.RefusedConnections }},
	{"refused/listener", "connections over the limit of a listener: `limits.connections` in its table", total, func(c *Counters) *uint64 { return &c.RefusedListener }},
	{"refused/per_ip", "connections over the limit of an address: `limits.connections_per_ip`", total, func(c *Counters) *uint64 { return &c.RefusedPerIP }},
	{"refused/rate", "connections that came too soon after others: `limits.connect_rate`", total, func(c *Counters) *uint64 { return &c.RefusedRate }},
	{"refused/rate/listener", "connections that came too soon after others to a listener: `limits.connect_rate` in its table", total, func(c *Counters) *uint64 { return &c.RefusedListenerRate }},
	{"refused/rate/per_ip", "connections that came too soon after others from an address: `limits.connect_rate_per_ip`", total, func(c *Counters) *uint64 { return &c.RefusedPerIPRate }},
	{"refused/reconnects", "CONNECT packets that came too soon after others with the same client id from the same address: `limits.reconnects`", total, func(c *Counters) *uint64 { return &c.RefusedReconnects }},
	{"refused/banned", "connections and CONNECT packets of those who are banned: `bans.file`", total, func(c *Counters) *uint64 { return &c.RefusedBanned }},
	{"refused/proxy", "connections to a listener with `proxy_protocol` that come from elsewhere, or have no proper header in time", total, func(c *Counters) *uint64 { return &c.RefusedProxy }},
	{"refused/access", "CONNECT, PUBLISH and subscriptions that the client has no right to", total, func(c *Counters) *uint64 { return &c.RefusedAccess }},
	{"refused/credentials", "CONNECT packets, and AUTH of clients that are connected, with a wrong user name or password, or another proof of who it is that is not right", total, func(c *Counters) *uint64 { return &c.RefusedCredentials }},
	{"refused/anonymous", "CONNECT packets without a user name, where that is asked for", total, func(c *Counters) *uint64 { return &c.RefusedAnonymous }},
	{"refused/attempts", "CONNECT packets whose password nobody looked at, after too many wrong ones: `auth.attempts`", total, func(c *Counters) *uint64 { return &c.RefusedAttempts }},
	{"refused/not_checked", "CONNECT packets whose password could not be checked: too many waited for that (`auth.queue`), or what is asked did not answer", total, func(c *Counters) *uint64 { return &c.RefusedNotChecked }},
	{"refused/identifier", "CONNECT packets with a client identifier that is for other users: `auth.client_id`", total, func(c *Counters) *uint64 { return &c.RefusedIdentifier }},
	{"refused/method", "CONNECT packets with an Authentication Method that the listener does not have", total, func(c *Counters) *uint64 { return &c.RefusedMethod }},
	{"refused/subscriptions", "subscriptions over the limit of a client: `limits.subscriptions`", total, func(c *Counters) *uint64 { return &c.RefusedSubscriptions }},
	{"refused/topics", "topic names and filters over the limits: `limits.topic_levels`, `limits.topic_length`", total, func(c *Counters) *uint64 { return &c.RefusedTopics }},
	{"refused/retained", "retained messages over the limits: `limits.retained_messages`, `limits.retained_bytes`, a third of `limits.memory`", total, func(c *Counters) *uint64 { return &c.RefusedRetained }},
	{"refused/size", "packets over the limit: `limits.packet_size`, `limits.connect_size`; and clients whose Maximum Packet Size is too small for CONNACK", total, func(c *Counters) *uint64 { return &c.RefusedSize }},
	{"refused/store", "what asked to be durable while the disk was full or had failed", total, func(c *Counters) *uint64 { return &c.RefusedStore }},
	{"refused/unanswered", "of the connections over a limit, those that were closed without CONNACK: they sent no CONNECT in time, or there were too many", total, func(c *Counters) *uint64 { return &c.RefusedUnanswered }},
	{"refused/memory", "CONNECT packets while memory was short, and new subscriptions when it was used up: `limits.memory`", total, func(c *Counters) *uint64 { return &c.RefusedMemory }},

	{"clients/reauthenticated", "times that a client which was connected has shown again who it is (AUTH)", total, func(c *Counters) *uint64 { return &c.Reauthenticated }},
	{"connections/delayed", "CONNECT packets that had to wait because connections take a client id from each other", total, func(c *Counters) *uint64 { return &c.Delayed }},
	{"connections/held_off", "CONNECT packets that had to wait because their clients connect too often: `limits.reconnects`", total, func(c *Counters) *uint64 { return &c.HeldOff }},
	{"closed/taken_over", "connections that another one with the same client id ended", total, func(c *Counters) *uint64 { return &c.TakenOver }},
	{"closed/connect_timeout", "connections whose CONNECT did not come, or was not decided upon, in time: `limits.connect_timeout`", total, func(c *Counters) *uint64 { return &c.ConnectTimeouts }},
	{"closed/expired", "clients whose proof of who they are, such as a token, has expired", total, func(c *Counters) *uint64 { return &c.Lapsed }},
	{"closed/revoked", "clients whose certificate was revoked while they were connected: `tls.crl`", total, func(c *Counters) *uint64 { return &c.Revoked }},
	{"closed/keep_alive", "clients that were silent for longer than their Keep Alive allows", total, func(c *Counters) *uint64 { return &c.KeepAliveTimeouts }},
	{"closed/slow", "clients that read too slowly: `limits.pending_bytes`", total, func(c *Counters) *uint64 { return &c.SlowDisconnects }},
	{"closed/memory", "clients that much was kept for when memory was used up: output, or messages that they had not acknowledged: `limits.memory`", total, func(c *Counters) *uint64 { return &c.ClosedMemory }},
	{"closed/unfinished", "connections with a packet, or a record of TLS, whose rest did not come while others waited for room for theirs: `limits.memory`", total, func(c *Counters) *uint64 { return &c.ClosedArrivals }},
	{"closed/banned", "clients that were connected when they were banned: `bans.file`", total, func(c *Counters) *uint64 { return &c.ClosedBanned }},
	{"closed/fault", "connections that ended because the client broke the standard", total, func(c *Counters) *uint64 { return &c.Faults }},
	{"closed/panic", "connections that ended because of a fault in Midge; the log has it", total, func(c *Counters) *uint64 { return &c.Panics }},

	{"clients/yielded", "times that a client had used up its share of a turn and had to wait for the next", total, func(c *Counters) *uint64 { return &c.Yielded }},
	{"publishers/paused", "times that a publisher had to wait for a shard, the disk or memory", total, func(c *Counters) *uint64 { return &c.PausedPublishers }},
	{"publishers/paused/memory", "of these, for memory: `limits.memory`", total, func(c *Counters) *uint64 { return &c.PausedMemory }},
	{"clients/paused/access", "times that a client had to wait until somebody had answered whether it may publish or subscribe: `hook.acl_url`", total, func(c *Counters) *uint64 { return &c.PausedAccess }},
	{"clients/paused/rate", "times that a client was not read since it had sent too much in a time: `limits.message_rate`, `limits.byte_rate`, or those in all of its listener", total, func(c *Counters) *uint64 { return &c.PausedRate }},
	{"clients/paused/rate/listener", "of these, for what all clients of the listener send: `listener.total_message_rate`, `listener.total_byte_rate`", total, func(c *Counters) *uint64 { return &c.PausedListenerRate }},
	{"clients/paused/disk", "times that a client was not read since so many answers to it waited for the disk", total, func(c *Counters) *uint64 { return &c.PausedDisk }},
	{"clients/paused/memory", "times that a client had to wait with a packet until there was room for the rest of it: `limits.memory`", total, func(c *Counters) *uint64 { return &c.PausedArrivals }},

	{"bans/count", "bans in force, and those that are over and still in the file: `bans.file`", gauge, func(c *Counters) *uint64 { return &c.Bans }},
	{"bans/failed", "times that the file of bans had changed and could not be read, all of it or a line; the log has the reason", total, func(c *Counters) *uint64 { return &c.BansFailed }},
	{"config/reloads", "times that the configuration was read again and put in force", total, func(c *Counters) *uint64 { return &c.Reloads }},
	{"config/failed", "times that it had a fault, so that the one before stayed in force; the log has it", total, func(c *Counters) *uint64 { return &c.ReloadsFailed }},
	{"hook/asked", "questions that were sent to an HTTP service: `hook.auth_url`, `hook.acl_url`", total, func(c *Counters) *uint64 { return &c.HookAsked }},
	{"hook/failed", "of these, those without an answer that is understood; the log has why", total, func(c *Counters) *uint64 { return &c.HookFailed }},
	{"hook/remembered", "questions that were not sent since their answer was remembered: `hook.cache_time`", total, func(c *Counters) *uint64 { return &c.HookRemembered }},
	{"hook/unavailable", "questions that were not sent since the service had failed too often: `hook.failures`", total, func(c *Counters) *uint64 { return &c.HookUnavailable }},
	{"hook/busy", "questions that were not sent since too many waited: `hook.queue`", total, func(c *Counters) *uint64 { return &c.HookBusy }},
	{"auth/keys_failed", "times that the keys of tokens could not be fetched: `auth.jwt_keys`", total, func(c *Counters) *uint64 { return &c.KeysFailed }},
	{"tls/handshakes", "handshakes of TLS that succeeded", total, func(c *Counters) *uint64 { return &c.TLSHandshakes }},
	{"tls/resumed", "of these, those that went on with an earlier session", total, func(c *Counters) *uint64 { return &c.TLSResumed }},
	{"tls/compact", "handshakes after which the compact record layer went on: `tls.record_layer`", total, func(c *Counters) *uint64 { return &c.TLSCompact }},
	{"tls/waiting", "handshakes under way now", gauge, func(c *Counters) *uint64 { return &c.TLSWaiting }},
	{"tls/failed/no_tls", "connections that began with something else than TLS: plain MQTT most often", total, func(c *Counters) *uint64 { return &c.TLSNotTLS }},
	{"tls/failed/parameters", "handshakes without a version, cipher suite or protocol in common: `tls.min_version`, `tls.ciphers`, `tls.alpn`", total, func(c *Counters) *uint64 { return &c.TLSParameters }},
	{"tls/failed/certificate", "handshakes whose client had no certificate, or none that is good: `tls.client_certificates`, `tls.ca`, `tls.crl`", total, func(c *Counters) *uint64 { return &c.TLSCertificate }},
	{"tls/failed/client", "handshakes that the client refused: most often it does not trust the server's certificate", total, func(c *Counters) *uint64 { return &c.TLSByClient }},
	{"tls/failed/gone", "handshakes whose client went away", total, func(c *Counters) *uint64 { return &c.TLSGone }},
	{"tls/failed/late", "handshakes that were not done in time (`limits.connect_timeout`), or that made room for others", total, func(c *Counters) *uint64 { return &c.TLSLate }},
	{"tls/failed/other", "handshakes that failed for other reasons; `log.level = \"debug\"` has them", total, func(c *Counters) *uint64 { return &c.TLSOther }},
	{"tls/files/broken", "times that certificates had changed and could not be read: those before stay in force, and the log has the reason", total, func(c *Counters) *uint64 { return &c.BrokenFiles }},
	{"access/files/broken", "times that a password file, keys of tokens or an access list could not be read again: what was read before stays in force, and the log has the reason", total, func(c *Counters) *uint64 { return &c.BrokenAccess }},
	{"websocket/connections", "connections that became a WebSocket", total, func(c *Counters) *uint64 { return &c.WebSockets }},
	{"websocket/refused", "connections to WebSocket listeners that became none; `log.level = \"debug\"` has the reasons", total, func(c *Counters) *uint64 { return &c.WebSocketsRefused }},

	{"memory/used", "bytes of memory in use now, as far as they count against `limits.memory`", gauge, func(c *Counters) *uint64 { return &c.MemoryUsed }},
	{"memory/budget", "`limits.memory` in force, in bytes; 0: there is none", gauge, func(c *Counters) *uint64 { return &c.MemoryBudget }},
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
	for _, row := range counterTable {
		*row.of(c) += *row.of(&o)
	}
}

// Dropped is the number of messages that a receiver should have got and did not.
func (c *Counters) Dropped() (sum uint64) {
	for _, row := range counterTable {
		if row.kind == dropped {
			sum += *row.of(c)
		}
	}
	return sum
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

// Counters returns the sums of what all shards have counted.
func (b *Broker) Counters() Counters {
	var sum Counters
	for _, s := range b.shards {
		sum.add(s.published.load())
	}
	n, bytes, expired := b.retained.Count()
	sum.Retained, sum.RetainedBytes, sum.RetainedExpired = sum.Retained+n, sum.RetainedBytes+bytes, sum.RetainedExpired+expired
	sum.MemoryUsed += uint64(b.memory.used.Load())
	sum.MemoryBudget += uint64(b.memory.budget.Load())
	sum.Damaged = b.damaged
	sum.Bans = uint64(b.bans.Load().Len())
	sum.BrokenFiles += b.brokenFiles.Load()
	if b.cfg.Count != nil {
		b.cfg.Count(&sum)
	}
	return sum
}

// CountBrokenFiles counts that files which the broker goes by had changed and could
// not be read. Safe from any goroutine.
func (b *Broker) CountBrokenFiles() { b.brokenFiles.Add(1) }
