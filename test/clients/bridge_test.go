//go:build integration && unix

package clients

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"midge/internal/client"
	"midge/internal/packet"
	"midge/internal/program"
	"midge/test/process"
)

// bridgePatience is how long a step may take. It is far above what any takes.
const bridgePatience = 2 * time.Minute

// TestBridge lets Debian's Mosquitto bridge in and out to Midge as it does by
// default, in each version, and proves that each message crosses once, with its
// QoS and as retained as it was, and that Midge knows whether the bridge is
// there: at first, after a restart of Midge, and after one of Mosquitto.
func TestBridge(t *testing.T) {
	for _, version := range []string{"mqttv31", "mqttv311", "mqttv50"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			b := newBridge(t, version)
			b.round("first")
			b.restartMidge()
			b.round("after a restart of Midge")
			b.restartMosquitto()
			b.round("after a restart of Mosquitto")
		})
	}
}

// bridge is a Mosquitto that bridges to a Midge, and a client at both.
type bridge struct {
	t                   *testing.T
	dir                 string
	midgePort, port     string
	broker, mosquitto   *process.Process
	atMidge, atMosquito *watcher
	state               *watcher // of what Midge is told about the bridge
}

func newBridge(t *testing.T, version string) *bridge {
	b := &bridge{t: t, dir: t.TempDir()}
	for _, port := range []*string{&b.midgePort, &b.port} {
		free, err := program.Port()
		if err != nil {
			t.Fatal(err)
		}
		*port = free
	}
	conf := fmt.Sprintf(`user root
listener %s 127.0.0.1
allow_anonymous true
persistence true
persistence_location %s/
connection test
address 127.0.0.1:%s
bridge_protocol_version %s
restart_timeout 1
topic out/# out 2
topic in/# in 2
topic both/# both 2
`, b.port, b.dir, b.midgePort, version)
	if err := os.WriteFile(b.conf(), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	b.startMidge()
	b.startMosquitto()
	b.watch()
	return b
}

func (b *bridge) conf() string { return filepath.Join(b.dir, "mosquitto.conf") }

func (b *bridge) startMidge() {
	cmd := exec.Command(binary, "serve", "--listen", "127.0.0.1:"+b.midgePort, "--data-dir", filepath.Join(b.dir, "midge"))
	cmd.Dir = b.dir
	b.broker = process.Serve(b.t, cmd)
}

func (b *bridge) startMosquitto() {
	program, err := exec.LookPath("mosquitto")
	if err != nil {
		program = "/usr/sbin/mosquitto"
	}
	if b.mosquitto, err = process.Start(exec.Command(program, "-c", b.conf())); err != nil {
		b.t.Fatal(err)
	}
	p := b.mosquitto
	b.t.Cleanup(p.Kill)
}

func (b *bridge) restartMidge() {
	if err := b.broker.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		b.t.Fatal(err)
	}
	<-b.broker.Done()
	b.atMosquito.publish("out/away", "while Midge was away", 1, true)
	b.startMidge()
	b.watch()
	b.atMidge.kept("out/away", "while Midge was away", 1)
}

func (b *bridge) restartMosquitto() {
	b.state.until("1")
	if err := b.mosquitto.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		b.t.Fatal(err)
	}
	<-b.mosquitto.Done()
	b.state.until("0")
	b.startMosquitto()
	b.watch()
}

// watch connects to both brokers, and waits until messages cross in both
// directions.
func (b *bridge) watch() {
	b.t.Helper()
	b.state = watch(b.t, b.midgePort, "$SYS/broker/connection/+/state")
	b.atMidge = watch(b.t, b.midgePort, "out/#", "both/#")
	b.atMosquito = watch(b.t, b.port, "in/#", "both/#")
	b.state.until("1")
	b.atMidge.probe("in/probe", b.atMosquito)
	b.atMosquito.probe("out/probe", b.atMidge)
}

// round sends messages in all directions.
func (b *bridge) round(what string) {
	b.t.Helper()
	b.atMidge.round, b.atMosquito.round = what, what
	for qos := range packet.QoS(3) {
		payload := fmt.Sprintf("%s, QoS %d", what, qos)
		b.atMosquito.publish("out/a", payload, qos, false)
		b.atMidge.want("out/a", payload, qos)
		b.atMidge.publish("in/a", payload, qos, false)
		b.atMosquito.want("in/a", payload, qos)
		for _, from := range []*watcher{b.atMosquito, b.atMidge} {
			topic := "both/" + map[*watcher]string{b.atMosquito: "mosquitto", b.atMidge: "midge"}[from]
			for _, retain := range []bool{false, true} {
				from.publish(topic, payload, qos, retain)
				b.atMosquito.want(topic, payload, qos)
				b.atMidge.want(topic, payload, qos)
			}
			b.atMidge.kept(topic, payload, qos)
			b.atMosquito.kept(topic, payload, qos)
		}
		b.atMosquito.publish("out/kept", payload, qos, true)
		b.atMidge.want("out/kept", payload, qos)
		b.atMidge.kept("out/kept", payload, qos)
		b.atMidge.publish("in/kept", payload, qos, true)
		b.atMosquito.want("in/kept", payload, qos)
		b.atMosquito.kept("in/kept", payload, qos)
	}
}

// watcher is a client of one of the brokers.
type watcher struct {
	t    *testing.T
	port string
	c    *client.Client
	got  chan client.Message

	// round begins the payloads that count. Those of an earlier one may come once
	// more: a bridge that comes back subscribes again, and gets what is retained.
	round string
}

// watch connects as soon as somebody listens.
func watch(t *testing.T, port string, filters ...string) *watcher {
	t.Helper()
	w := &watcher{t: t, port: port, got: make(chan client.Message, 1000)}
	ctx, cancel := context.WithTimeout(t.Context(), bridgePatience)
	defer cancel()
	var err error
	for {
		if w.c, err = client.Connect(ctx, client.Options{
			Address: "mqtt://127.0.0.1:" + port, CleanStart: true, KeepAlive: time.Minute, Received: func(m client.Message) { w.got <- m },
		}); err == nil {
			break
		}
		select {
		case <-ctx.Done():
			t.Fatal(err)
		case <-time.After(20 * time.Millisecond):
		}
	}
	t.Cleanup(w.c.Close)
	var subs []client.Subscription
	for _, f := range filters {
		subs = append(subs, client.Subscription{Filter: f, QoS: 2})
	}
	if _, err := w.c.Subscribe(ctx, subs); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *watcher) publish(topic, payload string, qos packet.QoS, retain bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), bridgePatience)
	defer cancel()
	if _, err := w.c.Publish(ctx, client.Message{Topic: topic, Payload: []byte(payload), QoS: qos, Retain: retain}); err != nil {
		w.t.Fatalf("publish %s: %v", topic, err)
	}
}

// next takes the next message of the round.
func (w *watcher) next(what string) client.Message {
	w.t.Helper()
	guard := time.NewTimer(bridgePatience)
	defer guard.Stop()
	for {
		select {
		case m := <-w.got:
			if !m.Retain && strings.HasPrefix(string(m.Payload), w.round) {
				return m
			}
		case <-guard.C:
			w.t.Fatalf("%s has not come", what)
		}
	}
}

// want takes the next message, which must be this one: a second copy, or one that
// has gone round, would come instead of the one after it.
func (w *watcher) want(topic, payload string, qos packet.QoS) {
	w.t.Helper()
	if m := w.next(topic + " " + payload); m.Topic != topic || string(m.Payload) != payload || m.QoS != qos {
		w.t.Fatalf("got %s %q with QoS %d, want %s %q with QoS %d", m.Topic, m.Payload, m.QoS, topic, payload, qos)
	}
}

// kept waits until the broker has a retained message.
func (w *watcher) kept(topic, payload string, qos packet.QoS) {
	w.t.Helper()
	late := watch(w.t, w.port, topic)
	defer late.c.Close()
	guard := time.NewTimer(bridgePatience)
	defer guard.Stop()
	for {
		select {
		case m := <-late.got:
			if string(m.Payload) == payload && m.QoS == qos {
				return // retained, or it has come only now, which the bridge sends once
			}
		case <-guard.C:
			w.t.Fatalf("%s is not retained as %q with QoS %d", topic, payload, qos)
		}
	}
}

// until waits for the value of a topic, retained or not.
func (w *watcher) until(payload string) {
	w.t.Helper()
	guard := time.NewTimer(bridgePatience)
	defer guard.Stop()
	for {
		select {
		case m := <-w.got:
			if string(m.Payload) == payload {
				w.got <- m // for who asks again
				return
			}
		case <-guard.C:
			w.t.Fatalf("the state of the bridge does not become %s", payload)
		}
	}
}

// probe publishes until the other side gets it.
func (w *watcher) probe(topic string, other *watcher) {
	w.t.Helper()
	guard := time.After(bridgePatience)
	for {
		w.publish(topic, "probe", 1, false)
		select {
		case m := <-other.got:
			if m.Topic == topic {
				return
			}
		case <-time.After(100 * time.Millisecond):
		case <-guard:
			w.t.Fatalf("%s does not cross", topic)
		}
	}
}
