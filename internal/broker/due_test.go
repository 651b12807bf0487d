package broker

import (
	"testing"
	"time"

	"midge/internal/packet"
)

// TestDueBeforeReturn proves that a session has ended when its time is over,
// although its timer, which has the resolution of the wheel, has not run.
func TestDueBeforeReturn(t *testing.T) {
	w := newWorld(t, quietly(1))
	c := packet.Connect{Version: packet.V5, ClientID: []byte("c")}
	c.Properties.SessionExpiry = 1
	c.Properties.Set(packet.PropSessionExpiry)
	present := func() bool {
		p := w.dial(packet.V5)
		p.bytes(c.Append(nil))
		body := p.next(packet.CONNACK)
		if body == nil || body[1] != 0 {
			t.Fatalf("CONNACK %x", body)
		}
		p.hang()
		return body[0] == 1
	}
	step := func(d time.Duration) {
		w.now += d
		w.turn()
	}
	step(tick / 10)
	present()
	step(time.Second - tick/5)
	if !present() {
		t.Error("no session before its time was over")
	}
	step(time.Second) // the timer is due with the next tick
	if present() {
		t.Error("a session after its time was over")
	}
}
