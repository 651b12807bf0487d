package bench

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"midge/internal/packet"
)

// runRetained runs a scenario of retained messages in virtual time.
func runRetained(t *testing.T, b *testBroker, s Scenario, o Options) (r *Result) {
	t.Helper()
	b.retained = map[string]packet.Publish{}
	synctest.Test(t, func(t *testing.T) {
		o.network.Dial = b.dial
		var err error
		if r, err = Run(t.Context(), Target{Address: "127.0.0.1:1883", Version: b.version}, s, o); err != nil {
			t.Fatal(err)
		}
		b.running.Wait()
	})
	return r
}

func retainedScenario(t *testing.T) Scenario {
	s, err := Parse("retained-200-100")
	if err != nil {
		t.Fatal(err)
	}
	s.WarmUp, s.Duration = 0, Duration(5*time.Second)
	return s
}

// TestRetained proves that readers ask a second after the beginning, and a second
// after they have got all; that the others' messages are told apart by whether
// somebody read meanwhile; and that nothing is left at the broker.
func TestRetained(t *testing.T) {
	for _, v := range []packet.Version{packet.V311, packet.V5} {
		for qos := range 2 {
			s := retainedScenario(t)
			s.Readers, s.SubQoS = 2, qos
			b := newTestBroker()
			b.version = v
			b.read = func(n int, d *delivery) {
				if n%200 == 50 { // a reader's reading takes half a second
					d.wait = 500 * time.Millisecond
				}
			}
			r := runRetained(t, b, s, Options{})
			k := r.Retained
			if r.Failed() || k.Messages != 200 || k.Read != 3*2*200 || k.First.Count != 6 || k.Whole.Count != 6 {
				t.Fatalf("%v, QoS %d: %+v, faults %q", v, qos, k, r.Faults)
			}
			if k.First.Max > int64(time.Millisecond) || k.Whole.Min < int64(499*time.Millisecond) || k.Whole.Max > int64(510*time.Millisecond) || k.PerSecond < 790 || k.PerSecond > 800 {
				t.Errorf("first after %+v, all after %+v, %v/s", k.First, k.Whole, k.PerSecond)
			}
			if n := k.Meanwhile.Count; n < 148 || n > 156 || n+r.Latency.Count != 500 {
				t.Errorf("%d messages meanwhile, %d else", n, r.Latency.Count)
			}
			if len(b.retained) > 0 {
				t.Errorf("%d retained messages are left", len(b.retained))
			}
		}
	}
	b := newTestBroker()
	if r := runRetained(t, b, retainedScenario(t), Options{Discard: true}); r.Failed() || len(b.retained) != 200 {
		t.Errorf("thrown away: %d retained messages, faults %q", len(b.retained), r.Faults)
	}
}

// TestRetainedFaults has a broker do each thing that it must not with a retained message.
func TestRetainedFaults(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault func(*delivery)
		want  Faulty
		words string
	}{
		{"loses one", func(d *delivery) { d.copies = 0 }, Faulty{Lost: 1}, "reader 0 got 199 of 200 retained messages"},
		{"sends one twice", func(d *delivery) { d.copies = 2 }, Faulty{Duplicates: 1}, "1 messages came twice"},
		{"clears RETAIN", func(d *delivery) { d.Retain = false }, Faulty{Corrupt: 1, Lost: 1}, "another payload"},
		{"cuts the payload", func(d *delivery) { d.Payload = d.Payload[:10] }, Faulty{Corrupt: 1, Lost: 1}, "another payload"},
		{"takes another topic", func(d *delivery) { d.Topic = append([]byte(nil), "x"...) }, Faulty{Misrouted: 1, Lost: 1}, "wrong topic"},
		{"hangs up", func(d *delivery) { d.hangUp = true }, Faulty{Lost: 101, Disconnected: 1}, "1 connections ended"},
	} {
		b := newTestBroker()
		b.read = func(n int, d *delivery) {
			if n == 100 {
				tt.fault(d)
			}
		}
		r := runRetained(t, b, retainedScenario(t), Options{})
		if r.Faulty != tt.want || !strings.Contains(strings.Join(r.Faults, "\n"), tt.words) {
			t.Errorf("%s: %+v, faults %q", tt.name, r.Faulty, r.Faults)
		}
	}
	b := newTestBroker()
	b.acknowledge = func(n int, ack []byte) []byte {
		if n == 7 {
			return nil
		}
		return ack
	}
	synctest.Test(t, func(t *testing.T) {
		o := Options{}
		o.network.Dial = b.dial
		_, err := Run(t.Context(), Target{Address: "127.0.0.1:1883"}, retainedScenario(t), o)
		if err == nil || !strings.Contains(err.Error(), "retained messages were not acknowledged") {
			t.Errorf("a PUBACK is missing: %v", err)
		}
		b.running.Wait()
	})
}
