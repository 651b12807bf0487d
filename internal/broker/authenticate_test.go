package broker

import (
	"testing"

	"midge/internal/packet"
)

// TestAuthenticate exchanges the Authenticator of a running broker: who comes is for the new
// one, who is connected stays, and what the old one was asked it still answers.
func TestAuthenticate(t *testing.T) {
	for _, shards := range []int{1, 3} {
		for _, way := range ways {
			t.Run(way, func(t *testing.T) {
				c := &changing{T: t, world: newWorld(t, quietly(shards))}
				code := func(ack packet.Connack) packet.ReasonCode { return ack.Code }
				early, ack := c.ask(packet.V5, "early")
				if code(ack) != packet.Success {
					t.Fatal(ack.Code)
				}
				applied := 0
				exchange := func(a Authenticator) {
					t.Helper()
					applied = 0
					c.b.Authenticate(a, func() { applied++ })
					c.turn()
					if applied != 1 {
						t.Errorf("applied was called %d times", applied)
					}
				}
				thinks := &doorman{way: "later"}
				exchange(thinks)
				waits := c.dial(packet.V5)
				waits.bytes((&packet.Connect{Version: packet.V5, ClientID: []byte("waits"), CleanStart: true}).Append(nil))
				denies := &doorman{way: way, verdict: func(Request) Verdict { return Verdict{Code: packet.Banned} }}
				exchange(denies)
				if len(waits.out) > 0 {
					t.Errorf("an answer before the verdict: % x", waits.out)
				}
				late := c.dial(packet.V5)
				late.bytes((&packet.Connect{Version: packet.V5, ClientID: []byte("late"), CleanStart: true}).Append(nil))
				denies.let(c.world)
				if err := ack.Decode(packet.V5, 0x20, late.next(packet.CONNACK)); err != nil || ack.Code != packet.Banned {
					t.Errorf("the new one was to refuse: %v, %v", ack.Code, err)
				}
				thinks.let(c.world)
				if err := ack.Decode(packet.V5, 0x20, waits.next(packet.CONNACK)); err != nil || ack.Code != packet.Success {
					t.Errorf("the old one lets in whom it was asked about: %v, %v", ack.Code, err)
				}
				c.lives(early)
				c.lives(waits)

				// Nobody had Permissions before; now those of subscribers count.
				receives := &doorman{receive: func(topic string) bool { return topic != "secret" }}
				exchange(receives)
				sub, _ := c.ask(packet.V5, "sub")
				sub.subscribe("#", 0)
				sub.out = nil
				early.publish("secret", "secret", 0, false)
				early.publish("open", "open", 0, false)
				sub.want("open")
				sub.quiet()
				exchange(nil)
				if _, ack := c.ask(packet.V5, "anybody"); code(ack) != packet.Success {
					t.Error(ack.Code)
				}
				nothingJoins(t, c.world)
			})
		}
	}
}
