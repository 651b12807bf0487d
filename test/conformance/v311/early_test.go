package v311

import (
	"fmt"
	"testing"

	"midge/internal/packet"
	. "midge/test/conformance/mqtt3"
)

// TestEarly sends packets behind CONNECT without waiting for CONNACK (section
// 3.1.4), and ends the connection in several ways while they may still wait.
func TestEarly(t *testing.T) {
	t.Parallel()
	for _, session := range []bool{false, true} {
		for _, end := range []string{"DISCONNECT", "DISCONNECT and the end", "none"} {
			for _, bytewise := range []bool{false, true} {
				t.Run(fmt.Sprintf("session=%t/%s/bytewise=%t", session, end, bytewise), func(t *testing.T) {
					t.Parallel()
					topic := unique()
					watcher := connect(t, Options{})
					watcher.Subscribe(topic+"/#", 1)
					silence := newBarrier(watcher)
					o := Options{ID: unique(), Session: session, Will: &Will{Topic: topic + "/will", Payload: "will"}}
					b := connectPacket(o)
					b = append(b, Packet(0x82, 0, 5, topic+"/own", 1)...)
					for qos := range byte(3) {
						b = append(b, Publish(0x30|qos<<1, topic+"/early", packet.ID(qos)*(6+packet.ID(qos)), fmt.Sprint(qos))...)
					}
					b = append(b, 0xc0, 0)
					if end != "none" {
						b = append(b, 0xe0, 0)
					}
					c := dial(t)
					if bytewise {
						for i := range b {
							c.Send(b[i : i+1])
						}
					} else {
						c.Send(b)
					}
					if end == "DISCONNECT and the end" {
						c.CloseWrite()
					}
					c.Expect(Connack, 2, 0, 0)
					if end == "none" { // after DISCONNECT nothing need come
						for range 4 { // what waits for the disk may come later than the rest
							switch p := c.Next(); p[0] {
							case Suback, Puback, Pubrec, 0xd0:
							default:
								t.Fatalf("got % x", p)
							}
						}
					}
					for qos := range byte(3) {
						watcher.ExpectMessage(Message{Topic: topic + "/early", Payload: fmt.Sprint(qos), QoS: min(qos, 1)})
					}
					if end == "none" {
						c.Ping()
						c.Cut()
						watcher.ExpectMessage(Message{Topic: topic + "/will", Payload: "will"})
					}
					pub := connect(t, Options{})
					silence.Silent(pub) // no will
				})
			}
		}
	}
}
