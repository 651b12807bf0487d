package v311

import (
	"testing"

	. "midge/test/conformance/mqtt3"
)

func TestWill(t *testing.T) {
	run(t, []test{
		{"v311/MQTT-3.1.2-8/the connection is cut", func(t *testing.T) {
			for qos := range byte(3) {
				watcher := connect(t, Options{})
				topic := unique()
				watcher.Subscribe(topic, 2)
				connect(t, Options{Will: &Will{Topic: topic, Payload: "gone", QoS: qos}}).Cut()
				watcher.ExpectMessage(Message{QoS: qos, Topic: topic, Payload: "gone"})
			}
		}},
		{"v311/MQTT-3.1.2-8/the client closes without DISCONNECT", func(t *testing.T) {
			watcher := connect(t, Options{})
			topic := unique()
			watcher.Subscribe(topic, 0)
			connect(t, Options{Will: &Will{Topic: topic, Payload: "gone"}}).Conn.Close()
			watcher.ExpectMessage(Message{Topic: topic, Payload: "gone"})
		}},
		{"v311/MQTT-3.1.2-8/the server closes after a violation", func(t *testing.T) {
			watcher := connect(t, Options{})
			topic := unique()
			watcher.Subscribe(topic, 0)
			c := connect(t, Options{Will: &Will{Topic: topic, Payload: "gone"}})
			c.Send(Publish(0x36, "a", 1, "QoS 3"))
			c.ExpectEnd()
			watcher.ExpectMessage(Message{Topic: topic, Payload: "gone"})
		}},
		{"v311/MQTT-3.1.2-8/the will of the connection that a takeover ends", func(t *testing.T) {
			watcher := connect(t, Options{})
			id, topic := unique(), unique()
			watcher.Subscribe(topic, 0)
			first := connect(t, Options{ID: id, Will: &Will{Topic: topic, Payload: "gone"}})
			connect(t, Options{ID: id})
			first.ExpectEnd()
			watcher.ExpectMessage(Message{Topic: topic, Payload: "gone"})
		}},
		{"v311/MQTT-3.1.2-8/an empty will message", func(t *testing.T) {
			watcher := connect(t, Options{})
			topic := unique()
			watcher.Subscribe(topic, 1)
			connect(t, Options{Will: &Will{Topic: topic, QoS: 1}}).Cut()
			watcher.ExpectMessage(Message{QoS: 1, Topic: topic})
		}},
		{"v311/MQTT-3.1.2-10/published once", func(t *testing.T) {
			watcher := connect(t, Options{})
			b := newBarrier(watcher)
			id, topic := unique(), unique()
			watcher.Subscribe(topic, 0)
			connect(t, Options{ID: id, Session: true, Will: &Will{Topic: topic, Payload: "gone"}}).Cut()
			watcher.ExpectMessage(Message{Topic: topic, Payload: "gone"})
			connect(t, Options{KeepAlive: 1}).ExpectEnd()   // a while, for timers
			c := connect(t, Options{ID: id, Session: true}) // resumes the session, but not the will
			c.Cut()
			again := connect(t, Options{ID: id, Session: true})
			b.Silent(again)
		}},
		{"v311/MQTT-3.1.2-10/removed by DISCONNECT", noWillAfterDisconnect},
		{"v311/MQTT-3.14.4-3/removed by DISCONNECT", noWillAfterDisconnect},
		{"v311/MQTT-3.14.4-3/DISCONNECT and close at once", func(t *testing.T) {
			watcher := connect(t, Options{})
			b := newBarrier(watcher)
			id, topic := unique(), unique()
			watcher.Subscribe(topic, 0)
			c := connect(t, Options{ID: id, Will: &Will{Topic: topic, Payload: "gone"}})
			c.Send(Disconnect())
			c.CloseWrite()
			c.ExpectEnd()
			b.Silent(connect(t, Options{ID: id}))
		}},
		{"v311/MQTT-3.1.2-12/no will, nothing published", func(t *testing.T) {
			watcher := connect(t, Options{})
			watcher.Subscribe("#", 0)
			id := unique()
			connect(t, Options{ID: id}).Cut()
			end := unique()
			connect(t, Options{ID: id}).Publish(end, id, 0)
			for { // other tests publish, too; none of them sends the identifier
				m := watcher.Receive()
				if m.Topic == end {
					return
				}
				if m.Topic == "" || m.Topic == id || m.Payload == id {
					t.Fatalf("got %+v", m)
				}
			}
		}},
		{"v311/MQTT-3.1.2-12/the will of an earlier connection", func(t *testing.T) {
			watcher := connect(t, Options{})
			b := newBarrier(watcher)
			id, topic := unique(), unique()
			watcher.Subscribe(topic, 0)
			connect(t, Options{ID: id, Session: true, Will: &Will{Topic: topic, Payload: "gone"}}).Disconnect()
			connect(t, Options{ID: id, Session: true}).Cut()
			b.Silent(connect(t, Options{ID: id, Session: true}))
		}},
		{"v311/MQTT-3.1.2-16/will retain 0", func(t *testing.T) {
			watcher := connect(t, Options{})
			topic := unique()
			watcher.Subscribe(topic, 1)
			connect(t, Options{Will: &Will{Topic: topic, Payload: "gone", QoS: 1}}).Cut()
			watcher.ExpectMessage(Message{QoS: 1, Topic: topic, Payload: "gone"})
			late := connect(t, Options{})
			late.Subscribe(topic, 1)
			late.Ping()
		}},
		{"v311/MQTT-3.1.2-17/will retain 1", func(t *testing.T) {
			for qos := range byte(3) {
				watcher := connect(t, Options{})
				topic := unique()
				watcher.Subscribe(topic, 2)
				connect(t, Options{Will: &Will{Topic: topic, Payload: "gone", QoS: qos, Retain: true}}).Cut()
				watcher.ExpectMessage(Message{QoS: qos, Topic: topic, Payload: "gone"})
				late := connect(t, Options{})
				late.Subscribe(topic, 2)
				late.ExpectMessage(Message{QoS: qos, Topic: topic, Payload: "gone", Retain: true})
			}
		}},
	})
}

// noWillAfterDisconnect proves with the next connection of the same client: the
// server has long done by then what it does at the end of the first.
func noWillAfterDisconnect(t *testing.T) {
	watcher := connect(t, Options{})
	b := newBarrier(watcher)
	id, topic := unique(), unique()
	watcher.Subscribe(topic, 2)
	connect(t, Options{ID: id, Will: &Will{Topic: topic, Payload: "gone", QoS: 1, Retain: true}}).Disconnect()
	next := connect(t, Options{ID: id})
	b.Silent(next)
	next.Subscribe(topic, 1)
	next.Ping() // nor was it retained
}
