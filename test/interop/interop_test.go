//go:build integration && unix

package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// message is an application message as a client publishes or receives it.
type message struct {
	Topic   string `json:"topic"`
	Payload string `json:"payload"`
	QoS     byte   `json:"qos"`
	Retain  bool   `json:"retain"`
}

// options is what a client connects with.
type options struct {
	Scheme  string   `json:"scheme"` // tcp, tls, ws or wss
	Addr    string   `json:"addr"`
	CA      string   `json:"ca"`      // file with the authority of the broker's certificate
	Version int      `json:"version"` // 3, 4 or 5, as in CONNECT
	ID      string   `json:"id"`
	Clean   bool     `json:"clean"` // false: the session lives on for 600 s at least
	Will    *message `json:"will,omitempty"`
}

// client is one connection of a client that somebody else wrote. Its methods
// fail the test if they cannot do what they should within patience.
type client interface {
	subscribe(t *testing.T, filter string, qos byte)
	publish(t *testing.T, m message) // returns when it is acknowledged
	received() <-chan message
	present() bool      // Session Present of CONNACK, false if the client does not tell
	drop(t *testing.T)  // ends the network connection without DISCONNECT
	close(t *testing.T) // DISCONNECT
}

// clients are the programs and libraries, the versions that they speak, and over what
// besides TCP.
var clients = []struct {
	name       string
	versions   []int
	transports []string
	connect    func(*testing.T, options) client
}{
	{"mosquitto", []int{3, 4, 5}, []string{"tls"}, connectMosquitto}, // Debian's has no WebSocket
	{"MQTT.js", []int{3, 4, 5}, []string{"tls", "ws", "wss"}, connectMQTTjs},
	{"paho.mqtt.python", []int{3, 4, 5}, []string{"wss", "tls", "ws"}, connectPython},
	{"paho.mqtt.golang", []int{3, 4}, []string{"ws", "wss", "tls"}, connectPaho3},
	{"paho.golang", []int{5}, []string{"tls", "wss", "ws"}, connectPaho5},
}

// calls counts those of each.
var calls int

// world is one client program at one version.
type world struct {
	version int
	scheme  string
	topic   string // first level of the topics of the test
	dial    func(*testing.T, options) client
}

var ids atomic.Int32

// unique returns a name of at most 23 bytes, the limit of a client id in MQTT 3.1.
func unique(prefix string) string { return fmt.Sprintf("%s%d-%d", prefix, os.Getpid(), ids.Add(1)) }

func (w world) connect(t *testing.T, o options) client {
	t.Helper()
	o.Scheme, o.Addr, o.Version = w.scheme, addresses[w.scheme], w.version
	o.CA = filepath.Join(certificates, "ca.pem")
	if o.ID == "" {
		o.ID, o.Clean = unique("i"), true
	}
	return w.dial(t, o)
}

// each runs a test with each client and version, and with the last version over one of the
// other transports: the next one with each call.
func each(t *testing.T, test func(*testing.T, world)) {
	for _, c := range clients {
		for _, v := range c.versions {
			t.Run(c.name+"/"+versions[v], func(t *testing.T) {
				test(t, world{v, "tcp", unique("t"), c.connect})
			})
		}
		last, scheme := c.versions[len(c.versions)-1], c.transports[calls%len(c.transports)]
		t.Run(c.name+"/"+versions[last]+" over "+scheme, func(t *testing.T) {
			if addresses[scheme] == "" {
				t.Skip("somebody else's broker: only TCP is known of it")
			}
			test(t, world{last, scheme, unique("t"), c.connect})
		})
	}
	calls++
}

var versions = map[int]string{3: "v31", 4: "v311", 5: "v5"}

// want receives exactly these messages, in this order.
func want(t *testing.T, c client, all ...message) {
	t.Helper()
	for _, m := range all {
		select {
		case got := <-c.received():
			if got != m {
				t.Fatalf("received %+v, want %+v", got, m)
			}
		case <-time.After(patience):
			t.Fatalf("%+v did not arrive within %v", m, patience)
		}
	}
}

func TestWildcardsAndQoS(t *testing.T) {
	each(t, func(t *testing.T, w world) {
		plus, hash, publisher := w.connect(t, options{}), w.connect(t, options{}), w.connect(t, options{})
		plus.subscribe(t, w.topic+"/+/x", 2)
		hash.subscribe(t, w.topic+"/a/#", 1)
		sent := []message{
			{w.topic + "/a/x", "zero", 0, false}, {w.topic + "/a/x", "one", 1, false}, {w.topic + "/a/x", "two", 2, false},
		}
		publisher.publish(t, message{w.topic + "/b/y", "for nobody", 0, false})
		for _, m := range sent {
			publisher.publish(t, m)
			want(t, plus, m) // different QoS may overtake one another (4.6)
			m.QoS = min(m.QoS, 1)
			want(t, hash, m)
		}
		publisher.publish(t, message{w.topic + "/b/x", "plus only", 1, false})
		want(t, plus, message{w.topic + "/b/x", "plus only", 1, false})
		publisher.publish(t, message{w.topic + "/a", "parent", 1, false})
		want(t, hash, message{w.topic + "/a", "parent", 1, false})
		for _, c := range []client{plus, hash, publisher} {
			c.close(t)
		}
	})
}

func TestRetained(t *testing.T) {
	each(t, func(t *testing.T, w world) {
		publisher := w.connect(t, options{})
		kept := message{w.topic + "/kept", "value", 1, true}
		publisher.publish(t, message{kept.Topic, "older", 1, true})
		publisher.publish(t, kept)

		late := w.connect(t, options{})
		late.subscribe(t, w.topic+"/#", 1)
		want(t, late, kept)
		late.close(t)

		publisher.publish(t, message{kept.Topic, "", 1, true}) // removes it: MQTT-3.3.1-6
		later := w.connect(t, options{})
		later.subscribe(t, w.topic+"/#", 1)
		live := message{w.topic + "/live", "the first to arrive", 1, false}
		publisher.publish(t, live)
		want(t, later, live)
		later.close(t)
		publisher.close(t)
	})
}

func TestWill(t *testing.T) {
	each(t, func(t *testing.T, w world) {
		observer := w.connect(t, options{})
		observer.subscribe(t, w.topic+"/+", 1)
		will := message{w.topic + "/will", "gone", 1, false}

		unsent := message{w.topic + "/unsent", "from an orderly end", 1, false}
		orderly := w.connect(t, options{ID: unique("o"), Clean: true, Will: &unsent})
		orderly.subscribe(t, w.topic+"/none/none", 0)
		orderly.close(t) // DISCONNECT drops the will: MQTT-3.14.4-3
		if _, ok := orderly.(*mosquitto); ok && w.version == 5 {
			want(t, observer, unsent) // mosquitto_sub sends 0x04, Disconnect with Will Message
		}

		dying := w.connect(t, options{ID: unique("d"), Clean: true, Will: &will})
		dying.subscribe(t, w.topic+"/none/none", 0)
		dying.drop(t)
		want(t, observer, will)
		observer.close(t)
	})
}

func TestSessionResumes(t *testing.T) {
	each(t, func(t *testing.T, w world) {
		o := options{ID: unique("s")}
		first := w.connect(t, o)
		first.subscribe(t, w.topic+"/#", 2)
		if first.present() {
			t.Error("a new session is reported as present")
		}
		first.close(t)

		publisher := w.connect(t, options{})
		var missed []message
		for i := range 4 {
			m := message{w.topic + "/away", fmt.Sprintf("message %d", i), 1, false}
			publisher.publish(t, m)
			missed = append(missed, m)
		}
		second := w.connect(t, o)
		if s, ok := second.(*mosquitto); ok {
			s.subscribe(t, w.topic+"/#", 2) // mosquitto_sub always does; for the others the session has it
		} else if w.version > 3 && !second.present() { // 3.1 has no such flag
			t.Error("the session is not reported as present")
		}
		want(t, second, missed...)
		live := message{w.topic + "/back", "live", 2, false}
		publisher.publish(t, live)
		want(t, second, live)
		second.close(t)
		publisher.close(t)
	})
}
