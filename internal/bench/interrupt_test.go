package bench

import (
	"bytes"
	"context"
	"errors"
	"math"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"midge/internal/packet"
)

// interrupted runs a scenario against b in virtual time, and ends its context
// after a while.
func interrupted(t *testing.T, b *testBroker, v packet.Version, s Scenario, after time.Duration) (r *Result, took time.Duration, err error) {
	t.Helper()
	b.version = v
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), after)
		defer cancel()
		var o Options
		o.network.Dial = b.dial
		start := time.Now()
		r, err = Run(ctx, Target{Address: "127.0.0.1:1883", Version: v}, s, o)
		took = time.Since(start) - after
		b.running.Wait()
	})
	return r, took, err
}

// long is pairs that go on for a minute.
func long(qos int) Scenario {
	s := pairs(qos)
	s.Duration = Duration(time.Minute)
	return s
}

// TestInterrupted proves that a run which is interrupted tells what it measured
// until then, as if no more had been asked for, and ends soon.
func TestInterrupted(t *testing.T) {
	const after = 10 * time.Second
	for _, v := range []packet.Version{packet.V311, packet.V5} {
		for qos := range 3 {
			r, took, err := interrupted(t, newTestBroker(), v, long(qos), after)
			if err != nil {
				t.Fatal(err)
			}
			// 100 messages a second, from 20 ms after the start to 20 ms after
			// the interruption.
			if n := r.Published.Messages; n != 1000 || r.Received.Messages != n || r.Latency.Count != n || r.Faulty.Sum() != 0 || r.Failed() {
				t.Errorf("%v, QoS %d: published %d, received %+v, latencies of %d, %+v %q", v, qos, n, r.Received, r.Latency.Count, r.Faulty, r.Faults)
			}
			if math.Abs(r.Seconds-10) > 0.001 || math.Abs(r.Published.PerSecond-100) > 0.1 || math.Abs(r.Interrupted-10.02) > 0.001 {
				t.Errorf("%v, QoS %d: %v s, %v/s, interrupted after %v s", v, qos, r.Seconds, r.Published.PerSecond, r.Interrupted)
			}
			if took > time.Second {
				t.Errorf("%v, QoS %d: it went on for %v", v, qos, took)
			}
			if want := []string{"interrupted after 10s, of which it measured for 10s instead of 1m0s"}; len(r.Notes) != 1 || r.Notes[0] != want[0] {
				t.Errorf("it notes %q, want %q", r.Notes, want)
			}
			var table, lines bytes.Buffer
			if err := errors.Join(r.WriteTable(&table), r.WriteGo(&lines)); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(table.String(), "1000 messages in 10.00 s, 100/s") || !strings.Contains(table.String(), "note: interrupted after 10s") {
				t.Errorf("the table:\n%s", table.String())
			}
			if text := lines.String(); !strings.Contains(text, "\ninterrupted: after 10.0s\nBenchmarkMQTT/") || !strings.HasSuffix(text, "\ninterrupted:\n") {
				t.Errorf("for benchstat:\n%s", text)
			}
		}
	}
}

// TestInterruptedPhases interrupts runs at all other times.
func TestInterruptedPhases(t *testing.T) {
	named := func(name string, change func(*Scenario)) Scenario {
		s, err := Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		if change != nil {
			change(&s)
		}
		return s
	}
	dropAll := func(b *testBroker) { b.message = func(_ int, d *delivery) { d.copies = 0 } }
	for _, test := range []struct {
		name  string
		s     Scenario
		after time.Duration
		do    func(*testBroker)
		note  string
		check func(r *Result) bool
	}{
		{
			"connecting", named("conn-tcp-1K-100", nil), 5005 * time.Millisecond, nil, "interrupted after 5s, with 501 of 1000 clients connected: nothing else was measured",
			func(r *Result) bool {
				return r.Connects.Clients == 501 && r.Connects.Time.Count == 501 && r.Seconds == 0
			},
		},
		{
			"settling", named("idle-10", nil), 2 * time.Second, nil, "interrupted after 2s, with 10 of 10 clients connected: nothing else was measured",
			func(r *Result) bool { return r.Connects.Clients == 10 && r.Seconds == 0 },
		},
		{
			"warming up", named("p2p-2-2-2-100", nil), 500 * time.Millisecond, nil, "interrupted after 500ms, while warming up: nothing was measured",
			func(r *Result) bool { return r.Received.Messages == 0 && r.Seconds == 0 && r.Latency == nil },
		},
		{
			"a closed loop", named("throughput-2", func(s *Scenario) { s.Window = 1 }), 3 * time.Second, slowed(10 * time.Millisecond), "interrupted after 3s, of which it measured for 2s instead of 10s",
			func(r *Result) bool {
				return r.Received.Messages > 300 && r.Received.Messages <= 400 && math.Abs(r.Seconds-2) < 0.001
			},
		},
		{
			"a closed loop whose broker stalls", named("throughput-2", nil), 3 * time.Second, dropAll, "interrupted after 3s, of which",
			func(r *Result) bool { return strings.Contains(r.Notes[1], "20 messages were under way") },
		},
		{
			"churn", named("churn-50", func(s *Scenario) { s.Wills = true }), 3 * time.Second, nil, "interrupted after 3s, of which",
			func(r *Result) bool {
				return r.Churned.Connections == 150 && math.Abs(r.Churned.PerSecond-50) < 0.1 && r.Churned.WillsReceived == 150
			},
		},
		{
			"a number of messages", named("latency-1-4", nil), 8 * time.Second, slowed(3 * time.Second), "interrupted after 8s, before all messages were sent",
			func(r *Result) bool {
				return r.LastReceipt.Count == 2 && r.Latency.Count == 8 && r.Received.Messages == 8
			},
		},
		{
			"messages for those who are away", named("persistent-4-10K", nil), 10 * time.Millisecond, nil, "interrupted after ",
			func(r *Result) bool {
				return r.Resumed == nil && r.Published.Messages > 0 && r.Published.PerSecond > 0 && r.Seconds > 0
			},
		},
		{
			"after the last message", func() Scenario { s := pairs(1); s.Drain = Duration(time.Minute); return s }(), 10 * time.Second, dropAll,
			"interrupted after 10s, while the last messages were under way",
			func(r *Result) bool {
				return r.Published.Messages == 100 && r.Seconds == 1 && strings.Contains(r.Notes[1], "100 messages were under way")
			},
		},
	} {
		for _, v := range []packet.Version{packet.V311, packet.V5} {
			t.Run(test.name, func(t *testing.T) {
				b := newTestBroker()
				if test.do != nil {
					test.do(b)
				}
				r, took, err := interrupted(t, b, v, test.s, test.after)
				if err != nil {
					t.Fatal(err)
				}
				if r.Failed() || r.Faulty.Sum() != 0 || took > 2*time.Second || r.Interrupted == 0 {
					t.Errorf("after %v more: %+v, %q", took, r.Faulty, r.Faults)
				}
				if len(r.Notes) == 0 || !strings.HasPrefix(r.Notes[0], test.note) || !test.check(r) {
					t.Errorf("notes %q, want %q; connected %+v, published %+v, received %+v in %v s, latency %+v, last %+v, churned %+v, resumed %+v",
						r.Notes, test.note, r.Connects, r.Published, r.Received, r.Seconds, r.Latency, r.LastReceipt, r.Churned, r.Resumed)
				}
				if err := errors.Join(r.WriteTable(new(bytes.Buffer)), r.WriteGo(new(bytes.Buffer)), r.WriteJSON(new(bytes.Buffer))); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// slowed has a broker take d for each message.
func slowed(d time.Duration) func(*testBroker) { return func(b *testBroker) { b.delay = d } }

// TestInterruptedFaults proves that an interruption hides no fault: neither a
// loss that later messages tell, nor others.
func TestInterruptedFaults(t *testing.T) {
	for _, test := range []struct {
		name  string
		do    func(*testBroker)
		want  Faulty
		words string
	}{
		{"a gap", func(b *testBroker) {
			b.message = func(n int, d *delivery) {
				if n == 50 {
					d.copies = 0
				}
			}
		}, Faulty{Lost: 1}, "LOST 1 messages at QoS 1: later ones of their flows came"},
		{"a repetition", func(b *testBroker) {
			b.message = func(n int, d *delivery) {
				if n == 50 {
					d.copies = 2
				}
			}
		}, Faulty{Duplicates: 1}, "1 messages came twice"},
		{"the end of all", func(b *testBroker) {
			b.message = func(n int, d *delivery) {
				if n > 900 {
					d.copies = 0
				}
			}
			b.acknowledge = func(n int, ack []byte) []byte {
				if n > 900 {
					return nil
				}
				return ack
			}
		}, Faulty{}, ""},
	} {
		b := newTestBroker()
		test.do(b)
		r, _, err := interrupted(t, b, packet.V311, long(1), 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if r.Faulty != test.want || r.Failed() != (test.words != "") || !strings.Contains(strings.Join(r.Faults, "\n"), test.words) {
			t.Errorf("%s: %+v, %q; want %+v, %q", test.name, r.Faulty, r.Faults, test.want, test.words)
		}
		if test.words == "" && !strings.Contains(strings.Join(r.Notes, "\n"), "100 messages were under way, 100 were not acknowledged") {
			t.Errorf("%s: %q", test.name, r.Notes)
		}
	}
}

// TestInterruptedAtOnce proves that a run which has nothing to tell says so.
func TestInterruptedAtOnce(t *testing.T) {
	b := newTestBroker()
	b.greet = func(int, *packet.Connack) bool { return false }
	_, took, err := interrupted(t, b, packet.V311, pairs(0), 3*time.Second)
	if want := "bench 127.0.0.1:1883: interrupted after 3s, before any client was connected"; err == nil || err.Error() != want || took > time.Second {
		t.Errorf("after %v more: %v, want %s", took, err, want)
	}
}

// TestInterruptedProcesses interrupts worker processes in the middle.
func TestInterruptedProcesses(t *testing.T) {
	t.Setenv(workerEnv, "1")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	b := newTestBroker()
	b.message = func(n int, d *delivery) {
		if n == 500 {
			cancel()
		}
	}
	s := long(1)
	s.Publishers, s.Subscribers, s.Rate, s.WarmUp, s.Duration = 9, 9, 1000, 0, Duration(time.Hour)
	var log bytes.Buffer
	r, err := Run(ctx, Target{Address: b.listen(t)}, s, Options{Procs: 3, Worker: []string{os.Args[0]}, Log: &log})
	if err != nil {
		t.Fatal(err, log.String())
	}
	if r.Failed() || r.Faulty.Sum() != 0 || r.Published.Messages < 500 || r.Latency.Count < 500 || r.Seconds >= 3600 || r.Interrupted == 0 || r.Environment.Procs != 3 {
		t.Errorf("published %d, latencies of %d, in %v s, interrupted after %v s: %q %q", r.Published.Messages, r.Latency.Count, r.Seconds, r.Interrupted, r.Faults, r.Notes)
	}
}
