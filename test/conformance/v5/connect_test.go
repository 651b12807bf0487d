package v5

import "testing"

func TestConnect(t *testing.T) {
	run(t, []test{
		{"v5/MQTT-3.1.4-5/CONNACK", func(t *testing.T) {
			c := connect(t)
			b := newBarrier(c)
			c.Publish("a/"+unique(), "x", 2)
			b.Silent(c)
			c.Ping()
			c.Disconnect()
		}},
	})
}
