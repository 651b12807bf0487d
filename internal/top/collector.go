package top

import (
	"maps"
	"strconv"
	"strings"
	"time"
)

// quietTime is how long nothing must have come until what came belongs together:
// a broker publishes all that has changed in one go.
const quietTime = 250 * time.Millisecond

// points is how many points of the past are kept of each row.
const points = 512

// A collector makes samples of the topics that a broker publishes, and rates
// of consecutive samples. Time comes in; it has no clock.
type collector struct {
	interval time.Duration // the shortest time between two samples

	values  map[string]string // by topic below the prefix
	first   time.Time         // when the first message after the last sample came, zero if none did
	last    time.Time         // when the last one came
	current bool              // one of them was published now, rather than retained

	before  sample
	rates   map[string]float64   // per second, by topic; of counters in the last two samples
	history map[string][]float64 // rates, and the values of gauges
	every   time.Duration        // between the last two samples, 0 before there were two
}

// A sample is what the counters were at one time.
type sample struct {
	at       time.Time // zero: there is no sample
	retained bool      // the values are older than at
	uptime   float64   // seconds, by the broker's clock; negative if it tells none
	counters map[string]float64
}

func newCollector(interval time.Duration) *collector {
	return &collector{
		interval: interval,
		values:   map[string]string{},
		rates:    map[string]float64{},
		history:  map[string][]float64{},
	}
}

// take records a message.
func (c *collector) take(now time.Time, topic, text string, retained bool) {
	c.values[topic] = text
	if c.first.IsZero() || !retained && !c.current {
		c.first = now
	}
	c.last = now
	c.current = c.current || !retained
}

// complete makes a sample if messages have come and no more are coming. It
// reports whether it has made one.
func (c *collector) complete(now time.Time) bool {
	if c.first.IsZero() || now.Sub(c.last) < quietTime {
		return false
	}
	s := sample{at: c.first, retained: !c.current, uptime: c.uptime(), counters: c.counters()}
	c.first, c.current = time.Time{}, false
	if over := s.since(c.before); over > 0 && over < c.interval-quietTime {
		return false
	}
	c.compare(s)
	return true
}

// uptime is how long the broker says that it has run, in seconds. The topic
// holds a number and a unit.
func (c *collector) uptime() float64 {
	number, _, _ := strings.Cut(c.values["uptime"], " ")
	if n, err := strconv.ParseFloat(number, 64); err == nil {
		return n
	}
	return -1
}

func (c *collector) counters() map[string]float64 {
	all := map[string]float64{}
	for _, r := range rows() {
		if n, ok := number(c.values, r.topic); ok {
			all[r.topic] = n
		}
	}
	return all
}

// since is the time between two samples; 0 if that can't be told: there is no
// sample before, or the broker has started again in between. The time at which
// retained values were published is known by the broker's clock only, which
// counts seconds.
func (s sample) since(before sample) time.Duration {
	switch known := s.uptime >= 0 && before.uptime >= 0; {
	case before.at.IsZero(), known && s.uptime < before.uptime:
		return 0
	case known && (s.retained || before.retained):
		return time.Duration((s.uptime - before.uptime) * float64(time.Second))
	}
	return s.at.Sub(before.at)
}

// compare makes the rates between the last sample and s.
func (c *collector) compare(s sample) {
	over := s.since(c.before)
	clear(c.rates)
	for _, r := range rows() {
		now, ok := s.counters[r.topic]
		if !ok {
			continue
		}
		if r.gauge {
			c.remember(r.topic, now)
			continue
		}
		before, ok := c.before.counters[r.topic]
		if ok && over > 0 && now >= before {
			rate := (now - before) / over.Seconds()
			c.rates[r.topic] = rate
			c.remember(r.topic, rate)
		}
	}
	c.before, c.every = s, over
}

func (c *collector) remember(topic string, value float64) {
	h := append(c.history[topic], value)
	c.history[topic] = h[max(0, len(h)-points):]
}

// view is a copy of all that is known now.
func (c *collector) view() view {
	v := view{
		values:  maps.Clone(c.values),
		rates:   maps.Clone(c.rates),
		history: make(map[string][]float64, len(c.history)),
		every:   c.every,
	}
	for topic, h := range c.history {
		v.history[topic] = append([]float64(nil), h...)
	}
	return v
}

// number is the value of a topic that holds a number.
func number(values map[string]string, topic string) (float64, bool) {
	n, err := strconv.ParseFloat(values[topic], 64)
	return n, err == nil
}
