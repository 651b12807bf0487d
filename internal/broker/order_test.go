package broker

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"midge/internal/packet"
	"midge/internal/store/memstore"
)

// payloads takes the messages that have come and acknowledges nothing.
func (p *peer) payloads() (list []string, ids []packet.ID) {
	p.w.t.Helper()
	for {
		first, body, size, _ := packet.Split(p.out, packet.MaxSize)
		if size == 0 {
			return list, ids
		}
		p.out = p.out[size:]
		if packet.TypeOf(first) != packet.PUBLISH {
			continue
		}
		var m packet.Publish
		if err := m.Decode(p.version, first, slices.Clone(body)); err != nil {
			p.w.t.Fatal(err)
		}
		list, ids = append(list, string(m.Payload)), append(ids, m.ID)
	}
}

// TestOrderAfterRefusal proves that messages keep their order although the
// client refuses one of them: what PUBREC makes room for does not wait for the
// disk, and so is not overtaken by what a later acknowledgement makes room for
// (MQTT-4.6.0-6).
func TestOrderAfterRefusal(t *testing.T) {
	for _, code := range []packet.ReasonCode{packet.Success, packet.UnspecifiedError, packet.ImplementationSpecificError} {
		t.Run(code.String(), func(t *testing.T) {
			w, st := onStore(t, memstore.New(), time.Now(), false)
			step := func() {
				for range 3 {
					st.Step()
					w.turn()
				}
			}
			p := w.dial(packet.V5)
			c := packet.Connect{Version: packet.V5, ClientID: []byte("reader")}
			expires(3600)(&c)
			c.Properties.ReceiveMaximum = 2
			c.Properties.Set(packet.PropReceiveMaximum)
			p.bytes(c.Append(nil))
			step()
			p.bytes((&packet.Subscribe{ID: 7, Subscriptions: []packet.Subscription{{Filter: []byte("a"), QoS: 2}}}).Append(nil, packet.V5))
			step()
			p.out = nil
			pub := w.connect(packet.V5, "pub")
			pub.publish("a", "m1", 2, false)
			step()
			for i := range 4 {
				pub.publish("a", fmt.Sprint("m", i+2), 1, false)
				step()
			}
			got, ids := p.payloads()
			if !slices.Equal(got, []string{"m1", "m2"}) {
				t.Fatalf("got %v", got)
			}
			all := (&packet.Ack{Type: packet.PUBREC, ID: ids[0], Code: code}).Append(nil, packet.V5)
			all = (&packet.Ack{Type: packet.PUBACK, ID: ids[1]}).Append(all, packet.V5)
			p.bytes(all)
			got, _ = p.payloads()
			step()
			more, _ := p.payloads()
			if got = append(got, more...); !slices.IsSorted(got) {
				t.Errorf("then %v", got)
			}
			if want := 2; code.Failed() && len(got) != want {
				t.Errorf("%d messages, the window has room for %d", len(got), want)
			}
		})
	}
}
