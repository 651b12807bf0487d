package app

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"midge/internal/packet"
	"midge/internal/settings"
)

// TestApplyUnderLoad changes settings of a running broker again and again, on each
// engine, while clients on several shards get messages. None is lost. It is for the
// race detector as well.
func TestApplyUnderLoad(t *testing.T) {
	const messages, readers = 2000, 4
	for _, engine := range []string{"epoll", "goroutine"} {
		t.Run(engine, func(t *testing.T) {
			cfg := loadedWith(t, "127.0.0.1:0", "engine", engine, "durability", "none")
			ctx, cancel := context.WithCancel(t.Context())
			b, err := New(ctx, cfg, "test", slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- b.Run(ctx) }()
			defer func() {
				cancel()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			}()
			dial := func(id string) net.Conn {
				c, err := net.Dial("tcp", b.listening[0].addr.String())
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { c.Close() })
				c.SetDeadline(time.Now().Add(2 * time.Minute))
				connect := packet.Connect{Version: packet.V311, ClientID: []byte(id), CleanStart: true}
				if _, err := c.Write(connect.Append(nil)); err != nil {
					t.Fatal(err)
				}
				if first, body, err := readPacket(c); err != nil || first != 0x20 || body[1] != 0 {
					t.Fatalf("got %#x % x, %v; want CONNACK", first, body, err)
				}
				return c
			}
			results := make(chan error, readers)
			for i := range readers {
				c := dial(fmt.Sprint("reader", i))
				subscribe := packet.Subscribe{ID: 1, Subscriptions: []packet.Subscription{{Filter: []byte("t/+"), QoS: 1}}}
				if _, err := c.Write(subscribe.Append(nil, packet.V311)); err != nil {
					t.Fatal(err)
				}
				if first, _, err := readPacket(c); err != nil || first != 0x90 {
					t.Fatalf("got %#x, %v; want SUBACK", first, err)
				}
				go func() { results <- readAll(c, messages) }()
			}
			pub := dial("publisher")
			go io.Copy(io.Discard, pub)
			go func() {
				var out []byte
				for i := range messages {
					m := packet.Publish{Topic: fmt.Appendf(nil, "t/%d", i%10), Payload: fmt.Append(nil, i), QoS: 1, ID: packet.ID(i + 1)}
					out = m.Append(out, packet.V311)
				}
				pub.Write(out) // a failure shows with the readers
			}()
			calm := b.coreSettings(b.cfg, b.files.connections)
			other := calm
			other.Limits.PendingBytes, other.Limits.MailboxBytes, other.Limits.TopicLevels, other.Limits.ConnectionsPerIP = 4<<10, 64<<10, 5, 100
			other.Session.Inflight, other.Session.ReceiveMaximum, other.Session.QueuedMessages = 3, 7, 5000
			calm.Session.QueuedMessages = 4000
			other.Sys.Interval, other.Log.Connections, other.Strict.TopicCharacters = 0, false, true
			for left, turn := readers, 0; left > 0; turn++ {
				select {
				case err := <-results:
					if err != nil {
						t.Fatalf("after %d changes: %v", turn, err)
					}
					left--
				default:
					b.core.Apply([]settings.Core{other, calm}[turn%2])
					time.Sleep(time.Millisecond) // paces the changes; nothing depends on it
				}
			}
		})
	}
}

// readAll reads messages of QoS 1, whose payloads count up for each topic, and
// answers them.
func readAll(c net.Conn, n int) error {
	last := map[string]int{}
	for range n {
		first, body, err := readPacket(c)
		if err != nil {
			return err
		}
		var m packet.Publish
		if err := m.Decode(packet.V311, first, body); err != nil {
			return err
		}
		var i int
		if _, err := fmt.Sscan(string(m.Payload), &i); err != nil {
			return err
		}
		if before, ok := last[string(m.Topic)]; ok && i != before+10 {
			return fmt.Errorf("message %d of %s after %d", i, m.Topic, before)
		}
		last[string(m.Topic)] = i
		if _, err := c.Write((&packet.Ack{Type: packet.PUBACK, ID: m.ID}).Append(nil, packet.V311)); err != nil {
			return err
		}
	}
	return nil
}

// readPacket reads a packet of less than 128 bytes.
func readPacket(c net.Conn) (first byte, body []byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return 0, nil, err
	}
	body = make([]byte, head[1])
	_, err = io.ReadFull(c, body)
	return head[0], body, err
}
