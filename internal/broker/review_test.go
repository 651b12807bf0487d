package broker

import (
	"errors"
	"fmt"
	"testing"

	"midge/internal/engine"
	"midge/internal/packet"
)

// TestReview ends those whose certificates have been revoked, some in each turn, and nobody
// else; their wills are published.
func TestReview(t *testing.T) {
	for _, v := range []packet.Version{packet.V31, packet.V311, packet.V5} {
		t.Run(fmt.Sprint(v), func(t *testing.T) {
			revoked := map[engine.Conn]bool{}
			asked := 0
			w := newWorld(t, quietly(2, func(c *setup) {
				c.Revoked = func(n engine.Conn) error {
					if asked++; revoked[n] {
						return errors.New("revoked")
					}
					return nil
				}
			}))
			c := &changing{T: t, world: w}
			const clients = 3000
			peers := make([]*peer, clients)
			for i := range peers {
				p := w.dial(v)
				connect := packet.Connect{Version: v, ClientID: fmt.Appendf(nil, "c%d", i), CleanStart: true}
				if i == 0 {
					connect.HasWill, connect.Will = true, packet.Will{Topic: []byte("will"), Payload: []byte("gone")}
				}
				p.offerOnly(connect.Append(nil))
				peers[i] = p
			}
			w.turn()
			watcher, _ := c.ask(v, "watcher")
			watcher.subscribe("will", 0)
			for i, p := range peers {
				p.next(packet.CONNACK)
				if i%3 == 0 {
					revoked[p] = true
				}
			}
			w.b.Review()
			asked = 0
			for range len(w.posts) {
				(<-w.posts)()
			}
			for turn := 0; ; turn++ {
				before := asked
				more := false
				for _, s := range w.b.shards {
					s.Turn(w.now)
					more = more || s.review.on
				}
				if asked-before > 2*1024 {
					t.Errorf("%d clients in a turn of two shards", asked-before)
				}
				if !more {
					if turn < 1 {
						t.Error("all in one turn")
					}
					break
				}
			}
			w.turn()
			for i, p := range peers {
				if p.closed != (i%3 == 0) {
					t.Fatalf("client %d: closed %t", i, p.closed)
				}
			}
			if v == packet.V5 {
				c.closedWith(peers[3], packet.NotAuthorized)
			}
			watcher.want("gone")
			if n := w.b.Counters(); n.Revoked != clients/3 || n.Connected != clients-clients/3+1 {
				t.Errorf("counted %d, and %d are connected", n.Revoked, n.Connected)
			}

			// Who has shaken hands before, and sends CONNECT now, is refused.
			late := w.dial(v)
			revoked[late] = true
			late.bytes((&packet.Connect{Version: v, ClientID: []byte("late"), CleanStart: true}).Append(nil))
			if late.next(packet.CONNACK)[1] == 0 || !late.closed {
				t.Error("is let in")
			}
			nothingJoins(t, w)
		})
	}
}
