//go:build linux

package main

import (
	"fmt"
	"slices"
	"time"
)

const (
	burstPause = 20 * time.Millisecond
	burstLimit = 10 * time.Second
)

// fanout publishes one message at a time to many subscribers and waits until the last has it.
type fanout struct {
	loop  *loop
	pub   *conn
	subs  int
	count int    // received of the current burst
	seen  []bool // by connection, of the current burst
	wrong int
}

func (s *fanout) received(c *conn, _, _ []byte) {
	if s.seen[c.index] {
		s.wrong++
	}
	s.seen[c.index] = true
	s.count++
}

func (s *fanout) acknowledged(*conn) {}

func newFanout(l *loop, subscribers int) (*fanout, error) {
	clients := make([]client, subscribers)
	for i := range clients {
		clients[i] = client{id: fmt.Sprintf("sub-%d", i), filters: []string{"bench/fanout"}}
	}
	if _, err := l.connect(clients); err != nil {
		return nil, err
	}
	publisher, err := l.connect([]client{{id: "pub"}})
	if err != nil {
		return nil, err
	}
	return &fanout{loop: l, pub: publisher[0], subs: subscribers, seen: make([]bool, subscribers+1)}, nil
}

// run publishes bursts messages after two that warm up.
func (s *fanout) run(bursts, size int, m *meter) (map[string]float64, []string, error) {
	s.loop.handler = s
	payload, topic := make([]byte, size), []byte("bench/fanout")
	var last []time.Duration
	const warmUps = 2
	for i := range bursts + warmUps {
		if i == warmUps {
			last = last[:0]
			if err := m.restart(); err != nil {
				return nil, nil, err
			}
		}
		s.count = 0
		clear(s.seen)
		start := time.Now()
		s.pub.out = appendPublish(s.pub.out, topic, payload, 0, 0)
		s.loop.touch(s.pub)
		for s.count < s.subs {
			if err := s.loop.turn(burstLimit); err != nil {
				return nil, nil, err
			}
			if time.Since(start) > burstLimit {
				return nil, []string{fmt.Sprintf("LOST %d of %d deliveries", s.subs-s.count, s.subs)}, nil
			}
		}
		last = append(last, time.Since(start))
		for pause := time.Now(); time.Since(pause) < burstPause; {
			if err := s.loop.turn(burstPause); err != nil {
				return nil, nil, err
			}
		}
	}
	used, err := m.read()
	if err != nil {
		return nil, nil, err
	}
	var faults []string
	if s.wrong > 0 {
		faults = append(faults, fmt.Sprintf("%d deliveries repeated", s.wrong))
	}
	deliveries := float64(bursts * s.subs)
	return map[string]float64{
		"last receipt ms":       micros(quantile(last, 0.5)) / 1000,
		"worst last receipt ms": micros(slices.Max(last)) / 1000,
		"broker µs/delivery":    micros(used.broker) / deliveries,
		"generator µs/delivery": micros(used.self) / deliveries,
	}, faults, nil
}
