package broker

import (
	"math"
	"strconv"
	"time"

	"midge/internal/message"
	"midge/internal/store"
)

// sys publishes the topics under $SYS/broker, with the names that users of
// Mosquitto know. Shard 0 does it. They are retained, so that a new subscriber
// sees them at once.
type sys struct {
	timer   timer
	shard   *shard
	last    time.Duration
	most    uint64            // clients connected at one time
	stats   store.Stats       // of the last time
	loads   map[string]*load  // by the part of the topic after "load/"
	written map[string]string // topic -> last value
}

// load is a rate per minute, averaged over 1, 5 and 15 minutes.
type load struct {
	before   uint64
	averages [3]float64
}

const sysPrefix = "$SYS/broker/"

func (s *shard) startSys() {
	if s.b.cfg.Sys < 0 {
		return
	}
	s.sys = sys{shard: s, loads: map[string]*load{}, written: map[string]string{}}
	s.sys.timer.owner = &s.sys
	s.timers.start(&s.sys.timer, 0)
}

// expire implements expirer.
func (y *sys) expire(s *shard) {
	s.published.store(&s.count)
	c := s.b.Counters()
	y.most = max(y.most, c.Connected)
	y.values(&c)
	y.store(&c)
	y.averages(&c)
	y.last = s.now
	s.timers.start(&y.timer, s.now+s.b.cfg.Sys)
}

// values publishes what is counted.
func (y *sys) values(c *Counters) {
	y.set("version", y.shard.b.cfg.Version)
	y.set("uptime", strconv.FormatInt(int64(y.shard.now/time.Second), 10)+" seconds")
	y.number("clients/connected", c.Connected)
	y.number("clients/active", c.Connected)
	y.number("clients/disconnected", c.Disconnected)
	y.number("clients/inactive", c.Disconnected)
	y.number("clients/total", c.Connected+c.Disconnected)
	y.number("clients/maximum", y.most)
	y.number("clients/expired", c.Expired)
	y.number("messages/received", c.PacketsReceived)
	y.number("messages/sent", c.PacketsSent)
	y.number("messages/stored", c.Retained+c.Stored)
	y.number("store/messages/count", c.Retained+c.Stored)
	y.number("store/messages/bytes", c.RetainedBytes+c.StoredBytes)
	y.number("publish/messages/received", c.PublishReceived)
	y.number("publish/messages/sent", c.PublishSent)
	y.number("publish/messages/dropped", c.Dropped())
	y.number("publish/messages/dropped/slow", c.DroppedSlow)
	y.number("publish/messages/dropped/queue", c.DroppedQueue)
	y.number("publish/messages/dropped/expired", c.DroppedExpired)
	y.number("publish/messages/dropped/size", c.DroppedSize)
	y.number("publish/messages/dropped/mailbox", c.DroppedMailbox)
	y.number("publish/messages/dropped/group", c.DroppedGroup)
	y.number("publish/messages/dropped/damaged", c.DroppedDamaged)
	y.number("publish/bytes/received", c.PublishBytesReceived)
	y.number("publish/bytes/sent", c.PublishBytesSent)
	y.number("retained messages/count", c.Retained)
	y.number("subscriptions/count", c.Subscriptions)
	y.number("shared_subscriptions/count", c.SharedSubscriptions)
	y.number("bytes/received", c.BytesReceived)
	y.number("bytes/sent", c.BytesSent)
}

// store publishes how the disk does, unless everything is in memory.
func (y *sys) store(c *Counters) {
	cfg := &y.shard.b.cfg
	if cfg.Store == nil {
		return
	}
	y.status(cfg.Store.Err())
	st := cfg.Store.Stats()
	y.number("store/queued/count", c.Stored)
	y.number("store/queued/bytes", c.StoredBytes)
	y.number("store/commits", st.Batches)
	y.number("store/syncs", st.Syncs)
	y.number("store/syncs/last", uint64(st.LastSync/time.Microsecond))
	if n := st.Batches - y.stats.Batches; n > 0 {
		y.set("store/commits/turns", strconv.FormatFloat(float64(st.Turns-y.stats.Turns)/float64(n), 'f', 1, 64))
	}
	y.stats = st
	y.number("store/backlog/bytes", uint64(max(st.Backlog, 0)))
	y.number("store/refused", c.RefusedStore)
	y.number("store/damaged", c.Damaged+c.DroppedDamaged)
	if cfg.Disk != nil {
		d := cfg.Disk()
		y.number("store/disk/bytes", uint64(d.Bytes))
		y.number("store/disk/log/bytes", uint64(d.LogBytes))
		y.number("store/quarantines", uint64(d.Quarantines))
	}
	y.load("store/syncs", st.Syncs)
}

// status publishes what is wrong with the disk now, and what was last.
func (y *sys) status(now error) {
	b := y.shard.b
	b.noteTrouble()
	status, last := "ok", "none"
	if now != nil {
		status = now.Error()
	}
	if t := b.trouble.Load(); t != nil {
		last = *t
	}
	y.set("store/status", status)
	y.set("store/trouble", last)
}

// noteTrouble remembers what is wrong with the disk, if anything is.
func (b *Broker) noteTrouble() {
	if err := b.cfg.Store.Err(); err != nil {
		text := err.Error()
		b.trouble.Store(&text)
	}
}

// averages publishes the loads.
func (y *sys) averages(c *Counters) {
	y.load("messages/received", c.PacketsReceived)
	y.load("messages/sent", c.PacketsSent)
	y.load("publish/received", c.PublishReceived)
	y.load("publish/sent", c.PublishSent)
	y.load("publish/dropped", c.Dropped())
	y.load("bytes/received", c.BytesReceived)
	y.load("bytes/sent", c.BytesSent)
	y.load("sockets", c.Accepted)
	y.load("connections", c.Connects)
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

func (y *sys) number(name string, n uint64) { y.set(name, strconv.FormatUint(n, 10)) }

// set publishes a value if it has changed.
func (y *sys) set(name, value string) {
	if y.written[name] == value {
		return
	}
	y.written[name] = value
	s := y.shard
	m := message.Message{Topic: []byte(sysPrefix + name), Payload: []byte(value), Retain: true}
	s.b.retained.set(&m)
	r, _ := s.routeOf(m.Topic)
	s.route(&m, r, nil)
}
