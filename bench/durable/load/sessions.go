//go:build linux

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"midge/bench/internal/harness"
)

const (
	// sessionSlice is how many connections there are at a time while sessions are made.
	sessionSlice = 500
	// sessionSample is how many sessions are resumed to see whether they are still there.
	sessionSample = 500
	// settleTime is how long the broker has to finish what it does behind an acknowledgement.
	settleTime = time.Second
	resumeID   = "backlog"
	fillTopic  = "bench/backlog"
	// fillLimit bounds the time that filling and draining a queue may take, without progress.
	fillLimit = 20 * time.Second
	// memoryEvery is how often the broker's memory is read while a queue drains.
	memoryEvery = 100 * time.Millisecond
)

// makeSessions makes n sessions that are kept, each with a subscription to the filter that it gets, and leaves them.
func makeSessions(l *loop, n int, filter func(i int) string) error {
	for first := 0; first < n; first += sessionSlice {
		var clients []client
		for i := first; i < min(first+sessionSlice, n); i++ {
			clients = append(clients, client{fmt.Sprintf("session-%d", i), 1, []string{filter(i)}, true})
		}
		conns, err := l.connect(clients)
		if err != nil {
			return fmt.Errorf("make sessions: %w", err)
		}
		if err := l.leave(conns); err != nil {
			return fmt.Errorf("make sessions: %w", err)
		}
	}
	return nil
}

func sessionTopic(i int) string { return fmt.Sprintf("bench/session/%d", i) }

// sessions makes sessions with a topic each, and measures what they cost the broker.
func sessions(l *loop, n int, settle time.Duration, m *meter) (map[string]float64, []string, error) {
	l.handler = new(nobody)
	empty, err := harness.ResidentBytes(m.broker)
	if err != nil {
		return nil, nil, err
	}
	if err := m.restart(); err != nil {
		return nil, nil, err
	}
	if err := makeSessions(l, n, sessionTopic); err != nil {
		return nil, nil, err
	}
	used, err := m.read()
	if err != nil {
		return nil, nil, err
	}
	if err := l.rest(settle); err != nil {
		return nil, nil, err
	}
	settled, err := harness.ResidentBytes(m.broker)
	return map[string]float64{
		"sessions/s":           float64(n) / used.wall.Seconds(),
		"broker µs/session":    micros(used.broker) / float64(n),
		"written B/session":    float64(used.written) / float64(n),
		"bytes/session before": float64(settled-empty) / float64(n),
	}, nil, err
}

// resumed counts what each resumed session gets.
type resumed struct {
	count []int // by connection
	acked int
}

func (r *resumed) received(c *conn, _, _ []byte) { r.count[c.index]++ }
func (r *resumed) acknowledged(*conn)            { r.acked++ }

// resume connects to a sample of the n sessions, which the broker must still have, and publishes to each of them.
func resume(l *loop, n int) (map[string]float64, []string, error) {
	var clients []client
	var topics []string
	for i := 0; i < n; i += max(1, n/sessionSample) {
		clients = append(clients, client{id: fmt.Sprintf("session-%d", i), keep: true})
		topics = append(topics, sessionTopic(i))
	}
	r := &resumed{count: make([]int, len(clients)+1)}
	l.handler = r
	conns, err := l.connect(clients)
	if err != nil {
		return nil, nil, err
	}
	missing := 0
	for _, c := range conns {
		if !c.present {
			missing++
		}
	}
	publisher, err := l.connect([]client{{id: "publisher"}})
	if err != nil {
		return nil, nil, err
	}
	for _, topic := range topics {
		p := publisher[0]
		p.out = appendPublish(p.out, []byte(topic), []byte("after the restart"), 1, p.nextID())
		l.touch(p)
	}
	if err := l.rest(settleTime); err != nil {
		return nil, nil, err
	}
	silent := 0
	for i := range clients {
		if r.count[i] != 1 {
			silent++
		}
	}
	var faults []string
	if missing > 0 {
		faults = append(faults, fmt.Sprintf("LOST %d of %d sessions", missing, len(clients)))
	}
	if silent > 0 || r.acked != len(topics) {
		faults = append(faults, fmt.Sprintf("%d of %d resumed sessions did not get their message once; %d were acknowledged", silent, len(clients), r.acked))
	}
	return map[string]float64{"resumed": float64(len(clients))}, faults, nil
}

// rest turns for d, and handles what arrives meanwhile.
func (l *loop) rest(d time.Duration) error {
	for end := time.Now().Add(d); ; {
		left := time.Until(end)
		if left <= 0 {
			return nil
		}
		if err := l.turn(left); err != nil {
			return err
		}
	}
}

// backlog is the handler of one publisher, and of one subscriber who counts.
type backlog struct {
	loop   *loop
	acked  int
	next   uint64 // the sequence number expected
	wrong  int
	repeat int
}

func (b *backlog) acknowledged(*conn) { b.acked++ }

func (b *backlog) received(_ *conn, _, payload []byte) {
	if len(payload) < 8 {
		b.wrong++
		return
	}
	seq := binary.BigEndian.Uint64(payload)
	switch {
	case seq == b.next:
		b.next++
	case seq < b.next:
		b.repeat++
	default:
		b.wrong++
		b.next = seq + 1
	}
}

// publish publishes at QoS 1 on topic, a window of messages at a time, until n have been acknowledged in all.
func (b *backlog) publish(p *conn, topic string, n, window, size int) error {
	payload := make([]byte, max(8, size))
	progress, last := time.Now(), b.acked
	for sent := b.acked; b.acked < n; {
		for ; sent < n && sent-b.acked < window; sent++ {
			binary.BigEndian.PutUint64(payload, uint64(sent))
			p.out = appendPublish(p.out, []byte(topic), payload, 1, p.nextID())
			b.loop.touch(p)
		}
		if err := b.loop.turn(idleWait); err != nil {
			return err
		}
		if b.acked > last {
			progress, last = time.Now(), b.acked
		}
		if time.Since(progress) > fillLimit {
			return errors.New("publish: no acknowledgement for too long")
		}
	}
	return nil
}

// offline makes n sessions with the same subscription, leaves them, and publishes messages one by one. It measures the
// broker's CPU time for each, what it does behind the acknowledgement included, and idle CPU time left out.
func offline(l *loop, n, messages, size int, m *meter) (map[string]float64, []string, error) {
	b := &backlog{loop: l}
	l.handler = b
	if err := makeSessions(l, n, func(int) string { return "bench/offline" }); err != nil {
		return nil, nil, err
	}
	publisher, err := l.connect([]client{{id: "publisher"}})
	if err != nil {
		return nil, nil, err
	}
	if err := l.rest(2 * settleTime); err != nil {
		return nil, nil, err
	}
	if err := m.restart(); err != nil {
		return nil, nil, err
	}
	if err := l.rest(settleTime); err != nil {
		return nil, nil, err
	}
	idle, err := m.read()
	if err != nil {
		return nil, nil, err
	}
	if err := m.restart(); err != nil {
		return nil, nil, err
	}
	start := time.Now()
	if err := b.publish(publisher[0], "bench/offline", messages, 1, size); err != nil {
		return nil, nil, err
	}
	acked := time.Since(start)
	if err := l.rest(settleTime); err != nil {
		return nil, nil, err
	}
	used, err := m.read()
	if err != nil {
		return nil, nil, err
	}
	resident, err := harness.ResidentBytes(m.broker)
	background := time.Duration(float64(idle.broker) * used.wall.Seconds() / idle.wall.Seconds())
	k := float64(messages)
	return map[string]float64{
		"broker ms/msg": micros(max(0, used.broker-background)) / 1000 / k,
		"PUBACK ms":     micros(acked) / 1000 / k,
		"written B/msg": float64(used.written) / k,
		"broker MB":     float64(resident) / 1e6,
	}, nil, err
}

// fill makes a session, leaves it, and publishes messages that wait for it.
func fill(l *loop, messages, window, size int, m *meter) (map[string]float64, []string, error) {
	b := &backlog{loop: l}
	l.handler = b
	sub, err := l.connect([]client{{resumeID, 1, []string{fillTopic}, true}})
	if err != nil {
		return nil, nil, err
	}
	if err := l.leave(sub); err != nil {
		return nil, nil, err
	}
	publisher, err := l.connect([]client{{id: "publisher"}})
	if err != nil {
		return nil, nil, err
	}
	if err := l.rest(settleTime); err != nil {
		return nil, nil, err
	}
	// What waits first also fills buffers of a fixed size, so that the rest tells what a message costs.
	first := messages / 5
	resident, err := b.fillPart(publisher[0], first, window, size, m)
	if err != nil {
		return nil, nil, err
	}
	if err := m.restart(); err != nil {
		return nil, nil, err
	}
	if err := b.publish(publisher[0], fillTopic, messages, window, size); err != nil {
		return nil, nil, err
	}
	used, err := m.read()
	if err != nil {
		return nil, nil, err
	}
	if err := l.rest(settleTime); err != nil {
		return nil, nil, err
	}
	full, err := harness.ResidentBytes(m.broker)
	n := float64(messages - first)
	return map[string]float64{
		"fill msgs/s":        n / used.wall.Seconds(),
		"fill broker µs/msg": micros(used.broker) / n,
		"fill written B/msg": float64(used.written) / n,
		"B RSS/waiting msg":  float64(full-resident) / n,
	}, nil, err
}

// fillPart publishes the first messages, and returns the resident memory of the broker when it has settled.
func (b *backlog) fillPart(p *conn, messages, window, size int, m *meter) (int64, error) {
	if err := b.publish(p, fillTopic, messages, window, size); err != nil {
		return 0, err
	}
	if err := b.loop.rest(settleTime); err != nil {
		return 0, err
	}
	return harness.ResidentBytes(m.broker)
}

// drain resumes the session that fill left and takes all its messages.
func drain(l *loop, messages int, m *meter) (map[string]float64, []string, error) {
	b := &backlog{loop: l}
	l.handler = b
	before, err := harness.ResidentBytes(m.broker)
	if err != nil {
		return nil, nil, err
	}
	if err := m.restart(); err != nil {
		return nil, nil, err
	}
	peak := before
	sampled, progress, last := time.Now(), time.Now(), uint64(0)
	sub, err := l.connect([]client{{id: resumeID, keep: true}})
	if err != nil {
		return nil, nil, err
	}
	for b.next < uint64(messages) && time.Since(progress) < fillLimit {
		if err := l.turn(idleWait); err != nil {
			return nil, nil, err
		}
		if b.next > last {
			progress, last = time.Now(), b.next
		}
		if time.Since(sampled) > memoryEvery {
			sampled = time.Now()
			now, err := harness.ResidentBytes(m.broker)
			if err != nil {
				return nil, nil, err
			}
			peak = max(peak, now)
		}
	}
	used, err := m.read()
	if err != nil {
		return nil, nil, err
	}
	if err := l.rest(settleTime); err != nil {
		return nil, nil, err
	}
	after, err := harness.ResidentBytes(m.broker)
	if err != nil {
		return nil, nil, err
	}
	peak = max(peak, after)
	var faults []string
	if !sub[0].present {
		faults = append(faults, "LOST the session")
	}
	if b.next != uint64(messages) || b.wrong > 0 || b.repeat > 0 {
		faults = append(faults, fmt.Sprintf("%d of %d messages came, %d repeated, %d gaps", b.next, messages, b.repeat, b.wrong))
	}
	n := float64(messages)
	return map[string]float64{
		"drain msgs/s":        n / used.wall.Seconds(),
		"drain broker µs/msg": micros(used.broker) / n,
		"RSS MiB before":      float64(before) / (1 << 20),
		"RSS MiB growth":      float64(peak-before) / (1 << 20),
	}, faults, nil
}
