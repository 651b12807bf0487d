//go:build integration && linux

package e2e

import (
	"bytes"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"midge/internal/packet"
)

// TestMemoryBudget floods many readers that don't read, at each QoS, with a
// budget far below what all of them together are allowed. Memory stays bounded,
// others are served, and the counters and the log tell what was given up.
func TestMemoryBudget(t *testing.T) {
	const budget, readers, messages, publishers = 64 << 20, 500, 500, 3
	sizes := []int{32 << 10, 12 << 10} // readers share a body of the first size, and have a copy each of the second
	eachEngine(t, func(t *testing.T, engine string) {
		for _, size := range sizes {
			t.Run(fmt.Sprint(size), func(t *testing.T) {
				p := serve(t, "--memory", "--set", engine, "--set", "limits.memory=64MiB", "--set", "sys.interval=1s")
				watchers := map[string]*client{}
				for _, topic := range []string{"publish/messages/dropped/memory", "publishers/paused/memory"} {
					watchers[topic] = connect(t, p, packet.V5, topic, nil)
				}
				pr := newPair(t, p, "p")
				pr.served(10)
				for i := range readers {
					r := connect(t, p, packet.V5, fmt.Sprint("reader", i), nil)
					r.conn.(*net.TCPConn).SetReadBuffer(4 << 10)
					r.subscribe("flood/#", packet.QoS(i%3))
				}
				payload := bytes.Repeat([]byte("x"), size)
				var flooding sync.WaitGroup
				done := make(chan struct{})
				flooders := make([]*client, publishers)
				for i := range flooders { // all, before one floods: then nobody may be let in
					flooders[i] = connect(t, p, packet.V311, fmt.Sprint("flooder", i), nil)
				}
				for i, c := range flooders {
					flooding.Go(func() { publishMany(c, packet.QoS(i), payload, messages) })
				}
				go func() { flooding.Wait(); close(done) }()
				served := 0
				for over := false; !over; served++ {
					pr.served(1)
					select {
					case <-done:
						over = true
					default:
					}
				}
				peak := p.memory("VmHWM")
				t.Logf("peak of resident memory %d MiB, %d messages of others in the meantime", peak>>20, served)
				if peak > budget*3/2 { // the program itself is a third of the rest; the other is what the runtime does not give back at once
					t.Errorf("the peak of resident memory was %d MiB with a budget of %d MiB", peak>>20, budget>>20)
				}
				if size == sizes[0] {
					return
				}
				if !strings.Contains(p.Log(), "90 % of limits.memory is used") {
					t.Errorf("the log says nothing of the budget:\n%s", p.Log())
				}
				// The counters come with the next $SYS.
				for topic, c := range watchers {
					c.subscribe("$SYS/broker/"+topic, 0)
					for n := 0; n == 0; {
						_, text := c.receive()
						n, _ = strconv.Atoi(text)
					}
				}
				// There is room again, now that nobody floods.
				calm := func() bool {
					log := p.Log()
					return strings.LastIndex(log, "there is room again") > strings.LastIndex(log, "of limits.memory is used")
				}
				for deadline := time.Now().Add(patience); !calm(); time.Sleep(50 * time.Millisecond) {
					if time.Now().After(deadline) {
						t.Fatalf("the pressure does not end:\n%s", p.Log())
					}
				}
				newPair(t, p, "later").served(10)
			})
		}
	})
}

// publishMany publishes n messages, and reads the answers.
func publishMany(c *client, qos packet.QoS, payload []byte, n int) {
	for range n {
		m := packet.Publish{QoS: qos, Topic: []byte("flood/x"), Payload: payload}
		if qos > 0 {
			m.ID = c.nextID()
		}
		c.send(m.Append(nil, c.v))
		if qos == 0 {
			continue
		}
		if first, _, err := c.next(); err != nil || packet.TypeOf(first) != packet.PUBACK && packet.TypeOf(first) != packet.PUBREC {
			c.t.Errorf("the flooder got % x, %v", first, err)
			return
		}
		if qos == 2 {
			c.send((&packet.Ack{Type: packet.PUBREL, ID: m.ID}).Append(nil, c.v))
			c.next()
		}
	}
}

// TestMemoryOfPackets has hundreds of clients send large packets at once: whole
// ones, and ones that never end. Memory keeps to the budget, others are served, and
// who is in the way of others is closed.
func TestMemoryOfPackets(t *testing.T) {
	const budget, clients, size = 64 << 20, 300, 1<<20 - 100
	payload := make([]byte, size)
	publish := packet.Publish{QoS: 1, ID: 1, Topic: []byte("large"), Payload: payload}
	filters := packet.Subscribe{ID: 1}
	for n := 0; n < 17; n++ {
		filters.Subscriptions = append(filters.Subscriptions, packet.Subscription{Filter: bytes.Repeat([]byte("f"), 60_000)})
	}
	for _, tt := range []struct {
		name   string
		packet func(i int) []byte
		ends   bool
	}{
		{"PUBLISH that never ends", func(int) []byte { return publish.Append(nil, packet.V5) }, false},
		{"SUBSCRIBE that never ends", func(int) []byte { return filters.Append(nil, packet.V5) }, false},
		{"retained PUBLISH", func(i int) []byte {
			m := publish
			m.Retain, m.Topic = true, fmt.Append(nil, "large/", i)
			return m.Append(nil, packet.V5)
		}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, durability := range []string{"none", "commit"} {
				t.Run(durability, func(t *testing.T) {
					eachEngine(t, func(t *testing.T, engine string) {
						p := serve(t, "--set", engine, "--set", "limits.memory=64MiB", "--set", "durability="+durability)
						pr := newPair(t, p, "p")
						pr.served(10)
						var all []*client
						for i := range clients {
							all = append(all, connect(t, p, packet.V5, fmt.Sprint("large", i), nil))
						}
						var sending sync.WaitGroup
						for i, c := range all {
							sending.Go(func() { sendLarge(c.conn, tt.packet(i), tt.ends) })
						}
						done := make(chan struct{})
						go func() { sending.Wait(); close(done) }()
						served, enough := 0, func() bool {
							if tt.ends {
								select {
								case <-done:
									return true
								default:
									return false
								}
							}
							return strings.Contains(p.Log(), "the rest of a packet does not come")
						}
						peak := p.memory("VmHWM")
						for ; !enough() && peak <= budget*3/2; served++ {
							pr.served(1)
							peak = p.memory("VmHWM")
						}
						t.Logf("peak of resident memory %d MiB, %d messages of others in the meantime", peak>>20, served)
						if peak > budget*3/2 { // as in TestMemoryBudget
							t.Errorf("the peak of resident memory was %d MiB with a budget of %d MiB", peak>>20, budget>>20)
						}
						for _, c := range all {
							c.conn.Close()
						}
						<-done
						pr.served(10)
					})
				})
			}
		})
	}
}

// sendLarge sends a packet and waits for the answer, or all of it but the last byte
// and waits for the end.
func sendLarge(conn net.Conn, b []byte, whole bool) {
	conn.SetDeadline(time.Now().Add(patience))
	if !whole {
		b = b[:len(b)-1]
	}
	if _, err := conn.Write(b); err != nil {
		return
	}
	conn.Read(make([]byte, 64))
}

// TestLittleAfterLarge lets many clients send a large packet and then a byte of the next:
// what they hold is small again.
func TestLittleAfterLarge(t *testing.T) {
	const clients, size, enough = 300, 1 << 20, 160 << 20
	m := packet.Publish{QoS: 1, ID: 1, Topic: []byte("t"), Payload: make([]byte, size-100)}
	large := m.Append(nil, packet.V5)
	eachEngine(t, func(t *testing.T, engine string) {
		p := serve(t, "--memory", "--set", engine, "--set", "limits.memory=4GiB", "--set", "sys.interval=1s")
		for i := range clients {
			c := connect(t, p, packet.V5, fmt.Sprint("client", i), nil)
			sendLarge(c.conn, large, true)
			c.send([]byte{0x32})
		}
		watcher := connect(t, p, packet.V5, "watcher", nil)
		watcher.subscribe("$SYS/broker/#", 0)
		used := 0
		for reports := 0; reports < 3 || used > enough; { // the first was made before
			topic, text := watcher.receive()
			switch topic {
			case "$SYS/broker/uptime":
				if reports++; reports == 60 {
					t.Fatalf("%d MiB are in use", used>>20)
				}
			case "$SYS/broker/memory/used":
				used, _ = strconv.Atoi(text)
			}
		}
		if used == 0 {
			t.Fatal("nobody said how much is in use")
		}
	})
}
