//go:build integration && unix

package e2e

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"midge/internal/packet"
)

// stuck connects a subscriber that never reads again, and floods it until the
// broker has more for it than socket buffers take.
func stuck(t *testing.T, p *broker) (messages int) {
	t.Helper()
	reader := connect(t, p, packet.V5, "stuck", nil)
	reader.subscribe("flood/#", 0)
	other := connect(t, p, packet.V5, "flooded", nil)
	other.subscribe("flood/#", 1)
	flooder := connect(t, p, packet.V5, "flooder", nil)
	payload := bytes.Repeat([]byte("x"), 64<<10)
	const flood = 64 << 20
	for messages = 0; messages*len(payload) < flood; messages++ {
		flooder.publish("flood/x", payload, 1)
		if _, got := other.receive(); len(got) != len(payload) {
			t.Fatalf("received %d bytes, want %d", len(got), len(payload))
		}
	}
	return messages
}

func TestReaderThatStopsReading(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		p := serve(t, "--set", engine)
		pr := newPair(t, p, "p")
		pr.served(10)
		before := p.rss()
		n := stuck(t, p)
		pr.served(100)
		grown := p.rss() - before
		t.Logf("%d messages of 64 KiB for a reader that does not read: memory grew by %d KiB", n, grown>>10)
		if grown > 32<<20 {
			t.Errorf("memory grew by %d bytes", grown)
		}
	})
}

func TestConnectThatNeverEnds(t *testing.T) {
	connectPacket := (&packet.Connect{Version: packet.V5, CleanStart: true, ClientID: []byte("slow")}).Append(nil)
	eachEngine(t, func(t *testing.T, engine string) {
		p := serve(t, "--set", engine, "--set", "limits.connect_timeout=1s")
		pr := newPair(t, p, "p")
		for _, tt := range []struct {
			name string
			sent []byte
		}{
			{"nothing", nil},
			{"half", connectPacket[:len(connectPacket)/2]},
			{"a length and no body", []byte{0x10, 0xff, 0xff, 0x3f}},
		} {
			t.Run(tt.name, func(t *testing.T) {
				conn := dial(t, p)
				if _, err := conn.Write(tt.sent); err != nil {
					t.Fatal(err)
				}
				pr.served(10)
				conn.SetReadDeadline(time.Now().Add(patience))
				if _, err := io.Copy(io.Discard, conn); err != nil && !ended(err) {
					t.Errorf("the connection stays open: %v", err)
				}
			})
		}
		t.Run("a byte at a time", func(t *testing.T) {
			conn := dial(t, p)
			endless := append([]byte{0x10, 0xff, 0xff, 0x3f, 0, 4}, "MQTT"...)
			start := time.Now()
			for i := 0; ; i++ {
				if time.Since(start) > patience {
					t.Fatal("the connection stays open")
				}
				b := byte('x')
				if i < len(endless) {
					b = endless[i]
				}
				if _, err := conn.Write([]byte{b}); err != nil {
					break // closed: a byte now and then does not buy time
				}
				pr.served(1)
			}
		})
		pr.served(10)
	})
}

// TestOneByteAtATime proves that a packet that trickles in delays nobody and
// arrives whole.
func TestOneByteAtATime(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		p := serve(t, "--set", engine)
		pr := newPair(t, p, "p")
		sub := connect(t, p, packet.V5, "sub", nil)
		sub.subscribe("slow", 0)
		slow := connect(t, p, packet.V5, "slow", nil)
		m := packet.Publish{Topic: []byte("slow"), Payload: []byte(strings.Repeat("slow ", 40))}
		for _, b := range m.Append(nil, packet.V5) {
			slow.send([]byte{b})
			pr.served(1)
		}
		if _, got := sub.receive(); got != string(m.Payload) {
			t.Errorf("received %q, want %q", got, m.Payload)
		}
	})
}

// TestManyConnectsAtOnce proves that 5,000 clients that connect together are
// all let in, while others are served.
func TestManyConnectsAtOnce(t *testing.T) {
	const crowd = 5000
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Cur < crowd+100 {
		t.Skipf("left out: %d connections need as many open files, and the limit is %d", crowd, limit.Cur)
	}
	eachEngine(t, func(t *testing.T, engine string) {
		// A machine that is busy with other things must not be what refuses one.
		p := serve(t, "--set", engine, "--set", "limits.connect_timeout="+patience.String())
		pr := newPair(t, p, "p")
		errs := make(chan error, crowd)
		gate := make(chan struct{})
		conns := make([]net.Conn, crowd)
		for i := range crowd {
			go func() {
				<-gate
				var err error
				conns[i], err = knock(p.Addr, fmt.Sprint("crowd-", i))
				errs <- err
			}()
		}
		close(gate)
		refused := 0
		for range crowd {
			pr.served(1)
			if err := <-errs; err != nil {
				refused++
				t.Logf("a client: %v", err)
			}
		}
		if refused > 0 {
			t.Errorf("%d of %d clients were not let in", refused, crowd)
		}
		pr.served(100)
		for _, conn := range conns {
			if conn != nil {
				conn.Close()
			}
		}
		pr.served(100)
	})
}

// knock connects a client and reads its CONNACK.
func knock(addr, id string) (net.Conn, error) {
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Write((&packet.Connect{Version: packet.V311, CleanStart: true, ClientID: []byte(id)}).Append(nil)); err != nil {
		return conn, err
	}
	var ack [4]byte
	if _, err := io.ReadFull(conn, ack[:]); err != nil {
		return conn, err
	}
	if ack != [4]byte{0x20, 2, 0, 0} {
		return conn, fmt.Errorf("CONNACK % x", ack)
	}
	return conn, nil
}

// TestGarbage proves that connections which send anything but MQTT are closed,
// harm nobody, and leave no memory behind.
func TestGarbage(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	eachEngine(t, func(t *testing.T, engine string) {
		p := serve(t, "--set", engine, "--set", "limits.connect_timeout=500ms")
		pr := newPair(t, p, "p")
		random := rand.New(rand.NewPCG(seed, 1))
		flood(t, p, pr, random, 2000)
		before := p.rss()
		flood(t, p, pr, random, 6000)
		grown := p.rss() - before
		t.Logf("memory grew by %d KiB over 6,000 connections", grown>>10)
		if grown > 8<<20 {
			t.Errorf("memory grew by %d bytes", grown)
		}
	})
}

// flood makes n connections, 500 at a time, each of which sends random bytes
// and waits for the broker to close it or hangs up itself.
func flood(t *testing.T, p *broker, pr *pair, random *rand.Rand, n int) {
	t.Helper()
	const together = 500
	for range n / together {
		var wg sync.WaitGroup
		for range together {
			b := garbage(random)
			wait := random.IntN(2) == 0
			wg.Go(func() {
				conn, err := net.DialTimeout("tcp", p.Addr, patience)
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				conn.Write(b) //nolint:errcheck // it may be closed already
				if !wait {
					return
				}
				conn.SetReadDeadline(time.Now().Add(patience))
				if _, err := io.Copy(io.Discard, conn); err != nil && !ended(err) {
					t.Errorf("after % x: the connection stays open", b)
				}
			})
		}
		pr.served(10)
		wg.Wait()
		if t.Failed() {
			return
		}
	}
}

// garbage is random bytes, bytes that begin like a packet, or a CONNECT with
// one byte wrong; never a session.
func garbage(random *rand.Rand) []byte {
	b := make([]byte, 1+random.IntN(300))
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	switch random.IntN(4) {
	case 0:
		b[0] = byte(random.IntN(16)) << 4
	case 1:
		m := packet.Connect{Version: packet.V5, CleanStart: true, ClientID: []byte("garbage")}
		c := m.Append(nil)
		c[4+random.IntN(4)] ^= 0x20 // in the protocol name
		b = append(c, b...)
	case 2:
		b = append((&packet.Pingreq{}).Append(nil, packet.V5), b...)
	}
	return b
}

func TestFilterWithTooManyLevels(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		p := serve(t, "--set", engine)
		pr := newPair(t, p, "p")
		c := connect(t, p, packet.V5, "deep", nil)
		m := packet.Subscribe{ID: 1, Subscriptions: []packet.Subscription{{Filter: bytes.Repeat([]byte("/"), 65_534)}}}
		c.send(m.Append(nil, packet.V5))
		first, body, err := c.next()
		if err != nil {
			t.Fatal(err)
		}
		switch packet.TypeOf(first) {
		case packet.SUBACK:
			var ack packet.Suback
			if err := ack.Decode(packet.V5, first, body); err != nil || len(ack.Codes) != 1 || !ack.Codes[0].Failed() {
				t.Errorf("SUBACK %v, %v for 65,535 levels", ack.Codes, err)
			}
		case packet.DISCONNECT: // as good an answer
		default:
			t.Errorf("got %v", packet.TypeOf(first))
		}
		pr.served(10)
	})
}
