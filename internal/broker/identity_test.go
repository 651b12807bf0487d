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
		if n := len(s.joining) + len(s.unconnected) + len(s.hearings); n > 0 {
			t.Errorf("shard %d: %d joining, %d unconnected, %d heard out", s.index, len(s.joining), len(s.unconnected), len(s.hearings))
		}
		if s.attempt.c != nil {
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

// TestMayPublish refuses some messages, of some topics and kinds. Answers are
// remembered, for each client, until they change.
func TestMayPublish(t *testing.T) {
	for _, v := range versions {
		for qos := range packet.QoS(3) {
			for _, retain := range []bool{false, true} {
				t.Run(fmt.Sprintf("%v/QoS %d/retain=%t", v, qos, retain), func(t *testing.T) {
					allowed := false
					d := &doorman{publish: func(topic string, q packet.QoS, r bool) bool {
						return topic == "free" || (q == qos && r == retain) == allowed
					}}
					w := guarded(t, 2, d)
					watcher := w.connect(v, "watcher")
					watcher.subscribe("#", 2)
					a, b := w.connect(v, "a"), w.connect(v, "b")
					n := 0
					publish := func(p *peer, topic string) (came bool, code byte) {
						n++
						m := packet.Publish{Topic: []byte(topic), Payload: fmt.Append(nil, n), QoS: qos, Retain: retain}
						if qos > 0 {
							m.ID = packet.ID(n)
						}
						p.bytes(m.Append(nil, v))
						if qos > 0 {
							ack := p.next([]packet.Type{0, packet.PUBACK, packet.PUBREC}[qos])
							if ack == nil {
								t.Fatalf("message %d was not answered", n)
							}
							if len(ack) > 2 {
								code = ack[2]
							}
						}
						if qos == 2 && code < 0x80 {
							p.bytes((&packet.Ack{Type: packet.PUBREL, ID: packet.ID(n)}).Append(nil, v))
							p.next(packet.PUBCOMP)
						}
						came = len(all(watcher, w.turn)) > 0
						return came, code
					}
					for round, may := range []bool{false, true, false} {
						allowed = may
						w.b.PermissionsChanged()
						w.turn()
						d.heard()
						before := w.b.Counters().RefusedAccess
						for range 50 {
							for _, p := range []*peer{a, b} {
								for _, topic := range []string{"t", "free"} {
									came, code := publish(p, topic)
									want := may || topic == "free"
									if came != want || v == packet.V5 && qos > 0 && (code == byte(packet.NotAuthorized)) == want {
										t.Fatalf("round %d, %s: came %t, code 0x%02x; want %t", round, topic, came, code, want)
									}
								}
							}
						}
						asked := slices.DeleteFunc(d.heard(), func(s string) bool { return !strings.HasPrefix(s, "PUBLISH") })
						if most := 4*2 + 4; may && len(asked) > most { // no route is remembered at first
							t.Errorf("asked %d times about 200 messages, want %d at most", len(asked), most)
						}
						w.turn()
						want := uint64(100)
						if may {
							want = 0
						}
						if got := w.b.Counters().RefusedAccess - before; got != want {
							t.Errorf("%d refusals are counted, want %d", got, want)
						}
					}
				})
			}
		}
	}
}

// TestMayPublishAfterReconnect proves that what a client might do does not count
// when it comes back as somebody else.
func TestMayPublishAfterReconnect(t *testing.T) {
	free, bound := &doorman{}, &doorman{publish: func(string, packet.QoS, bool) bool { return false }}
	var who Permissions = free
	w := guarded(t, 1, &doorman{verdict: func(Request) Verdict { return Verdict{Permissions: who} }})
	watcher := w.connect(packet.V5, "watcher")
	watcher.subscribe("#", 0)
	for round := range 6 {
		who = free
		if round%2 == 1 {
			who = bound
		}
		p := w.connect(packet.V5, "p", last)
		for range 5 {
			p.publish("t", "x", 0, false)
			if _, came := watcher.message(); came != (round%2 == 0) {
				t.Fatalf("round %d: the message came: %t", round, came)
			}
		}
		p.bytes([]byte{0xe0, 0})
	}
}

// TestMayReceive keeps messages from clients that subscribe to more than they
// may receive: connected and away, live and retained, in memory and on disk.
func TestMayReceive(t *testing.T) {
	const shards = 2
	for _, durable := range []bool{false, true} {
		for _, v := range versions {
			for qos := range packet.QoS(3) {
				for shard := range shards {
					t.Run(fmt.Sprintf("durable=%t/%v/QoS %d/shard %d", durable, v, qos, shard), func(t *testing.T) {
						d := &doorman{receive: func(topic string) bool { return !strings.HasPrefix(topic, "secret") }}
						var w *world
						settle := func() { w.turn() }
						if durable {
							l := lateWorldOf(t, quietly(shards, func(c *setup) { c.Authenticator = d }), 0)
							w, settle = l.world, l.let
						} else {
							w = guarded(t, shards, d)
						}
						id := clientOn(shard, shards, "c")
						join := func() *peer {
							p := w.dial(v)
							c := packet.Connect{Version: v, ClientID: []byte(id)}
							last(&c)
							p.bytes(c.Append(nil))
							settle()
							if ack := p.next(packet.CONNACK); len(ack) < 2 || ack[1] != 0 {
								t.Fatalf("CONNACK % x", ack)
							}
							return p
						}
						pub := w.dial(v)
						pub.bytes((&packet.Connect{Version: v, ClientID: []byte(clientOn(0, shards, "pub")), CleanStart: true}).Append(nil))
						settle()
						n := packet.ID(0)
						publish := func(topic string, retain bool) {
							m := packet.Publish{Topic: []byte(topic), Payload: []byte(topic), QoS: qos, Retain: retain}
							if n++; qos > 0 {
								m.ID = n
							}
							pub.bytes(m.Append(nil, v))
							settle()
						}
						p := join()
						collect := func() []string { return all(p, settle) }
						want := func(what string, want ...string) {
							t.Helper()
							if got := collect(); !slices.Equal(got, want) {
								t.Errorf("%s: got %q, want %q", what, got, want)
							}
						}
						publish("secret/kept", true)
						publish("open/kept", true)
						p.bytes((&packet.Subscribe{ID: 7, Subscriptions: []packet.Subscription{{Filter: []byte("#"), QoS: qos}}}).Append(nil, v))
						settle()
						p.next(packet.SUBACK)
						want("retained", "open/kept")
						d.heard()
						for range 20 {
							publish("secret/x", false)
							publish("open/x", false)
						}
						if got := collect(); len(got) != 20 || slices.Contains(got, "secret/x") {
							t.Errorf("live: got %q", got)
						}
						asked := slices.DeleteFunc(d.heard(), func(s string) bool { return !strings.HasPrefix(s, "receive") })
						if len(asked) > 8 { // the first times no route is remembered
							t.Errorf("asked %d times about 40 messages", len(asked))
						}
						p.hang()
						publish("secret/x", false)
						publish("open/x", false)
						p = join()
						if qos == 0 {
							want("away")
						} else {
							want("away", "open/x")
						}
						publish("secret/x", false)
						publish("open/x", false)
						want("before a change", "open/x")
						d.receive = func(topic string) bool { return topic == "secret/x" }
						w.b.PermissionsChanged()
						w.turn()
						publish("secret/x", false)
						publish("open/x", false)
						want("after a change", "secret/x")
						p.hang()
						d.receive = nil // it comes back as somebody else
						p = join()
						publish("secret/x", false)
						publish("open/x", false)
						want("as another", "secret/x", "open/x")
						settle()
						w.pass(time.Second)
						if n := w.b.Counters().Stored; n != 0 {
							t.Errorf("%d messages are stored that nobody waits for", n)
						}
					})
				}
			}
		}
	}
}

// TestMayReceiveShared gives messages of a shared subscription to members that
// may receive them, and drops those that none may.
func TestMayReceiveShared(t *testing.T) {
	const shards = 2
	for qos := range packet.QoS(2) {
		for _, lasting := range []bool{false, true} {
			t.Run(fmt.Sprintf("QoS %d/lasting=%t", qos, lasting), func(t *testing.T) {
				few := &doorman{receive: func(topic string) bool { return topic == "open" }}
				most := &doorman{receive: func(topic string) bool { return topic != "nobody" }}
				w := guarded(t, shards, &doorman{verdict: func(r Request) Verdict {
					switch r.ClientID {
					case "few":
						return Verdict{Permissions: few}
					case "most":
						return Verdict{Permissions: most}
					}
					return Verdict{}
				}})
				change := func(c *packet.Connect) {
					if lasting {
						last(c)
					}
				}
				a, b := w.connect(packet.V5, "few", change), w.connect(packet.V5, "most", change)
				for _, p := range []*peer{a, b} {
					p.subscribe("$share/g/#", qos)
				}
				pub := w.connect(packet.V5, "pub")
				count := func(p *peer) (n int) {
					for {
						if _, ok := p.message(); !ok {
							return n
						}
						n++
					}
				}
				publish := func(topic string) {
					pub.publish(topic, topic, qos, false)
					if qos > 0 {
						pub.next(packet.PUBACK)
					}
				}
				for range 10 {
					publish("open")
				}
				if x, y := count(a), count(b); x+y != 10 || x == 0 || y == 0 {
					t.Errorf("what both may receive: %d and %d messages", x, y)
				}
				for range 10 {
					publish("closed")
				}
				if x, y := count(a), count(b); x != 0 || y != 10 {
					t.Errorf("what one may receive: %d and %d messages", x, y)
				}
				for range 10 {
					publish("nobody")
				}
				if x, y, c := count(a), count(b), w.b.Counters(); x+y != 0 || c.DroppedRight != 10 {
					t.Errorf("what nobody may receive: %d and %d messages, %d counted", x, y, c.DroppedRight)
				}
				publish("open")
				if x, y := count(a), count(b); x+y != 1 {
					t.Errorf("behind it: %d and %d messages", x, y)
				}
				few.receive = nil // it comes back as somebody else
				a.bytes([]byte{0xe0, 0})
				a = w.connect(packet.V5, "few", change)
				if !lasting {
					a.subscribe("$share/g/#", qos)
				}
				for range 10 {
					publish("nobody")
				}
				if x, y := count(a), count(b); x != 10 || y != 0 {
					t.Errorf("as another: %d and %d messages", x, y)
				}
			})
		}
	}
}

// TestSharedQueueWithoutRight proves that a message which no member may receive
// does not keep those behind it in the queue of a group.
func TestSharedQueueWithoutRight(t *testing.T) {
	d := &doorman{receive: func(topic string) bool { return topic != "secret" }}
	w := guarded(t, 2, d)
	p := w.connect(packet.V5, "p", last)
	p.subscribe("$share/g/#", 1)
	p.hang()
	pub := w.connect(packet.V5, "pub")
	for _, topic := range []string{"a", "secret", "b"} {
		pub.publish(topic, topic, 1, false)
	}
	p = w.connect(packet.V5, "p", last)
	w.pass(time.Second)
	p.want("a")
	w.pass(time.Second)
	p.want("b")
	p.quiet()
	if c := w.b.Counters(); c.DroppedRight != 1 {
		t.Errorf("%d messages are counted that nobody may receive, want 1", c.DroppedRight)
	}
}

// TestMaySubscribe refuses some filters of a SUBSCRIBE.
func TestMaySubscribe(t *testing.T) {
	for _, v := range versions {
		w := guarded(t, 1, &doorman{subscribe: func(filter string) bool { return filter != "secret/#" }})
		p := w.connect(v, "p")
		refused := packet.ReasonCode(packet.UnspecifiedError)
		if v == packet.V5 {
			refused = packet.NotAuthorized
		}
		for filter, want := range map[string]packet.ReasonCode{"secret/#": refused, "secret/x": 1, "open/#": 1} {
			if v == packet.V31 && want == refused {
				continue // it has no word for it
			}
			if got := p.subscribe(filter, 1); got != want {
				t.Errorf("%v, %s: 0x%02x, want 0x%02x", v, filter, byte(got), byte(want))
			}
		}
	}
}

// TestPermitsAreBounded proves that answers for very many clients make a shard
// begin anew, like routes for very many topics.
func TestPermitsAreBounded(t *testing.T) {
	w := guarded(t, 1, &doorman{})
	s := w.b.shards[0]
	for range 3 {
		s.routeOf([]byte("t"))
	}
	r := s.routes.byName["t"]
	if r == nil {
		t.Fatal("the route is not remembered")
	}
	for range cachedBytes/permitBytes + 1000 {
		s.mayPublish(&identity{permissions: &doorman{}}, r, []byte("t"), 0, false)
	}
	w.turn()
	if !r.gone || s.routes.bytes > cachedBytes {
		t.Errorf("%d bytes of routes, dropped %t", s.routes.bytes, r.gone)
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
