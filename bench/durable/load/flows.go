//go:build linux

package main

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"midge/bench/internal/harness"
)

const (
	warmUp     = time.Second
	drainLimit = 5 * time.Second
	// idleWait is how long a turn of a closed loop waits at most.
	idleWait = 20 * time.Millisecond
)

// A flow is a publisher and what has become of its messages. Its subscriber is told by the topic.
type flow struct {
	pub                   *conn
	topic                 []byte
	sent, received, acked uint64
}

// flows publishes on several flows at once, either with a window in flight for each (closed loop) or at a fixed rate in
// all (open loop). It checks that each flow's messages arrive once and in order.
//
// A payload begins with the flow (4 bytes), the sequence number within it (8) and the intended time of sending in
// nanoseconds since start (8).
type flows struct {
	loop   *loop
	qos    byte
	window uint64
	rate   int // messages per second in all; 0 for a closed loop

	list     []*flow
	payload  []byte
	start    time.Time
	stopped  bool
	total    uint64 // received
	lost     uint64
	wrong    uint64        // duplicates, out of order, or at the wrong subscriber
	measured time.Duration // since start: latencies count from here on
	latency  []time.Duration
	lag      []time.Duration // of the generator: actual minus intended time of sending
	next     uint64          // of the open loop
}

const payloadHead = 4 + 8 + 8

func (s *flows) received(_ *conn, _, payload []byte) {
	if len(payload) < payloadHead || int(binary.BigEndian.Uint32(payload)) >= len(s.list) {
		s.wrong++
		return
	}
	f := s.list[binary.BigEndian.Uint32(payload)]
	seq := binary.BigEndian.Uint64(payload[4:])
	s.total++
	switch {
	case seq == f.received:
		f.received++
	case seq > f.received:
		s.lost += seq - f.received
		f.received = seq + 1
	default:
		s.wrong++
	}
	if s.rate == 0 {
		s.fill(f)
		return
	}
	if intended := time.Duration(binary.BigEndian.Uint64(payload[12:])); intended >= s.measured {
		s.latency = append(s.latency, time.Since(s.start)-intended)
	}
}

func (s *flows) acknowledged(c *conn) {
	f := s.list[c.flow]
	f.acked++
	if s.rate == 0 {
		s.fill(f)
	}
}

// fill publishes until the window is full: of messages that have not been received, and of those not acknowledged.
func (s *flows) fill(f *flow) {
	for !s.stopped && f.sent-f.received < s.window && (s.qos == 0 || f.sent-f.acked < s.window) {
		s.send(f, 0)
	}
}

func (s *flows) send(f *flow, intended time.Duration) {
	binary.BigEndian.PutUint32(s.payload, uint32(f.pub.flow))
	binary.BigEndian.PutUint64(s.payload[4:], f.sent)
	binary.BigEndian.PutUint64(s.payload[12:], uint64(intended))
	var id uint16
	if s.qos > 0 {
		id = f.pub.nextID()
	}
	f.pub.out = appendPublish(f.pub.out, f.topic, s.payload, s.qos, id)
	s.loop.touch(f.pub)
	f.sent++
}

// run publishes for the warm-up and d, and returns the figures of d.
func (s *flows) run(d time.Duration, m *meter) (map[string]float64, []string, error) {
	s.loop.handler = s
	if s.rate > 0 {
		s.latency = make([]time.Duration, 0, int(d.Seconds()+1)*s.rate)
		s.lag = make([]time.Duration, 0, cap(s.latency))
	}
	s.measured = warmUp
	s.start = time.Now()
	if s.rate == 0 {
		for _, f := range s.list {
			s.fill(f)
		}
	}
	if err := s.publishUntil(warmUp); err != nil {
		return nil, nil, err
	}
	if err := m.restart(); err != nil {
		return nil, nil, err
	}
	before := s.total
	if err := s.publishUntil(warmUp + d); err != nil {
		return nil, nil, err
	}
	used, err := m.read()
	if err != nil {
		return nil, nil, err
	}
	count := float64(s.total - before)
	resident, err := harness.ResidentBytes(m.broker)
	if err != nil {
		return nil, nil, err
	}
	if err := s.drain(); err != nil {
		return nil, nil, err
	}
	figures := map[string]float64{
		"msgs/s":           count / used.wall.Seconds(),
		"broker µs/msg":    micros(used.broker) / count,
		"generator µs/msg": micros(used.self) / count,
		"written B/msg":    float64(used.written) / count,
		"broker MB":        float64(resident) / 1e6,
	}
	if s.rate > 0 {
		figures["p50 µs"] = micros(quantile(s.latency, 0.50))
		figures["p90 µs"] = micros(quantile(s.latency, 0.90))
		figures["p99 µs"] = micros(quantile(s.latency, 0.99))
		figures["generator lag p99 µs"] = micros(quantile(s.lag, 0.99))
	}
	return figures, s.faults(), nil
}

func (s *flows) publishUntil(end time.Duration) error {
	for {
		now := time.Since(s.start)
		if now >= end {
			return nil
		}
		wait := min(idleWait, end-now)
		if s.rate > 0 {
			wait = min(wait, s.sendDue(now)-now)
		}
		if err := s.loop.turn(wait); err != nil {
			return err
		}
	}
}

// sendDue sends what is due, the flows in turn, and returns the intended time of the next message.
func (s *flows) sendDue(now time.Duration) time.Duration {
	for {
		intended := time.Duration(s.next) * time.Second / time.Duration(s.rate)
		if intended > now {
			return intended
		}
		s.send(s.list[s.next%uint64(len(s.list))], intended)
		s.next++
		if intended >= s.measured {
			s.lag = append(s.lag, now-intended)
		}
	}
}

// drain stops publishing and waits until everything has arrived, or the limit.
func (s *flows) drain() error {
	s.stopped = true
	for deadline := time.Now().Add(drainLimit); !s.drained() && time.Now().Before(deadline); {
		if err := s.loop.turn(idleWait); err != nil {
			return err
		}
	}
	return nil
}

func (s *flows) drained() bool {
	return !slices.ContainsFunc(s.list, func(f *flow) bool {
		return f.received != f.sent || s.qos > 0 && f.acked != f.sent
	})
}

func (s *flows) faults() []string {
	var faults []string
	missing, unacknowledged := uint64(0), uint64(0)
	for _, f := range s.list {
		missing += f.sent - f.received
		if s.qos > 0 {
			unacknowledged += f.sent - f.acked
		}
	}
	if s.lost > 0 {
		faults = append(faults, fmt.Sprintf("LOST %d messages at QoS %d while later ones came", s.lost, s.qos))
	}
	if missing > 0 {
		faults = append(faults, fmt.Sprintf("%d messages at QoS %d had not come %v after the last was sent", missing, s.qos, drainLimit))
	}
	if s.wrong > 0 {
		faults = append(faults, fmt.Sprintf("%d messages repeated, out of order or at the wrong subscriber", s.wrong))
	}
	if unacknowledged > 0 {
		faults = append(faults, fmt.Sprintf("%d messages not acknowledged", unacknowledged))
	}
	return faults
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// quantile sorts d.
func quantile(d []time.Duration, q float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return d[min(len(d)-1, int(q*float64(len(d))))]
}

// pairs makes the publishers of a closed or open loop; each has a subscriber of its own, or all share one.
func pairs(l *loop, o options, oneSubscriber bool) (*flows, error) {
	qos := byte(o.qos)
	s := &flows{loop: l, qos: qos, window: o.window, payload: make([]byte, max(o.size, payloadHead))}
	if o.scenario == "open" {
		s.rate = o.rate
	}
	var subscribers, publishers []client
	for i := range o.clients {
		topic := fmt.Sprintf("bench/pair/%d", i)
		if !oneSubscriber {
			subscribers = append(subscribers, client{fmt.Sprintf("sub-%d", i), qos, []string{topic}, o.keep})
		}
		publishers = append(publishers, client{id: fmt.Sprintf("pub-%d", i)})
		s.list = append(s.list, &flow{topic: []byte(topic)})
	}
	if oneSubscriber {
		subscribers = []client{{"sub", qos, []string{"bench/pair/#"}, o.keep}}
	}
	if _, err := l.connect(subscribers); err != nil {
		return nil, err
	}
	return s, s.connect(publishers)
}

func (s *flows) connect(publishers []client) error {
	conns, err := s.loop.connect(publishers)
	for i, c := range conns {
		c.flow = i
		s.list[i].pub = c
	}
	return err
}
