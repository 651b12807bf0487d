package session

import (
	"bytes"
	"fmt"
	"testing"

	"midge/internal/message"
	"midge/internal/packet"
)

// BenchmarkDeliver is a message to a client that is connected and its
// acknowledgements.
func BenchmarkDeliver(b *testing.B) {
	for qos := range packet.QoS(3) {
		for _, v := range []packet.Version{packet.V311, packet.V5} {
			b.Run(fmt.Sprintf("qos=%d/%v", qos, v), func(b *testing.B) {
				s := online(testConfig(), v, 4)
				borrowed := &message.Message{Topic: []byte("plant/7/line/3/temperature1"), Payload: bytes.Repeat([]byte{'x'}, 64), QoS: qos}
				d := Delivery{Message: Cloned(borrowed), QoS: qos} // no copy of the message
				out := make([]byte, 0, 1<<10)
				var answer packet.Ack
				b.ReportAllocs()
				for id := packet.ID(1); b.Loop(); id++ {
					if id == 0 {
						id = 1
					}
					out, _, _ = s.Deliver(out[:0], d, 0)
					for _, t := range [][]packet.Type{nil, {packet.PUBACK}, {packet.PUBREC, packet.PUBCOMP}}[qos] {
						var err error
						answer = packet.Ack{Type: t, ID: id}
						if out, err = s.Ack(out[:0], &answer); err != nil {
							b.Fatal(err)
						}
					}
				}
				if s.Inflight() != 0 {
					b.Fatal("messages are in flight")
				}
			})
		}
	}
}
