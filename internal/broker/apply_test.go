package broker

import (
	"bytes"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"midge/internal/packet"
	"midge/internal/settings"
	"midge/internal/store/memstore"
)

// changing is a broker with clients whose settings change.
type changing struct {
	*testing.T
	*world
	core settings.Core
	log  *bytes.Buffer
}

// set changes settings of the running broker.
func (c *changing) set(change func(*settings.Core)) {
	change(&c.core)
	c.b.Apply(c.core)
	c.turn()
}

// ask connects a client, and returns what it is told.
func (c *changing) ask(v packet.Version, id string, change ...func(*packet.Connect)) (p *peer, ack packet.Connack) {
	c.Helper()
	p = c.dial(v)
	connect := packet.Connect{Version: v, ClientID: []byte(id), CleanStart: true}
	for _, f := range change {
		f(&connect)
	}
	p.bytes(connect.Append(nil))
	if err := ack.Decode(v, 0x20, p.next(packet.CONNACK)); err != nil {
		c.Fatal(err)
	}
	return p, ack
}

// answered publishes at QoS 1, and returns what the client is told.
func (c *changing) answered(p *peer, name, payload string, retain bool) packet.ReasonCode {
	c.Helper()
	p.publish(name, payload, 1, retain)
	ack := packet.Ack{Type: packet.PUBACK}
	if err := ack.Decode(p.version, 0x40, p.next(packet.PUBACK)); err != nil {
		c.Fatal(err)
	}
	return ack.Code
}

// closedWith checks that the broker has ended a 5.0 connection, and why.
func (c *changing) closedWith(p *peer, want packet.ReasonCode) {
	c.Helper()
	if body := p.next(packet.DISCONNECT); !p.closed || len(body) == 0 || body[0] != byte(want) {
		c.Errorf("closed: %v, DISCONNECT %x; want 0x%02x", p.closed, body, uint8(want))
	}
}

// lives checks that a client is served.
func (c *changing) lives(p *peer) {
	c.Helper()
	p.out = nil
	p.bytes([]byte{0xC0, 0})
	if p.closed || !bytes.Equal(p.out, []byte{0xD0, 0}) {
		c.Errorf("closed: %v, a ping is answered with %x", p.closed, p.out)
	}
	p.out = nil
}

// tooLarge checks that a CONNECT of more than so many bytes is.
func (c *changing) tooLarge(bytes int) {
	c.Helper()
	before := c.b.Counters().RefusedSize
	p := c.dial(packet.V5)
	p.bytes(connectOf(strings.Repeat("x", bytes)))
	c.equal("closed", p.closed, true)
	c.equal("refused for their size", c.b.Counters().RefusedSize, before+1)
}

func (c *changing) equal(what string, got, want any) {
	c.Helper()
	if got != want {
		c.Errorf("%s: %v, want %v", what, got, want)
	}
}

func (c *changing) session(id string) *client {
	return c.b.shards[shardOf([]byte(id), len(c.b.shards))].clients.Get(id)
}

func ifOn(on bool, n int) int {
	if on {
		return n
	}
	return 0
}

// changesFlow sets a limit of ten messages a second for a client that is connected, and
// takes it away.
func changesFlow(set func(s *settings.Core, l *settings.ListenerLimits, on bool)) func(*changing) {
	return func(c *changing) {
		limit := func(on bool) {
			c.set(func(s *settings.Core) {
				l := settings.ListenerLimits{Limits: s.Limits}
				set(s, &l, on)
				l.MessageRate, l.ByteRate = s.Limits.MessageRate, s.Limits.ByteRate
				s.Listeners = map[int]settings.ListenerLimits{0: l}
			})
		}
		p := c.connect(packet.V5, "p")
		p.subscribe("t", 0)
		for _, on := range []bool{false, true, false} {
			for i := range 100 {
				p.offerOnly(thousand(packet.V5, i, 0))
			}
			c.turn()
			want := 100
			if on {
				want = 10
			}
			c.equal("at once", len(p.numbers()), want)
			if limit(!on); on {
				c.pass(100 * time.Millisecond)
				c.equal("the rest", len(p.numbers()), 90)
			}
		}
	}
}

// shrinks lowers a limit of a queue that has 20 messages: with each message it
// comes nearer to it.
func shrinks(lower func(*settings.Core)) func(*changing) {
	return func(c *changing) {
		away := c.connect(packet.V5, "away", expires(600))
		away.subscribe("q", 1)
		away.hang()
		pub := c.connect(packet.V5, "pub")
		publish := func(from, to int) {
			for i := from; i < to; i++ {
				c.answered(pub, "q", fmt.Sprintf("%08d", i), false) // 9 bytes with the topic
			}
		}
		publish(0, 20)
		c.set(lower)
		c.equal("waiting at first", c.session("away").session.Queued(), 20)
		publish(20, 21)
		c.equal("after a message", c.session("away").session.Queued(), 19)
		publish(21, 60)
		c.equal("after many", c.session("away").session.Queued(), 4)
		back := c.connect(packet.V5, "away", expires(600))
		for i := 56; i < 60; i++ {
			back.want(fmt.Sprintf("%08d", i))
		}
	}
}

// changesAtRunTime has what a change of each setting does at run time, to those that are
// connected and to those that come.
var changesAtRunTime = map[string]func(*changing){
	"limits.connections": func(c *changing) {
		old := c.connect(packet.V5, "old")
		c.connect(packet.V5, "other")
		c.set(func(s *settings.Core) { s.Limits.Connections = 1 })
		_, ack := c.ask(packet.V5, "new")
		c.equal("one more", ack.Code, packet.QuotaExceeded)
		c.lives(old)
		c.set(func(s *settings.Core) { s.Limits.Connections = 3 })
		c.connect(packet.V5, "new")
	},
	"limits.connections_per_ip": func(c *changing) {
		old := c.connect(packet.V5, "old")
		c.set(func(s *settings.Core) { s.Limits.ConnectionsPerIP = 1 })
		first := c.connect(packet.V5, "first")
		_, ack := c.ask(packet.V5, "second")
		c.equal("one more", ack.Code, packet.QuotaExceeded)
		c.lives(old)
		c.set(func(s *settings.Core) { s.Limits.ConnectionsPerIP = 0 })
		c.connect(packet.V5, "many")
		first.hang()
		old.hang()
		c.set(func(s *settings.Core) { s.Limits.ConnectionsPerIP = 1 })
		c.connect(packet.V5, "third")
		if g := &c.b.gate; len(g.from) != 1 || g.known.Load() != 1 || len(g.perIP) != 1 {
			c.Errorf("the gate knows %d, %d, %d connections; want one", len(g.from), g.known.Load(), len(g.perIP))
		}
	},
	"limits.connect_rate": func(c *changing) {
		old := c.connect(packet.V5, "old")
		c.set(func(s *settings.Core) { s.Limits.ConnectRate, s.Limits.ConnectBurst = 2, time.Second })
		c.equal("let in", c.come(10, 0, "192.0.2.1"), 2)
		c.lives(old)
		c.set(func(s *settings.Core) { s.Limits.ConnectRate = 5 })
		c.pass(time.Second)
		c.equal("with a higher limit", c.come(10, 0, "192.0.2.1"), 5)
		c.set(func(s *settings.Core) { s.Limits.ConnectRate = 0 })
		c.equal("without", c.come(10, 0, "192.0.2.1"), 10)
	},
	"limits.connect_rate_per_ip": func(c *changing) {
		c.set(func(s *settings.Core) { s.Limits.ConnectRatePerIP, s.Limits.ConnectBurst = 2, time.Second })
		c.equal("let in", c.come(10, 0, "192.0.2.1"), 2)
		c.set(func(s *settings.Core) { s.Limits.ConnectRatePerIP = 0 })
		c.equal("without", c.come(10, 0, "192.0.2.1"), 10)
	},
	"limits.connect_burst": func(c *changing) {
		c.set(func(s *settings.Core) { s.Limits.ConnectRate, s.Limits.ConnectBurst = 2, time.Second })
		c.equal("let in", c.come(10, 0, "192.0.2.1"), 2)
		c.set(func(s *settings.Core) { s.Limits.ConnectBurst = 5 * time.Second })
		c.equal("with more at once", c.come(10, 0, "192.0.2.1"), 8)
	},
	"limits.reconnects": func(c *changing) {
		c.set(func(s *settings.Core) { s.Limits.Reconnects = 2 })
		c.equal("let in at once", c.reconnect(10), 2)
		c.set(func(s *settings.Core) { s.Limits.Reconnects = 0 })
		c.equal("without", c.reconnect(10), 10)
	},
	"limits.reconnect_interval": func(c *changing) {
		c.set(func(s *settings.Core) { s.Limits.Reconnects, s.Limits.ReconnectInterval = 2, time.Hour })
		c.equal("let in at once", c.reconnect(10), 2)
		c.pass(time.Minute)
		c.equal("a minute later", c.reconnect(10), 0)
		c.set(func(s *settings.Core) { s.Limits.ReconnectInterval = time.Second })
		c.pass(2 * time.Hour)
		c.equal("two hours later", c.reconnect(2), 2)
		c.pass(time.Second)
		c.equal("a second later", c.reconnect(1), 1)
	},
	"limits.message_rate": changesFlow(func(s *settings.Core, _ *settings.ListenerLimits, on bool) { s.Limits.MessageRate = ifOn(on, 10) }),
	"limits.byte_rate": changesFlow(func(s *settings.Core, _ *settings.ListenerLimits, on bool) {
		s.Limits.ByteRate = settings.Size(ifOn(on, 10_000))
	}),
	"listener.total_message_rate": changesFlow(func(_ *settings.Core, l *settings.ListenerLimits, on bool) { l.TotalMessageRate = ifOn(on, 10) }),
	"listener.total_byte_rate": changesFlow(func(_ *settings.Core, l *settings.ListenerLimits, on bool) {
		l.TotalByteRate = settings.Size(ifOn(on, 10_000))
	}),
	"limits.connect_timeout": func(c *changing) {
		old := c.dial(packet.V5)
		c.set(func(s *settings.Core) { s.Limits.ConnectTimeout = time.Second })
		late := c.dial(packet.V5)
		c.pass(2 * time.Second)
		c.equal("new, closed", late.closed, true)
		c.equal("old, closed", old.closed, false)
		c.pass(4 * time.Second)
		c.equal("old, closed", old.closed, true)
	},
	"limits.packet_size": func(c *changing) {
		old := c.connect(packet.V5, "old")
		c.set(func(s *settings.Core) { s.Limits.PacketSize = 1000 })
		c.equal("what it was told", c.answered(old, "t", strings.Repeat("x", 2000), false), packet.NoMatchingSubscribers)
		late, ack := c.ask(packet.V5, "new")
		c.equal("Maximum Packet Size", ack.Properties.MaximumPacketSize, uint32(1000))
		late.publish("t", strings.Repeat("x", 2000), 1, false)
		c.closedWith(late, packet.PacketTooLarge)
		c.tooLarge(1000) // although limits.connect_size has room for it
		c.set(func(s *settings.Core) { s.Limits.PacketSize = 2 << 20 })
		c.equal("more than it was told", c.answered(old, "t", strings.Repeat("x", 3<<19), false), packet.NoMatchingSubscribers)
		old.publish("t", strings.Repeat("x", 2<<20), 1, false)
		c.closedWith(old, packet.PacketTooLarge)
	},
	"limits.connect_size": func(c *changing) {
		c.set(func(s *settings.Core) { s.Limits.ConnectSize = 60 })
		c.connect(packet.V5, "short")
		c.tooLarge(60)
	},
	"limits.pending_bytes": func(c *changing) {
		old := c.connect(packet.V5, "old")
		old.subscribe("t", 0)
		old.deaf = true
		pub := c.connect(packet.V5, "pub")
		c.set(func(s *settings.Core) { s.Limits.PendingBytes = 4096 })
		for range 50 { // 39 of 106 bytes are more than the limit
			pub.publish("t", strings.Repeat("x", 100), 0, false)
		}
		c.equal("dropped", c.b.Counters().DroppedSlow, uint64(11))
		c.set(func(s *settings.Core) { s.Limits.PendingBytes = 1 << 20 })
		pub.publish("t", strings.Repeat("x", 100), 0, false)
		c.equal("dropped later", c.b.Counters().DroppedSlow, uint64(11))
	},
	"limits.mailbox_bytes": func(c *changing) {
		c.connect(packet.V5, clientOn(1, 2, "sub")).subscribe("t", 0)
		pub := c.connect(packet.V5, clientOn(0, 2, "pub"))
		send := func() uint64 {
			m := packet.Publish{Topic: []byte("t"), Payload: make([]byte, 1000)}
			pub.bytes(bytes.Repeat(m.Append(nil, packet.V5), 3))
			return c.b.Counters().PausedPublishers
		}
		c.equal("paused", send(), uint64(0))
		c.set(func(s *settings.Core) { s.Limits.MailboxBytes = 1000 })
		if n := send(); n == 0 {
			c.Error("nobody was paused")
		}
	},
	"limits.subscriptions": func(c *changing) {
		old := c.connect(packet.V5, "old")
		old.subscribe("a", 0)
		old.subscribe("b", 0)
		c.set(func(s *settings.Core) { s.Limits.Subscriptions = 1 })
		c.equal("one more", old.subscribe("c", 0), packet.QuotaExceeded)
		old.publish("b", "x", 0, false)
		old.want("x")
	},
	"limits.topic_levels": names(func(l *settings.Core) { l.Limits.TopicLevels = 2 }, "a/b/c", "a/b"),
	"limits.topic_length": names(func(l *settings.Core) { l.Limits.TopicLength = 2 }, "abc", "ab"),
	"strict.topic_characters": func(c *changing) {
		names(func(l *settings.Core) { l.Strict.TopicCharacters = true }, "a\x01", "a")(c)
		_, ack := c.ask(packet.V5, "will", func(p *packet.Connect) {
			p.HasWill = true
			p.Will.Topic = []byte("a\x01")
		})
		c.equal("a will", ack.Code, packet.TopicNameInvalid)
	},
	"limits.topic_aliases": func(c *changing) {
		const theirs = 10
		allows := func(p *packet.Connect) {
			p.Properties.TopicAliasMaximum = theirs
			p.Properties.Set(packet.PropTopicAliasMaximum)
		}
		alias := func(p *peer, name string, n uint16) {
			m := packet.Publish{Topic: []byte(name), Payload: []byte("x")}
			m.Properties.TopicAlias = n
			p.bytes(m.Append(nil, packet.V5))
		}
		aliases := func(p *peer) (n uint16) {
			for i := range theirs {
				p.publish(fmt.Sprint("other/", i), "x", 0, false)
				m := p.want("x")
				n = max(n, m.Properties.TopicAlias)
			}
			return n
		}
		old := c.connect(packet.V5, "old", allows)
		old.subscribe("#", 0)
		alias(old, "t", 5)
		old.want("x")
		c.set(func(s *settings.Core) { s.Limits.TopicAliases = 2 })
		alias(old, "", 5)
		old.want("x")
		alias(old, "u", 16)
		old.want("x")
		plain, other := c.connect(packet.V5, clientOn(0, 2, "plain")), c.connect(packet.V5, clientOn(0, 2, "other"))
		alias(plain, "t", 1)
		old.want("x")
		alias(other, "", 1) // that of another client
		c.closedWith(other, packet.ProtocolError)
		c.equal("old: the broker's", aliases(old), uint16(theirs))
		late, ack := c.ask(packet.V5, "new", allows)
		c.equal("Topic Alias Maximum", ack.Properties.TopicAliasMaximum, uint16(2))
		late.subscribe("#", 0)
		c.equal("new: the broker's", aliases(late), uint16(2))
		alias(late, "t", 2)
		late.want("x")
		alias(late, "t", 3)
		c.closedWith(late, packet.TopicAliasInvalid)
	},
	"limits.retained_messages": unretained(func(l *settings.Limits) { l.RetainedMessages = 0 }),
	"limits.retained_bytes":    unretained(func(l *settings.Limits) { l.RetainedBytes = 0 }),
	"session.receive_maximum": func(c *changing) {
		old := c.connect(packet.V5, "old")
		c.set(func(s *settings.Core) { s.Session.ReceiveMaximum = 2 })
		send := func(p *peer, n int) {
			for i := range n {
				m := packet.Publish{Topic: []byte("t"), QoS: 2, ID: packet.ID(i + 1)}
				p.bytes(m.Append(nil, packet.V5))
			}
			for range n {
				if !p.closed {
					p.next(packet.PUBREC)
				}
			}
		}
		send(old, 100)
		c.lives(old)
		late, ack := c.ask(packet.V5, "new")
		c.equal("Receive Maximum", ack.Properties.ReceiveMaximum, uint16(2))
		send(late, 2)
		c.lives(late)
		m := packet.Publish{Topic: []byte("t"), QoS: 2, ID: 3}
		late.bytes(m.Append(nil, packet.V5))
		c.closedWith(late, packet.ReceiveMaximumExceeded)
		m.ID = 101
		old.bytes(m.Append(nil, packet.V5))
		c.closedWith(old, packet.ReceiveMaximumExceeded)
	},
	"session.inflight": func(c *changing) {
		old := c.connect(packet.V5, "old")
		old.subscribe("t", 1)
		pub := c.connect(packet.V5, "pub")
		c.set(func(s *settings.Core) { s.Session.Inflight = 2 })
		for range 6 {
			c.answered(pub, "t", "x", false)
		}
		m, _ := old.silent()
		old.silent()
		old.quiet()
		c.set(func(s *settings.Core) { s.Session.Inflight = 4 })
		old.bytes((&packet.Ack{Type: packet.PUBACK, ID: m.ID}).Append(nil, packet.V5))
		for range 3 {
			old.silent()
		}
		old.quiet()
		c.equal("under way", c.session("old").session.Inflight(), 4)
		for _, id := range []string{"a", "b"} {
			c.connect(packet.V5, id, expires(600)).subscribe("$share/g/s", 1)
		}
		for range 12 {
			c.answered(pub, "s", "x", false)
		}
		c.equal("under way to a", c.session("a").session.Inflight(), 4)
		c.equal("waiting with a and b, not with both", c.session("a").session.Queued()+c.session("b").session.Queued(), 0)
	},
	"session.queued_messages": shrinks(func(s *settings.Core) { s.Session.QueuedMessages = 4 }),
	"session.queued_bytes":    shrinks(func(s *settings.Core) { s.Session.QueuedBytes = 4*9 + 8 }),
	"session.stored_messages": shrinks(func(s *settings.Core) { s.Session.StoredMessages = 4 }),
	"session.stored_bytes":    shrinks(func(s *settings.Core) { s.Session.StoredBytes = 4*9 + 8 }),
	"session.queue_full": func(c *changing) {
		away := c.connect(packet.V5, "away", expires(600))
		away.subscribe("q", 1)
		away.hang()
		pub := c.connect(packet.V5, "pub")
		c.set(func(s *settings.Core) { s.Session.QueuedMessages = 2 })
		for _, payload := range []string{"1", "2", "3"} {
			c.answered(pub, "q", payload, false)
		}
		c.set(func(s *settings.Core) { s.Session.QueueFull = settings.RefuseNew })
		c.answered(pub, "q", "4", false)
		back := c.connect(packet.V5, "away", expires(600))
		back.want("2")
		back.want("3")
		back.quiet()
	},
	"session.max_expiry": func(c *changing) {
		c.connect(packet.V5, "gone", expires(100)).hang()
		old := c.connect(packet.V5, "old", expires(100))
		c.set(func(s *settings.Core) { s.Session.MaxExpiry = 10 * time.Second })
		late, ack := c.ask(packet.V5, "new", expires(100))
		c.equal("Session Expiry Interval", ack.Properties.SessionExpiry, uint32(10))
		late.hang()
		old.leave(100)
		c.pass(20 * time.Second)
		for id, want := range map[string]bool{"gone": true, "old": false, "new": false} {
			c.equal("a session of "+id, c.session(id) != nil, want)
		}
	},
	"session.keep_alive": func(c *changing) {
		minute := func(p *packet.Connect) { p.KeepAlive = 60 }
		old := c.connect(packet.V5, "old", minute)
		c.set(func(s *settings.Core) { s.Session.KeepAlive = 10 * time.Second })
		late, ack := c.ask(packet.V5, "new", minute)
		c.equal("Server Keep Alive", ack.Properties.ServerKeepAlive, uint16(10))
		c.pass(30 * time.Second)
		c.closedWith(late, packet.KeepAliveTimeout)
		c.lives(old)
	},
	"session.shared_strategy": func(c *changing) {
		a, b := c.connect(packet.V5, "a"), c.connect(packet.V5, "b")
		a.subscribe("$share/g/t", 0)
		b.subscribe("$share/g/t", 0)
		pub := c.connect(packet.V5, "pub")
		share := func() (least int) {
			a.out, b.out = nil, nil
			for range 6 {
				pub.publish("t", "x", 0, false)
			}
			return min(a.count(packet.PUBLISH), b.count(packet.PUBLISH))
		}
		c.equal("in turn", share(), 3)
		c.set(func(s *settings.Core) { s.Session.SharedStrategy = settings.Sticky })
		c.equal("sticky", share(), 0)
	},
	"session.shared_queue": func(c *changing) {
		pub := c.connect(packet.V5, "pub")
		waits := func(id, filter string) int {
			p := c.connect(packet.V5, id, expires(600))
			p.subscribe(filter, 1)
			p.hang()
			c.answered(pub, "t", "x", false)
			return c.session(id).session.Queued()
		}
		c.equal("with a member", waits("old", "$share/g/t"), 0)
		c.set(func(s *settings.Core) { s.Session.SharedQueue = settings.WithMember })
		c.equal("with a member, later", waits("new", "$share/h/t"), 1)
		c.equal("with the first member", c.session("old").session.Queued(), 0)
	},
	"session.response_information": func(c *changing) {
		asks := func(p *packet.Connect) {
			p.Properties.RequestResponseInfo = true
			p.Properties.Set(packet.PropRequestResponseInfo)
		}
		c.set(func(s *settings.Core) { s.Session.ResponseInformation = "answers/" })
		_, ack := c.ask(packet.V5, "new", asks)
		c.equal("Response Information", string(ack.Properties.ResponseInfo), "answers/")
	},
	"strict.client_ids": func(c *changing) {
		long := strings.Repeat("x", 24)
		old := c.connect(packet.V31, long)
		c.set(func(s *settings.Core) { s.Strict.ClientIDs = true })
		c.lives(old)
		_, ack := c.ask(packet.V31, long)
		c.equal("a long id", ack.Code, packet.ClientIdentifierNotValid)
	},
	"strict.keep_alive": func(c *changing) {
		old := c.connect(packet.V311, "old")
		c.set(func(s *settings.Core) { s.Strict.KeepAlive, s.Session.KeepAlive = true, time.Minute })
		c.lives(old)
		_, ack := c.ask(packet.V311, "new")
		c.equal("no Keep Alive", ack.Code, packet.ClientIdentifierNotValid)
	},
	"sys.interval": func(c *changing) {
		uptime := func() string {
			all := c.matches("$SYS/broker/uptime")
			if len(all) == 0 {
				return "none"
			}
			return string(all[0].Payload)
		}
		c.equal("at first", uptime(), "none")
		c.set(func(s *settings.Core) { s.Sys.Interval = 5 * time.Second })
		c.pass(11 * time.Second)
		c.equal("uptime", uptime(), "10 seconds")
		c.set(func(s *settings.Core) { s.Sys.Interval = time.Second })
		c.pass(time.Second / 2)
		c.equal("at once", uptime(), "11 seconds")
		c.pass(time.Second)
		c.equal("a second later", uptime(), "12 seconds")
		c.set(func(s *settings.Core) { s.Sys.Interval = 0 })
		c.pass(5 * time.Second)
		c.equal("topics when it is off", len(c.matches("$SYS/#")), 0)
		c.set(func(s *settings.Core) { s.Sys.Interval = time.Hour })
		c.pass(5 * time.Hour / 2)
		if len(c.matches("$SYS/broker/version")) == 0 {
			c.Error("the topics don't come back")
		}
	},
	"acl.refused_publish": func(c *changing) {
		p := c.connect(packet.V311, "p")
		c.equal("acknowledged", c.answered(p, "$SYS/x", "y", false), packet.Success)
		c.set(func(s *settings.Core) { s.ACL.RefusedPublish = settings.Disconnect })
		p.publish("$SYS/x", "y", 1, false)
		if p.quiet(); !p.closed {
			c.Error("the connection is open")
		}
	},
	"log.connections": func(c *changing) {
		lines := func() int { return strings.Count(c.log.String(), clientConnects) }
		c.connect(packet.V5, "a")
		c.equal("lines", lines(), 1)
		c.set(func(s *settings.Core) { s.Log.Connections = false })
		c.connect(packet.V5, "b")
		c.equal("lines", lines(), 1)
	},
}

// names makes a name invalid that was published to, and subscribed.
func names(strict func(*settings.Core), bad, good string) func(*changing) {
	return func(c *changing) {
		old := c.connect(packet.V5, "old")
		old.subscribe(bad, 0)
		for range 3 { // so that its route is remembered
			c.equal("before", c.answeredFirst(old, bad), packet.Success)
		}
		c.set(strict)
		c.equal("the name, later", c.answeredFirst(old, bad), packet.TopicNameInvalid)
		c.equal("another name", c.answeredFirst(old, good), packet.NoMatchingSubscribers)
		c.equal("the filter, later", old.subscribe(bad+"/#", 0), packet.TopicFilterInvalid)
		c.equal("subscriptions", c.b.Counters().Subscriptions, uint64(1))
	}
}

// answeredFirst is answered for a client that gets its own message as well.
func (c *changing) answeredFirst(p *peer, name string) packet.ReasonCode {
	c.Helper()
	m := packet.Publish{Topic: []byte(name), QoS: 1, ID: 9}
	p.bytes(m.Append(nil, p.version))
	p.silent()
	ack := packet.Ack{Type: packet.PUBACK}
	if err := ack.Decode(p.version, 0x40, p.next(packet.PUBACK)); err != nil {
		c.Fatal(err)
	}
	p.silent()
	return ack.Code
}

// unretained switches retained messages off.
func unretained(off func(*settings.Limits)) func(*changing) {
	return func(c *changing) {
		old, older := c.connect(packet.V5, "old"), c.connect(packet.V311, "older")
		c.answered(old, "r/1", "x", true)
		before := c.core.Limits
		c.set(func(s *settings.Core) { off(&s.Limits) })
		c.equal("retained", len(c.matches("r/#")), 1)
		c.equal("one more of a client that was told that it may", c.answered(old, "r/2", "x", true), packet.QuotaExceeded)
		older.publish("r/3", "x", 0, true)
		late, ack := c.ask(packet.V5, "new")
		c.equal("Retain Available", ack.Properties.RetainAvailable, false)
		late.publish("r/4", "x", 0, true)
		c.closedWith(late, packet.RetainNotSupported)
		c.equal("retained", len(c.matches("r/#")), 1)
		late, _ = c.ask(packet.V5, "new")
		for _, p := range []*peer{late, older} { // without Retain Available, none is expected
			p.subscribe("r/1", 1)
			p.quiet()
		}
		c.set(func(s *settings.Core) { s.Limits = before })
		late.subscribe("r/1", 1)
		late.want("x")
		c.equal("when they are on again", c.answered(old, "r/2", "x", true), packet.NoMatchingSubscribers)
		late.publish("r/4", "x", 0, true)
		c.closedWith(late, packet.RetainNotSupported) // it was told that it may not
	}
}

// within reports whether a setting is one of the core.
func within(setting any, core *settings.Core) bool {
	at, first := reflect.ValueOf(setting).Pointer(), reflect.ValueOf(core).Pointer()
	return at >= first && at < first+reflect.TypeFor[settings.Core]().Size()
}

// TestApply changes each setting of a running broker that can change at run time,
// and looks at what that does to clients that are connected, and to those that
// come.
func TestApply(t *testing.T) {
	for _, s := range settings.All() {
		var all settings.Settings
		if !within(s.At(&all), &all.Core) || s.Key == "acl.file" {
			continue // package app carries it out
		}
		run := changesAtRunTime[s.Key]
		if (run != nil) != (s.Change != "") {
			t.Errorf("%s: tested: %v; a change at run time holds %q", s.Key, run != nil, s.Change)
		}
		if run == nil {
			continue
		}
		t.Run(s.Key, func(t *testing.T) {
			c := &changing{T: t, log: &bytes.Buffer{}}
			cfg := quietly(2)
			cfg.Logger = slog.New(slog.NewTextHandler(c.log, nil))
			c.core = cfg.Core
			if strings.HasPrefix(s.Key, "session.stored_") {
				c.world, _ = onShards(t, memstore.New(), cfg, true)
			} else {
				c.world = newWorld(t, cfg)
			}
			run(c)
		})
	}
}

// TestAnswerGrows changes a setting while a CONNECT waits, so that CONNACK becomes
// too large for the client: it is closed, and not left without an answer.
func TestAnswerGrows(t *testing.T) {
	c := &changing{T: t, world: newWorld(t, quietly(1)), core: quietly(1).Core}
	watcher := c.connect(packet.V5, "watcher")
	watcher.subscribe("#", 0)
	old := c.connect(packet.V5, "twin")
	c.b.shards[0].pause(connOf(old), forRoom) // so that it can't be heard at once
	late := c.dial(packet.V5)
	connect := packet.Connect{Version: packet.V5, ClientID: []byte("twin"), HasWill: true}
	connect.Will = packet.Will{Topic: []byte("will"), Payload: []byte("x")}
	p := &connect.Properties
	p.MaximumPacketSize, p.RequestResponseInfo, p.SessionExpiry = 60, true, 60
	for _, id := range []packet.PropertyID{packet.PropMaximumPacketSize, packet.PropRequestResponseInfo, packet.PropSessionExpiry} {
		p.Set(id)
	}
	late.bytes(connect.Append(nil))
	late.quiet()
	c.set(func(s *settings.Core) { s.Session.ResponseInformation = strings.Repeat("x", 100) })
	c.pass(drainTime + time.Second)
	late.quiet()
	c.equal("old, closed", old.closed, true)
	c.equal("new, closed", late.closed, true)
	c.equal("refused for their size", c.b.Counters().RefusedSize, uint64(1))
	c.equal("connected", c.b.Counters().Connected, uint64(1))
	watcher.quiet() // no will
	c.connect(packet.V5, "twin")
}
