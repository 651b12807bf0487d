package broker

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"midge/internal/message"
	"midge/internal/store"
)

// sys publishes the topics under $SYS/broker, with the names that users of
// Mosquitto know. Shard 0 does it. They are retained, so that a new subscriber
// sees them at once.
type sys struct {
	timer        timer
	shard        *shard
	last         time.Duration
	maxConnected uint64      // clients connected at one time
	stats        store.Stats // of the last time, and so are
	turns        string      // in a batch, on average
	disk         Disk
	loads        map[string]*load  // by the part of the topic after "load/"
	written      map[string]string // topic -> last value
}

// load is a rate per minute, averaged over 1, 5 and 15 minutes.
type load struct {
	before   uint64
	averages [3]float64
}

const (
	sysPrefix        = "$SYS/broker/"
	connectionPrefix = sysPrefix + "connection/" // see reserved
)

func (s *shard) startSys() {
	s.sys = sys{shard: s, loads: map[string]*load{}, written: map[string]string{}}
	s.sys.timer.owner = &s.sys
	if s.settings.Sys.Interval > 0 {
		s.timers.start(&s.sys.timer, 0)
	}
}

// follow begins to go by another interval. Without one there are no topics.
func (y *sys) follow(s *shard) {
	if interval := s.settings.Sys.Interval; interval > 0 {
		s.timers.start(&y.timer, y.last+interval)
		return
	}
	s.timers.stop(&y.timer)
	for name := range y.written {
		s.b.retained.Set(&message.Message{Topic: []byte(sysPrefix + name)}, s.now, false)
	}
	clear(y.written)
}

// expire implements expirer.
func (y *sys) expire(s *shard) {
	s.published.store(&s.count)
	c := s.b.Counters()
	y.maxConnected = max(y.maxConnected, c.Connected)
	y.values(&c)
	y.last = s.now
	s.timers.start(&y.timer, s.now+s.settings.Sys.Interval)
}

// figure is a topic that is no counter.
type figure struct {
	topic string // under $SYS/broker
	help  string
	value func(y *sys, c *Counters) string
}

// figures are there always, storeFigures unless everything is in memory.
var figures = []figure{
	{"version", "the version of the broker", func(y *sys, _ *Counters) string { return y.shard.b.cfg.Version }},
	{"uptime", "seconds since the start", func(y *sys, _ *Counters) string { return decimal(y.shard.now/time.Second) + " seconds" }},
	{"clients/active", "the same as `clients/connected`", func(_ *sys, c *Counters) string { return decimal(c.Connected) }},
	{"clients/inactive", "the same as `clients/disconnected`", func(_ *sys, c *Counters) string { return decimal(c.Disconnected) }},
	{"clients/total", "clients connected now, and sessions now whose client is away", func(_ *sys, c *Counters) string { return decimal(c.Connected + c.Disconnected) }},
	{"clients/maximum", "the most clients that were connected at one time", func(y *sys, _ *Counters) string { return decimal(y.maxConnected) }},
	{"messages/stored", "messages that are kept: retained ones, and those that wait on disk, once for each receiver", func(_ *sys, c *Counters) string { return decimal(c.Retained + c.Stored) }},
	{"store/messages/count", "the same as `messages/stored`", func(_ *sys, c *Counters) string { return decimal(c.Retained + c.Stored) }},
	{"store/messages/bytes", "their bytes now", func(_ *sys, c *Counters) string { return decimal(c.RetainedBytes + c.StoredBytes) }},
	{"publish/messages/dropped", "messages that a receiver should have got and did not: the sum of those below, which have the reasons", func(_ *sys, c *Counters) string { return decimal(c.Dropped()) }},
}

var storeFigures = []figure{
	{"store/status", "`ok`, or why nothing becomes durable now", func(y *sys, _ *Counters) string {
		if err := y.shard.b.cfg.Store.Err(); err != nil {
			return err.Error()
		}
		return "ok"
	}},
	{"store/trouble", "the last of these since the start, or `none`", func(y *sys, _ *Counters) string {
		y.shard.b.noteTrouble()
		if t := y.shard.b.trouble.Load(); t != nil {
			return *t
		}
		return "none"
	}},
	{"store/commits", "batches written", func(y *sys, _ *Counters) string { return decimal(y.stats.Batches) }},
	{"store/commits/turns", "work of shards in a batch, on average since the last time: how many share a sync", func(y *sys, _ *Counters) string { return y.turns }},
	{"store/syncs", "batches that were synced", func(y *sys, _ *Counters) string { return decimal(y.stats.Syncs) }},
	{"store/syncs/last", "how long the last synced batch took, in microseconds", func(y *sys, _ *Counters) string { return decimal(y.stats.LastSync / time.Microsecond) }},
	{"store/backlog/bytes", "what waits for the disk now; above 16 MiB publishers are paused", func(y *sys, _ *Counters) string { return decimal(max(y.stats.Backlog, 0)) }},
	{"store/damaged", "records and messages that could not be read since the start", func(_ *sys, c *Counters) string { return decimal(c.Damaged + c.DroppedDamaged) }},
	{"store/disk/bytes", "the database", func(y *sys, _ *Counters) string { return decimal(y.disk.Bytes) }},
	{"store/disk/log/bytes", "of it, what the next start has to read again", func(y *sys, _ *Counters) string { return decimal(y.disk.LogBytes) }},
	{"store/quarantines", "directories with what was damaged", func(y *sys, _ *Counters) string { return decimal(y.disk.Quarantines) }},
}

// loadTopic is a topic that says how often something is counted, by the part of
// it after "load/".
type loadTopic struct {
	name string
	of   func(y *sys, c *Counters) uint64
}

var loadTopics = []loadTopic{
	{"messages/received", func(_ *sys, c *Counters) uint64 { return c.PacketsReceived }},
	{"messages/sent", func(_ *sys, c *Counters) uint64 { return c.PacketsSent }},
	{"publish/received", func(_ *sys, c *Counters) uint64 { return c.PublishReceived }},
	{"publish/sent", func(_ *sys, c *Counters) uint64 { return c.PublishSent }},
	{"publish/dropped", func(_ *sys, c *Counters) uint64 { return c.Dropped() }},
	{"bytes/received", func(_ *sys, c *Counters) uint64 { return c.BytesReceived }},
	{"bytes/sent", func(_ *sys, c *Counters) uint64 { return c.BytesSent }},
	{"sockets", func(_ *sys, c *Counters) uint64 { return c.Accepted }},
	{"connections", func(_ *sys, c *Counters) uint64 { return c.Connects }},
	{"store/syncs", func(y *sys, _ *Counters) uint64 { return y.stats.Syncs }},
}

// values publishes everything.
func (y *sys) values(c *Counters) {
	for _, row := range counterTable {
		y.set(row.topic, decimal(*row.of(c)))
	}
	for _, f := range figures {
		y.set(f.topic, f.value(y, c))
	}
	if y.shard.b.cfg.Store != nil {
		y.ask()
		for _, f := range storeFigures {
			y.set(f.topic, f.value(y, c))
		}
	}
	for _, r := range loadTopics {
		y.load(r.name, r.of(y, c))
	}
}

// ask reads what the store and the disk say of themselves.
func (y *sys) ask() {
	cfg := &y.shard.b.cfg
	st := cfg.Store.Stats()
	if n := st.Batches - y.stats.Batches; n > 0 {
		y.turns = strconv.FormatFloat(float64(st.Turns-y.stats.Turns)/float64(n), 'f', 1, 64)
	}
	y.stats = st
	if cfg.Disk != nil {
		y.disk = cfg.Disk()
	}
}

// SysReference writes the page of all topics in Markdown.
func SysReference() string {
	var b strings.Builder
	b.WriteString(`# Topics under $SYS/broker

Generated from the tables in ` + "`internal/broker/counters.go` and `sys.go`" + ` by ` + "`make docs`" + `; don't edit it here.

The broker publishes them, retained, every ` + "`sys.interval`" + `, where they have changed. The names that users of Mosquitto know mean the
same here. "now" goes up and down; everything else counts since the start of the broker. A rate is how often a minute, averaged over
one; in place of ` + "`1min`, `5min` and `15min`" + ` average over more.

| topic | meaning |
| --- | --- |
`)
	var rows []string
	row := func(topic, help string) { rows = append(rows, fmt.Sprintf("| `%s` | %s |\n", topic, help)) }
	for _, c := range counterTable {
		row(c.topic, c.help)
	}
	for _, f := range figures {
		row(f.topic, f.help)
	}
	for _, f := range storeFigures {
		row(f.topic, f.help+"; not with everything in memory")
	}
	for _, r := range loadTopics {
		row("load/"+r.name+"/1min", "a rate: see above")
	}
	slices.Sort(rows)
	b.WriteString(strings.Join(rows, ""))
	return b.String()
}

func (y *sys) load(name string, now uint64) {
	l := y.loads[name]
	if l == nil {
		l = &load{}
		y.loads[name] = l
	}
	minutes := (y.shard.now - y.last).Minutes()
	for i, over := range [...]float64{1, 5, 15} {
		if minutes > 0 {
			rate := float64(int64(now-l.before)) / minutes
			keep := math.Exp(-minutes / over)
			l.averages[i] = l.averages[i]*keep + rate*(1-keep)
		}
		y.set("load/"+name+"/"+strconv.Itoa(int(over))+"min", strconv.FormatFloat(l.averages[i], 'f', 2, 64))
	}
	l.before = now
}

func decimal[N int | int64 | uint64 | time.Duration](n N) string { return fmt.Sprint(int64(n)) }

// set publishes a value if there is one and it has changed.
func (y *sys) set(name, value string) {
	if value == "" || y.written[name] == value {
		return
	}
	y.written[name] = value
	s := y.shard
	m := message.Message{Topic: []byte(sysPrefix + name), Payload: []byte(value), Retain: true}
	s.b.retained.Set(&m, s.now, false)
	r, _ := s.routes.Route(m.Topic)
	s.route(&m, r, nil)
}
