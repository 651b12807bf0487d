package settings

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Setting is a row of the table: all there is to know of one setting.
type Setting struct {
	Key     string              // in a file, such as "limits.packet_size"
	Flag    string              // of midge serve, without dashes; "" for none
	At      func(*Settings) any // *int, *Size, *time.Duration, *string, *[]string or *bool
	Default any                 // what At points to, of the same type
	Min     int64               // of a number: in bytes or nanoseconds where those are meant
	Max     int64
	Words   []string // what a word may be; nil for any text
	Zero    string   // what 0, "" or an empty list means; "" if it is nothing special
	Doc     string   // what it does, a sentence or two in Markdown
	Reason  string   // why the default is what it is

	// Change says for whom a change of the setting holds while the broker runs, ""
	// if it needs a restart. broker.Broker.Apply carries it out.
	Change string

	// PerListener: a [[listener]] may have a value of its own, which holds for the
	// connections that it accepts.
	PerListener bool

	// Secret: nobody is shown the value.
	Secret bool

	// Check is what a text, or each text of a list, must pass; nil: any will do.
	Check func(text string) error
}

// ListenerKey is the key of the setting in a [[listener]], "" if it can't stand
// there.
func (s *Setting) ListenerKey() string {
	if key, ok := strings.CutPrefix(s.Key, ListenerSection+"."); ok {
		return key
	}
	if s.PerListener {
		return s.Key
	}
	return ""
}

// What Change says most often.
const (
	atOnce         = "for everybody at once"
	forNew         = "for clients that connect from then on"
	listed         = "for everybody at once; clients that connected when the listener had no list go by it when they connect again"
	forConnections = "for connections from then on; those that are open stay as they are"
	opened         = "at once: what is new is opened, what is gone is closed, and connections stay"
	forMessage     = "for messages and subscriptions from then on"
	retained       = "for messages from then on; what is retained stays, and while there may be none it is not sent to new subscriptions. A client that was told that there are no retained messages goes by that until it connects again"
	queue          = "for messages from then on; a queue that is over it shrinks with each of them"
)

// Section is a table of the file.
type Section struct {
	Name     string // "" for the top of the file; ListenerSection: for those of which there may be several
	Doc      string
	Settings []Setting
}

// ListenerSection is the name of the section that a file writes in double brackets,
// since there may be several, and whose settings only one listener has. The fields
// of Settings.Listener are theirs.
const ListenerSection = "listener"

const year = int64(365 * 24 * time.Hour)

// Table returns all settings in the order of the reference page.
func Table() []Section {
	return []Section{top(), listener(), tlsSection(), acmeSection(), webSocketSection(), authentication(), ldap(), hook(), accessList(), limits(), bans(), session(), strict(), sys(), logging(), etcd()}
}

// All returns the settings of all sections.
func All() (all []Setting) {
	for _, s := range Table() {
		all = append(all, s.Settings...)
	}
	return all
}

// Copy gives the setting in one place the value that it has in another.
func (s *Setting) Copy(to, from *Settings) {
	switch p := s.At(to).(type) {
	case *int:
		*p = *s.At(from).(*int)
	case *Size:
		*p = *s.At(from).(*Size)
	case *time.Duration:
		*p = *s.At(from).(*time.Duration)
	case *string:
		*p = *s.At(from).(*string)
	case *[]string:
		*p = slices.Clone(*s.At(from).(*[]string))
	case *bool:
		*p = *s.At(from).(*bool)
	}
}

// reset gives the setting its default.
func (s *Setting) reset(to *Settings) {
	switch p := s.At(to).(type) {
	case *int:
		*p = s.Default.(int)
	case *Size:
		*p = s.Default.(Size)
	case *time.Duration:
		*p = s.Default.(time.Duration)
	case *string:
		*p = s.Default.(string)
	case *[]string:
		*p = slices.Clone(s.Default.([]string))
	case *bool:
		*p = s.Default.(bool)
	default:
		panic("settings: a setting of an unknown type: " + s.Key)
	}
}

func top() Section {
	return Section{Doc: "These stand at the top of the file, before the first section.", Settings: []Setting{
		{
			Key: "listen", Flag: "listen", At: func(c *Settings) any { return &c.Listen },
			Default: []string{"tcp://127.0.0.1:1883"}, Zero: "none but those that have a `[[listener]]`",
			Doc:    "The addresses to accept clients on, as `tcp://host:port`; `tcp://` may be left out. `localhost` is 127.0.0.1 and [::1]. Without a host (`:1883`) it is every address of the machine, IPv4 and IPv6; so is `[::]:1883`, unless an IPv4 address with the same port is listed too. What other machines can reach needs authentication, such as `auth.password_file`, or `allow_anonymous`. A listener with settings of its own has a `[[listener]]` instead; as soon as there is one, the default is no address. Other schemes than `tcp` are in [listeners](../listeners.md).",
			Reason: "A broker that asks nobody for a password serves its own machine only, until somebody decides otherwise.",
			Change: opened,
		}, {
			Key: "listen_wait", At: func(c *Settings) any { return &c.ListenWait },
			Default: 30 * time.Second, Max: 10 * year, Zero: "not at all",
			Doc:    "How long the start waits for an address of `listen` that the machine does not have yet, or whose name can't be looked up yet. The log says what it waits for.",
			Reason: "At boot, an address comes some seconds after the programs that want it. Whoever mistypes one doesn't wait for ever.",
		}, {
			Key: "allow_anonymous", At: func(c *Settings) any { return &c.AllowAnonymous },
			Default: false, PerListener: true,
			Doc:    "Lets clients in that do not say who they are: beside those with a password, where passwords are asked for (`auth.password_file`), else everybody. Without it, and without passwords, the broker starts on loopback addresses (127.0.0.1, [::1], `localhost`) only, where everybody is let in.",
			Reason: "Whoever reaches an open broker reads and writes everything in it, and such brokers are found within hours.",
			Change: forNew,
		}, {
			Key: "mount_point", At: func(c *Settings) any { return &c.MountPoint },
			Default: "", PerListener: true, Zero: "topics are as clients write them", Check: checkMountPoint,
			Doc:    "What all topics of a client begin with, without its knowing: with `plant/`, what it calls `a` is `plant/a` for the broker and for clients without a mount point. It ends with `/`. Variables stand for who the client is: `%u` the user, `%c` the client identifier, `%l` the name of the listener, and of a verified TLS certificate `%{cn}`, `%{o}`, `%{ou}`, `%{san_dns}`, `%{san_email}`, `%{san_uri}` and `%{serial}`; one at most between two slashes. Who has nothing of the kind, or one with `/`, `+` or `#` in it, is refused (0x87). Clients with different mount points are different clients, also with the same client identifier: see [tenants](../tenants.md).",
			Reason: "Most brokers have one owner.",
			Change: forNew,
		}, {
			Key: "engine", At: func(c *Settings) any { return &c.Engine },
			Default: "auto", Words: []string{"auto", "epoll", "goroutine"},
			Doc:    "What moves the bytes: `epoll` (event loops, Linux) or `goroutine` (every system). `auto` takes epoll where it works.",
			Reason: "Event loops cost less memory and CPU for each connection.",
		}, {
			Key: "threads", Flag: "threads", At: func(c *Settings) any { return &c.Threads },
			Default: 0, Max: 1024, Zero: "one per core",
			Doc:    "The largest number of threads that run shards. How many do at a moment follows the load. The goroutine engine runs on the threads of the Go runtime and limits those.",
			Reason: "More threads than cores only wait for each other.",
		}, {
			Key: "shards", At: func(c *Settings) any { return &c.Shards },
			Default: 0, Max: MaxShards, Zero: fmt.Sprintf("4 per core, %d at most", MaxShards),
			Doc:    "The number of parts that the state is cut into. A client's id decides its shard; a shard runs on one thread at a time.",
			Reason: "A few shards for each core let a busy thread give some away.",
		}, {
			Key: "durability", At: func(c *Settings) any { return &c.Durability },
			Default: "commit", Words: []string{"commit", "interval", "none"},
			Doc:    "When clients are told that something is safe: once it is on disk (`commit`); at once, with a sync every `durability_interval` (`interval`: a crash loses the last moments, a power cut what was acknowledged since the last sync); or at once, with all state in memory only (`none`, the same as `midge serve --memory`). What is promised in each case is in [durability](../durability.md).",
			Reason: "An acknowledgement is a promise. Few syncs serve all clients together, so that keeping it costs little.",
		}, {
			Key: "durability_interval", At: func(c *Settings) any { return &c.DurabilityInterval },
			Default: time.Second, Min: int64(10 * time.Millisecond), Max: int64(time.Hour),
			Doc:    "The time between two syncs with `durability = \"interval\"`.",
			Reason: "What other brokers lose by default is more.",
		}, {
			Key: "data_dir", Flag: "data-dir", At: func(c *Settings) any { return &c.DataDir },
			Default: "midge-data",
			Doc:     "The directory for durable state: sessions, waiting messages, retained messages, wills. It is made if it does not exist, and belongs to one process at a time.",
			Reason:  "Beside the place where the broker was started, easy to find and to delete.",
		},
	}}
}

// checkMountPoint finds what is wrong with a mount point, but for its variables.
func checkMountPoint(text string) error {
	switch {
	case text == "":
		return nil
	case !strings.HasSuffix(text, "/"):
		return fmt.Errorf("%q has to end with /", text)
	case strings.ContainsAny(text, "+#\x00"):
		return fmt.Errorf("%q must not have + or # in it", text)
	case strings.HasPrefix(text, "$SYS/"), strings.HasPrefix(text, "$share/"):
		return fmt.Errorf("%q must not begin with $SYS/ or $share/", text)
	}
	return nil
}

func listener() Section {
	return Section{Name: ListenerSection, Doc: "A listener with settings of its own. There may be several such tables, in double brackets. Beside these keys each takes those for which this page says so; they hold for the connections that the listener accepts. See [listeners](../listeners.md).", Settings: []Setting{
		{
			Key: "listener.name", At: func(c *Settings) any { return &c.Listener.Name },
			Default: "", Zero: "its address, as it is written", Check: checkListenerName,
			Doc:    "What it is called in the log, on the command line (`--set listener.NAME.key=value`) and by rules. Letters, digits, `-` and `_`.",
			Reason: "The address says which one it is as long as nobody refers to it.",
			Change: "at once: it is another listener then, which takes over its socket",
		}, {
			Key: "listener.address", At: func(c *Settings) any { return &c.Listener.Address },
			Default: "",
			Doc:     "Where it accepts connections: one address, as in `listen`. A listener must have one.",
			Reason:  "No two listeners can have the same.",
			Change:  opened,
		}, {
			Key: "listener.socket_mode", At: func(c *Settings) any { return &c.Listener.SocketMode },
			Default: "0660", Check: checkMode,
			Doc:    "The mode of the file of a Unix socket, as chmod takes it: whoever may write to the file may connect.",
			Reason: "The broker's user and group; `0666` lets every user of the machine connect.",
			Change: atOnce,
		}, {
			Key: "listener.proxy_protocol", At: func(c *Settings) any { return &c.Listener.ProxyProtocol },
			Default: []string{}, Zero: "that clients connect themselves", Check: checkPrefix,
			Doc:    "The addresses of the proxies in front of the listener, such as `10.0.0.0/8` or `192.0.2.7`. Each connection must come from one of them, or by a Unix socket, and begin with a header of the PROXY protocol (version 1 or 2) within `limits.connect_timeout`; others are closed. The client's address is that of the header then, in the log and wherever it counts.",
			Reason: "Whoever may write the header may say that he is anybody.",
			Change: forConnections,
		}, {
			Key: "listener.total_message_rate", At: func(c *Settings) any { return &c.Listener.TotalMessageRate },
			Default: 0, Max: maxMessageRate, Zero: "no limit",
			Doc:    "PUBLISH, SUBSCRIBE and UNSUBSCRIBE packets a second from all clients of the listener together, a second's worth of them at once. Those that are over it wait, each for its turn: see `limits.message_rate`.",
			Reason: "`limits.message_rate` keeps one client from taking what the others need; the sum is for a link or a receiver that has a limit itself.",
			Change: rateChange,
		}, {
			Key: "listener.total_byte_rate", At: func(c *Settings) any { return &c.Listener.TotalByteRate },
			Default: Size(0), Min: 1 << 10, Max: maxByteRate, Zero: "no limit",
			Doc:    "Bytes of those packets a second from all clients of the listener together: see `limits.byte_rate`.",
			Reason: "As `listener.total_message_rate`.",
			Change: rateChange,
		},
	}}
}

func checkMode(text string) error {
	if _, err := strconv.ParseUint(text, 8, 9); err != nil || len(text) < 3 {
		return fmt.Errorf("%q is not a mode of a file; write three or four digits from 0 to 7, such as \"0660\"", text)
	}
	return nil
}

// maxListenerName is the longest name of a listener, in bytes. Guess: it stands in
// each line of the log.
const maxListenerName = 64

func checkListenerName(name string) error {
	odd := func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_'
	}
	switch {
	case strings.ContainsFunc(name, odd):
		return fmt.Errorf("%q has other characters than letters, digits, - and _", name)
	case len(name) > maxListenerName:
		return fmt.Errorf("%q is longer than %d characters", name, maxListenerName)
	}
	return nil
}

func limits() Section {
	return Section{Name: "limits", Doc: "What one client, or all of them, can make the broker hold. Each limit has a counter of what it refused: see [operations](../operations.md).", Settings: append([]Setting{
		{
			Key: "limits.connections", At: func(c *Settings) any { return &c.Limits.Connections },
			Default: 0, Max: 10_000_000, PerListener: true, Zero: "as many as the limit of open files allows, 1,000,000 at most",
			Doc:    fmt.Sprintf("Network connections at one time. One more has a second to send CONNECT, and is told 0x97 (3.1 and 3.1.1: return code 3). %d connections are kept for that, and what comes beyond them is closed at once. More than the limit of open files has room for is lowered to that, with a warning. In a `[[listener]]` it is the number of its connections, which count in all, too.", MaxRefusing),
			Reason: "The operating system's limit is a decision that somebody has made already; staying below it keeps the descriptors that the broker needs itself.",
			Change: "for connections from then on; nobody is closed for it",
		}, {
			Key: "limits.connections_per_ip", At: func(c *Settings) any { return &c.Limits.ConnectionsPerIP },
			Default: 0, Max: 10_000_000, PerListener: true, Zero: "no limit",
			Doc:    "Network connections at one time from one IP address (of IPv6: from a network of 64 bits, which a single peer has). One more is told 0x97, as with `limits.connections`. A `[[listener]]` with its own counts its connections by themselves.",
			Reason: "A gateway or a load balancer puts all its clients behind one address. Set it where clients connect directly.",
			Change: "for connections from then on; those that came while there was no limit don't count",
		}, {
			Key: "limits.connect_timeout", At: func(c *Settings) any { return &c.Limits.ConnectTimeout },
			Default: 5 * time.Second, Min: int64(100 * time.Millisecond), Max: int64(5 * time.Minute), PerListener: true,
			Doc:    "The time from accepting a connection until its CONNECT packet is complete.",
			Reason: "Ten round trips over a poor mobile link; a connection that says nothing costs a descriptor for no longer.",
			Change: "for connections from then on",
		}, {
			Key: "limits.memory", At: func(c *Settings) any { return &c.Limits.Memory },
			Default: Size(0), Min: 32 << 20, Max: 1 << 50, Zero: "half of what the machine, or the process's control group, has",
			Doc:    "Memory of the whole process. At 80 % new clients are refused (0x97; 3.1.1: 3), at 90 % publishers are slowed down, and readers that are behind get no QoS 0 messages and have those of QoS 1 and 2 wait in their sessions; at 100 % the readers that are behind furthest are disconnected: see [operations](../operations.md#memory). It is also the soft limit of the Go runtime (GOMEMLIMIT), unless that is lower.",
			Reason: "The limits of single clients bound what one can do, not what all do together. The other half is for the system's buffers, the cache of the files, and other programs.",
		}, {
			Key: "limits.packet_size", At: func(c *Settings) any { return &c.Limits.PacketSize },
			Default: Size(1 << 20), Min: 50, Max: 268_435_460, PerListener: true,
			Doc:    "The largest control packet that the broker takes, header included; 5.0 clients are told (Maximum Packet Size), and a larger one ends the connection with 0x95.",
			Reason: "Far above sensor data, and small against a tenth of `limits.memory`, which is the room for packets that have not arrived as a whole.",
			Change: "for clients that connect from then on, and a larger one for everybody at once",
		}, {
			Key: "limits.connect_size", At: func(c *Settings) any { return &c.Limits.ConnectSize },
			Default: Size(128 << 10), Min: 50, Max: 268_435_460, PerListener: true,
			Doc:    "The largest CONNECT packet; `limits.packet_size` counts where it is smaller.",
			Reason: "A will of the largest size and as much again for everything else. It bounds what a peer can make the broker hold that has not said who it is.",
			Change: forNew,
		}, {
			Key: "limits.pending_bytes", At: func(c *Settings) any { return &c.Limits.PendingBytes },
			Default: Size(1 << 20), Min: 4 << 10, Max: 1 << 30,
			Doc:    "Bytes that wait for a client which reads too slowly. Past it QoS 0 messages for that client are dropped and counted, unless fewer bytes wait than eight messages like the next one have; and those of QoS 1 and 2 wait in the session's queue. A client that takes nothing for two minutes, or that asks for as many bytes of answers and does not read them, is disconnected (0x97).",
			Reason: "A second of a 10 Mbit/s link. 1,000 clients that stop reading at once cost 1 GiB at most; of messages of 1 MiB, which the eight are for, 8 GiB or what `limits.memory` leaves.",
			Change: atOnce,
		}, {
			Key: "limits.mailbox_bytes", At: func(c *Settings) any { return &c.Limits.MailboxBytes },
			Default: Size(4 << 20), Min: 64 << 10, Max: 1 << 40,
			Doc:    "Bytes that wait for one shard. Past it publishers are paused, and past twice as much QoS 0 messages for that shard are dropped and counted.",
			Reason: "Some milliseconds of a busy shard.",
			Change: atOnce,
		}, {
			Key: "limits.subscriptions", At: func(c *Settings) any { return &c.Limits.Subscriptions },
			Default: 10_000, Min: 1, Max: 10_000_000,
			Doc:    "Subscriptions of one client. One more is refused with 0x97 (3.1.1: 0x80).",
			Reason: "Ten times of what a client that lists its devices one by one uses. Guess.",
			Change: "for subscriptions from then on",
		}, {
			Key: "limits.topic_levels", At: func(c *Settings) any { return &c.Limits.TopicLevels },
			Default: 200, Min: 1, Max: 65_535,
			Doc:    "Levels in a topic name or filter, which are the parts between slashes.",
			Reason: "Nobody was seen with more; each level of a filter costs a node of the tree, 44 bytes.",
			Change: forMessage,
		}, {
			Key: "limits.topic_length", At: func(c *Settings) any { return &c.Limits.TopicLength },
			Default: 65_535, Min: 1, Max: 65_535,
			Doc:    "Bytes in a topic name or filter.",
			Reason: "All that the standard allows. A longer filter than 4 KiB counts as several in `limits.subscriptions`, so that it takes no more memory than they do.",
			Change: forMessage,
		}, {
			Key: "limits.topic_aliases", At: func(c *Settings) any { return &c.Limits.TopicAliases },
			Default: 16, Max: 65_535, Zero: "no aliases",
			Doc:    "Topic aliases that one client may set, and the most that the broker sets for a client that allows them (5.0).",
			Reason: "At the longest topics, what a client sets with 16 aliases takes 1 MiB. The broker sets none for topics over 1 KiB: 16 KiB.",
			Change: forNew,
		}, {
			Key: "limits.retained_messages", At: func(c *Settings) any { return &c.Limits.RetainedMessages },
			Default: 1_000_000, Max: math.MaxInt32, Zero: "no retained messages at all",
			Doc:    "Retained messages of all topics. One more is refused with 0x97 where the publisher can be told, and is delivered but not kept otherwise. Those of the broker itself under `$SYS` don't count. With 0 those that the store has stay there, but no subscription gets them.",
			Reason: "One for each device of a large fleet.",
			Change: retained,
		}, {
			Key: "limits.retained_bytes", At: func(c *Settings) any { return &c.Limits.RetainedBytes },
			Default: Size(1 << 30), Min: 0, Max: 1 << 50, Zero: "no retained messages at all",
			Doc:    "Bytes of all retained messages: topics, payloads and properties. A third of `limits.memory` counts where it is less.",
			Reason: "1 KiB for each of the 1,000,000 messages.",
			Change: retained,
		},
	}, rates()...)}
}

func session() Section {
	return Section{Name: "session", Doc: "What the broker does for one client.", Settings: []Setting{
		{
			Key: "session.receive_maximum", At: func(c *Settings) any { return &c.Session.ReceiveMaximum },
			Default: 100, Min: 1, Max: 65_535,
			Doc:    "QoS 1 and 2 messages that a client may send without having an answer (Receive Maximum of the broker). More end the connection with 0x93.",
			Reason: "The most that other brokers send, so that clients are known to live with it; some don't with 1,024. One client gets 350,000 messages a second through (`bench/results/receive-maximum.md`), or 1,000 over a link of 100 ms.",
			Change: forNew,
		}, {
			Key: "session.inflight", At: func(c *Settings) any { return &c.Session.Inflight },
			Default: 1024, Min: 1, Max: 65_535,
			Doc:    "QoS 1 and 2 messages that the broker sends without having an answer; a client can ask for fewer (its own Receive Maximum).",
			Reason: "Enough to fill a link of 100 ms and 10,000 messages a second.",
			Change: atOnce,
		}, {
			Key: "session.queued_messages", At: func(c *Settings) any { return &c.Session.QueuedMessages },
			Default: 1000, Max: 100_000_000, Zero: "no queue",
			Doc:    "QoS 1 and 2 messages that wait in memory for one client that has not answered earlier ones: one whose session ends with its connection, or any with `durability = \"none\"`.",
			Reason: "1,000 sessions that wait for 1 KiB messages cost 1 GiB.",
			Change: queue,
		}, {
			Key: "session.queued_bytes", At: func(c *Settings) any { return &c.Session.QueuedBytes },
			Default: Size(1 << 20), Max: 1 << 40, Zero: "no queue",
			Doc:    "Bytes of the messages that wait in memory for one client: topics, payloads and properties.",
			Reason: "1,000 messages of 1 KiB.",
			Change: queue,
		}, {
			Key: "session.stored_messages", At: func(c *Settings) any { return &c.Session.StoredMessages },
			Default: 1_000_000, Max: 100_000_000, Zero: "no queue",
			Doc:    "QoS 1 and 2 messages that wait on disk for one client whose session outlives its connection. Each costs 16 bytes of memory, whatever its size.",
			Reason: "A day of a message each 86 ms. A publisher was told that they are safe, so dropping one is the last resort.",
			Change: queue,
		}, {
			Key: "session.stored_bytes", At: func(c *Settings) any { return &c.Session.StoredBytes },
			Default: Size(1 << 30), Max: 1 << 50, Zero: "no queue",
			Doc:    "Bytes of the messages that wait on disk for one client: topics, payloads and properties. A message for several clients lies on disk once.",
			Reason: "1,000,000 messages of 1 KiB.",
			Change: queue,
		}, {
			Key: "session.queue_full", At: func(c *Settings) any { return &c.Session.QueueFull },
			Default: DropOldest, Words: []string{DropOldest, RefuseNew},
			Doc:    "What a full queue does with one more message: drop the one that has waited longest, or the new one. Drops are counted.",
			Reason: "The newest reading is worth more than one from yesterday.",
			Change: atOnce,
		}, {
			Key: "session.max_expiry", At: func(c *Settings) any { return &c.Session.MaxExpiry },
			Default: time.Duration(0), Max: 100 * year, Zero: "no limit: what the client asks for",
			Doc:    "The longest time that the broker keeps the session of a client that is away; 5.0 clients are told. It also ends the sessions of 3.1.1 clients without Clean Session, which never expire otherwise.",
			Reason: "The standard leaves it to the client.",
			Change: "for clients that connect or disconnect from then on; sessions whose client is away keep their time",
		}, {
			Key: "session.keep_alive", At: func(c *Settings) any { return &c.Session.KeepAlive },
			Default: time.Duration(0), Max: int64(65_535 * time.Second), Zero: "no limit: what the client asks for",
			Doc:    "The longest Keep Alive, in whole seconds. A 5.0 client that asks for more, or for none, is told this one (Server Keep Alive). Clients of 3.1 and 3.1.1 can't be told and keep theirs, unless `strict.keep_alive` refuses them.",
			Reason: "The standard leaves it to the client.",
			Change: forNew,
		}, {
			Key: "session.shared_strategy", At: func(c *Settings) any { return &c.Session.SharedStrategy },
			Default: RoundRobin, Words: []string{RoundRobin, Sticky, LeastInflight},
			Doc:    "Which member of a shared subscription gets the next message: each in turn, the same as before while it is connected, or the one with the fewest unanswered messages. In a group with more members than 64 that are connected, 64 of them are compared for a message, and others for the next.",
			Reason: "What users of shared subscriptions expect.",
			Change: atOnce,
		}, {
			Key: "session.shared_queue", At: func(c *Settings) any { return &c.Session.SharedQueue },
			Default: WithGroup, Words: []string{WithGroup, WithMember},
			Doc:    "Where QoS 1 and 2 messages for a shared subscription wait while no member is connected or has room: with the group, and members get them as they come and as fast as they are, or each with a member, which alone gets it later. The group's queue has the limits of one client's, and exists while a session that outlives its connection has the subscription above QoS 0.",
			Reason: "A member that is away or slow must not keep work from those that are there.",
			Change: "for subscriptions from then on",
		}, {
			Key: "session.response_information", At: func(c *Settings) any { return &c.Session.ResponseInformation },
			Default: "",
			Doc:     "What a 5.0 client is told that asks for Response Information: by convention the beginning of the topics for its answers. `\"\"` tells nothing.",
			Reason:  "Nothing that the broker could make up would be true.",
			Change:  forNew,
		},
	}}
}

func strict() Section {
	return Section{Name: "strict", Doc: "What the broker may refuse, and takes as long as these are off, as most brokers do.", Settings: []Setting{
		{
			Key: "strict.client_ids", At: func(c *Settings) any { return &c.Strict.ClientIDs },
			Default: false,
			Doc:     "Refuses client ids of more than 23 characters in 3.1 (return code 2). 3.1 asks for that; no later version does.",
			Reason:  "Programs that still speak 3.1 make ids from serial numbers, and other brokers take them.",
			Change:  forNew,
		}, {
			Key: "strict.topic_characters", At: func(c *Settings) any { return &c.Strict.TopicCharacters },
			Default: false,
			Doc:     "Refuses control characters (U+0001 to U+001F, U+007F to U+009F) in topic names and filters, wills included (0x90 and 0x8F). The standard says that they should not be there, and lets a server refuse them.",
			Reason:  "It is allowed, and others take it. Switch it on where topics end up in logs, shells and databases.",
			Change:  forMessage,
		}, {
			Key: "strict.keep_alive", At: func(c *Settings) any { return &c.Strict.KeepAlive },
			Default: false,
			Doc:     "Refuses clients of 3.1 and 3.1.1 whose Keep Alive is above `session.keep_alive`, or that want none (return code 2, as Mosquitto does it).",
			Reason:  "A client that can't be told of a shorter time had better connect than not.",
			Change:  forNew,
		},
	}}
}

func sys() Section {
	return Section{Name: "sys", Doc: "The broker's own topics under `$SYS/broker`; their names are in [operations](../operations.md).", Settings: []Setting{
		{
			Key: "sys.interval", At: func(c *Settings) any { return &c.Sys.Interval },
			Default: 10 * time.Second, Max: int64(24 * time.Hour), Zero: "off: no such topics",
			Doc:    "How often they are published.",
			Reason: "The same as Mosquitto, whose dashboards expect it.",
			Change: atOnce,
		},
	}}
}

func logging() Section {
	return Section{Name: "log", Doc: "The log goes to standard error.", Settings: []Setting{
		{
			Key: "log.level", Flag: "log-level", At: func(c *Settings) any { return &c.Log.Level },
			Default: "info", Words: []string{"debug", "info", "warn", "error"},
			Doc:    "The least important lines to write. `warn` has a line for each client that is refused, closed or limited, with its client id, its address, the reason in words and the clause of the standard; of each reason and address five in 10 seconds, and the number of those left out. `info` has those that nobody is to blame for, too: taken over, silent for too long; and see `log.connections`.",
			Reason: "What an operator is asked about is there; what only a developer understands is not.",
		}, {
			Key: "log.format", At: func(c *Settings) any { return &c.Log.Format },
			Default: "text", Words: []string{"text", "json"},
			Doc:    "`text` is `key=value`, `json` is one object a line.",
			Reason: "People read the first log; machines can be told.",
		}, {
			Key: "log.connections", At: func(c *Settings) any { return &c.Log.Connections },
			Default: true,
			Doc:     "Whether each client that connects or disconnects gets a line at level `info`, with its client id, its address and the reason. Without it these lines are at level `debug`.",
			Reason:  "The first question about a client is when it came and went. Switch it off where so many come and go that nobody reads it.",
			Change:  atOnce,
		}, {
			Key: "log.banner", At: func(c *Settings) any { return &c.Log.Banner },
			Default: "auto", Words: []string{"auto", "always", "never"},
			Doc:    "Whether the start prints a page on standard output that says what runs and what it promises. `auto` prints it on a terminal. The log has the same in one record, `started`.",
			Reason: "People read a page, machines a record.",
		},
	}}
}
