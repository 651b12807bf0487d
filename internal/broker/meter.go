package broker

import (
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"midge/internal/engine"
	"midge/internal/packet"
	"midge/internal/rate"
)

// used is what was used of such limits.
type used struct{ messages, bytes rate.Bucket }

// wait is how long it takes until another request is within the limits.
func (u *used) wait(l *flowLimits, now time.Duration) time.Duration {
	return max(u.messages.Wait(l.messages, now), u.bytes.Wait(l.bytes, now))
}

// take uses up a request of so many bytes. It may be larger than what is left.
func (u *used) take(l *flowLimits, size int, now time.Duration) {
	u.messages.Take(l.messages, 1, now)
	u.bytes.Take(l.bytes, int64(size), now)
}

// meter is what a client that is connected has used.
type meter struct {
	c        *conn
	timer    timer // set while it waits
	used     used
	reserved bool // its next request counts already in the total
	logged   bool // that it is slowed down
}

// meters are those of a shard. There are none without limits.
type meters struct {
	byConn map[*conn]*meter
	away   rate.Table // of clients that were connected: to connect again gives nothing back
}

// maxAway is how many of those a shard remembers, with two limits each: 128 KiB,
// from the first on. Guess.
const maxAway = 1 << 13

func (m *meters) init() { m.byConn, m.away = map[*conn]*meter{}, rate.New(maxAway) }

// keys are those of what a client has used, in meters.away.
func (m *meters) keys(c *conn) (messages, bytes uint64) {
	key := m.away.NameAt([]byte(c.client.id), netip.Addr{})
	return key, ^key
}

// totals are what all clients of each listener have used together, on all shards.
type totals struct {
	mu sync.Mutex
	by [engine.MaxListeners]used
}

// metered reports whether a packet counts. Answers and PINGREQ cost next to nothing,
// and the client's own requests, or ours, bound how many of them there are.
func metered(first byte) bool {
	t := packet.TypeOf(first)
	return t == packet.PUBLISH || t == packet.SUBSCRIBE || t == packet.UNSUBSCRIBE
}

// meterOf is the meter of a client that is connected.
func (s *shard) meterOf(c *conn) *meter {
	m := s.meters.byConn[c]
	if m == nil {
		m = &meter{c: c}
		m.timer.owner = m
		messages, bytes := s.meters.keys(c)
		m.used.messages, m.used.bytes = s.meters.away.Get(messages), s.meters.away.Get(bytes)
		s.meters.byConn[c] = m
	}
	return m
}

// allowed returns how many bytes of b have packets that are within the limits. Those
// behind them have to wait, if that is not 0; the first of these has size bytes.
func (s *shard) allowed(m *meter, a *admission, b []byte) (n int, wait time.Duration, size int) {
	own, total, reserved := m.used, s.b.totals.of(m.c, a), m.reserved
	for n < len(b) {
		size = packet.Announced(b[n:])
		if size == 0 {
			return len(b), 0, 0
		}
		if metered(b[n]) {
			wait = own.wait(&a.flow.own, s.now)
			if !reserved {
				wait = max(wait, total.wait(&a.flow.total, s.now))
			}
			if wait > 0 {
				return n, wait, size
			}
			own.take(&a.flow.own, size, s.now)
			if !reserved {
				total.take(&a.flow.total, size, s.now)
			}
			reserved = false
		}
		n += size
	}
	return len(b), 0, 0 // and the rest of the last one is to come
}

// of returns what was used of a connection's listener.
func (t *totals) of(c *conn, a *admission) used {
	if !a.flow.total.on() {
		return used{}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.by[c.net.Listener()]
}

// take uses up the packets in b, which have been run.
func (s *shard) take(m *meter, a *admission, b []byte) {
	t := &s.b.totals
	if a.flow.total.on() {
		t.mu.Lock()
		defer t.mu.Unlock()
	}
	total := &t.by[m.c.net.Listener()]
	for len(b) > 0 {
		size := packet.Announced(b)
		if size == 0 || size > len(b) {
			return
		}
		if metered(b[0]) {
			m.used.take(&a.flow.own, size, s.now)
			if !m.reserved && a.flow.total.on() {
				total.take(&a.flow.total, size, s.now)
			}
			m.reserved = false
		}
		b = b[size:]
	}
}

// slowDown makes a client wait that has sent more than it may. Its next request, of
// size bytes, has its place in what the listener may have then: so who sends as fast
// as he can does not come before the others each time.
func (s *shard) slowDown(m *meter, a *admission, wait time.Duration, size int) {
	c := m.c
	s.count.PausedRate++
	reason := "it sends more than limits.message_rate or limits.byte_rate allows"
	if a.flow.total.on() && !m.reserved {
		t := &s.b.totals
		t.mu.Lock()
		total := &t.by[c.net.Listener()]
		if total.wait(&a.flow.total, s.now) > 0 {
			s.count.PausedListenerRate++
			reason = "the clients of its listener send more than total_message_rate or total_byte_rate allows"
		}
		total.take(&a.flow.total, size, s.now)
		t.mu.Unlock()
		m.reserved = true
	}
	if !m.logged {
		m.logged = true
		s.note(c, line{level: slog.LevelWarn, what: clientSlowed, id: c.name(), code: packet.MessageRateTooHigh, reason: reason})
	}
	s.pause(c, forLeave)
	s.timers.start(&m.timer, s.now+wait)
}

// expire implements expirer: the client goes on.
func (m *meter) expire(s *shard) { s.resume(m.c, forLeave) }

// resumeMeters has all clients go on that wait, since the limits are others now. Those
// that are still over them wait anew.
func (s *shard) resumeMeters() {
	for _, m := range s.meters.byConn {
		if m.timer.set {
			s.timers.stop(&m.timer)
			s.resume(m.c, forLeave)
		}
	}
}

// forgetMeter is called when a client's connection ends. What it has used stays for a
// while.
func (s *shard) forgetMeter(c *conn) {
	m := s.meters.byConn[c]
	if m == nil {
		return
	}
	delete(s.meters.byConn, c)
	s.timers.stop(&m.timer)
	messages, bytes := s.meters.keys(c)
	if time.Duration(m.used.messages) > s.now {
		s.meters.away.Put(messages, m.used.messages)
	}
	if time.Duration(m.used.bytes) > s.now {
		s.meters.away.Put(bytes, m.used.bytes)
	}
}
