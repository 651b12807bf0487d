package broker

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"midge/internal/packet"
)

// TestLapse ends connections when what they have proven who they are with expires,
// however the verdict comes, and not those that ended before.
func TestLapse(t *testing.T) {
	for _, v := range versions {
		for _, way := range ways {
			t.Run(fmt.Sprintf("%v/%s", v, way), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					d := &doorman{way: way, verdict: func(r Request) Verdict {
						if r.ClientID == "forever" {
							return Verdict{}
						}
						return Verdict{Expires: time.Now().Add(time.Minute)}
					}}
					w := guarded(t, 3, d)
					join := func(id string) *peer {
						p := w.dial(v)
						p.bytes((&packet.Connect{Version: v, ClientID: []byte(id), CleanStart: true}).Append(nil))
						d.let(w)
						if ack := p.next(packet.CONNACK); len(ack) < 2 || ack[1] != 0 {
							t.Fatalf("CONNACK % x", ack)
						}
						return p
					}
					a, forever := join("a"), join("forever")
					gone := join("gone")
					gone.bytes([]byte{0xe0, 0})
					w.turn()
					w.pass(59 * time.Second)
					if a.closed {
						t.Fatal("closed too early")
					}
					w.pass(2 * time.Second)
					if v == packet.V5 {
						if body := a.next(packet.DISCONNECT); len(body) < 1 || body[0] != byte(packet.NotAuthorized) {
							t.Errorf("DISCONNECT % x", body)
						}
					}
					if w.turn(); !a.closed || forever.closed {
						t.Errorf("closed: %t, and %t who has no end", a.closed, forever.closed)
					}
					if n := w.b.Counters().Lapsed; n != 1 {
						t.Errorf("%d are counted, want 1", n)
					}
					for _, s := range w.b.shards {
						if len(s.lapses) > 0 {
							t.Errorf("shard %d: %d are left", s.index, len(s.lapses))
						}
					}
				})
			})
		}
	}
}
