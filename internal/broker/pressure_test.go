package broker

import (
	"fmt"
	"testing"
	"time"

	"midge/internal/packet"
)

func TestFullMailbox(t *testing.T) {
	const shards = 2
	w := newWorld(t, quietly(shards, func(c *setup) { c.Limits.MailboxBytes = 1000 }))
	sub := w.connect(packet.V311, clientOn(1, shards, "sub"))
	sub.subscribe("a", 1)
	first := w.connect(packet.V311, clientOn(0, shards, "first"))
	second := w.connect(packet.V311, clientOn(0, shards, "second"))
	third := w.connect(packet.V311, clientOn(0, shards, "third"))
	publish := func(id packet.ID, qos packet.QoS, text string) []byte {
		return (&packet.Publish{Topic: []byte("a"), Payload: []byte(text), QoS: qos, ID: id}).Append(nil, packet.V311)
	}
	const n = 100
	var all []byte
	for i := range n {
		all = append(all, publish(packet.ID(i+1), 1, fmt.Sprint(i))...)
	}
	first.offerOnly(all)
	if !first.paused || len(first.in) == 0 {
		t.Fatal("the publisher goes on although the other shard is over its limit")
	}
	// Other publishers of the shard fill the mailbox on until they are paused
	// as well; QoS 0 beyond twice the limit is dropped.
	second.offerOnly(publish(1, 1, string(make([]byte, 2000))))
	third.offerOnly(publish(0, 0, "too much"))
	if !second.paused || !third.paused {
		t.Error("publishers are not paused")
	}
	for range 4 { // a mailbox at a time
		w.turn()
	}
	if first.paused || second.paused || third.paused || len(first.in) > 0 {
		t.Error("publishers are still paused after the mailbox was drained")
	}
	var got, large int
	for m, ok := sub.message(); ok; m, ok = sub.message() {
		switch {
		case len(m.Payload) == 2000:
			large++
		case string(m.Payload) == fmt.Sprint(got):
			got++
		default:
			t.Fatalf("got %q, want %d", m.Payload, got)
		}
	}
	if got != n || large != 1 {
		t.Errorf("%d and %d messages arrived, want %d and 1", got, large, n)
	}
	if c := w.b.Counters(); c.PausedPublishers < 3 || c.DroppedMailbox != 1 {
		t.Errorf("%d times paused, %d dropped; want at least 3, and 1", c.PausedPublishers, c.DroppedMailbox)
	}
}

// slowAuthenticator answers when the test wants.
type slowAuthenticator struct{ answers chan func(Verdict) }

func (a slowAuthenticator) Connect(_ Request, done func(Verdict)) { a.answers <- done }

func TestAuthenticatorThatThinks(t *testing.T) {
	const shards = 2
	access := slowAuthenticator{make(chan func(Verdict), 4)}
	w := newWorld(t, quietly(shards, func(c *setup) { c.Authenticator = access }))
	connect := func(id string) (*peer, func(packet.ReasonCode)) {
		p := w.dial(packet.V5)
		p.bytes((&packet.Connect{Version: packet.V5, ClientID: []byte(id), CleanStart: true}).Append(nil))
		p.quiet()
		done := <-access.answers
		return p, func(code packet.ReasonCode) { done(Verdict{Code: code}) }
	}
	t.Run("yes, from another goroutine", func(t *testing.T) {
		p, answer := connect(clientOn(1, shards, "yes"))
		p.in = append(p.in, packet.Pingreq{}.Append(nil, packet.V5)...) // waits behind CONNECT
		done := make(chan bool)
		go func() { answer(packet.Success); close(done) }()
		<-done
		w.turn()
		if ack := p.next(packet.CONNACK); ack == nil || ack[1] != 0 {
			t.Fatalf("CONNACK % x", ack)
		}
		if p.next(packet.PINGRESP) == nil {
			t.Error("the packet behind CONNECT got lost")
		}
	})
	t.Run("no", func(t *testing.T) {
		p, answer := connect(clientOn(0, shards, "no"))
		answer(packet.NotAuthorized)
		w.turn()
		if ack := p.next(packet.CONNACK); ack == nil || packet.ReasonCode(ack[1]) != packet.NotAuthorized || !p.closed {
			t.Errorf("CONNACK % x, closed %v", ack, p.closed)
		}
	})
	t.Run("an assigned client id stays", func(t *testing.T) {
		p, answer := connect("")
		answer(packet.Success)
		w.turn()
		var ack packet.Connack
		if err := ack.Decode(packet.V5, 0x20, p.next(packet.CONNACK)); err != nil || len(ack.Properties.AssignedClientID) == 0 {
			t.Errorf("%v, assigned %q", err, ack.Properties.AssignedClientID)
		}
	})
	t.Run("too late", func(t *testing.T) {
		p, answer := connect(clientOn(1, shards, "late"))
		p.hang()
		answer(packet.Success)
		w.turn()
		p.quiet()
		q, other := connect(clientOn(1, shards, "never"))
		w.pass(6 * time.Second)
		if !q.closed {
			t.Error("the connection outlives the time for CONNECT")
		}
		other(packet.Success)
		w.turn()
	})
	if c := w.b.Counters(); c.Connected != 2 || c.RefusedAccess != 1 {
		t.Errorf("%d connected, %d refused; want 2 and 1", c.Connected, c.RefusedAccess)
	}
}

func TestLimitPerAddress(t *testing.T) {
	w := newWorld(t, quietly(1, func(c *setup) { c.Limits.ConnectionsPerIP = 2 }))
	a, b := w.connect(packet.V5, "a"), w.connect(packet.V5, "b")
	c := w.dial(packet.V5)
	c.bytes((&packet.Connect{Version: packet.V5, ClientID: []byte("third")}).Append(nil))
	if body := c.next(packet.CONNACK); len(body) < 2 || body[1] != byte(packet.QuotaExceeded) || !c.closed {
		t.Errorf("a third connection from the address got CONNACK %x", body)
	}
	a.hang()
	w.connect(packet.V5, "c")
	b.bytes(packet.Pingreq{}.Append(nil, packet.V5))
	if b.next(packet.PINGRESP) == nil {
		t.Error("another client was hurt")
	}
	if c := w.b.Counters(); c.RefusedPerIP != 1 || c.Connections != 2 {
		t.Errorf("%d refused, %d connections; want 1 and 2", c.RefusedPerIP, c.Connections)
	}
}
