package config

import (
	"math"
	"time"
)

// setting describes one setting. Range, parser, reference page and defaults all
// follow from the table of them.
type setting struct {
	key    string
	flag   string            // of midge serve, without dashes; "" for none
	at     func(*Config) any // *int, *Size, *time.Duration, *string, *[]string or *bool
	min    int64             // of a number: in bytes or nanoseconds where those are meant
	max    int64
	words  []string // what a word may be; nil for any text
	zero   string   // what 0 or "" means; "" if it is nothing special
	doc    string   // what it does, a sentence or two in Markdown
	reason string   // why the default is what it is
}

// section is a table of the file.
type section struct {
	name     string // "" for the top of the file
	doc      string
	settings []setting
}

const year = int64(365 * 24 * time.Hour)

// table returns all settings in the order of the reference page.
func table() []section {
	return []section{top(), limits(), session(), strict(), sys(), logging()}
}

// settings returns all settings of the table.
func settings() (all []setting) {
	for _, s := range table() {
		all = append(all, s.settings...)
	}
	return all
}

func keys() (all []string) {
	for _, s := range settings() {
		all = append(all, s.key)
	}
	return all
}

func top() section {
	return section{doc: "These stand at the top of the file, before the first section.", settings: []setting{
		{
			key: "listen", flag: "listen", at: func(c *Config) any { return &c.Listen },
			doc:    "The addresses to accept clients on, as `tcp://host:port`; `tcp://` may be left out. `localhost` is 127.0.0.1 and [::1]. Without a host (`:1883`) it is every address of the machine, IPv4 and IPv6; so is `[::]:1883`, unless an IPv4 address with the same port is listed too. What other machines can reach needs `allow_anonymous`. TLS and WebSocket are not built yet.",
			reason: "A broker that asks nobody for a password serves its own machine only, until somebody decides otherwise.",
		}, {
			key: "listen_wait", at: func(c *Config) any { return &c.ListenWait }, max: 10 * year, zero: "not at all",
			doc:    "How long the start waits for an address of `listen` that the machine does not have yet, or whose name can't be looked up yet. The log says what it waits for.",
			reason: "At boot, an address comes some seconds after the programs that want it. Whoever mistypes one doesn't wait for ever.",
		}, {
			key: "allow_anonymous", at: func(c *Config) any { return &c.AllowAnonymous },
			doc:    "Lets clients that nobody asks who they are in on addresses that other machines can reach. Without it the broker starts on loopback addresses (127.0.0.1, [::1], `localhost`) only, since passwords are not built yet.",
			reason: "Whoever reaches an open broker reads and writes everything in it, and such brokers are found within hours.",
		}, {
			key: "engine", at: func(c *Config) any { return &c.Engine }, words: []string{"auto", "epoll", "goroutine"},
			doc:    "What moves the bytes: `epoll` (event loops, Linux) or `goroutine` (every system). `auto` takes epoll where it works.",
			reason: "Event loops cost less memory and CPU for each connection.",
		}, {
			key: "threads", flag: "threads", at: func(c *Config) any { return &c.Threads }, max: 1024, zero: "one per core",
			doc:    "The largest number of threads that run shards. How many do at a moment follows the load. The goroutine engine runs on the threads of the Go runtime and limits those.",
			reason: "More threads than cores only wait for each other.",
		}, {
			key: "shards", at: func(c *Config) any { return &c.Shards }, max: 64, zero: "4 per core, 64 at most",
			doc:    "The number of parts that the state is cut into. A client's id decides its shard; a shard runs on one thread at a time.",
			reason: "A few shards for each core let a busy thread give some away.",
		}, {
			key: "durability", at: func(c *Config) any { return &c.Durability }, words: []string{"commit", "interval", "none"},
			doc:    "When clients are told that something is safe: once it is on disk (`commit`); at once, with a sync every `durability_interval` (`interval`: a crash loses the last moments, a power cut what was acknowledged since the last sync); or at once, with all state in memory only (`none`, the same as `midge serve --memory`). What is promised in each case is in [durability](../durability.md).",
			reason: "An acknowledgement is a promise. Few syncs serve all clients together, so that keeping it costs little.",
		}, {
			key: "durability_interval", at: func(c *Config) any { return &c.DurabilityInterval }, min: int64(10 * time.Millisecond), max: int64(time.Hour),
			doc:    "The time between two syncs with `durability = \"interval\"`.",
			reason: "What other brokers lose by default is more.",
		}, {
			key: "data_dir", flag: "data-dir", at: func(c *Config) any { return &c.DataDir },
			doc:    "The directory for durable state: sessions, waiting messages, retained messages, wills. It is made if it does not exist, and belongs to one process at a time.",
			reason: "Beside the place where the broker was started, easy to find and to delete.",
		},
	}}
}

func limits() section {
	return section{name: "limits", doc: "What one client, or all of them, can make the broker hold. Each limit has a counter of what it refused: see [operations](../operations.md).", settings: []setting{
		{
			key: "limits.connections", at: func(c *Config) any { return &c.Limits.Connections }, max: 10_000_000, zero: "as many as the limit of open files allows, 1,000,000 at most",
			doc:    "Network connections at one time. One more has a second to send CONNECT, and is told 0x97 (3.1 and 3.1.1: return code 3). 64 connections are kept for that, and what comes beyond them is closed at once. More than the limit of open files has room for is lowered to that, with a warning.",
			reason: "The operating system's limit is a decision that somebody has made already; staying below it keeps the descriptors that the broker needs itself.",
		}, {
			key: "limits.connections_per_ip", at: func(c *Config) any { return &c.Limits.ConnectionsPerIP }, max: 10_000_000, zero: "no limit",
			doc:    "Network connections at one time from one IP address. One more is told 0x97, as with `limits.connections`.",
			reason: "A gateway or a load balancer puts all its clients behind one address. Set it where clients connect directly.",
		}, {
			key: "limits.connect_timeout", at: func(c *Config) any { return &c.Limits.ConnectTimeout }, min: int64(100 * time.Millisecond), max: int64(5 * time.Minute),
			doc:    "The time from accepting a connection until its CONNECT packet is complete.",
			reason: "Ten round trips over a poor mobile link; a connection that says nothing costs a descriptor for no longer.",
		}, {
			key: "limits.memory", at: func(c *Config) any { return &c.Limits.Memory }, min: 32 << 20, max: 1 << 50, zero: "half of what the machine, or the process's control group, has",
			doc:    "Memory of the whole process. At 80 % new clients are refused (0x97; 3.1.1: 3), at 90 % publishers are slowed down, and readers that are behind get no QoS 0 messages and have those of QoS 1 and 2 wait in their sessions; at 100 % the readers that are behind furthest are disconnected: see [operations](../operations.md#memory). It is also the soft limit of the Go runtime (GOMEMLIMIT), unless that is lower.",
			reason: "The limits of single clients bound what one can do, not what all do together. The other half is for the system's buffers, the cache of the files, and other programs.",
		}, {
			key: "limits.packet_size", at: func(c *Config) any { return &c.Limits.PacketSize }, min: 50, max: 268_435_460,
			doc:    "The largest control packet that the broker takes, header included; 5.0 clients are told (Maximum Packet Size), and a larger one ends the connection with 0x95.",
			reason: "Far above sensor data, and 1,000 clients that each hold a packet back need 1 GiB at most.",
		}, {
			key: "limits.connect_size", at: func(c *Config) any { return &c.Limits.ConnectSize }, min: 50, max: 268_435_460,
			doc:    "The largest CONNECT packet; `limits.packet_size` counts where it is smaller.",
			reason: "A will of the largest size and as much again for everything else. It bounds what a peer can make the broker hold that has not said who it is.",
		}, {
			key: "limits.pending_bytes", at: func(c *Config) any { return &c.Limits.PendingBytes }, min: 4 << 10, max: 1 << 30,
			doc:    "Bytes that wait for a client which reads too slowly. Past it QoS 0 messages for that client are dropped and counted, and those of QoS 1 and 2 wait in the session's queue. A client that takes nothing for two minutes, or that asks for as many bytes of answers and does not read them, is disconnected (0x97).",
			reason: "A second of a 10 Mbit/s link. 1,000 clients that stop reading at once cost 1 GiB at most.",
		}, {
			key: "limits.mailbox_bytes", at: func(c *Config) any { return &c.Limits.MailboxBytes }, min: 64 << 10, max: 1 << 40,
			doc:    "Bytes that wait for one shard. Past it publishers are paused, and past twice as much QoS 0 messages for that shard are dropped and counted.",
			reason: "Some milliseconds of a busy shard.",
		}, {
			key: "limits.subscriptions", at: func(c *Config) any { return &c.Limits.Subscriptions }, min: 1, max: 10_000_000,
			doc:    "Subscriptions of one client. One more is refused with 0x97 (3.1.1: 0x80).",
			reason: "Ten times of what a client that lists its devices one by one uses. Guess.",
		}, {
			key: "limits.topic_levels", at: func(c *Config) any { return &c.Limits.TopicLevels }, min: 1, max: 65_535,
			doc:    "Levels in a topic name or filter, which are the parts between slashes.",
			reason: "Nobody was seen with more; each level of a filter costs a node of the tree, 44 bytes.",
		}, {
			key: "limits.topic_length", at: func(c *Config) any { return &c.Limits.TopicLength }, min: 1, max: 65_535,
			doc:    "Bytes in a topic name or filter.",
			reason: "All that the standard allows. A longer filter than 4 KiB counts as several in `limits.subscriptions`, so that it takes no more memory than they do.",
		}, {
			key: "limits.topic_aliases", at: func(c *Config) any { return &c.Limits.TopicAliases }, max: 65_535, zero: "no aliases",
			doc:    "Topic aliases that one client may set, and the most that the broker sets for a client that allows them (5.0).",
			reason: "At the longest topics, what a client sets with 16 aliases takes 1 MiB. The broker sets none for topics over 1 KiB: 16 KiB.",
		}, {
			key: "limits.retained_messages", at: func(c *Config) any { return &c.Limits.RetainedMessages }, max: math.MaxInt32, zero: "no retained messages at all",
			doc:    "Retained messages of all topics. One more is refused with 0x97 where the publisher can be told, and is delivered but not kept otherwise. Those of the broker itself under `$SYS` don't count.",
			reason: "One for each device of a large fleet.",
		}, {
			key: "limits.retained_bytes", at: func(c *Config) any { return &c.Limits.RetainedBytes }, min: 0, max: 1 << 50, zero: "no retained messages at all",
			doc:    "Bytes of all retained messages: topics, payloads and properties.",
			reason: "1 KiB for each of the 1,000,000 messages.",
		},
	}}
}

func session() section {
	return section{name: "session", doc: "What the broker does for one client.", settings: []setting{
		{
			key: "session.receive_maximum", at: func(c *Config) any { return &c.Session.ReceiveMaximum }, min: 1, max: 65_535,
			doc:    "QoS 1 and 2 messages that a client may send without having an answer (Receive Maximum of the broker). More end the connection with 0x93.",
			reason: "The most that other brokers send, so that clients are known to live with it; some don't with 1,024. One client gets 350,000 messages a second through (`bench/results/receive-maximum.md`), or 1,000 over a link of 100 ms.",
		}, {
			key: "session.inflight", at: func(c *Config) any { return &c.Session.Inflight }, min: 1, max: 65_535,
			doc:    "QoS 1 and 2 messages that the broker sends without having an answer; a client can ask for fewer (its own Receive Maximum).",
			reason: "Enough to fill a link of 100 ms and 10,000 messages a second.",
		}, {
			key: "session.queued_messages", at: func(c *Config) any { return &c.Session.QueuedMessages }, max: 100_000_000, zero: "no queue",
			doc:    "QoS 1 and 2 messages that wait in memory for one client that has not answered earlier ones: one whose session ends with its connection, or any with `durability = \"none\"`.",
			reason: "1,000 sessions that wait for 1 KiB messages cost 1 GiB.",
		}, {
			key: "session.queued_bytes", at: func(c *Config) any { return &c.Session.QueuedBytes }, max: 1 << 40, zero: "no queue",
			doc:    "Bytes of the messages that wait in memory for one client: topics, payloads and properties.",
			reason: "1,000 messages of 1 KiB.",
		}, {
			key: "session.stored_messages", at: func(c *Config) any { return &c.Session.StoredMessages }, max: 100_000_000, zero: "no queue",
			doc:    "QoS 1 and 2 messages that wait on disk for one client whose session outlives its connection. Each costs 16 bytes of memory, whatever its size.",
			reason: "A day of a message each 86 ms. A publisher was told that they are safe, so dropping one is the last resort.",
		}, {
			key: "session.stored_bytes", at: func(c *Config) any { return &c.Session.StoredBytes }, max: 1 << 50, zero: "no queue",
			doc:    "Bytes of the messages that wait on disk for one client: topics, payloads and properties. A message for several clients lies on disk once.",
			reason: "1,000,000 messages of 1 KiB.",
		}, {
			key: "session.queue_full", at: func(c *Config) any { return &c.Session.QueueFull }, words: []string{"drop-oldest", "refuse-new"},
			doc:    "What a full queue does with one more message: drop the one that has waited longest, or the new one. Drops are counted.",
			reason: "The newest reading is worth more than one from yesterday.",
		}, {
			key: "session.max_expiry", at: func(c *Config) any { return &c.Session.MaxExpiry }, max: 100 * year, zero: "no limit: what the client asks for",
			doc:    "The longest time that the broker keeps the session of a client that is away; 5.0 clients are told. It also ends the sessions of 3.1.1 clients without Clean Session, which never expire otherwise.",
			reason: "The standard leaves it to the client.",
		}, {
			key: "session.keep_alive", at: func(c *Config) any { return &c.Session.KeepAlive }, max: int64(65_535 * time.Second), zero: "no limit: what the client asks for",
			doc:    "The longest Keep Alive, in whole seconds. A 5.0 client that asks for more, or for none, is told this one (Server Keep Alive). Clients of 3.1 and 3.1.1 can't be told and keep theirs, unless `strict.keep_alive` refuses them.",
			reason: "The standard leaves it to the client.",
		}, {
			key: "session.shared_strategy", at: func(c *Config) any { return &c.Session.SharedStrategy }, words: []string{"round-robin", "sticky", "least-inflight"},
			doc:    "Which member of a shared subscription gets the next message: each in turn, the same as before while it is connected, or the one with the fewest unanswered messages.",
			reason: "What users of shared subscriptions expect.",
		}, {
			key: "session.shared_queue", at: func(c *Config) any { return &c.Session.SharedQueue }, words: []string{"group", "member"},
			doc:    "Where QoS 1 and 2 messages for a shared subscription wait while no member is connected or has room: with the group, and members get them as they come and as fast as they are, or each with a member, which alone gets it later. The group's queue has the limits of one client's, and exists while a session that outlives its connection has the subscription above QoS 0.",
			reason: "A member that is away or slow must not keep work from those that are there.",
		}, {
			key: "session.response_information", at: func(c *Config) any { return &c.Session.ResponseInformation },
			doc:    "What a 5.0 client is told that asks for Response Information: by convention the beginning of the topics for its answers. `\"\"` tells nothing.",
			reason: "Nothing that the broker could make up would be true.",
		},
	}}
}

func strict() section {
	return section{name: "strict", doc: "What the broker may refuse, and takes as long as these are off, as most brokers do.", settings: []setting{
		{
			key: "strict.client_ids", at: func(c *Config) any { return &c.Strict.ClientIDs },
			doc:    "Refuses client ids of more than 23 characters in 3.1 (return code 2). 3.1 asks for that; no later version does.",
			reason: "Programs that still speak 3.1 make ids from serial numbers, and other brokers take them.",
		}, {
			key: "strict.topic_characters", at: func(c *Config) any { return &c.Strict.TopicCharacters },
			doc:    "Refuses control characters (U+0001 to U+001F, U+007F to U+009F) in topic names and filters, wills included (0x90 and 0x8F). The standard says that they should not be there, and lets a server refuse them.",
			reason: "It is allowed, and others take it. Switch it on where topics end up in logs, shells and databases.",
		}, {
			key: "strict.keep_alive", at: func(c *Config) any { return &c.Strict.KeepAlive },
			doc:    "Refuses clients of 3.1 and 3.1.1 whose Keep Alive is above `session.keep_alive`, or that want none (return code 2, as Mosquitto does it).",
			reason: "A client that can't be told of a shorter time had better connect than not.",
		},
	}}
}

func sys() section {
	return section{name: "sys", doc: "The broker's own topics under `$SYS/broker`; their names are in [operations](../operations.md).", settings: []setting{
		{
			key: "sys.interval", at: func(c *Config) any { return &c.Sys.Interval }, max: int64(24 * time.Hour), zero: "off: no such topics",
			doc:    "How often they are published.",
			reason: "The same as Mosquitto, whose dashboards expect it.",
		},
	}}
}

func logging() section {
	return section{name: "log", doc: "The log goes to standard error.", settings: []setting{
		{
			key: "log.level", flag: "log-level", at: func(c *Config) any { return &c.Log.Level }, words: []string{"debug", "info", "warn", "error"},
			doc:    "The least important lines to write. `warn` has a line for each client that is refused, closed or limited, with its client id, its address, the reason in words and the clause of the standard; of each reason and address five in 10 seconds, and the number of those left out. `info` has those that nobody is to blame for, too: taken over, silent for too long; and see `log.connections`.",
			reason: "What an operator is asked about is there; what only a developer understands is not.",
		}, {
			key: "log.format", at: func(c *Config) any { return &c.Log.Format }, words: []string{"text", "json"},
			doc:    "`text` is `key=value`, `json` is one object a line.",
			reason: "People read the first log; machines can be told.",
		}, {
			key: "log.connections", at: func(c *Config) any { return &c.Log.Connections },
			doc:    "Whether each client that connects or disconnects gets a line at level `info`, with its client id, its address and the reason. Without it these lines are at level `debug`.",
			reason: "The first question about a client is when it came and went. Switch it off where so many come and go that nobody reads it.",
		}, {
			key: "log.banner", at: func(c *Config) any { return &c.Log.Banner }, words: []string{"auto", "always", "never"},
			doc:    "Whether the start prints a page on standard output that says what runs and what it promises. `auto` prints it on a terminal. The log has the same in one record, `started`.",
			reason: "People read a page, machines a record.",
		},
	}}
}
