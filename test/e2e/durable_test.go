//go:build integration && unix

package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"midge/internal/packet"
)

// lasting makes a session outlive its connection.
func lasting(seconds uint32) func(*packet.Connect) {
	return func(c *packet.Connect) {
		c.CleanStart = false
		c.Properties.SessionExpiry = seconds
		c.Properties.Set(packet.PropSessionExpiry)
	}
}

// downs are the ways in which the tests here end a broker.
var downs = map[string]func(*broker){
	"kill -9": (*broker).Kill,
	"SIGTERM": func(p *broker) {
		p.t.Helper()
		p.signal(syscall.SIGTERM)
		if status := p.wait(patience); status != 0 {
			p.t.Errorf("status %d\n%s", status, p.Log())
		}
		p.quietLog()
	},
}

// quietLog checks that nothing went wrong.
func (p *broker) quietLog() {
	p.t.Helper()
	for line := range strings.Lines(p.Log()) {
		if strings.Contains(line, "level=ERROR") || strings.Contains(line, "level=WARN") {
			p.t.Errorf("log: %s", line)
		}
	}
}

// exchange sends a QoS 1 message and wants its PUBACK.
func (c *client) exchange(m packet.Publish) {
	c.t.Helper()
	m.QoS, m.ID = 1, c.nextID()
	c.send(m.Append(nil, c.v))
	c.ack(packet.PUBACK, m.ID)
}

// ack reads the next packet, which must acknowledge id.
func (c *client) ack(want packet.Type, id packet.ID) {
	c.t.Helper()
	var a packet.Ack
	c.expect(want, func(first byte, body []byte) error { return a.Decode(c.v, first, body) })
	if a.ID != id || a.Code.Failed() {
		c.t.Fatalf("%v %d with %v, want %d", want, a.ID, a.Code, id)
	}
}

// message reads the next packet, which must be a PUBLISH, and does not answer.
func (c *client) message() (m packet.Publish) {
	c.t.Helper()
	c.expect(packet.PUBLISH, func(first byte, body []byte) error { return m.Decode(c.v, first, body) })
	m.Topic, m.Payload = []byte(string(m.Topic)), []byte(string(m.Payload))
	return m
}

func (c *client) answer(t packet.Type, id packet.ID) {
	c.t.Helper()
	c.send((&packet.Ack{Type: t, ID: id}).Append(nil, c.v))
}

// wants reads messages of QoS 0 and 1 with these payloads.
func (c *client) wants(payloads ...string) {
	c.t.Helper()
	for _, want := range payloads {
		if topic, got := c.receive(); got != want {
			c.t.Fatalf("received %q on %s, want %q", got, topic, want)
		}
	}
}

// eachDown runs a test for each way to end the broker, and each durability
// that survives it.
func eachDown(t *testing.T, f func(t *testing.T, down func(*broker), args ...string)) {
	for name, down := range downs {
		t.Run("commit/"+name, func(t *testing.T) { f(t, down) })
	}
	// Without power loss, what was written is not lost with the process.
	t.Run("interval/SIGTERM", func(t *testing.T) {
		f(t, downs["SIGTERM"], "--set", "durability=interval", "--set", "durability_interval=1h")
	})
}

// TestRestart proves that sessions, subscriptions, queues and retained messages
// are there after the broker has ended in whatever way (v5/MQTT-4.1.0-1).
func TestRestart(t *testing.T) {
	eachDown(t, func(t *testing.T, down func(*broker), args ...string) {
		dir := t.TempDir()
		p := serveIn(t, dir, args...)
		sub := connect(t, p, packet.V5, "sub", lasting(3600))
		sub.subscribe("q/+", 1)
		sub.conn.Close()
		old := connect(t, p, packet.V311, "old", func(c *packet.Connect) { c.CleanStart = false })
		old.subscribe("q/a", 1)
		old.conn.Close()
		pub := connect(t, p, packet.V5, "pub", nil)
		pub.exchange(packet.Publish{Topic: []byte("q/a"), Payload: []byte("one")})
		pub.exchange(packet.Publish{Topic: []byte("q/b"), Payload: []byte("two")})
		pub.exchange(packet.Publish{Topic: []byte("state"), Payload: []byte("on"), Retain: true})
		pub.exchange(packet.Publish{Topic: []byte("gone"), Payload: []byte("x"), Retain: true})
		pub.exchange(packet.Publish{Topic: []byte("gone"), Retain: true})
		down(p)

		p = serveIn(t, dir, args...)
		sub = connect(t, p, packet.V5, "sub", lasting(3600))
		old = connect(t, p, packet.V311, "old", func(c *packet.Connect) { c.CleanStart = false })
		if !sub.kept || !old.kept {
			t.Errorf("Session Present %v and %v", sub.kept, old.kept)
		}
		sub.wants("one", "two")
		old.wants("one")
		fresh := connect(t, p, packet.V5, "fresh", nil)
		fresh.subscribe("state", 1)
		fresh.wants("on")
		fresh.subscribe("gone", 1)
		fresh.exchange(packet.Publish{Topic: []byte("q/a"), Payload: []byte("three")})
		sub.wants("three")
		old.wants("three")
		p.quietLog()
	})
}

// TestRestartInExchange proves that QoS 2 exchanges go on where they were, in
// both directions, and that the message comes once (v5/MQTT-4.3.3-9).
func TestRestartInExchange(t *testing.T) {
	eachDown(t, func(t *testing.T, down func(*broker), args ...string) {
		dir := t.TempDir()
		p := serveIn(t, dir, args...)
		sub := connect(t, p, packet.V5, "sub", lasting(3600))
		sub.subscribe("two", 2)
		pub := connect(t, p, packet.V5, "pub", lasting(3600))
		send := packet.Publish{QoS: 2, ID: 11, Topic: []byte("two"), Payload: []byte("first")}
		pub.send(send.Append(nil, packet.V5))
		pub.ack(packet.PUBREC, 11) // and no PUBREL
		got := sub.message()       // and no PUBREC
		down(p)

		p = serveIn(t, dir, args...)
		pub = connect(t, p, packet.V5, "pub", lasting(3600))
		send.Dup = true
		pub.send(send.Append(nil, packet.V5))
		pub.ack(packet.PUBREC, 11)
		pub.answer(packet.PUBREL, 11)
		pub.ack(packet.PUBCOMP, 11)
		sub = connect(t, p, packet.V5, "sub", lasting(3600))
		again := sub.message()
		if !again.Dup || again.ID != got.ID || string(again.Payload) != "first" {
			t.Errorf("received %+v, want %d again", again, got.ID)
		}
		sub.answer(packet.PUBREC, again.ID)
		sub.ack(packet.PUBREL, again.ID) // and no PUBCOMP
		down(p)

		p = serveIn(t, dir, args...)
		sub = connect(t, p, packet.V5, "sub", lasting(3600))
		sub.ack(packet.PUBREL, again.ID)
		sub.answer(packet.PUBCOMP, again.ID)
		pub = connect(t, p, packet.V5, "other", nil)
		pub.publish("two", []byte("last"), 1)
		sub.wants("last")
	})
}

// TestRestartWithWills proves that a will outlives the broker: it is published
// when its client does not come back within the delay, which goes on counting.
func TestRestartWithWills(t *testing.T) {
	dir := t.TempDir()
	p := serveIn(t, dir)
	bearer := func(id string, expiry, delay uint32) *client {
		return connect(t, p, packet.V5, id, func(c *packet.Connect) {
			lasting(expiry)(c)
			c.HasWill = true
			c.Will = packet.Will{QoS: 1, Topic: []byte("wills/" + id), Payload: []byte(id + " has died"), Delay: delay}
		})
	}
	watcher := connect(t, p, packet.V5, "watcher", lasting(3600))
	watcher.subscribe("wills/+", 1)
	bearer("returns", 3600, 3600)
	bearer("stays away", 3600, 1)
	p.Kill()

	p = serveIn(t, dir)
	connect(t, p, packet.V5, "returns", lasting(3600))
	watcher = connect(t, p, packet.V5, "watcher", lasting(3600))
	watcher.wants("stays away has died")
	watcher.publish("wills/end", []byte("end"), 0)
	watcher.wants("end") // and nothing of the one who returned
}

// TestTimeCountsWhileDown proves that messages and sessions expire although the
// broker does not run (v5/MQTT-3.3.2-5, v5/MQTT-3.1.2-23).
func TestTimeCountsWhileDown(t *testing.T) {
	dir := t.TempDir()
	p := serveIn(t, dir)
	long := connect(t, p, packet.V5, "long", lasting(3600))
	long.subscribe("q", 1)
	long.conn.Close()
	connect(t, p, packet.V5, "short", lasting(1)).conn.Close()
	pub := connect(t, p, packet.V5, "pub", nil)
	brief := packet.Publish{Topic: []byte("q"), Payload: []byte("brief")}
	brief.Properties.HasExpiry, brief.Properties.MessageExpiry = true, 1
	pub.exchange(brief)
	pub.exchange(packet.Publish{Topic: []byte("q"), Payload: []byte("lasting")})
	p.Kill()
	<-time.After(1500 * time.Millisecond) // the time that is to be over

	p = serveIn(t, dir)
	long = connect(t, p, packet.V5, "long", lasting(3600))
	long.wants("lasting")
	if !long.kept || connect(t, p, packet.V5, "short", lasting(1)).kept {
		t.Error("the session of an hour must be there, the one of a second must not")
	}
}

// TestDirectoryInUse proves that a second process leaves the directory alone.
func TestDirectoryInUse(t *testing.T) {
	dir := t.TempDir()
	p := serveIn(t, dir)
	status, _, stderr := midge(t, dir, nil, "serve", "--listen", "127.0.0.1:0")
	want := "another process uses it, with the id " + strconv.Itoa(p.Cmd.Process.Pid) + "; stop that one, or use another directory"
	if status != 1 || !strings.Contains(stderr, want) || !strings.Contains(stderr, "midge-data") {
		t.Errorf("status %d, %q; want 1, %q", status, stderr, want)
	}
	newPair(t, p, "p").served(3)
}

// TestNewerFormat proves that a directory of a later version is refused.
func TestNewerFormat(t *testing.T) {
	dir := t.TempDir()
	serveIn(t, dir).Kill()
	if err := os.WriteFile(filepath.Join(dir, "midge-data", "FORMAT"), []byte("midge store 99\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	status, _, stderr := midge(t, dir, nil, "serve", "--listen", "127.0.0.1:0")
	if want := "written by a newer version: it has format 99"; status != 1 || !strings.Contains(stderr, want) {
		t.Errorf("status %d, %q; want 1, %q", status, stderr, want)
	}
}

// TestDamagedDirectory proves that the broker starts although its database is
// damaged, keeps what can be read, sets the rest aside and says so.
func TestDamagedDirectory(t *testing.T) {
	dir := t.TempDir()
	p := serveIn(t, dir)
	pub := connect(t, p, packet.V5, "pub", nil)
	for _, topic := range []string{"a", "b", "c"} {
		pub.exchange(packet.Publish{Topic: []byte(topic), Payload: []byte("state of " + topic), Retain: true})
	}
	p.Kill()
	manifests, err := filepath.Glob(filepath.Join(dir, "midge-data", "db", "MANIFEST-*"))
	if err != nil || len(manifests) == 0 {
		t.Fatal("no manifest: ", err)
	}
	for _, name := range manifests {
		if err := os.WriteFile(name, []byte("a cat walked over this"), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	p = serveIn(t, dir)
	set, err := filepath.Glob(filepath.Join(dir, "midge-data", "quarantine-*"))
	if err != nil || len(set) != 1 {
		t.Fatalf("set aside: %v, %v; want one directory", set, err)
	}
	for _, want := range []string{"level=ERROR", "store damaged", filepath.Base(set[0]), "MANIFEST"} {
		if !strings.Contains(p.Log(), want) {
			t.Errorf("no %q in the log\n%s", want, p.Log())
		}
	}
	if strings.Contains(p.Log(), "stack") {
		t.Errorf("a log for operators, with stack traces\n%s", p.Log())
	}
	if !strings.Contains(p.Banner(), "WAS DAMAGED") || !strings.Contains(p.Banner(), filepath.Base(set[0])) {
		t.Errorf("the banner does not tell\n%s", p.Banner())
	}
	c := connect(t, p, packet.V5, "c", nil)
	c.subscribe("c", 1)
	c.wants("state of c") // it was in the log of the database, which is whole
	c.subscribe("$SYS/broker/store/quarantines", 0)
	c.wants("1")
	newPair(t, p, "p").served(3)
}

// TestMemory proves that --memory writes nothing, and keeps nothing.
func TestMemory(t *testing.T) {
	dir := t.TempDir()
	p := serveIn(t, dir, "--memory")
	connect(t, p, packet.V5, "c", lasting(3600)).exchange(packet.Publish{Topic: []byte("t"), Payload: []byte("x"), Retain: true})
	downs["SIGTERM"](p)
	if names, err := os.ReadDir(dir); err != nil || len(names) > 0 {
		t.Errorf("in the working directory: %v, %v", names, err)
	}
	if connect(t, serveIn(t, dir, "--memory"), packet.V5, "c", lasting(3600)).kept {
		t.Error("Session Present after a restart")
	}
}

// TestBannerSaysWhatIsPromised proves that nobody has to guess.
func TestBannerSaysWhatIsPromised(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want []string
	}{
		{nil, []string{"commit: what is acknowledged is on disk, and survives kill -9 and power loss", "midge-data"}},
		{
			[]string{"--set", "durability=interval", "--set", "durability_interval=3s"},
			[]string{"interval: synced every 3s; a power cut loses what was acknowledged in that time", "midge-data"},
		},
		{[]string{"--memory"}, []string{"none: all state is in memory, and ends with this process"}},
	} {
		p := serve(t, tt.args...)
		for _, want := range tt.want {
			if !strings.Contains(p.Banner(), want) {
				t.Errorf("%v: no %q in\n%s", tt.args, want, p.Banner())
			}
		}
		p.Kill()
	}
}
