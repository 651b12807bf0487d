package broker

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"midge/internal/packet"
	"midge/internal/settings"
)

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

// TestRefusedPublish answers what a client may not publish as the setting says, in
// all versions. Nobody gets it.
func TestRefusedPublish(t *testing.T) {
	for _, policy := range []string{settings.Acknowledge, settings.Disconnect} {
		for _, v := range versions {
			for qos := range packet.QoS(3) {
				t.Run(fmt.Sprintf("%s/%v/QoS %d", policy, v, qos), func(t *testing.T) {
					d := &doorman{publish: func(topic string, _ packet.QoS, _ bool) bool { return topic != "secret" }}
					w := newWorld(t, quietly(2, func(c *setup) { c.Authenticator, c.ACL.RefusedPublish = d, policy }))
					watcher := w.connect(packet.V5, "watcher")
					watcher.subscribe("#", 0)
					p := w.connect(v, "p")
					m := packet.Publish{Topic: []byte("secret"), Payload: []byte("x"), QoS: qos}
					if qos > 0 {
						m.ID = 7
					}
					p.bytes(m.Append(nil, v))
					closes := policy == settings.Disconnect && v != packet.V5
					if qos > 0 && !closes {
						ack := p.next([]packet.Type{0, packet.PUBACK, packet.PUBREC}[qos])
						if len(ack) < 2 || (v == packet.V5) != (len(ack) > 2 && ack[2] == byte(packet.NotAuthorized)) {
							t.Errorf("the answer is % x", ack)
						}
					}
					if p.quiet(); p.closed != closes {
						t.Errorf("closed: %t", p.closed)
					}
					watcher.quiet()
					w.turn()
					if n := w.b.Counters().RefusedAccess; n != 1 {
						t.Errorf("%d refusals are counted", n)
					}
				})
			}
		}
	}
}

// TestMayPublishSome lets a client publish to a topic with some QoS and RETAIN and
// not with others, in turn.
func TestMayPublishSome(t *testing.T) {
	type kind struct {
		qos    packet.QoS
		retain bool
	}
	kinds := []kind{{0, false}, {1, false}, {2, false}, {0, true}, {1, true}, {2, true}}
	for set := range 1 << len(kinds) {
		may := func(i int) bool { return set&(1<<i) != 0 }
		w := guarded(t, 1, &doorman{publish: func(_ string, qos packet.QoS, retain bool) bool {
			return may(slices.Index(kinds, kind{qos, retain}))
		}})
		watcher := w.connect(packet.V311, "watcher")
		watcher.subscribe("#", 0)
		p := w.connect(packet.V311, "p")
		for range 5 {
			for i, k := range kinds {
				m := packet.Publish{Topic: []byte("t"), Payload: []byte("x"), QoS: k.qos, Retain: k.retain, ID: packet.ID(i)}
				p.bytes(m.Append(nil, packet.V311))
				if k.qos == 2 {
					p.bytes((&packet.Ack{Type: packet.PUBREL, ID: m.ID}).Append(nil, packet.V311))
				}
				if came := len(all(watcher, w.turn)) > 0; came != may(i) {
					t.Fatalf("set %06b, %+v: came %t", set, k, came)
				}
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
				few = &doorman{} // it comes back as somebody else
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

// TestMemberWithoutRightIsAway proves that a message does not wait with a member
// that may not receive it.
func TestMemberWithoutRightIsAway(t *testing.T) {
	d := &doorman{receive: func(topic string) bool { return topic != "secret" }}
	w := newWorld(t, quietly(2, func(c *setup) { c.Authenticator, c.Session.SharedQueue = d, settings.WithMember }))
	p := w.connect(packet.V5, "p", last)
	p.subscribe("$share/g/#", 1)
	p.hang()
	pub := w.connect(packet.V5, "pub")
	for _, topic := range []string{"secret", "open"} {
		pub.publish(topic, topic, 1, false)
	}
	p = w.connect(packet.V5, "p", last)
	p.want("open")
	p.quiet()
	if c := w.b.Counters(); c.DroppedGroup != 1 {
		t.Errorf("%d messages are counted as dropped, want 1", c.DroppedGroup)
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
