package broker

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"midge/internal/packet"
)

// doorman is an Authenticator and its Permissions, which write down what they are
// asked.
type doorman struct {
	way       string // how verdicts come, one of ways
	verdict   func(Request) Verdict
	publish   func(topic string, qos packet.QoS, retain bool) bool // nil: everything; and so on
	subscribe func(filter string) bool
	receive   func(topic string) bool

	mu    sync.Mutex
	late  []func()
	asked []string
}

// ways are how a verdict can come.
var ways = []string{"at once", "at once, from another goroutine", "later", "later, from another goroutine", "at once, twice", "later, twice"}

// Connect implements Authenticator.
func (d *doorman) Connect(r Request, done func(Verdict)) {
	d.note("CONNECT %s", r.ClientID)
	v := Verdict{Permissions: d}
	if d.verdict != nil {
		v = d.verdict(r)
	}
	other := Verdict{Code: packet.Banned, ClientID: "other"}
	if v.Code.Failed() {
		other = Verdict{}
	}
	elsewhere := func() {
		told := make(chan bool)
		go func() { done(v); close(told) }()
		<-told
	}
	later := func(f func()) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.late = append(d.late, f)
	}
	switch d.way {
	case "at once, from another goroutine":
		elsewhere()
	case "later":
		later(func() { done(v) })
	case "later, from another goroutine":
		later(elsewhere)
	case "at once, twice":
		done(v)
		done(other)
		later(func() { done(other) })
	case "later, twice":
		later(func() { done(v); done(other) })
	default:
		done(v)
	}
}

// let lets all verdicts come that wait, with what follows from them.
func (d *doorman) let(w *world) {
	for range 4 {
		d.mu.Lock()
		late := d.late
		d.late = nil
		d.mu.Unlock()
		for _, f := range late {
			f()
		}
		w.turn()
	}
}

func (d *doorman) note(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = append(d.asked, fmt.Sprintf(format, args...))
}

// heard takes what was asked so far.
func (d *doorman) heard() (asked []string) {
	asked, d.asked = d.asked, nil
	return asked
}

func (d *doorman) Publish(topic []byte, qos packet.QoS, retain bool) bool {
	d.note("PUBLISH %s %d %t", topic, qos, retain)
	return d.publish == nil || d.publish(string(topic), qos, retain)
}

func (d *doorman) Subscribe(filter string) bool {
	d.note("SUBSCRIBE %s", filter)
	return d.subscribe == nil || d.subscribe(filter)
}

func (d *doorman) Receive(topic []byte) bool {
	d.note("receive %s", topic)
	return d.receive == nil || d.receive(string(topic))
}

// guarded is a world with a doorman.
func guarded(t *testing.T, shards int, d *doorman) *world {
	t.Helper()
	return newWorld(t, quietly(shards, func(c *setup) { c.Authenticator = d }))
}

// nothingJoins checks that nothing is left of connections that are not there
// any more, or are connected.
func nothingJoins(t *testing.T, w *world) {
	t.Helper()
	for _, s := range w.b.shards {
		if n := len(s.handshakes.waiting) + len(s.handshakes.open) + len(s.drains.byConn); n > 0 {
			t.Errorf("shard %d: %d joining, %d unconnected, %d drained", s.index, len(s.handshakes.waiting), len(s.handshakes.open), len(s.drains.byConn))
		}
		if s.handshakes.current.c != nil {
			t.Errorf("shard %d still holds the last CONNECT", s.index)
		}
	}
}

// code is a reason code of CONNACK as a version says it.
func code(v packet.Version, c packet.ReasonCode) byte {
	ack := packet.Connack{Code: c}
	return ack.Append(nil, v)[3]
}

// all takes all messages that there are, answers them, and returns their payloads.
func all(p *peer, settle func()) (payloads []string) {
	p.w.t.Helper()
	for settle(); len(p.out) > 0; settle() {
		ack := packet.Ack{Type: packet.PUBACK}
		if m, ok := p.silent(); ok {
			payloads = append(payloads, string(m.Payload))
			if ack.ID = m.ID; m.QoS == 0 {
				continue
			}
			if m.QoS == 2 {
				ack.Type = packet.PUBREC
			}
		} else {
			body := p.next(packet.PUBREL)
			ack.Type, ack.ID = packet.PUBCOMP, packet.ID(body[0])<<8|packet.ID(body[1])
		}
		p.bytes(ack.Append(nil, p.version))
	}
	return payloads
}

var versions = []packet.Version{packet.V31, packet.V311, packet.V5}

// TestVerdict lets verdicts come in all ways, with packets behind CONNECT.
func TestVerdict(t *testing.T) {
	for _, way := range ways {
		for _, v := range versions {
			for _, verdict := range []packet.ReasonCode{packet.Success, packet.NotAuthorized, packet.BadUserNameOrPassword} {
				for _, bytewise := range []bool{false, true} {
					t.Run(fmt.Sprintf("%s/%v/%v/bytewise=%t", way, v, verdict, bytewise), func(t *testing.T) {
						var r Request
						d := &doorman{way: way, verdict: func(got Request) Verdict {
							r = got
							r.UserName, r.Password = slices.Clone(r.UserName), slices.Clone(r.Password)
							return Verdict{Code: verdict, Principal: "p"}
						}}
						w := guarded(t, 3, d)
						p := w.dial(v)
						id := clientOn(2, 3, "c")
						all := (&packet.Connect{Version: v, ClientID: []byte(id), CleanStart: true, UserName: []byte("u"), Password: []byte("secret")}).Append(nil)
						all = append(all, 0xc0, 0)
						if bytewise {
							for i := range all {
								p.bytes(all[i : i+1])
							}
						} else {
							p.bytes(all)
						}
						if strings.HasPrefix(way, "later") {
							p.quiet()
						}
						d.let(w)
						if ack := p.next(packet.CONNACK); len(ack) < 2 || ack[1] != code(v, verdict) {
							t.Fatalf("CONNACK % x", ack)
						}
						if verdict == packet.Success {
							if p.next(packet.PINGRESP) == nil {
								t.Error("PINGREQ behind CONNECT was lost")
							}
						} else if !p.closed {
							t.Error("the connection is open")
						}
						p.quiet()
						if got := d.heard(); len(got) != 1 {
							t.Errorf("asked %q", got)
						}
						if r.ClientID != id || string(r.UserName) != "u" || string(r.Password) != "secret" || r.Peer != p.Peer() {
							t.Errorf("asked about %+v", r)
						}
						nothingJoins(t, w)
						if c := w.b.Counters(); c.RefusedAccess+c.Connected != 1 || c.Connections > 1 {
							t.Errorf("%d refused, %d connected, %d connections", c.RefusedAccess, c.Connected, c.Connections)
						}
					})
				}
			}
		}
	}
}

// TestVerdictForNobody lets verdicts come after the client has gone, and after
// another connection has taken its place.
func TestVerdictForNobody(t *testing.T) {
	for _, way := range []string{"later", "later, from another goroutine", "later, twice"} {
		for _, v := range versions {
			t.Run(fmt.Sprintf("%s/%v", way, v), func(t *testing.T) {
				d := &doorman{way: way}
				w := guarded(t, 2, d)
				hello := (&packet.Connect{Version: v, ClientID: []byte("id"), CleanStart: true}).Append(nil)
				gone := w.dial(v)
				gone.bytes(append(hello, 0xc0, 0))
				gone.hang()
				p := w.dial(v)
				p.bytes(hello)
				never := w.dial(v)
				never.bytes((&packet.Connect{Version: v, ClientID: []byte("never"), CleanStart: true}).Append(nil))
				late := d.late
				d.late = late[1:2]
				d.let(w)
				if ack := p.next(packet.CONNACK); len(ack) < 2 || ack[1] != 0 {
					t.Fatalf("CONNACK % x", ack)
				}
				w.pass(6 * time.Second)
				if ack := never.next(packet.CONNACK); len(ack) < 2 || ack[1] != code(v, packet.ServerUnavailable) || !never.closed {
					t.Errorf("nobody has decided: CONNACK % x, closed %t", ack, never.closed)
				}
				d.late = late
				d.let(w)
				gone.quiet()
				never.quiet()
				p.quiet()
				if p.closed {
					t.Error("a verdict for another connection ended this one")
				}
				nothingJoins(t, w)
			})
		}
	}
}

// TestWillAfterVerdict proves that nobody is asked about a will before it is
// known whose it is, and never about that of who is refused.
func TestWillAfterVerdict(t *testing.T) {
	for _, way := range ways {
		for _, v := range versions {
			for _, tt := range []struct {
				name       string
				verdict    packet.ReasonCode
				allowed    bool
				wantCode   packet.ReasonCode
				wantAsked  []string
				takesOver  bool
				willQoS    packet.QoS
				willRetain bool
			}{
				{"refused", packet.NotAuthorized, true, packet.NotAuthorized, []string{"CONNECT id"}, false, 1, false},
				{"will refused", packet.Success, false, packet.NotAuthorized, []string{"CONNECT id", "PUBLISH will 2 true"}, false, 2, true},
				{"allowed", packet.Success, true, packet.Success, []string{"CONNECT id", "PUBLISH will 0 false"}, true, 0, false},
				{"allowed, QoS 1 retained", packet.Success, true, packet.Success, []string{"CONNECT id", "PUBLISH will 1 true"}, true, 1, true},
			} {
				t.Run(fmt.Sprintf("%s/%v/%s", way, v, tt.name), func(t *testing.T) {
					d := &doorman{}
					w := guarded(t, 2, d)
					old := w.connect(v, "id")
					d.heard()
					d.way = way
					d.publish = func(string, packet.QoS, bool) bool { return tt.allowed }
					d.verdict = func(Request) Verdict { return Verdict{Code: tt.verdict, Permissions: d} }
					p := w.dial(v)
					c := packet.Connect{Version: v, ClientID: []byte("id"), CleanStart: true, HasWill: true}
					c.Will = packet.Will{Topic: []byte("will"), Payload: []byte("w"), QoS: tt.willQoS, Retain: tt.willRetain}
					p.bytes(c.Append(nil))
					d.let(w)
					if ack := p.next(packet.CONNACK); len(ack) < 2 || ack[1] != code(v, tt.wantCode) {
						t.Errorf("CONNACK % x, want 0x%02x", ack, code(v, tt.wantCode))
					}
					if got := d.heard(); !slices.Equal(got, tt.wantAsked) {
						t.Errorf("asked %q, want %q", got, tt.wantAsked)
					}
					if old.closed != tt.takesOver {
						t.Errorf("the older connection is closed: %t", old.closed)
					}
					nothingJoins(t, w)
				})
			}
		}
	}
}

// TestVerdictNamesClient lets verdicts give clients other ids than they ask for.
func TestVerdictNamesClient(t *testing.T) {
	const shards = 4
	for _, way := range ways {
		for _, v := range versions {
			for _, asks := range []string{"", "asked"} {
				if asks == "" && v == packet.V31 {
					continue
				}
				for shard := range shards {
					name := clientOn(shard, shards, "named")
					t.Run(fmt.Sprintf("%s/%v/asks for %q/shard %d", way, v, asks, shard), func(t *testing.T) {
						d := &doorman{way: way, verdict: func(Request) Verdict { return Verdict{ClientID: name} }}
						w := guarded(t, shards, d)
						join := func() *peer {
							p := w.dial(v)
							p.bytes(append((&packet.Connect{Version: v, ClientID: []byte(asks), CleanStart: true}).Append(nil), 0xc0, 0))
							d.let(w)
							return p
						}
						welcome := func(p *peer) {
							t.Helper()
							var ack packet.Connack
							if err := ack.Decode(v, 0x20, p.next(packet.CONNACK)); err != nil || ack.Code != packet.Success {
								t.Fatalf("CONNACK %+v, %v", ack, err)
							}
							if got := string(ack.Properties.AssignedClientID); v == packet.V5 && (got == name) != (asks == "") {
								t.Errorf("the client is told that it is %q", got)
							}
							if p.next(packet.PINGRESP) == nil {
								t.Error("PINGREQ behind CONNECT was lost")
							}
							if cl := w.b.shards[shard].clients.Get(name); cl == nil || cl.conn == nil || cl.conn.net != p {
								t.Error("the session is not where its client id belongs")
							}
						}
						first := join()
						welcome(first)
						second := join()
						welcome(second)
						if !first.closed {
							t.Error("the first connection was not taken over from")
						}
						third := join() // it has to wait for its turn, and is not asked again
						third.quiet()
						w.pass(firstWait + time.Second)
						welcome(third)
						if got := d.heard(); len(got) != 3 {
							t.Errorf("asked %q", got)
						}
						nothingJoins(t, w)
						w.turn()
						if c := w.b.Counters(); c.Connections != 1 || c.Connected != 1 || c.TakenOver != 2 || c.Delayed != 1 {
							t.Errorf("%d connections, %d connected, %d taken over, %d delayed; want 1, 1, 2 and 1", c.Connections, c.Connected, c.TakenOver, c.Delayed)
						}
					})
				}
			}
		}
	}
}

// TestVerdictNamesClientAfterContest moves a connection that had to wait for its
// turn with the id that it asked for.
func TestVerdictNamesClientAfterContest(t *testing.T) {
	const shards = 4
	for _, way := range ways {
		for shard := range shards {
			d := &doorman{}
			w := guarded(t, shards, d)
			w.connect(packet.V5, "id")
			w.connect(packet.V5, "id")
			name := clientOn(shard, shards, "named")
			d.way, d.verdict = way, func(Request) Verdict { return Verdict{ClientID: name} }
			p := w.dial(packet.V5)
			p.bytes((&packet.Connect{Version: packet.V5, ClientID: []byte("id"), CleanStart: true}).Append(nil))
			p.quiet()
			w.pass(firstWait + time.Second)
			d.let(w)
			if ack := p.next(packet.CONNACK); len(ack) < 2 || ack[1] != 0 || w.b.shards[shard].clients.Get(name) == nil {
				t.Errorf("%s, shard %d: CONNACK % x", way, shard, ack)
			}
			nothingJoins(t, w)
		}
	}
}

// TestVerdictNamesNonsense refuses client ids that MQTT does not allow.
func TestVerdictNamesNonsense(t *testing.T) {
	for _, v := range versions {
		for _, name := range []string{"\xff", "a\x00b", strings.Repeat("x", 65_536)} {
			w := guarded(t, 2, &doorman{verdict: func(Request) Verdict { return Verdict{ClientID: name} }})
			p := w.dial(v)
			p.bytes((&packet.Connect{Version: v, ClientID: []byte("id"), CleanStart: true}).Append(nil))
			if ack := p.next(packet.CONNACK); len(ack) < 2 || ack[1] != code(v, packet.ClientIdentifierNotValid) || !p.closed {
				t.Errorf("%v, %.5q: CONNACK % x", v, name, ack)
			}
			nothingJoins(t, w)
		}
	}
}

// TestVerdictWhileStopping refuses who is let in when the broker stops.
func TestVerdictWhileStopping(t *testing.T) {
	for _, name := range []string{"", clientOn(0, 2, "n"), clientOn(1, 2, "n")} {
		d := &doorman{way: "later", verdict: func(Request) Verdict { return Verdict{ClientID: name} }}
		w := guarded(t, 2, d)
		p := w.dial(packet.V5)
		p.bytes((&packet.Connect{Version: packet.V5, ClientID: []byte("id"), CleanStart: true}).Append(nil))
		w.b.stopping.Store(true)
		d.let(w)
		if ack := p.next(packet.CONNACK); len(ack) < 2 || ack[1] != byte(packet.ServerUnavailable) || !p.closed {
			t.Errorf("named %q: CONNACK % x", name, ack)
		}
		nothingJoins(t, w)
	}
}

// TestSizes keeps what each connection costs from growing.
func TestSizes(t *testing.T) {
	if n := unsafe.Sizeof(conn{}); n > 96 {
		t.Errorf("conn has %d bytes", n)
	}
	if n := unsafe.Sizeof(client{}); n > 96 {
		t.Errorf("client has %d bytes", n)
	}
	if n := unsafe.Sizeof(rare{}); n > 48 {
		t.Errorf("rare has %d bytes", n)
	}
}
