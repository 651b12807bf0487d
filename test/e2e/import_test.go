//go:build integration && unix

package e2e

import (
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"midge/internal/packet"
	"midge/test/process"
)

// publish2 sends a message of QoS 2 and ends its exchange.
func (c *client) publish2(topic, payload string) {
	c.t.Helper()
	id := c.nextID()
	c.send((&packet.Publish{QoS: 2, ID: id, Topic: []byte(topic), Payload: []byte(payload)}).Append(nil, c.v))
	c.ack(packet.PUBREC, id)
	c.answer(packet.PUBREL, id)
	c.ack(packet.PUBCOMP, id)
}

func persistent(m *packet.Connect) {
	m.CleanStart = false
	if m.Version == packet.V5 {
		m.Properties.SessionExpiry = 86_400
		m.Properties.Set(packet.PropSessionExpiry)
	}
}

// TestImport moves clients from Mosquitto to this broker: they come back to the
// sessions, messages and exchanges that they had there.
func TestImport(t *testing.T) {
	dir := t.TempDir()
	p, ports := process.Mosquitto(t, "listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location "+dir+"/\nautosave_interval 0\n")
	p.Addr = "127.0.0.1:" + ports["port"]
	old := &broker{p, t}

	// Three messages are under way to "busy" when it loses its connection, and
	// three wait.
	busy := connect(t, old, packet.V311, "busy", persistent)
	busy.subscribe("a/#", 2)
	busy.subscribe("a/1", 1)
	sender := connect(t, old, packet.V311, "sender", persistent)
	sender.publish("a/1", []byte("one"), 1)
	busy.message()
	sender.publish2("a/2", "two")
	two := busy.message()
	sender.publish2("a/3", "three")
	three := busy.message()
	busy.answer(packet.PUBREC, three.ID)
	busy.ack(packet.PUBREL, three.ID)
	busy.conn.Close()

	// "away" has a subscription with all options.
	away := connect(t, old, packet.V5, "away", persistent)
	sub := packet.Subscribe{ID: away.nextID(), Subscriptions: []packet.Subscription{{Filter: []byte("a/+"), QoS: 1, NoLocal: true, RetainAsPublished: true}}}
	sub.Properties.SubscriptionIDs = []uint32{77}
	away.send(sub.Append(nil, away.v))
	var suback packet.Suback
	away.expect(packet.SUBACK, func(first byte, body []byte) error { return suback.Decode(away.v, first, body) })
	away.conn.Close()

	// "tool" is Mosquitto's own client.
	tool := func(addr string, args ...string) string {
		_, port, _ := strings.Cut(addr, ":")
		status, out, errs := process.Run(t, patience, exec.Command("mosquitto_sub", append([]string{"-h", "127.0.0.1", "-p", port, "-i", "tool", "-c", "-q", "2", "-t", "a/#", "-v"}, args...)...))
		if status != 0 && status != 27 {
			t.Fatalf("mosquitto_sub: status %d, %s", status, errs)
		}
		return out
	}
	tool(p.Addr, "-E")

	sender.publish("a/4", []byte("four"), 1)
	sender.publish2("a/5", "five")
	retained := packet.Publish{QoS: 1, Retain: true, ID: sender.nextID(), Topic: []byte("a/6"), Payload: []byte("six")}
	sender.send(retained.Append(nil, sender.v))
	sender.ack(packet.PUBACK, retained.ID)
	with := connect(t, old, packet.V5, "with", nil)
	m := packet.Publish{QoS: 1, Retain: true, ID: with.nextID(), Topic: []byte("kept/1"), Payload: []byte("seven")}
	m.Properties.HasExpiry, m.Properties.MessageExpiry = true, 86_400
	m.Properties.Forward = []byte("\x03\x00\x04text\x26\x00\x01k\x00\x01v")
	with.send(m.Append(nil, with.v))
	with.ack(packet.PUBACK, m.ID)

	// "sender" has sent a message and not yet let it go.
	held := sender.nextID()
	sender.send((&packet.Publish{QoS: 2, ID: held, Topic: []byte("a/8"), Payload: []byte("eight")}).Append(nil, sender.v))
	sender.ack(packet.PUBREC, held)
	sender.conn.Close()

	old.signal(syscall.SIGTERM)
	old.wait(patience)
	file, data := filepath.Join(dir, "mosquitto.db"), filepath.Join(dir, "midge-data")
	status, out, errs := midge(t, dir, nil, "store", "import", "--data-dir", data, file)
	if status != 0 || !strings.Contains(out, "sessions                      4\nsubscriptions                 4\n") || strings.Contains(out, "left out") {
		t.Fatalf("import: status %d\n%s%s", status, out, errs)
	}
	if status, out, errs = midge(t, dir, nil, "store", "check", "--data-dir", data); status != 0 || !strings.Contains(out, " 0 damaged, 0 left over\n") {
		t.Errorf("check: status %d\n%s%s", status, out, errs)
	}
	if status, _, errs = midge(t, dir, nil, "store", "import", "--data-dir", data, file); status != 1 || !strings.Contains(errs, "is not empty") {
		t.Errorf("a second import: status %d\n%s", status, errs)
	}

	now := serve(t, "--data-dir", data)
	if status, _, errs = midge(t, dir, nil, "store", "import", "--replace", "--data-dir", data, file); status != 1 || !strings.Contains(errs, "a broker runs on") {
		t.Errorf("an import beside a broker: status %d\n%s", status, errs)
	}
	if sender = connect(t, now, packet.V311, "sender", persistent); !sender.kept {
		t.Error("the session of sender is lost")
	}
	sender.answer(packet.PUBREL, held)
	sender.ack(packet.PUBCOMP, held)

	busy = connect(t, now, packet.V311, "busy", persistent)
	busy.ack(packet.PUBREL, three.ID)
	busy.answer(packet.PUBCOMP, three.ID)
	var got [3][]string // by QoS: those of one come in their order
	for range 6 {
		m := busy.message()
		got[m.QoS] = append(got[m.QoS], fmt.Sprintf("%s %s %v", m.Topic, m.Payload, m.Dup))
		if string(m.Payload) == "two" && m.ID != two.ID {
			t.Errorf("two has the identifier %d, and had %d", m.ID, two.ID)
		}
		if m.QoS == 1 {
			busy.answer(packet.PUBACK, m.ID)
		}
	}
	if want := "[[] [a/1 one true a/4 four false a/6 six false] [a/2 two true a/5 five false a/8 eight false]]"; fmt.Sprint(got) != want {
		t.Errorf("busy got %v, want %s", got, want)
	}

	away = connect(t, now, packet.V5, "away", persistent)
	for _, want := range []string{"a/4 four false", "a/5 five false", "a/6 six true", "a/8 eight false"} {
		got := away.message()
		if text := fmt.Sprintf("%s %s %v", got.Topic, got.Payload, got.Retain); text != want || got.QoS != 1 || len(got.Properties.SubscriptionIDs) != 1 || got.Properties.SubscriptionIDs[0] != 77 {
			t.Errorf("away got %s, QoS %d, identifiers %v; want %s", text, got.QoS, got.Properties.SubscriptionIDs, want)
		}
		away.answer(packet.PUBACK, got.ID)
	}
	away.publish("a/9", []byte("its own"), 1) // No Local: it does not come back
	if got, want := tool(now.Addr, "-C", "6"), "a/4 four\na/5 five\na/6 six\na/8 eight\na/6 six\na/9 its own\n"; !sameLines(got, want) {
		t.Errorf("mosquitto_sub got\n%swant\n%s", got, want)
	}
	with = connect(t, now, packet.V5, "with", nil)
	with.subscribe("kept/#", 1)
	kept := with.message()
	if string(kept.Payload) != "seven" || !kept.Retain || !bytes.Equal(kept.Properties.Forward, m.Properties.Forward) || !kept.Properties.HasExpiry || kept.Properties.MessageExpiry > 86_400 {
		t.Errorf("retained %q %v %+v", kept.Payload, kept.Retain, kept.Properties)
	}
}

// sameLines reports whether two texts have the same lines, in any order.
func sameLines(a, b string) bool {
	count := map[string]int{}
	for l := range strings.Lines(a) {
		count[l]++
	}
	for l := range strings.Lines(b) {
		count[l]--
	}
	for _, n := range count {
		if n != 0 {
			return false
		}
	}
	return true
}
