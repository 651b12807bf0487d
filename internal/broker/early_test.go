package broker

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"midge/internal/packet"
	"midge/internal/store"
	"midge/internal/store/memstore"
)

// lateWorld is a broker whose disk, and whoever decides about access, answer
// when the test says so.
type lateWorld struct {
	*world
	st      *store.Store
	backend *breakable
	access  *lateAuthenticator // nil: everybody may connect
}

// breakable is a backend that can fail for good.
type breakable struct {
	store.Backend
	broken bool
}

func (b *breakable) Commit(sync bool, lists ...*store.Changes) error {
	if b.broken {
		return errors.New("broken")
	}
	return b.Backend.Commit(sync, lists...)
}

func newLateWorld(t testing.TB, access bool, interval time.Duration) *lateWorld {
	t.Helper()
	if !access {
		return lateWorldOf(t, quietly(2), interval)
	}
	late := &lateAuthenticator{}
	l := lateWorldOf(t, quietly(2, func(c *setup) { c.Authenticator = late }), interval)
	l.access = late
	return l
}

// lateWorldOf is a lateWorld whose verdicts are cfg's business.
func lateWorldOf(t testing.TB, cfg setup, interval time.Duration) *lateWorld {
	t.Helper()
	l := &lateWorld{backend: &breakable{Backend: memstore.New()}}
	stored := store.Config{Clock: store.NewClock(time.Unix(1_800_000_000, 0), 0), Interval: interval}
	l.world, l.st = storedWorld(t, l.backend, cfg, stored, 0, false)
	l.load(0)
	return l
}

// let gives all answers there are, until there are no more.
func (l *lateWorld) let() {
	for range 4 {
		if l.access != nil {
			l.access.answer(packet.Success)
		}
		l.turn()
		l.st.Step()
		l.st.StepReads()
		l.turn()
	}
}

// waitings are what makes CONNACK wait, and how CONNECT asks for it.
var waitings = []struct {
	name     string
	access   bool
	interval time.Duration
	change   func(*packet.Connect)
}{
	{"access", true, 0, func(*packet.Connect) {}},
	{"commit", false, 0, func(c *packet.Connect) { last(c) }},
	{"interval", false, time.Second, func(c *packet.Connect) { last(c) }},
	{"access, commit", true, 0, func(c *packet.Connect) { last(c) }},
	{"a will", false, 0, func(c *packet.Connect) {
		c.HasWill, c.Will = true, packet.Will{Topic: []byte("will"), Payload: []byte("w")}
	}},
}

// last asks for a session that outlives the connection.
func last(c *packet.Connect) {
	c.CleanStart = false
	if c.Version == packet.V5 {
		c.Properties.SessionExpiry = 3600
		c.Properties.Set(packet.PropSessionExpiry)
	}
}

// early are the packets that a client may send behind CONNECT without waiting
// for CONNACK (MQTT 5.0 section 3.1.4), right or wrong.
func early(v packet.Version) map[string][]byte {
	publish := func(p packet.Publish) []byte {
		p.Topic, p.Payload = []byte("t"), []byte("early")
		return p.Append(nil, v)
	}
	ack := func(t packet.Type) []byte { return (&packet.Ack{Type: t, ID: 1}).Append(nil, v) }
	all := map[string][]byte{
		"PUBLISH 0":        publish(packet.Publish{}),
		"PUBLISH 1":        publish(packet.Publish{QoS: 1, ID: 1}),
		"PUBLISH 2":        publish(packet.Publish{QoS: 2, ID: 1}),
		"PUBLISH retained": publish(packet.Publish{QoS: 1, ID: 1, Retain: true}),
		"PUBLISH large":    (&packet.Publish{Topic: []byte("t"), Payload: make([]byte, 100_000)}).Append(nil, v),
		"QoS 2":            append(publish(packet.Publish{QoS: 2, ID: 1}), ack(packet.PUBREL)...),
		"PUBACK":           ack(packet.PUBACK),
		"PUBREC":           ack(packet.PUBREC),
		"PUBREL":           ack(packet.PUBREL),
		"PUBCOMP":          ack(packet.PUBCOMP),
		"SUBSCRIBE":        (&packet.Subscribe{ID: 1, Subscriptions: []packet.Subscription{{Filter: []byte("x/#"), QoS: 1}}}).Append(nil, v),
		"UNSUBSCRIBE":      (&packet.Unsubscribe{ID: 1, Filters: [][]byte{[]byte("x/#")}}).Append(nil, v),
		"PINGREQ":          packet.Pingreq{}.Append(nil, v),
		"DISCONNECT":       (&packet.Disconnect{}).Append(nil, v),
		"CONNECT":          (&packet.Connect{Version: v, ClientID: []byte("early"), CleanStart: true}).Append(nil),
		"AUTH":             {0xf0, 0},
		"SUBACK":           {0x90, 3, 0, 1, 0},
		"malformed":        {0x82, 2, 0, 0},
		"no packet":        {0x00, 0},
	}
	all["PUBLISH 0, DISCONNECT"] = append(publish(packet.Publish{}), all["DISCONNECT"]...)
	all["PUBLISH 1, PINGREQ, SUBSCRIBE"] = append(append(publish(packet.Publish{QoS: 1, ID: 9}), all["PINGREQ"]...), all["SUBSCRIBE"]...)
	if v == packet.V5 {
		p := packet.Publish{Topic: []byte("t"), Payload: []byte("1")}
		p.Properties.TopicAlias = 1
		all["alias"] = p.Append(nil, v)
		p.Topic = nil
		all["alias"] = append(all["alias"], p.Append(nil, v)...)
		all["alias that is not set"] = p.Append(nil, v)
		all["DISCONNECT with will"] = (&packet.Disconnect{Code: packet.DisconnectWithWill}).Append(nil, v)
	}
	return all
}

// heardOf is what comes of bytes that a client sends.
type heardOf struct {
	answers string // to the client, behind CONNACK
	closed  bool
	watched string // by a client that subscribes to everything
}

// TestEarly sends all kinds of packets behind CONNECT while CONNACK waits for
// all kinds of reasons. Nothing of them is looked at before CONNACK is out, and
// then all comes of them that would have come of them later.
func TestEarly(t *testing.T) {
	for _, v := range []packet.Version{packet.V31, packet.V311, packet.V5} {
		for name, b := range early(v) {
			for _, wt := range waitings {
				connect := packet.Connect{Version: v, ClientID: []byte("early"), CleanStart: true}
				wt.change(&connect)
				for _, bytewise := range []bool{false, true} {
					if bytewise && len(b) > 1000 {
						continue
					}
					t.Run(fmt.Sprintf("%v/%s/%s/bytewise=%t", v, name, wt.name, bytewise), func(t *testing.T) {
						got := behind(t, wt.access, wt.interval, connect, b, bytewise, false)
						want := behind(t, wt.access, wt.interval, connect, b, bytewise, true)
						if got != want {
							t.Errorf("before CONNACK\n%+v, after it\n%+v", got, want)
						}
					})
				}
			}
		}
	}
}

// behind sends bytes behind CONNECT, before or after CONNACK.
func behind(t *testing.T, access bool, interval time.Duration, connect packet.Connect, b []byte, bytewise, after bool) (got heardOf) {
	t.Helper()
	l := newLateWorld(t, access, interval)
	watcher := l.dial(packet.V311)
	watcher.bytes((&packet.Connect{Version: packet.V311, ClientID: []byte("watcher"), CleanStart: true}).Append(nil))
	l.let()
	watcher.next(packet.CONNACK)
	watcher.subscribe("#", 0)

	p := l.dial(connect.Version)
	all := connect.Append(nil)
	if after {
		p.bytes(all)
		l.let()
		all = b
	} else {
		all = append(all, b...)
	}
	if bytewise {
		for i := range all {
			p.bytes(all[i : i+1])
		}
	} else {
		p.bytes(all)
	}
	if !after {
		for range 3 {
			l.turn()
		}
		if len(p.out) > 0 || p.closed || len(watcher.out) > 0 {
			t.Fatalf("before CONNACK: sent % x, closed %t, a watcher got % x", p.out, p.closed, watcher.out)
		}
	}
	l.let()
	if ack := p.next(packet.CONNACK); len(ack) < 2 || ack[1] != 0 {
		t.Fatalf("CONNACK % x", ack)
	}
	return heardOf{fmt.Sprintf("% x", p.out), p.closed, fmt.Sprintf("%q", watcher.out)}
}

// TestEarlyGone ends connections whose CONNACK waits, with packets behind it.
func TestEarlyGone(t *testing.T) {
	for _, v := range []packet.Version{packet.V31, packet.V311, packet.V5} {
		connect := packet.Connect{Version: v, ClientID: []byte("early")}
		connect.HasWill, connect.Will = true, packet.Will{Topic: []byte("will"), Payload: []byte("w")}
		last(&connect)
		b := connect.Append(nil)
		b = append(b, early(v)["PUBLISH 1"]...)
		for name, end := range map[string]func(l *lateWorld, p *peer){
			"the peer": func(l *lateWorld, p *peer) { p.hang() },
			"a takeover": func(l *lateWorld, p *peer) {
				q := l.dial(v)
				q.bytes(connect.Append(nil))
				l.let()
				if ack := q.next(packet.CONNACK); len(ack) < 2 || ack[1] != 0 {
					l.t.Errorf("the second gets CONNACK % x", ack)
				}
			},
		} {
			t.Run(fmt.Sprintf("%v/%s", v, name), func(t *testing.T) {
				l := newLateWorld(t, false, 0)
				p := l.dial(v)
				p.bytes(b)
				end(l, p)
				l.let()
				if name == "a takeover" { // it is drained first: see drainOlder
					p.next(packet.CONNACK)
					p.next(packet.PUBACK)
					if v == packet.V5 {
						p.next(packet.DISCONNECT)
					}
				}
				if len(p.out) > 0 || !p.closed {
					t.Errorf("sent % x, closed %t", p.out, p.closed)
				}
			})
		}
	}
}

// TestEarlyDiskFails lets the disk fail while CONNACK waits for it: CONNECT is
// refused, and nothing behind it counts.
func TestEarlyDiskFails(t *testing.T) {
	for _, v := range []packet.Version{packet.V31, packet.V311, packet.V5} {
		for name, b := range early(v) {
			t.Run(fmt.Sprintf("%v/%s", v, name), func(t *testing.T) {
				l := newLateWorld(t, false, 0)
				watcher := l.connect(packet.V311, "watcher")
				watcher.subscribe("#", 0)
				connect := packet.Connect{Version: v, ClientID: []byte("early")}
				connect.HasWill, connect.Will = true, packet.Will{Topic: []byte("will"), Payload: []byte("w")}
				last(&connect)
				p := l.dial(v)
				p.bytes(append(connect.Append(nil), b...))
				l.backend.broken = true
				l.let()
				want := []byte{0x20, 2, 0, 3}
				if v == packet.V5 {
					want = []byte{0x20, 3, 0, 0x97, 0}
				}
				if !bytes.Equal(p.out, want) || !p.closed {
					t.Errorf("got % x, closed %t; want % x and the end", p.out, p.closed, want)
				}
				watcher.quiet()
			})
		}
	}
}

// TestEarlyUndecided lets nobody decide about a CONNECT.
func TestEarlyUndecided(t *testing.T) {
	for _, v := range []packet.Version{packet.V31, packet.V311, packet.V5} {
		l := newLateWorld(t, true, 0)
		p := l.dial(v)
		p.bytes(append((&packet.Connect{Version: v, ClientID: []byte("early"), CleanStart: true}).Append(nil), 0xc0, 0))
		l.pass(6 * time.Second)
		ack := p.next(packet.CONNACK)
		want := byte(3)
		if v == packet.V5 {
			want = byte(packet.ServerUnavailable)
		}
		if len(ack) < 2 || ack[1] != want || !p.closed {
			t.Errorf("%v: CONNACK % x, closed %t", v, ack, p.closed)
		}
		p.quiet()
		l.let()
		p.quiet()
	}
}
