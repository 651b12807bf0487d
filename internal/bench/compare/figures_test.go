package compare

import (
	"math"
	"slices"
	"testing"

	"midge/internal/bench"
)

func TestStats(t *testing.T) {
	for _, tt := range []struct {
		name                      string
		values                    []float64
		median, low, high, spread float64
	}{
		{"one", []float64{7}, 7, 7, 7, 0},
		{"odd", []float64{9, 1, 5}, 5, 1, 9, 1.6},
		{"even", []float64{4, 2, 8, 6}, 5, 2, 8, 1.2},
		{"zero", []float64{0, 0}, 0, 0, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := slices.Clone(tt.values)
			s, ok := newStats(tt.values)
			if !ok || s.Median != tt.median || s.Low != tt.low || s.High != tt.high || math.Abs(s.Spread()-tt.spread) > 1e-9 {
				t.Errorf("%+v, spread %v", s, s.Spread())
			}
			if !slices.Equal(before, tt.values) {
				t.Errorf("the rounds were put in another order: %v", tt.values)
			}
		})
	}
	if _, ok := newStats(nil); ok {
		t.Error("statistics of nothing")
	}
}

func TestNoisy(t *testing.T) {
	for _, tt := range []struct {
		name string
		a, b []float64
		lag  float64
		want bool
	}{
		{"apart", []float64{1, 2, 2}, []float64{3, 4, 4}, 0, false},
		{"apart the other way", []float64{3, 4, 4}, []float64{1, 2, 2}, 0, false},
		{"touching", []float64{1, 3, 2}, []float64{3, 4, 5}, 0, true},
		{"inside", []float64{1, 9, 5}, []float64{3, 4, 5}, 0, true},
		{"one round", []float64{1}, []float64{9}, 0, true},
		{"two rounds", []float64{1, 2}, []float64{8, 9}, 0, true},
		{"two rounds of one", []float64{1, 2, 2}, []float64{8, 9}, 0, true},
		{"apart by more than the bench's lag", []float64{1, 2, 2}, []float64{3, 4, 4}, 1.9, false},
		{"apart by less", []float64{1, 2, 2}, []float64{3, 4, 4}, 2, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, _ := newStats(tt.a)
			b, _ := newStats(tt.b)
			if a.noisy(b, tt.lag) != tt.want {
				t.Errorf("noisy is %v", !tt.want)
			}
		})
	}
}

func TestFormat(t *testing.T) {
	for _, tt := range []struct {
		v    float64
		unit string
		want string
		tick string
	}{
		{0, "s", "0 s", "0 s"},
		{864e-9, "s", "864 ns", "864 ns"},
		{1.678e-6, "s", "1.68 µs", "1.68 µs"},
		{15e-6, "s", "15 µs", "15 µs"},
		{19.84e-3, "s", "19.8 ms", "19.8 ms"},
		{0.9999, "s", "1,000 ms", "1,000 ms"},
		{2.5, "s", "2.50 s", "2.5 s"},
		{691, "B", "691 B", "691 B"},
		{2149.4, "B", "2,149 B", "2,149 B"},
		{21.7e6, "B", "21.7 MB", "21.7 MB"},
		{1.5e9, "B", "1.50 GB", "1.5 GB"},
		{1264660, "msg/s", "1,264,660 msg/s", "1.26M"},
		{60215, "msg/s", "60,215 msg/s", "60.2k"},
		{200000, "msg/s", "200,000 msg/s", "200k"},
		{12, "/s", "12/s", "12"},
	} {
		t.Run(tt.want, func(t *testing.T) {
			if got := format(tt.v, tt.unit); got != tt.want {
				t.Errorf("format: %q, want %q", got, tt.want)
			}
			if got := tick(tt.v, tt.unit); got != tt.tick {
				t.Errorf("tick: %q, want %q", got, tt.tick)
			}
		})
	}
}

// TestHeadlines proves that each kind of scenario is judged by a figure, and
// that it is one that such a scenario can have.
func TestHeadlines(t *testing.T) {
	for name, want := range map[string]string{
		"conn-tcp-10-10": "connects", "fanout-1-10-1-10": "p99", "p2p-10-10-10-10": "p99", "sharedsub-10-5-10-10": "p99",
		"fanin-10-1-10-10": "p99", "persistent-10-10": "resumed", "latency-1-10": "last", "throughput-10": "rate",
		"cpu-1-10": "p99", "idle-10": "memory-connection", "churn-10": "connect-p99", "storm-10": "p99", "conn-tls-10-10": "connects", "retained-10-10": "meanwhile-p99",
	} {
		s, err := bench.Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		got := headline(s)
		if _, ok := figureOf(got); !ok || got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
		if s.Restart = bench.RestartKill; headline(s) != "restart" {
			t.Errorf("%s with a restart: %s", name, headline(s))
		}
	}
	for _, n := range bench.Names() {
		s, err := bench.Parse(n.Example)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := figureOf(headline(s)); !ok {
			t.Errorf("%s: no figure %s", n.Example, headline(s))
		}
	}
}

func TestFigures(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range figures() {
		if seen[f.Key] || f.Name == "" || f.Unit == "" {
			t.Errorf("figure %+v", f)
		}
		seen[f.Key] = true
		if _, ok := f.of(&bench.Result{}); ok {
			t.Errorf("%s: a value from an empty result", f.Key)
		}
	}
	full := &bench.Result{
		Connects: bench.Connects{Clients: 10, PerSecond: 5, Time: &bench.Latency{P99: 2e6}},
		Received: bench.Count{Messages: 1, PerSecond: 3},
		Latency:  &bench.Latency{P50: 1e3, P99: 2e3, P999: 3e3, Max: 4e3}, LastReceipt: &bench.Latency{P50: 5e3, Max: 6e3},
		AckLatency: &bench.Latency{P50: 7e3, P99: 8e3}, Lag: &bench.Latency{P99: 9e3}, Resumed: &bench.Resumed{PerSecond: 11, MicrosPerMsg: 17, RSSGrowth: 18},
		BrokerUse: &bench.Usage{MicrosPerMsg: 12, ConnectMicros: 13, RSS: 14, RSSPerConn: 15, WrittenPerMsg: 19, RSSPerMsg: 20, EmptyRSS: 21}, BenchUse: bench.Usage{MicrosPerMsg: 16},
		Restarted: &bench.Restarted{StopSeconds: 22, StartSeconds: 23, RSSPerClient: 24}, Published: bench.Count{Messages: 1, PerSecond: 25},
		Retained: &bench.Retained{
			LayPerSecond: 26, RSSPerMsg: 27, PerSecond: 28, First: &bench.Latency{P50: 29e3}, Whole: &bench.Latency{P50: 30e3},
			Meanwhile: &bench.Latency{P50: 31e3, P99: 32e3, Max: 33e3},
		},
	}
	for key, want := range map[string]float64{
		"rate": 3, "resumed": 11, "p50": 1e-6, "p99": 2e-6, "p99.9": 3e-6, "max": 4e-6, "last": 5e-6, "last-max": 6e-6, "ack-p50": 7e-6,
		"ack-p99": 8e-6, "connects": 5, "connect-p99": 2e-3, "cpu": 12e-6, "cpu-connect": 13e-6, "memory": 14, "memory-connection": 15,
		"bench-cpu": 16e-6, "lag": 9e-6, "cpu-resumed": 17e-6, "memory-growth": 18, "written": 19, "memory-message": 20, "memory-empty": 21,
		"stop": 22, "restart": 23, "memory-restart": 24,
		"retained-laid": 26, "memory-retained": 27, "retained-rate": 28, "retained-first": 29e-6, "retained-all": 30e-6,
		"meanwhile-p50": 31e-6, "meanwhile-p99": 32e-6, "meanwhile-max": 33e-6,
	} {
		f, known := figureOf(key)
		if got, ok := f.of(full); !known || !ok || math.Abs(got-want) > want*1e-9 {
			t.Errorf("%s: %v, want %v", key, got, want)
		}
	}
	for _, key := range []string{"published", "memory-session"} {
		f, _ := figureOf(key)
		if _, ok := f.of(full); ok {
			t.Errorf("%s: nobody is away", key)
		}
	}
	full.Scenario.Publishers, full.Scenario.Offline = 1, true
	for key, want := range map[string]float64{"published": 25, "memory-session": 15} {
		f, _ := figureOf(key)
		if got, ok := f.of(full); !ok || got != want {
			t.Errorf("%s: %v, want %v", key, got, want)
		}
	}
	for _, key := range []string{"connects", "connect-p99", "cpu-connect", "memory-connection", "memory-empty"} {
		f, _ := figureOf(key)
		if _, ok := f.of(full); ok {
			t.Errorf("%s: messages blur it", key)
		}
	}
}
