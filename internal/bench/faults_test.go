package bench

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"midge/internal/packet"
)

// inBubble runs a scenario against b in virtual time.
func inBubble(t *testing.T, b *testBroker, v packet.Version, s Scenario) (r *Result, err error) {
	t.Helper()
	b.version = v
	synctest.Test(t, func(t *testing.T) {
		var o Options
		o.network.Dial = b.dial
		r, err = Run(t.Context(), Target{Address: "127.0.0.1:1883", Version: v}, s, o)
		b.running.Wait()
	})
	return r, err
}

// pairs is two publishers with a subscriber each, 100 messages a second for a
// second.
func pairs(qos int) Scenario {
	s := Default()
	s.Publishers, s.Subscribers, s.Rate, s.QoS, s.WarmUp, s.Duration = 2, 2, 100, qos, 0, Duration(time.Second)
	s.Size = 40
	return s
}

// TestNoFaults proves that an honest broker is reported as one, for each QoS,
// version and loop, so that the faults below are those of the broker.
func TestNoFaults(t *testing.T) {
	for _, v := range []packet.Version{packet.V311, packet.V5} {
		for qos := range 3 {
			for _, change := range []func(*Scenario){
				func(*Scenario) {},
				func(s *Scenario) { s.Rate, s.Messages, s.Window = 0, 100, 5 },
				func(s *Scenario) { s.Filter, s.Topics = FilterAll, 6 },
				func(s *Scenario) { s.Filter, s.Subscribers = FilterWildcard, 1 },
				func(s *Scenario) { s.Filter, s.Topics, s.Subscribers = FilterPlus, 1, 5 },
				func(s *Scenario) { s.Publishers, s.Topics, s.Subscribers = 7, 3, 3 },
				func(s *Scenario) { s.Publishers, s.Topics, s.Subscribers = 2, 10, 4 },
			} {
				s := pairs(qos)
				change(&s)
				r, err := inBubble(t, newTestBroker(), v, s)
				if err != nil {
					t.Fatalf("%v, QoS %d, %s: %v", v, qos, s.Describe(), err)
				}
				if r.Failed() || r.Faulty.Sum() != 0 {
					t.Errorf("%v, QoS %d, %s: %+v %q", v, qos, s.Describe(), r.Faulty, r.Faults)
				}
				if want := deliveries(s); r.Received.Messages != want {
					t.Errorf("%v, QoS %d, %s: received %d, want %d", v, qos, s.Describe(), r.Received.Messages, want)
				}
			}
		}
	}
}

// deliveries is how many messages are to arrive, worked out in another way
// than the bench does.
func deliveries(s Scenario) (n uint64) {
	s = s.withDefaults()
	sent := map[int]int{} // by topic
	flows := max(s.Publishers, s.Topics)
	if s.Messages > 0 {
		for f := range flows {
			sent[f%s.Topics] += s.Messages
		}
	} else {
		for i := range int(s.Rate * time.Duration(s.Duration).Seconds()) {
			sent[i%flows%s.Topics]++
		}
	}
	for j := range s.Subscribers {
		for topic, count := range sent {
			own := topic%s.Subscribers == j
			if s.Topics < s.Subscribers {
				own = j%s.Topics == topic
			}
			if own || s.Filter == FilterAll || s.Filter == FilterWildcard {
				n += uint64(count)
			}
		}
	}
	return n
}

// TestEveryFaultIsReported has a broker do each thing that it must not, once,
// and looks for it in the result.
func TestEveryFaultIsReported(t *testing.T) {
	only := func(n int, f func(*delivery)) func(int, *delivery) {
		return func(i int, d *delivery) {
			if i == n {
				f(d)
			}
		}
	}
	for _, test := range []struct {
		name  string
		fault func(*testBroker)
		want  Faulty
		words string
	}{
		{"drops one in the middle", func(b *testBroker) { b.message = only(50, func(d *delivery) { d.copies = 0 }) }, Faulty{Lost: 1}, "LOST 1 messages"},
		{"drops the last", func(b *testBroker) { b.message = only(100, func(d *delivery) { d.copies = 0 }) }, Faulty{Lost: 1}, "LOST 1 messages"},
		{"drops all", func(b *testBroker) { b.message = func(_ int, d *delivery) { d.copies = 0 } }, Faulty{Lost: 100}, "LOST 100 messages"},
		{"repeats one", func(b *testBroker) { b.message = only(50, func(d *delivery) { d.copies = 2 }) }, Faulty{Duplicates: 1}, "1 messages came twice"},
		{"repeats the last", func(b *testBroker) { b.message = only(100, func(d *delivery) { d.copies = 3 }) }, Faulty{Duplicates: 2}, "2 messages came twice"},
		{"swaps two of a flow", func(b *testBroker) {
			b.message = func(n int, d *delivery) { d.hold = n == 50 || n == 51 }
		}, Faulty{OutOfOrder: 1}, "1 messages came out of order"},
		{"changes the payload", func(b *testBroker) {
			b.message = only(50, func(d *delivery) { d.Payload[20] ^= 1 })
		}, Faulty{Corrupt: 1, Lost: 1}, "another payload"},
		{"cuts the payload", func(b *testBroker) {
			b.message = only(50, func(d *delivery) { d.Payload = d.Payload[:10] })
		}, Faulty{Corrupt: 1, Lost: 1}, "another payload"},
		{"sends to everybody", func(b *testBroker) { b.message = only(50, func(d *delivery) { d.all = true }) }, Faulty{Misrouted: 1}, "wrong subscriber"},
		{"changes the topic", func(b *testBroker) {
			b.message = only(50, func(d *delivery) { d.Topic = append(d.Topic, 'x'); d.all = true })
		}, Faulty{Misrouted: 2, Lost: 1}, "wrong topic"},
		{"withholds an acknowledgement", func(b *testBroker) {
			b.acknowledge = func(n int, ack []byte) []byte {
				if n == 50 {
					return nil
				}
				return ack
			}
		}, Faulty{Unacknowledged: 1}, "1 messages were not acknowledged"},
		{"acknowledges what was not sent", func(b *testBroker) {
			b.acknowledge = func(n int, ack []byte) []byte {
				if n == 100 {
					return append(ack, byte(packet.PUBACK)<<4, 2, 0x7f, 0xff)
				}
				return ack
			}
		}, Faulty{Protocol: 1}, "1 protocol errors"},
		{"sends garbage", func(b *testBroker) { b.message = only(99, func(d *delivery) { d.raw = []byte{0, 1, 2, 3} }) }, Faulty{Protocol: 1, Lost: 1}, "1 protocol errors"},
		{"sends a packet that clients send", func(b *testBroker) {
			b.message = only(99, func(d *delivery) { d.raw = []byte{byte(packet.PINGREQ) << 4, 0} })
		}, Faulty{Protocol: 1, Lost: 1}, "PINGREQ from a broker"},
		{"answers CONNECT twice", func(b *testBroker) {
			b.message = only(99, func(d *delivery) { d.raw = []byte{byte(packet.CONNACK) << 4, 2, 0, 0} })
		}, Faulty{Protocol: 1, Lost: 1}, "a second CONNACK"},
		{"hangs up", func(b *testBroker) { b.message = only(99, func(d *delivery) { d.hangUp = true }) }, Faulty{Disconnected: 1, Lost: 1}, "connections ended"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newTestBroker()
			test.fault(b)
			r, err := inBubble(t, b, packet.V311, pairs(1))
			if err != nil {
				t.Fatal(err)
			}
			if r.Faulty != test.want {
				t.Errorf("faults %+v, want %+v: %q", r.Faulty, test.want, r.Faults)
			}
			if !r.Failed() || !strings.Contains(strings.Join(r.Faults, "\n"), test.words) {
				t.Errorf("it says %q, want something with %q", r.Faults, test.words)
			}
			var table bytes.Buffer
			if err := r.WriteTable(&table); err != nil || !strings.Contains(table.String(), "FAULT: ") {
				t.Errorf("the table doesn't shout: %v\n%s", err, table.String())
			}
		})
	}
}

// TestFaultsOfVersion5 proves that reason codes which say that something went
// wrong are faults.
func TestFaultsOfVersion5(t *testing.T) {
	for _, test := range []struct {
		name  string
		fault func(*testBroker)
		want  Faulty
		words string
	}{
		{"refuses a message", func(b *testBroker) {
			b.acknowledge = func(n int, ack []byte) []byte {
				if n == 50 {
					return []byte{ack[0], 3, ack[2], ack[3], byte(packet.QuotaExceeded)}
				}
				return ack
			}
		}, Faulty{Refused: 1}, "1 messages were refused"},
		{"disconnects", func(b *testBroker) {
			b.message = func(n int, d *delivery) {
				if n == 99 {
					d.raw = (&packet.Disconnect{Code: packet.ServerBusy}).Append(nil, packet.V5)
				}
			}
		}, Faulty{Disconnected: 1, Lost: 1}, packet.ServerBusy.String()},
	} {
		b := newTestBroker()
		test.fault(b)
		r, err := inBubble(t, b, packet.V5, pairs(1))
		if err != nil {
			t.Fatal(err)
		}
		if r.Faulty != test.want || !strings.Contains(strings.Join(r.Faults, "\n"), test.words) {
			t.Errorf("%s: faults %+v, want %+v: %q", test.name, r.Faulty, test.want, r.Faults)
		}
	}
}

// TestSessionsLost proves that a broker which forgets sessions is told as one:
// the test broker keeps none.
func TestSessionsLost(t *testing.T) {
	s, err := Parse("persistent-3-10")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []packet.Version{packet.V311, packet.V5} {
		r, err := inBubble(t, newTestBroker(), v, s)
		if err != nil {
			t.Fatal(err)
		}
		if r.Faulty.Lost != 30 || !strings.Contains(strings.Join(r.Faults, "\n"), "LOST 3 sessions") {
			t.Errorf("%v: %+v, %q; want 3 sessions and 30 messages lost", v, r.Faulty, r.Faults)
		}
	}
}

// TestAllowLoss proves that losses are counted also when they are no fault.
func TestAllowLoss(t *testing.T) {
	b := newTestBroker()
	b.message = func(n int, d *delivery) {
		if n%10 == 0 {
			d.copies = 0
		}
	}
	s := pairs(0)
	s.AllowLoss = true
	r, err := inBubble(t, b, packet.V311, s)
	if err != nil || r.Failed() || r.Faulty.Lost != 10 {
		t.Errorf("%v: %+v, %q; want 10 lost, and no fault", err, r.Faulty, r.Faults)
	}
}

// TestFaultsOfSharedSubscriptions proves that a message that two members of a
// group get is told from two messages.
func TestFaultsOfSharedSubscriptions(t *testing.T) {
	s := pairs(1)
	s.Filter, s.Subscribers, s.Publishers = FilterShared, 3, 4
	for _, test := range []struct {
		name string
		do   func(int, *delivery)
		want Faulty
	}{
		{"honest", nil, Faulty{}},
		{"twice", func(n int, d *delivery) {
			if n == 50 {
				d.all = true // to all three members of the group
			}
		}, Faulty{Duplicates: 2}},
		{"never", func(n int, d *delivery) {
			if n == 50 {
				d.copies = 0
			}
		}, Faulty{Lost: 1}},
	} {
		b := newTestBroker()
		b.message = test.do
		r, err := inBubble(t, b, packet.V5, s)
		if err != nil {
			t.Fatal(err)
		}
		if r.Faulty != test.want {
			t.Errorf("%s: faults %+v, want %+v: %q", test.name, r.Faulty, test.want, r.Faults)
		}
	}
}

// TestRefusals proves that what makes a run impossible ends it at once, and
// says why.
func TestRefusals(t *testing.T) {
	for _, test := range []struct {
		name  string
		fault func(*testBroker)
		want  string
	}{
		{"connection refused", func(b *testBroker) {
			b.greet = func(n int, p *packet.Connack) bool { p.Code = packet.NotAuthorized; return true }
		}, "not authorized"},
		{"no answer", func(b *testBroker) {
			b.greet = func(n int, p *packet.Connack) bool { return n != 2 }
		}, "no answer for 20s"},
		{"a server for WebSocket", func(b *testBroker) {
			b.greeting = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\nDate: Sat, 21 Nov 2026 15:00:00 GMT\r\n\r\n"
		}, "the address is ws://"},
		{"a server for TLS", func(b *testBroker) { b.greeting = "\x15\x03\x01\x00\x02\x02\x46" }, "the address is mqtts://"},
		{"hangs up", func(b *testBroker) { b.greeting = "\x20" }, "no connack: the broker closed the connection"},
		{"subscription refused", func(b *testBroker) { b.refuse = true }, "refuses a subscription"},
	} {
		b := newTestBroker()
		test.fault(b)
		_, err := inBubble(t, b, packet.V5, pairs(0))
		if err == nil || !strings.Contains(strings.ToLower(err.Error()), test.want) || !strings.Contains(err.Error(), "127.0.0.1:1883") {
			t.Errorf("%s: error %v, want one with the address and %q", test.name, err, test.want)
		}
	}
}

// TestLatency proves that latencies are those of the broker: one that takes 50
// ms for each message, in virtual time, has exactly this latency.
func TestLatency(t *testing.T) {
	b := newTestBroker()
	b.delay = 50 * time.Millisecond
	r, err := inBubble(t, b, packet.V311, pairs(0))
	if err != nil || r.Failed() {
		t.Fatal(err, r.Faults)
	}
	for _, ns := range []int64{r.Latency.Min, r.Latency.P50, r.Latency.P99, r.Latency.Max} {
		if d := time.Duration(ns); d < 49*time.Millisecond || d > 51*time.Millisecond {
			t.Errorf("latency %v with a broker that takes %v: %+v", d, b.delay, r.Latency)
		}
	}
	h, err := r.Latency.Decode()
	if err != nil || h.TotalCount() != int64(r.Latency.Count) || r.Latency.Count != 100 {
		t.Errorf("the histogram has %d values of %d, want 100: %v", h.TotalCount(), r.Latency.Count, err)
	}
}

// TestNoCoordinatedOmission proves that a broker which stalls for half a
// second is charged for all messages that were due meanwhile, and not only for
// the first.
func TestNoCoordinatedOmission(t *testing.T) {
	for qos := range 2 {
		b := newTestBroker()
		b.acknowledge = func(n int, ack []byte) []byte {
			if n == 20 {
				time.Sleep(500 * time.Millisecond) // the connection isn't read meanwhile
			}
			return ack
		}
		b.message = func(n int, d *delivery) {
			if n == 20 && d.QoS == 0 {
				time.Sleep(500 * time.Millisecond)
			}
		}
		s := pairs(qos)
		s.Publishers, s.Subscribers, s.Inflight = 1, 1, 4
		r, err := inBubble(t, b, packet.V311, s)
		if err != nil || r.Failed() {
			t.Fatal(err, r.Faults)
		}
		// 50 messages were due during the stall, and waited 250 ms on average.
		h, err := r.Latency.Decode()
		if err != nil {
			t.Fatal(err)
		}
		late := 0.0
		for _, bar := range h.Distribution() {
			if bar.From > int64(20*time.Millisecond) {
				late += float64(bar.Count)
			}
		}
		if late < 45 || late > 50 || r.Latency.Count != 100 {
			t.Errorf("QoS %d: %v of %d messages were late, want 48 of 100", qos, late, r.Latency.Count)
		}
	}
}

// TestLastReceipt proves that the latency of the last of a message's
// subscribers is told.
func TestLastReceipt(t *testing.T) {
	s, err := Parse("latency-1-100")
	if err != nil {
		t.Fatal(err)
	}
	b := newTestBroker()
	b.delay = 30 * time.Millisecond
	r, err := inBubble(t, b, packet.V311, s)
	if err != nil || r.Failed() {
		t.Fatal(err, r.Faults)
	}
	if r.LastReceipt == nil || r.LastReceipt.Count != 5 || r.Received.Messages != 500 || r.LastReceipt.Min < int64(29*time.Millisecond) {
		t.Errorf("last receipts %+v of %d deliveries, want 5 of 500 after 30 ms", r.LastReceipt, r.Received.Messages)
	}
}

// TestChurnAndWills proves that clients come and go at their rate, and that
// wills are counted and missed.
func TestChurnAndWills(t *testing.T) {
	s := Default()
	s.Churn, s.Wills, s.WarmUp, s.Duration = 50, true, 0, Duration(2*time.Second)
	for _, lose := range []bool{false, true} {
		b := newTestBroker()
		if lose {
			b.greet = func(n int, _ *packet.Connack) bool {
				if n == 10 {
					b.mu.Lock()
					defer b.mu.Unlock()
					for c := range b.conns {
						c.will = nil
					}
				}
				return true
			}
		}
		r, err := inBubble(t, b, packet.V5, s)
		if err != nil {
			t.Fatal(err)
		}
		if c := r.Churned; c.Connections != 100 || c.WillsDue != 100 || (c.WillsReceived != 100) != lose || r.Failed() != lose {
			t.Errorf("lose=%v: %+v, %q", lose, c, r.Faults)
		}
	}
}
