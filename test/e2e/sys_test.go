//go:build integration && unix

package e2e

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"midge/internal/packet"
)

// TestSysTopics proves that the topics are there that Mosquitto's users know,
// and that some of them say what is true.
func TestSysTopics(t *testing.T) {
	p := serve(t, "--set", "sys.interval=1s")
	newPair(t, p, "p").served(5)
	c := connect(t, p, packet.V5, "watcher", nil)
	if code := c.subscribe("$SYS/#", 0); code.Failed() {
		t.Fatalf("SUBACK %v", code)
	}
	missing := map[string]bool{}
	for _, name := range []string{
		"version", "uptime", "clients/connected", "clients/total", "clients/maximum",
		"messages/received", "messages/sent", "publish/messages/dropped", "retained messages/count",
		"subscriptions/count", "bytes/received", "bytes/sent", "load/messages/received/1min",
	} {
		missing["$SYS/broker/"+name] = true
	}
	connected := false
	for deadline := time.Now().Add(patience); len(missing) > 0 || !connected; {
		if time.Now().After(deadline) {
			t.Fatalf("connected was 3: %v; not seen: %v", connected, missing)
		}
		topic, payload := c.receive()
		delete(missing, topic)
		if strings.HasSuffix(topic, "/clients/connected") {
			n, err := strconv.Atoi(payload)
			if err != nil || n < 0 || n > 3 {
				t.Fatalf("%s is %q with 3 clients", topic, payload)
			}
			connected = connected || n == 3
		}
	}
}

// TestSysTopicsOff proves that an interval of 0 switches them off.
func TestSysTopicsOff(t *testing.T) {
	p := serve(t, "--set", "sys.interval=0s")
	c := connect(t, p, packet.V5, "watcher", nil)
	c.subscribe("$SYS/#", 0)
	pr := newPair(t, p, "p")
	pr.served(100)
	c.publish("other", nil, 1)
	c.subscribe("mark", 0)
	c.publish("mark", []byte("end"), 0)
	if topic, payload := c.receive(); topic != "mark" {
		t.Errorf("received %s %q", topic, payload)
	}
}
