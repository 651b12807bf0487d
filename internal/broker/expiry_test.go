package broker

import (
	"fmt"
	"testing"
	"time"

	"midge/internal/packet"
	"midge/internal/store/memstore"
)

// leave sends a DISCONNECT that changes the Session Expiry Interval.
func (p *peer) leave(expiry uint32) {
	d := packet.Disconnect{}
	d.Properties.SessionExpiry = expiry
	d.Properties.Set(packet.PropSessionExpiry)
	p.bytes(d.Append(nil, p.version))
}

// TestExpiryByDisconnect changes the Session Expiry Interval by DISCONNECT, and
// kills the broker: the next one must know what the last word was.
func TestExpiryByDisconnect(t *testing.T) {
	wall := time.Unix(1_800_000_000, 0)
	for _, tt := range []struct{ before, after uint32 }{
		{60, never}, {60, 3600}, {60, never - 1}, {3600, 60}, {60, 1}, {60, 0}, {never, 60}, {never, 0}, {never - 1, never}, {60, 60}, {never, never},
	} {
		t.Run(fmt.Sprint(tt.before, " to ", tt.after), func(t *testing.T) {
			backend := memstore.New()
			w, _ := onStore(t, backend, wall, true)
			p, _, _ := w.join("c", expires(tt.before))
			p.subscribe("a", 1)
			p.leave(tt.after)
			w.turn()
			for _, away := range []time.Duration{0, 2 * time.Second, 61 * time.Second, 3601 * time.Second} {
				w, _ := onStore(t, backend, wall, true)
				w.pass(min(away, 61*time.Second))
				if away > w.now {
					w.now = away
					w.turn()
				}
				want := time.Duration(tt.after)*time.Second > away
				if n := w.b.Counters().Disconnected; (n == 1) != want {
					t.Errorf("after %v there are %d sessions, want one: %v", away, n, want)
				}
				if !want {
					break // it is gone from the disk too
				}
			}
		})
	}
}
