package top

import (
	"maps"
	"testing"
	"time"
)

// told is what a broker publishes at one time.
type told struct {
	after    time.Duration // the last one came
	retained bool
	values   map[string]string
}

// collect gives what was told to a collector, each with a moment of silence
// behind it, and returns the collector and how many samples it made.
func collect(interval time.Duration, all ...told) (c *collector, samples int) {
	c = newCollector(interval)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, t := range all {
		now = now.Add(t.after)
		for topic, text := range t.values {
			c.take(now, topic, text, t.retained)
		}
		if c.complete(now.Add(quietTime - 1)) {
			samples += 1000 // too early
		}
		if c.complete(now.Add(quietTime)) {
			samples++
		}
	}
	return c, samples
}

func values(pairs ...string) map[string]string {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return m
}

func TestRates(t *testing.T) {
	const in, out = "publish/messages/received", "bytes/sent"
	for _, tt := range []struct {
		name     string
		interval time.Duration
		all      []told
		samples  int
		every    time.Duration
		rates    map[string]float64
		history  []float64 // of in
	}{
		{"nothing", 0, nil, 0, 0, nil, nil},
		{"one sample has no rates", 0, []told{{0, true, values("uptime", "100 seconds", in, "5")}}, 1, 0, nil, nil},
		{"time of arrival", 0, []told{
			{0, false, values("uptime", "100 seconds", in, "5", out, "1000")},
			{10 * time.Second, false, values("uptime", "110 seconds", in, "25", out, "3000")},
			{4 * time.Second, false, values("uptime", "114 seconds", in, "27")},
		}, 3, 4 * time.Second, map[string]float64{in: .5, out: 0}, []float64{2, .5}},
		{"retained values are as old as the broker says", 0, []told{
			{0, true, values("uptime", "100 seconds", in, "5")},
			{time.Second, false, values("uptime", "110 seconds", in, "25")},
		}, 2, 10 * time.Second, map[string]float64{in: 2}, []float64{2}},
		{"a broker without uptime", 0, []told{
			{0, true, values(in, "5")},
			{2 * time.Second, false, values(in, "25")},
		}, 2, 2 * time.Second, map[string]float64{in: 10}, []float64{10}},
		{"a broker that started again", 0, []told{
			{0, false, values("uptime", "100 seconds", in, "500")},
			{10 * time.Second, false, values("uptime", "110 seconds", in, "600")},
			{10 * time.Second, false, values("uptime", "3 seconds", in, "700")},
			{10 * time.Second, false, values("uptime", "13 seconds", in, "710")},
		}, 4, 10 * time.Second, map[string]float64{in: 1}, []float64{10, 1}},
		{"a counter that went back", 0, []told{
			{0, false, values(in, "500")},
			{10 * time.Second, false, values(in, "400")},
		}, 2, 10 * time.Second, nil, nil},
		{"longer intervals than the broker's", 20 * time.Second, []told{
			{0, false, values("uptime", "100 seconds", in, "0")},
			{10 * time.Second, false, values("uptime", "110 seconds", in, "10")},
			{10 * time.Second, false, values("uptime", "120 seconds", in, "40")},
			{10 * time.Second, false, values("uptime", "130 seconds", in, "50")},
		}, 2, 20 * time.Second, map[string]float64{in: 2}, []float64{2}},
		{"no number", 0, []told{
			{0, false, values(in, "x")},
			{10 * time.Second, false, values(in, "400")},
		}, 2, 10 * time.Second, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, samples := collect(tt.interval, tt.all...)
			if samples != tt.samples || c.every != tt.every {
				t.Errorf("%d samples, %v apart; want %d, %v", samples, c.every, tt.samples, tt.every)
			}
			if !maps.Equal(c.rates, tt.rates) {
				t.Errorf("rates %v, want %v", c.rates, tt.rates)
			}
			if got := c.history[in]; len(got) != len(tt.history) {
				t.Fatalf("history %v, want %v", got, tt.history)
			}
			for i, got := range c.history[in] {
				if got != tt.history[i] {
					t.Errorf("history %v, want %v", c.history[in], tt.history)
				}
			}
		})
	}
}

// TestHistoryIsBounded proves that only the newest points are kept, and that a
// view is a copy.
func TestHistoryIsBounded(t *testing.T) {
	c := newCollector(0)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	text := []string{"1", "2"}
	for i := range points + 5 {
		now = now.Add(time.Second)
		c.take(now, "clients/connected", text[i%2], false)
		c.complete(now.Add(quietTime))
	}
	v := c.view()
	if h := v.history["clients/connected"]; len(h) != points || h[points-1] != float64((points+4)%2+1) {
		t.Errorf("%d points, the last is %v", len(h), h[len(h)-1])
	}
	c.take(now, "clients/connected", "9", false)
	c.complete(now.Add(time.Second))
	if h := v.history["clients/connected"]; v.values["clients/connected"] == "9" || h[points-1] == 9 {
		t.Error("a view follows its collector")
	}
}
