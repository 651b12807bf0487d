package compare

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"midge/internal/bench"
)

// Figure is something that a run measures and brokers are compared by.
type Figure struct {
	Key    string
	Name   string
	Unit   string // after a number; see format
	Better int    // 1 when more is better, -1 when less is, 0 when neither
	// of returns the value in a run, if there is one.
	of func(*bench.Result) (float64, bool)
}

// figures lists all figures in the order of tables.
func figures() []Figure {
	latency := func(l *bench.Latency, pick func(*bench.Latency) int64) (float64, bool) {
		if l == nil {
			return 0, false
		}
		return float64(pick(l)) / 1e9, true
	}
	p50 := func(l *bench.Latency) int64 { return l.P50 }
	p99 := func(l *bench.Latency) int64 { return l.P99 }
	longest := func(l *bench.Latency) int64 { return l.Max }
	return []Figure{
		{"rate", "received", "msg/s", 1, func(r *bench.Result) (float64, bool) {
			return r.Received.PerSecond, r.Received.Messages > 0 && !r.Scenario.Offline // see resumed
		}},
		{"published", "published for clients that are away", "msg/s", 1, func(r *bench.Result) (float64, bool) {
			return r.Published.PerSecond, r.Scenario.Offline && r.Published.Messages > 0
		}},
		{"resumed", "delivered to resumed sessions", "msg/s", 1, func(r *bench.Result) (float64, bool) {
			if r.Resumed == nil {
				return 0, false
			}
			return r.Resumed.PerSecond, true
		}},
		{"p50", "latency p50", "s", -1, func(r *bench.Result) (float64, bool) { return latency(r.Latency, p50) }},
		{"p99", "latency p99", "s", -1, func(r *bench.Result) (float64, bool) { return latency(r.Latency, p99) }},
		{"p99.9", "latency p99.9", "s", -1, func(r *bench.Result) (float64, bool) {
			return latency(r.Latency, func(l *bench.Latency) int64 { return l.P999 })
		}},
		{"max", "latency max", "s", -1, func(r *bench.Result) (float64, bool) {
			return latency(r.Latency, longest)
		}},
		{"meanwhile-p50", "latency while retained messages are read, p50", "s", -1, ofRetained(func(k *bench.Retained) *bench.Latency { return k.Meanwhile }, p50)},
		{"meanwhile-p99", "latency while retained messages are read, p99", "s", -1, ofRetained(func(k *bench.Retained) *bench.Latency { return k.Meanwhile }, p99)},
		{"meanwhile-max", "latency while retained messages are read, max", "s", -1, ofRetained(func(k *bench.Retained) *bench.Latency { return k.Meanwhile }, longest)},
		{"retained-first", "SUBSCRIBE to first retained message, p50", "s", -1, ofRetained(func(k *bench.Retained) *bench.Latency { return k.First }, p50)},
		{"retained-all", "SUBSCRIBE to last retained message, p50", "s", -1, ofRetained(func(k *bench.Retained) *bench.Latency { return k.Whole }, p50)},
		{"retained-rate", "retained messages read", "msg/s", 1, ofPart(retained, func(k *bench.Retained) float64 { return k.PerSecond })},
		{"retained-laid", "retained messages laid down", "msg/s", 1, ofPart(retained, func(k *bench.Retained) float64 { return k.LayPerSecond })},
		{"memory-retained", "memory per retained message", "B", -1, ofPart(retained, func(k *bench.Retained) float64 { return k.RSSPerMsg })},
		{"last", "until the last subscriber has it, p50", "s", -1, func(r *bench.Result) (float64, bool) { return latency(r.LastReceipt, p50) }},
		{"last-max", "until the last subscriber has it, max", "s", -1, func(r *bench.Result) (float64, bool) {
			return latency(r.LastReceipt, longest)
		}},
		{"ack-p50", "written to acknowledged p50", "s", -1, func(r *bench.Result) (float64, bool) { return latency(r.AckLatency, p50) }},
		{"ack-p99", "written to acknowledged p99", "s", -1, func(r *bench.Result) (float64, bool) { return latency(r.AckLatency, p99) }},
		{"connects", "connections", "/s", 1, func(r *bench.Result) (float64, bool) {
			if r.Churned != nil {
				return r.Churned.PerSecond, true
			}
			return r.Connects.PerSecond, r.Connects.Clients > 0 && r.Scenario.Publishers == 0
		}},
		{"connect-p99", "connecting p99", "s", -1, func(r *bench.Result) (float64, bool) {
			if r.Churned != nil {
				return latency(r.Churned.Time, p99)
			}
			return whenIdle(func(r *bench.Result) (float64, bool) { return latency(r.Connects.Time, p99) })(r)
		}},
		{"cpu", "broker CPU per message", "s", -1, ofBroker(func(u *bench.Usage) float64 { return u.MicrosPerMsg / 1e6 })},
		{"cpu-resumed", "broker CPU per message to resumed sessions", "s", -1, ofResumed(func(u *bench.Resumed) float64 { return u.MicrosPerMsg / 1e6 })},
		{"written", "written to disk per message", "B", -1, ofBroker(func(u *bench.Usage) float64 { return u.WrittenPerMsg })},
		{"restart", "start to first CONNACK, after the restart", "s", -1, ofRestart(func(s *bench.Restarted) float64 { return s.StartSeconds })},
		{"stop", "end of the process, before the restart", "s", -1, ofRestart(func(s *bench.Restarted) float64 { return s.StopSeconds })},
		{"cpu-connect", "broker CPU per connection made", "s", -1, whenIdle(ofBroker(func(u *bench.Usage) float64 { return u.ConnectMicros / 1e6 }))},
		{"memory", "broker memory", "B", -1, ofBroker(func(u *bench.Usage) float64 { return float64(u.RSS) })},
		{"memory-empty", "memory of the broker without clients", "B", -1, whenIdle(ofBroker(func(u *bench.Usage) float64 { return float64(u.EmptyRSS) }))},
		{"memory-session", "memory per session", "B", -1, func(r *bench.Result) (float64, bool) {
			if r.BrokerUse == nil || !r.Scenario.Offline {
				return 0, false
			}
			return r.BrokerUse.RSSPerConn, r.BrokerUse.RSSPerConn > 0
		}},
		{"memory-message", "memory per waiting message", "B", -1, ofBroker(func(u *bench.Usage) float64 { return u.RSSPerMsg })},
		{"memory-growth", "growth of memory while sessions get their messages", "B", -1, ofResumed(func(u *bench.Resumed) float64 { return float64(u.RSSGrowth) })},
		{"memory-restart", "memory per session after the restart", "B", -1, ofRestart(func(s *bench.Restarted) float64 { return s.RSSPerClient })},
		{"memory-connection", "memory per connection", "B", -1, whenIdle(ofBroker(func(u *bench.Usage) float64 { return u.RSSPerConn }))},
		{"bench-cpu", "bench CPU per message", "s", 0, func(r *bench.Result) (float64, bool) {
			return r.BenchUse.MicrosPerMsg / 1e6, r.BenchUse.MicrosPerMsg > 0
		}},
		{"lag", "bench's own lag p99", "s", 0, func(r *bench.Result) (float64, bool) { return latency(r.Lag, p99) }},
	}
}

// ofBroker picks from the use of the broker's process; 0 means not measured.
func ofBroker(pick func(*bench.Usage) float64) func(*bench.Result) (float64, bool) {
	return ofPart(func(r *bench.Result) *bench.Usage { return r.BrokerUse }, pick)
}

// ofResumed picks from what sessions got that were resumed; 0 means not measured.
func ofResumed(pick func(*bench.Resumed) float64) func(*bench.Result) (float64, bool) {
	return ofPart(func(r *bench.Result) *bench.Resumed { return r.Resumed }, pick)
}

func retained(r *bench.Result) *bench.Retained { return r.Retained }

// ofRetained picks a latency from the reading of retained messages.
func ofRetained(of func(*bench.Retained) *bench.Latency, pick func(*bench.Latency) int64) func(*bench.Result) (float64, bool) {
	return ofPart(func(r *bench.Result) *bench.Latency {
		if r.Retained == nil {
			return nil
		}
		return of(r.Retained)
	}, func(l *bench.Latency) float64 { return float64(pick(l)) / 1e9 })
}

// ofRestart picks from the restart of the broker; 0 means not measured.
func ofRestart(pick func(*bench.Restarted) float64) func(*bench.Result) (float64, bool) {
	return ofPart(func(r *bench.Result) *bench.Restarted { return r.Restarted }, pick)
}

// ofPart picks from a part of a result that may be missing.
func ofPart[T any](part func(*bench.Result) *T, pick func(*T) float64) func(*bench.Result) (float64, bool) {
	return func(r *bench.Result) (float64, bool) {
		from := part(r)
		if from == nil {
			return 0, false
		}
		v := pick(from)
		return v, v > 0
	}
}

// whenIdle is for figures of connections, which messages would blur.
func whenIdle(of func(*bench.Result) (float64, bool)) func(*bench.Result) (float64, bool) {
	return func(r *bench.Result) (float64, bool) {
		if r.Scenario.Publishers > 0 {
			return 0, false
		}
		return of(r)
	}
}

func figureOf(key string) (Figure, bool) {
	for _, f := range figures() {
		if f.Key == key {
			return f, true
		}
	}
	return Figure{}, false
}

func figureKeys() (keys []string) {
	for _, f := range figures() {
		keys = append(keys, f.Key)
	}
	return keys
}

// headline is the key of the figure that a scenario is about.
func headline(s bench.Scenario) string {
	switch {
	case s.Restart != bench.RestartNone:
		return "restart"
	case s.Offline:
		return "resumed"
	case s.Retained > 0 && s.Publishers > 0:
		return "meanwhile-p99"
	case s.Retained > 0:
		return "retained-all"
	case s.Churn > 0 && s.Publishers == 0:
		return "connect-p99"
	case s.Publishers == 0 && s.Filters > 0:
		return "memory-connection"
	case s.Publishers == 0:
		return "connects"
	case s.Messages > 0:
		return "last"
	case s.Rate > 0:
		return "p99"
	}
	return "rate"
}

// Stats are the values of a figure over the rounds.
type Stats struct {
	Values []float64 // in the order of the rounds
	Median float64
	Low    float64
	High   float64
}

// newStats summarizes values; ok is false without any.
func newStats(values []float64) (s Stats, ok bool) {
	if len(values) == 0 {
		return Stats{}, false
	}
	return Stats{Values: values, Median: median(values), Low: slices.Min(values), High: slices.Max(values)}, true
}

func median(values []float64) float64 {
	s := slices.Sorted(slices.Values(values))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// Spread is the distance between the lowest and the highest value, relative to
// the median: the noise of the measurement.
func (s Stats) Spread() float64 {
	if s.Median == 0 {
		return 0
	}
	return (s.High - s.Low) / s.Median
}

// fewRounds tell nothing: two rounds of equal brokers lie apart in one case of
// three, three rounds in one of ten.
const fewRounds = 3

// noisy reports whether the difference of two medians may be noise: the ranges
// touch, there are too few rounds to know, or it is not larger than lag, which is
// how late the bench itself was.
func (s Stats) noisy(o Stats, lag float64) bool {
	return len(s.Values) < fewRounds || len(o.Values) < fewRounds || s.Low <= o.High && o.Low <= s.High ||
		math.Abs(s.Median-o.Median) <= lag
}

// fromDue are the figures that are measured from when a message was due, so that
// they include how late the bench itself was.
var fromDue = []string{"p50", "p99", "p99.9", "max", "meanwhile-p50", "meanwhile-p99", "meanwhile-max", "last", "last-max"}

// lag is how late the bench itself wrote in the rounds of a scenario, at worst of
// both brokers, in seconds.
func (c *Comparison) lag(f Figure, scenario, a, b string) float64 {
	if !slices.Contains(fromDue, f.Key) {
		return 0
	}
	late, _ := figureOf("lag")
	one, _ := c.stats(late, scenario, a)
	other, _ := c.stats(late, scenario, b)
	return max(one.Median, other.Median)
}

// stats are the values that a figure took in the runs of a broker.
func (c *Comparison) stats(f Figure, scenario, broker string) (Stats, bool) {
	var values []float64
	for i := range c.Runs {
		r := &c.Runs[i]
		if r.Scenario != scenario || r.Broker != broker || r.Result == nil {
			continue
		}
		if v, ok := f.of(r.Result); ok {
			values = append(values, v)
		}
	}
	return newStats(values)
}

// format writes a value with its unit for people, with three digits.
func format(v float64, unit string) string {
	switch unit {
	case "s":
		switch {
		case v == 0:
			return "0 s"
		case v < 1e-6:
			return digits(v*1e9) + " ns"
		case v < 1e-3:
			return digits(v*1e6) + " µs"
		case v < 1:
			return digits(v*1e3) + " ms"
		}
		return digits(v) + " s"
	case "B":
		switch {
		case v < 10e3:
			return digits(v) + " B"
		case v < 1e6:
			return digits(v/1e3) + " kB"
		case v < 1e9:
			return digits(v/1e6) + " MB"
		}
		return digits(v/1e9) + " GB"
	case "":
		return digits(v)
	}
	if unit[0] == '/' {
		return digits(v) + unit
	}
	return digits(v) + " " + unit
}

// between writes a range, with the unit once if it is the same.
func between(low, high float64, unit string) string {
	from, to := format(low, unit), format(high, unit)
	if i := strings.LastIndexByte(from, ' '); i > 0 && strings.HasSuffix(to, from[i:]) {
		from = from[:i]
	}
	return from + " to " + to
}

// tick writes a value beside an axis, as short as it goes.
func tick(v float64, unit string) string {
	switch {
	case unit == "s" || unit == "B":
		text := format(v, unit)
		number, rest, _ := strings.Cut(text, " ")
		if strings.Contains(number, ".") {
			number = strings.TrimRight(strings.TrimRight(number, "0"), ".")
		}
		return number + " " + rest
	case v >= 1e6:
		return strconv.FormatFloat(v/1e6, 'g', 3, 64) + "M"
	case v >= 1e3:
		return strconv.FormatFloat(v/1e3, 'g', 3, 64) + "k"
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

// digits writes three significant digits, or all before the point, with
// commas between thousands.
func digits(v float64) string {
	switch {
	case math.Abs(v) >= 99.95 || v == math.Trunc(v):
		return thousands(strconv.FormatFloat(v, 'f', 0, 64))
	case math.Abs(v) >= 9.995:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

func thousands(s string) string {
	first := 0
	if s[0] == '-' {
		first = 1
	}
	for i := len(s) - 3; i > first; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
