package broker

import (
	"bufio"
	"fmt"
	"net"
	"testing"
	"time"

	"midge/internal/ban"
	"midge/internal/packet"
)

// ban puts the bans of some lines in force.
func (c *changing) ban(lines string) {
	c.Helper()
	all, faults := ban.Parse("bans", []byte(lines))
	if len(faults) > 0 {
		c.Fatal(faults)
	}
	c.b.Ban(ban.Of(all))
}

// namesUsers is an Authenticator that knows each client by its password.
type namesUsers struct{}

// Connect implements Authenticator.
func (namesUsers) Connect(r Request, done func(Verdict)) {
	done(Verdict{Principal: string(r.Password)})
}

// banned are the codes of a version for who is banned.
var banned = map[packet.Version]byte{packet.V31: 5, packet.V311: 5, packet.V5: byte(packet.Banned)}

// TestBan proves for each kind and version that who is banned is refused, that who is
// connected is ended with its will, that others are not, and that a ban ends.
func TestBan(t *testing.T) {
	for v, code := range banned {
		for name, tt := range map[string]struct {
			lines string
			early bool // before CONNECT
		}{
			"client":        {"client bad", false},
			"user":          {"user mallory", false},
			"principal":     {"user secret", false},
			"address":       {"address 192.0.2.7", true},
			"network":       {"address 192.0.2.0/24 reason=\"a whole network\"", true},
			"until":         {"client bad until=9999-01-01T00:00:00Z", false},
			"several":       {"client other\nuser other\naddress 2001:db8::/32\nuser mallory", false},
			"over, and not": {"client bad until=2000-01-01T00:00:00Z\nuser mallory", false},
		} {
			t.Run(fmt.Sprintf("%v/%s", v, name), func(t *testing.T) {
				cfg := quietly(4)
				cfg.Authenticator = namesUsers{}
				c := &changing{T: t, world: newWorld(t, cfg), core: cfg.Core}
				watcher := c.connect(packet.V5, "watcher")
				watcher.subscribe("will/#", 0)
				connect := func(id, user, from string) *peer {
					p := c.dialFrom(v, 0, at(from))
					p.bytes((&packet.Connect{
						Version: v, ClientID: []byte(id), CleanStart: true, UserName: []byte(user), Password: []byte("secret"),
						HasWill: true, Will: packet.Will{Topic: []byte("will/" + id), Payload: []byte("x")},
					}).Append(nil))
					return p
				}
				bad, good := connect("bad", "mallory", "192.0.2.7"), c.connect(v, "good")
				if ack := bad.next(packet.CONNACK); len(ack) < 2 || ack[1] != 0 {
					t.Fatalf("CONNACK %x", ack)
				}
				c.ban(tt.lines)
				c.turn()
				ends := name != "several" && name != "over, and not" && name != "user" // who is connected is known by its principal
				c.equal("closed", bad.closed, ends)
				if ends {
					if v == packet.V5 {
						c.closedWith(bad, packet.AdministrativeAction)
					}
					watcher.want("x")
				}
				c.lives(good)
				again := connect("bad", "mallory", "192.0.2.7")
				if ack := again.next(packet.CONNACK); tt.early && (ack != nil || !again.closed) || !tt.early && (len(ack) < 2 || ack[1] != code || !again.closed) {
					t.Errorf("CONNACK %x, closed %v", ack, again.closed)
				}
				c.turn()
				c.equal("refused", c.b.Counters().RefusedBanned, uint64(1))
				if name != "principal" {
					other := connect("innocent", "alice", "198.51.100.1")
					if ack := other.next(packet.CONNACK); len(ack) < 2 || ack[1] != 0 {
						t.Errorf("another: CONNACK %x", ack)
					}
				}
				c.ban("")
				again = connect("bad", "mallory", "192.0.2.7")
				if ack := again.next(packet.CONNACK); len(ack) < 2 || ack[1] != 0 {
					t.Errorf("after the ban: CONNACK %x", ack)
				}
			})
		}
	}
}

// TestBanMeanwhile bans clients whose CONNECT waits: for its Authenticator, for an older
// connection, for its turn among those that connect too often, and for the disk.
func TestBanMeanwhile(t *testing.T) {
	for v, code := range banned {
		refusedWith := func(c *changing, what string, p *peer) {
			t.Helper()
			if ack := p.next(packet.CONNACK); len(ack) < 2 || ack[1] != code || !p.closed {
				t.Errorf("%v, %s: CONNACK %x, closed %v", v, what, ack, p.closed)
			}
		}
		send := func(c *changing, id string) *peer {
			p := c.dial(v)
			p.bytes((&packet.Connect{Version: v, ClientID: []byte(id), CleanStart: true}).Append(nil))
			return p
		}
		late := &lateAuthenticator{}
		cfg := quietly(2)
		cfg.Authenticator = late
		c := &changing{T: t, world: newWorld(t, cfg), core: cfg.Core}
		p := send(c, "bad")
		c.ban("client bad")
		c.turn()
		p.quiet()
		late.answer(packet.Success)
		c.turn()
		refusedWith(c, "authenticator", p)

		cfg = quietly(2)
		c = &changing{T: t, world: newWorld(t, cfg), core: cfg.Core}
		c.connect(v, "bad")
		c.connect(v, "twin") // nobody's
		old := c.b.shards[shardOf([]byte("bad"), 2)].clients.Get("bad").conn
		c.b.shards[shardOf([]byte("bad"), 2)].pause(old, forRoom)
		p = send(c, "bad")
		p.quiet()
		c.ban("client bad")
		c.pass(drainTime + time.Second)
		refusedWith(c, "takeover", p)
		c.equal("sessions taken over", c.b.Counters().TakenOver, uint64(0))

		cfg.Limits.Reconnects = 1
		c = &changing{T: t, world: newWorld(t, cfg), core: cfg.Core}
		send(c, "bad").hang()
		p = send(c, "bad")
		p.quiet()
		c.ban("client bad")
		c.pass(2 * time.Second)
		refusedWith(c, "held off", p)

		l := newLateWorld(t, false, 0)
		watcher := l.connect(packet.V311, "watcher")
		watcher.subscribe("#", 0)
		p = l.dial(v)
		connect := packet.Connect{Version: v, ClientID: []byte("bad"), HasWill: true, Will: packet.Will{Topic: []byte("will"), Payload: []byte("w")}}
		last(&connect)
		p.bytes(connect.Append(nil))
		all, _ := ban.Parse("", []byte("client bad"))
		l.b.Ban(ban.Of(all))
		l.turn()
		refusedWith(nil, "disk", p)
		l.let()
		p.quiet()
		watcher.quiet() // what was refused has no will
	}
}

// TestBanMany bans thousands at once. No turn has more than some of them.
func TestBanMany(t *testing.T) {
	cfg := quietly(1)
	c := &changing{T: t, world: newWorld(t, cfg), core: cfg.Core}
	const count = 2000
	for i := range count {
		p := c.dialFrom(packet.V311, 0, at("192.0.2.7"))
		p.offerOnly((&packet.Connect{Version: packet.V311, ClientID: fmt.Append(nil, i), CleanStart: true}).Append(nil))
	}
	other := c.connect(packet.V311, "other")
	c.equal("connected", c.b.Counters().Connected, uint64(count+1))
	c.ban("address 192.0.2.0/24")
	calls := 0
	for len(c.posts) > 0 {
		before := c.b.shards[0].count.Connected
		(<-c.posts)()
		if n := before - c.b.shards[0].count.Connected; n > sweptAtOnce {
			t.Fatalf("%d ended in a call", n)
		}
		calls++
	}
	c.turn()
	c.equal("left", c.b.Counters().Connected, uint64(1))
	c.equal("counted", c.b.Counters().ClosedBanned, uint64(count))
	if calls < count/sweptAtOnce {
		t.Errorf("%d calls", calls)
	}
	c.lives(other)
}

// TestBanLimited bans a client that is not read since it sends too much: what it has sent
// is not waited for.
func TestBanLimited(t *testing.T) {
	c := limitFlow(t, 2, flowSettings["bytes"])
	watcher := c.connect(packet.V5, "watcher")
	watcher.subscribe("will", 0)
	p := c.join(3, packet.V5, "pub", withWill(0))
	for i := range 100 {
		p.offerOnly(thousand(packet.V5, i, 0))
	}
	c.turn()
	c.equal("paused", p.paused, true)
	c.ban("client pub")
	c.turn()
	c.equal("closed", p.closed, true)
	c.closedWith(p, packet.AdministrativeAction)
	if _, ok := watcher.message(); !ok {
		t.Error("no will")
	}
	for _, s := range c.b.shards {
		c.equal("meters left", s.meters.byConn[connOf(p)] == nil, true)
	}
}

// TestBanOverTCP bans an address on each engine: connections that come are closed before a
// byte was answered, and those that are there end.
func TestBanOverTCP(t *testing.T) {
	overTCP(t, quietly(2), func(t *testing.T, b *Broker, address string) {
		dial := func() (net.Conn, *bufio.Reader) {
			c, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
			c.SetDeadline(time.Now().Add(5 * time.Minute))
			return c, bufio.NewReader(c)
		}
		c, r := dial()
		c.Write((&packet.Connect{Version: packet.V5, ClientID: []byte("c"), CleanStart: true}).Append(nil))
		if first, err := r.ReadByte(); err != nil || first != 0x20 {
			t.Fatal(first, err)
		}
		all, _ := ban.Parse("", []byte("address 127.0.0.0/8"))
		b.Ban(ban.Of(all))
		for {
			if _, err := r.ReadByte(); err != nil {
				break
			}
		}
		for range 10 {
			_, r := dial()
			if b, err := r.ReadByte(); err == nil {
				t.Fatalf("answered with %x", b)
			}
		}
		b.Ban(nil)
		c, r = dial()
		c.Write((&packet.Connect{Version: packet.V5, ClientID: []byte("c"), CleanStart: true}).Append(nil))
		if first, err := r.ReadByte(); err != nil || first != 0x20 {
			t.Fatal(first, err)
		}
	})
}
