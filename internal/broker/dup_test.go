package broker

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"midge/internal/packet"
	"midge/internal/store"
	"midge/internal/store/memstore"
)

// dups takes what has come, and returns the payloads, with a star if with DUP.
func (p *peer) dups() string {
	p.w.t.Helper()
	var list []string
	for {
		first, body, size, _ := packet.Split(p.out, packet.MaxSize)
		if size == 0 {
			return strings.Join(list, " ")
		}
		p.out = p.out[size:]
		if packet.TypeOf(first) != packet.PUBLISH {
			continue
		}
		var m packet.Publish
		if err := m.Decode(p.version, first, body); err != nil {
			p.w.t.Fatal(err)
		}
		text := string(m.Payload)
		if m.Dup {
			text += "*"
		}
		list = append(list, text)
	}
}

// TestDupAfterRestart proves that a QoS 1 message which the client may have has
// DUP after a restart, and one that was never sent has not, as far as anybody
// can know (MQTT-3.3.1-1).
func TestDupAfterRestart(t *testing.T) {
	const (
		leaves = iota // before the broker ends
		stays         // connected when the broker ends
		stays2        // and the broker ends twice
	)
	for _, version := range []packet.Version{packet.V311, packet.V5} {
		for _, expiry := range []uint32{3600, never} {
			if version == packet.V311 && expiry != never {
				continue
			}
			for _, tt := range []struct {
				how  int
				want string
			}{
				{leaves, "sent* sent* waits waits away away"},
				{stays, "sent* sent* waits* waits* away away"},
				{stays2, "sent* sent* waits* waits* away away"},
			} {
				t.Run(fmt.Sprint(version, " expiry ", expiry, " how ", tt.how), func(t *testing.T) {
					var backend store.Backend = memstore.New()
					start := func() *world {
						w, _ := onStore(t, backend, time.Now(), true, func(c *setup) { c.Session.Inflight = 2 })
						return w
					}
					join := func(w *world, id string) *peer {
						p := w.dial(version)
						c := packet.Connect{Version: version, ClientID: []byte(id)}
						if version == packet.V5 {
							expires(expiry)(&c)
						}
						p.bytes(c.Append(nil))
						if body := p.next(packet.CONNACK); len(body) < 2 || body[1] != 0 {
							t.Fatalf("CONNACK % x", body)
						}
						return p
					}
					publish := func(w *world, text string) {
						pub := w.connect(packet.V5, "pub")
						for range 2 {
							pub.publish("a", text, 1, false)
						}
						pub.hang()
					}
					w := start()
					p := join(w, "c")
					p.subscribe("a", 1)
					publish(w, "sent")
					publish(w, "waits") // for the window
					if got := p.dups(); got != "sent sent" {
						t.Fatalf("got %q first", got)
					}
					if tt.how == leaves {
						p.hang()
					}
					w = start()
					if tt.how == stays2 {
						w.turn()
						w = start()
					}
					publish(w, "away")
					w = start() // once more, and the client was away all the time
					p = join(w, "c")
					got := p.dups()
					for id := packet.ID(1); id <= 6; id++ {
						p.bytes((&packet.Ack{Type: packet.PUBACK, ID: id}).Append(nil, version))
						if more := p.dups(); more != "" {
							got += " " + more
						}
					}
					if got != tt.want {
						t.Errorf("after the restart came %q, want %q", got, tt.want)
					}
				})
			}
		}
	}
}

// TestDupOfWhatCameBack proves that messages which a client got after it came
// back count as sent: also if it leaves again, or the broker dies.
func TestDupOfWhatCameBack(t *testing.T) {
	for _, leaves := range []bool{false, true} {
		for _, expiry := range []uint32{3600, never} {
			backend := memstore.New()
			w, _ := onStore(t, backend, time.Now(), true)
			p, _, _ := w.join("c", expires(expiry))
			p.subscribe("a", 1)
			p.hang()
			pub := w.connect(packet.V5, "pub")
			pub.publish("a", "m", 1, false)
			p, _, _ = w.join("c", expires(expiry))
			if got := p.dups(); got != "m" {
				t.Fatalf("got %q", got)
			}
			if leaves {
				p.hang()
				pub.publish("a", "n", 1, false)
			}
			w, _ = onStore(t, backend, time.Now(), true)
			p, _, _ = w.join("c", expires(expiry))
			want := "m*"
			if leaves {
				want = "m* n"
			}
			if got := p.dups(); got != want {
				t.Errorf("leaves %v, expiry %d: got %q, want %q", leaves, expiry, got, want)
			}
		}
	}
}
