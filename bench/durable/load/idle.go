//go:build linux

package main

import (
	"fmt"
	"time"

	"midge/bench/internal/harness"
)

// nobody is the handler of clients that should hear nothing.
type nobody struct{ messages int }

func (n *nobody) received(*conn, []byte, []byte) { n.messages++ }
func (n *nobody) acknowledged(*conn)             { n.messages++ }

// idle holds connections with one subscription each and measures what they cost the broker once it has settled.
func idle(l *loop, connections int, settle time.Duration, m *meter) (map[string]float64, []string, error) {
	heard := new(nobody)
	l.handler = heard
	empty, err := harness.ResidentBytes(m.broker)
	if err != nil {
		return nil, nil, err
	}
	clients := make([]client, connections)
	for i := range clients {
		clients[i] = client{id: fmt.Sprintf("idle-%d", i), filters: []string{fmt.Sprintf("bench/idle/%d", i)}}
	}
	if err := m.restart(); err != nil {
		return nil, nil, err
	}
	if _, err := l.connect(clients); err != nil {
		return nil, nil, err
	}
	connecting, err := m.read()
	if err != nil {
		return nil, nil, err
	}
	connected, err := harness.ResidentBytes(m.broker)
	if err != nil {
		return nil, nil, err
	}
	for start := time.Now(); time.Since(start) < settle; {
		if err := l.turn(settle); err != nil {
			return nil, nil, err
		}
	}
	settled, err := harness.ResidentBytes(m.broker)
	if err != nil {
		return nil, nil, err
	}
	var faults []string
	if heard.messages > 0 {
		faults = append(faults, fmt.Sprintf("%d packets to idle clients", heard.messages))
	}
	n := float64(connections)
	return map[string]float64{
		"empty broker MB":        float64(empty) / 1e6,
		"bytes/connection":       float64(settled-empty) / n,
		"bytes/connection first": float64(connected-empty) / n,
		"broker µs/connect":      micros(connecting.broker) / n,
	}, faults, nil
}
