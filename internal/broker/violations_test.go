package broker

import (
	"fmt"
	"testing"

	"midge/internal/packet"
)

// violation is something that a client must not do, in a state that makes it
// wrong or does not, and what comes of it.
type violation struct {
	name   string
	from   packet.Version // of the standard's versions, the first that knows it
	before func(w *world, p *peer)
	send   func(v packet.Version) []byte
	code   packet.ReasonCode                       // of DISCONNECT; 0: the connection goes on, and
	answer func(v packet.Version, b []byte) string // tells what is wrong with the answer
}

// delivered makes the broker send a message of a QoS, with identifier 1.
func delivered(qos packet.QoS) func(w *world, p *peer) {
	return func(w *world, p *peer) {
		p.subscribe("t", qos)
		pub := w.connect(packet.V311, "pub")
		pub.publish("t", "x", qos, false)
		p.out = nil
	}
}

func ackOf(t packet.Type, id packet.ID) func(packet.Version) []byte {
	return func(v packet.Version) []byte { return (&packet.Ack{Type: t, ID: id}).Append(nil, v) }
}

func subscribeTo(filters ...string) func(packet.Version) []byte {
	return func(v packet.Version) []byte {
		p := packet.Subscribe{ID: 5}
		for _, f := range filters {
			p.Subscriptions = append(p.Subscriptions, packet.Subscription{Filter: []byte(f)})
		}
		return p.Append(nil, v)
	}
}

func unsubscribeFrom(filters ...string) func(packet.Version) []byte {
	return func(v packet.Version) []byte {
		p := packet.Unsubscribe{ID: 5}
		for _, f := range filters {
			p.Filters = append(p.Filters, []byte(f))
		}
		return p.Append(nil, v)
	}
}

func publishing(p packet.Publish) func(packet.Version) []byte {
	return func(v packet.Version) []byte { return p.Append(nil, v) }
}

func raw(b ...byte) func(packet.Version) []byte { return func(packet.Version) []byte { return b } }

// answers expects a packet, with the code in 5.0.
func answers(t packet.Type, code packet.ReasonCode) func(packet.Version, []byte) string {
	return func(v packet.Version, b []byte) string {
		if len(b) == 0 || packet.TypeOf(b[0]) != t {
			return fmt.Sprintf("got % x, want %v", b, t)
		}
		if v == packet.V5 && code != 0 && packet.ReasonCode(b[len(b)-1]) != code && (len(b) < 5 || packet.ReasonCode(b[4]) != code) {
			return fmt.Sprintf("got % x, want %v", b, code)
		}
		return ""
	}
}

func nothing(_ packet.Version, b []byte) string {
	if len(b) > 0 {
		return fmt.Sprintf("got % x, want nothing", b)
	}
	return ""
}

// violations are those that depend on a state, or on what strings mean; package
// packet has those of syntax.
func violations() (all []violation) {
	const wrong, malformed = packet.ProtocolError, packet.MalformedPacket
	add := func(v violation) { all = append(all, v) }

	// The wrong acknowledgement (5.0 sections 4.3 and 4.13.1, 3.1.1 section 4.8).
	for _, a := range []struct {
		qos packet.QoS
		t   packet.Type
	}{{1, packet.PUBREC}, {1, packet.PUBCOMP}, {2, packet.PUBACK}, {2, packet.PUBCOMP}} {
		add(violation{name: fmt.Sprintf("%v for QoS %d", a.t, a.qos), before: delivered(a.qos), send: ackOf(a.t, 1), code: wrong})
	}
	add(violation{name: "PUBACK after PUBREC", before: func(w *world, p *peer) {
		delivered(2)(w, p)
		p.bytes(ackOf(packet.PUBREC, 1)(p.version))
		p.out = nil
	}, send: ackOf(packet.PUBACK, 1), code: wrong})
	for t, answer := range map[packet.Type]func(packet.Version, []byte) string{
		packet.PUBACK: nothing, packet.PUBCOMP: nothing,
		packet.PUBREC: answers(packet.PUBREL, packet.PacketIdentifierNotFound),
		packet.PUBREL: answers(packet.PUBCOMP, packet.PacketIdentifierNotFound),
	} { // an earlier connection may have known it
		add(violation{name: t.String() + " for an identifier that is not in use", send: ackOf(t, 77), answer: answer})
		if t == packet.PUBACK || t == packet.PUBCOMP {
			add(violation{name: t.String() + " twice", before: func(w *world, p *peer) {
				delivered(1)(w, p)
				p.bytes(ackOf(packet.PUBACK, 1)(p.version))
			}, send: ackOf(t, 1), answer: nothing})
		}
	}
	add(violation{name: "PUBREC twice", before: func(w *world, p *peer) {
		delivered(2)(w, p)
		p.bytes(ackOf(packet.PUBREC, 1)(p.version))
		p.out = nil
	}, send: ackOf(packet.PUBREC, 1), answer: answers(packet.PUBREL, 0)})

	// Filters that are none (4.7.1, 4.7.3, 5.0 section 4.8.2).
	for _, f := range []string{"", "#/a", "a/#/b", "a/b#", "a/#b", "##", "ab/+e", "a+", "+a", "++", "a/+#", "$share/g/a+", "$share/g/#/a"} {
		add(violation{name: "SUBSCRIBE " + f, send: subscribeTo(f), code: wrong})
		add(violation{name: "SUBSCRIBE good and " + f, send: subscribeTo("good", f), code: wrong})
		add(violation{name: "UNSUBSCRIBE " + f, send: unsubscribeFrom("good", f), code: wrong})
	}
	for _, f := range []string{"$share/g", "$share/", "$share//f", "$share/+/f", "$share/g#/f", "$share/#"} {
		add(violation{name: "SUBSCRIBE " + f, from: packet.V5, send: subscribeTo("good", f), code: wrong})
		add(violation{name: "UNSUBSCRIBE " + f, from: packet.V5, send: unsubscribeFrom("good", f), code: wrong})
	}
	for _, f := range []string{"a\x00b", "\xff", "\xed\xa0\x80"} {
		add(violation{name: fmt.Sprintf("SUBSCRIBE %q", f), send: subscribeTo(f), code: malformed})
		add(violation{name: fmt.Sprintf("UNSUBSCRIBE %q", f), send: unsubscribeFrom(f), code: malformed})
	}
	add(violation{name: "SUBSCRIBE over a limit of ours", send: subscribeTo("a/b/c/d/e/f/g/h/i"), answer: answers(packet.SUBACK, packet.TopicFilterInvalid)})

	// PUBLISH.
	for name, topic := range map[string]string{"#": "a/#", "+": "a/+/b"} {
		add(violation{name: "PUBLISH with " + name, send: publishing(packet.Publish{Topic: []byte(topic)}), code: packet.TopicNameInvalid})
	}
	shared := []byte("$share/g/a")
	add(violation{name: "PUBLISH to $share, QoS 0", send: publishing(packet.Publish{Topic: shared}), answer: nothing})
	add(violation{name: "PUBLISH to $share, QoS 1", send: publishing(packet.Publish{Topic: shared, QoS: 1, ID: 3}), answer: answers(packet.PUBACK, packet.TopicNameInvalid)})
	add(violation{name: "PUBLISH to $share, QoS 2", send: publishing(packet.Publish{Topic: shared, QoS: 2, ID: 3}), answer: answers(packet.PUBREC, packet.TopicNameInvalid)})
	alias := func(n uint16, topic string) func(packet.Version) []byte {
		p := packet.Publish{Topic: []byte(topic)}
		p.Properties.TopicAlias = n
		return publishing(p)
	}
	add(violation{name: "topic alias that was never set", from: packet.V5, send: alias(1, ""), code: wrong})
	add(violation{name: "topic alias over the maximum", from: packet.V5, send: alias(17, "a"), code: packet.TopicAliasInvalid})
	add(violation{name: "topic alias 0", from: packet.V5, send: raw(0x30, 7, 0, 1, 'a', 3, 0x23, 0, 0), code: packet.TopicAliasInvalid})
	add(violation{name: "subscription identifier from a client", from: packet.V5, send: raw(0x30, 6, 0, 1, 'a', 2, 0x0b, 1), code: wrong})
	add(violation{name: "more than Receive Maximum", from: packet.V5, before: func(w *world, p *peer) {
		for id := range 4 {
			p.bytes((&packet.Publish{Topic: []byte("a"), QoS: 2, ID: packet.ID(id + 1)}).Append(nil, p.version))
		}
		p.out = nil
	}, send: publishing(packet.Publish{Topic: []byte("a"), QoS: 1, ID: 9}), code: packet.ReceiveMaximumExceeded})
	add(violation{name: "QoS 2 again before PUBREL", before: func(w *world, p *peer) {
		p.bytes((&packet.Publish{Topic: []byte("a"), QoS: 2, ID: 1}).Append(nil, p.version))
		p.out = nil
	}, send: publishing(packet.Publish{Topic: []byte("a"), QoS: 2, ID: 1, Dup: true}), answer: answers(packet.PUBREC, 0)})
	// A client that lost its state, and not its session, uses identifiers again.
	// The standard has no MUST for the server, so it goes on.
	add(violation{name: "QoS 1 with the identifier of a QoS 2 exchange", before: func(w *world, p *peer) {
		p.bytes((&packet.Publish{Topic: []byte("a"), QoS: 2, ID: 1}).Append(nil, p.version))
		p.out = nil
	}, send: publishing(packet.Publish{Topic: []byte("a"), QoS: 1, ID: 1}), answer: answers(packet.PUBACK, 0)})

	// SUBSCRIBE.
	add(violation{name: "No Local on a shared subscription", from: packet.V5, send: raw(0x82, 16, 0, 5, 0, 0, 10, '$', 's', 'h', 'a', 'r', 'e', '/', 'g', '/', 'a', 4), code: wrong})
	add(violation{name: "subscription identifier 0", from: packet.V5, send: raw(0x82, 9, 0, 5, 2, 0x0b, 0, 0, 1, 'a', 0), code: wrong})

	// The order of packets.
	add(violation{name: "a second CONNECT", send: func(v packet.Version) []byte {
		return (&packet.Connect{Version: v, ClientID: []byte("bad"), CleanStart: true}).Append(nil)
	}, code: wrong})
	add(violation{name: "AUTH without a method", from: packet.V5, send: raw(0xf0, 0), code: wrong})
	for name, b := range map[string][]byte{
		"CONNACK": {0x20, 2, 0, 0}, "SUBACK": {0x90, 3, 0, 1, 0}, "UNSUBACK": {0xb0, 2, 0, 1}, "PINGRESP": {0xd0, 0},
	} {
		add(violation{name: name + " from a client", send: raw(b...), code: wrong})
	}
	expiry := (&packet.Disconnect{})
	expiry.Properties.SessionExpiry = 10
	expiry.Properties.Set(packet.PropSessionExpiry)
	add(violation{name: "DISCONNECT sets an expiry", from: packet.V5, send: func(v packet.Version) []byte { return expiry.Append(nil, v) }, code: wrong})
	return all
}

// TestViolations lets clients do what they must not, or what looks like it.
func TestViolations(t *testing.T) {
	for _, tt := range violations() {
		for _, v := range []packet.Version{packet.V31, packet.V311, packet.V5} {
			if v < tt.from {
				continue
			}
			t.Run(fmt.Sprintf("%v/%s", v, tt.name), func(t *testing.T) {
				w := newWorld(t, quietly(1, func(c *setup) {
					c.Limits.TopicLevels, c.Session.ReceiveMaximum = 8, 4
				}))
				p := w.connect(v, "bad")
				p.out = nil
				if tt.before != nil {
					tt.before(w, p)
				}
				b := tt.send(v)
				p.bytes(b)
				p.bytes(nil)
				if tt.code == 0 {
					if p.closed {
						t.Fatalf("the connection has ended: % x", p.out)
					}
					if wrong := tt.answer(v, p.out); wrong != "" {
						t.Fatal(wrong)
					}
					return
				}
				if !p.closed {
					t.Fatalf("the connection goes on after % x: % x", b, p.out)
				}
				if v != packet.V5 {
					p.quiet()
				} else if len(p.out) < 3 || p.out[0] != 0xe0 || packet.ReasonCode(p.out[2]) != tt.code {
					t.Errorf("got % x, want DISCONNECT with %v", p.out, tt.code)
				}
				if c := w.b.Counters(); c.Faults != 1 || c.Subscriptions > 1 {
					t.Errorf("%d faults, %d subscriptions", c.Faults, c.Subscriptions)
				}
			})
		}
	}
}

// TestConnectionsThatNeverBegin refuses CONNECT, and changes nothing of the
// session of the same client id or of its connection.
func TestConnectionsThatNeverBegin(t *testing.T) {
	w := newWorld(t, quietly(1))
	probe := w.dial(packet.V5)
	probe.bytes((&packet.Connect{Version: packet.V5, ClientID: []byte("probe")}).Append(nil))
	size := uint32(len(probe.out)) // of CONNACK
	will := func(topic string) func(*packet.Connect) {
		return func(c *packet.Connect) { c.HasWill, c.Will = true, packet.Will{Topic: []byte(topic)} }
	}
	for _, tt := range []struct {
		name   string
		from   packet.Version
		change func(*packet.Connect)
		code   packet.ReasonCode // of CONNACK in 5.0; 0: no word is fit
	}{
		{"Maximum Packet Size of 1", packet.V5, mostBytes(1), 0},
		{"Maximum Packet Size of 4", packet.V5, mostBytes(4), 0},
		{"Maximum Packet Size just too small", packet.V5, mostBytes(size - 1), 0},
		{"will to #", packet.V31, will("a/#"), packet.TopicNameInvalid},
		{"will to $share", packet.V31, will("$share/g/a"), packet.TopicNameInvalid},
		{"will to $SYS", packet.V31, will("$SYS/a"), packet.NotAuthorized},
		{"authentication method", packet.V5, func(c *packet.Connect) {
			c.Properties.AuthMethod = []byte("x")
			c.Properties.Set(packet.PropAuthMethod)
		}, packet.BadAuthenticationMethod},
	} {
		for _, v := range []packet.Version{packet.V31, packet.V311, packet.V5} {
			if v < tt.from {
				continue
			}
			t.Run(fmt.Sprintf("%v/%s", v, tt.name), func(t *testing.T) {
				w := newWorld(t, quietly(1))
				first := w.connect(packet.V311, "same")
				first.subscribe("a", 0)
				p := w.dial(v)
				c := packet.Connect{Version: v, ClientID: []byte("same"), CleanStart: true}
				tt.change(&c)
				p.bytes(c.Append(nil))
				if !p.closed {
					t.Fatalf("accepted: % x", p.out)
				}
				if v == packet.V5 && tt.code != 0 {
					if ack := p.next(packet.CONNACK); len(ack) < 2 || packet.ReasonCode(ack[1]) != tt.code {
						t.Errorf("CONNACK % x, want %v", ack, tt.code)
					}
				} else if tt.code == 0 {
					p.quiet()
				}
				if first.closed {
					t.Fatal("the connection of before was taken over")
				}
				first.publish("a", "still", 0, false)
				first.want("still")
			})
		}
	}
	w.connect(packet.V5, "enough", mostBytes(size))
}

// mostBytes sets the Maximum Packet Size.
func mostBytes(n uint32) func(*packet.Connect) {
	return func(c *packet.Connect) {
		c.Properties.MaximumPacketSize = n
		c.Properties.Set(packet.PropMaximumPacketSize)
	}
}
