package bench

import (
	"bytes"
	"context"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"midge/internal/packet"
)

// workerEnv makes the test binary a worker process.
const workerEnv = "MIDGE_BENCH_TEST_WORKER"

func TestMain(m *testing.M) {
	if os.Getenv(workerEnv) == "" {
		os.Exit(m.Run())
	}
	if err := Work(context.Background(), os.Stdin, os.Stdout); err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
}

// listen makes the broker reach a real network, for as long as the test runs.
func (b *testBroker) listen(t *testing.T) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b.running.Go(func() { b.serve(&testConn{Conn: c}) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		b.running.Wait()
	})
	return l.Addr().String()
}

// TestProcesses spreads runs over three processes, and compares with what one
// must find.
func TestProcesses(t *testing.T) {
	t.Setenv(workerEnv, "1")
	scenario := func(change func(*Scenario)) Scenario {
		s := pairs(1)
		s.Rate, s.Messages, s.Window, s.Drain = 0, 20, 5, Duration(20*time.Second)
		change(&s)
		return s
	}
	for _, test := range []struct {
		name string
		s    Scenario
		drop bool
		want uint64
	}{
		{"pairs", scenario(func(s *Scenario) { s.Publishers, s.Subscribers = 9, 9 }), false, 180},
		{"fan-out", scenario(func(s *Scenario) { s.Publishers, s.Subscribers, s.Topics, s.Filter = 2, 7, 2, FilterAll }), false, 280},
		{"shared", scenario(func(s *Scenario) { s.Publishers, s.Subscribers, s.Filter = 5, 4, FilterShared }), false, 100},
		{"several topics", scenario(func(s *Scenario) { s.Publishers, s.Subscribers, s.Topics = 3, 6, 6 }), false, 120},
		{"a loss", scenario(func(s *Scenario) { s.Publishers, s.Subscribers, s.Drain = 9, 9, Duration(2*time.Second) }), true, 179},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newTestBroker()
			b.version = packet.V5
			if test.drop {
				b.message = func(n int, d *delivery) {
					if n == 100 {
						d.copies = 0
					}
				}
			}
			var log bytes.Buffer
			r, err := Run(t.Context(), Target{Address: b.listen(t), Version: packet.V5}, test.s, Options{Procs: 3, Worker: []string{os.Args[0]}, Log: &log})
			if err != nil {
				t.Fatal(err, log.String())
			}
			if r.Received.Messages != test.want || r.Failed() != test.drop || r.Environment.Procs != 3 {
				t.Errorf("received %d in %d processes, want %d: %+v %q", r.Received.Messages, r.Environment.Procs, test.want, r.Faulty, r.Faults)
			}
			if r.Latency == nil || r.Latency.Count != test.want || r.LastReceipt == nil || r.LastReceipt.Count > uint64(test.s.flows()*20) {
				t.Errorf("latencies %+v, last receipts %+v, of %d messages", r.Latency, r.LastReceipt, test.want)
			}
		})
	}
}

// TestProcessErrors proves that what goes wrong in a worker process is told as
// if it were in this one.
func TestProcessErrors(t *testing.T) {
	t.Setenv(workerEnv, "1")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s := pairs(1)
	for _, test := range []struct {
		options Options
		want    string
	}{
		{Options{Procs: 2, Worker: []string{os.Args[0]}}, "connection refused"},
		{Options{Procs: 2}, "no command"},
		{Options{Procs: 2, Worker: []string{"/nonexistent/midge"}}, "start worker 0"},
		{Options{Procs: 2, Worker: []string{"/bin/false"}}, "ended without a result"},
	} {
		_, err := Run(t.Context(), Target{Address: nobody}, s, test.options)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: error %v, want one with %q", test.options, err, test.want)
		}
	}
	if err := Work(t.Context(), strings.NewReader("hello"), new(bytes.Buffer)); err == nil {
		t.Error("a worker takes anything for a plan")
	}
}

// TestNetworkLoop runs a scenario through the loop of this system and a real
// network.
func TestNetworkLoop(t *testing.T) {
	for qos := range 3 {
		s := pairs(qos)
		s.Rate, s.Messages, s.Window = 0, 2000, 20
		s.Publishers, s.Subscribers = 10, 10
		b := newTestBroker()
		r, err := Run(t.Context(), Target{Address: b.listen(t)}, s, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if r.Failed() || r.Received.Messages != 20_000 {
			t.Errorf("QoS %d: received %d messages, want 20000: %q", qos, r.Received.Messages, r.Faults)
		}
	}
}
