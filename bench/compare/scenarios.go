//go:build linux

package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// mosquittoConfig switches off what would slow Mosquitto down (Nagle's algorithm, logging) and what would make it drop.
const mosquittoConfig = `listener %s 127.0.0.1
allow_anonymous true
persistence false
log_type none
set_tcp_nodelay true
max_queued_messages 100000
`

// command returns how a broker is started.
func (r *runner) command(broker, address string) (name string, args []string, err error) {
	switch broker {
	case "mosquitto":
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			return "", nil, err
		}
		file := filepath.Join(r.dir, "mosquitto.conf")
		return "mosquitto", []string{"-c", file}, os.WriteFile(file, fmt.Appendf(nil, mosquittoConfig, port), 0o644)
	case "mochi", "floor":
		return filepath.Join(r.dir, broker), []string{"-listen", address}, nil
	case "midge":
		return filepath.Join(r.dir, broker), []string{"serve", "--listen", "tcp://" + address, "--memory", "--log-level", "error"}, nil
	}
	return "", nil, fmt.Errorf("unknown broker %q", broker)
}

// scenario is one call of load.
type scenario struct {
	name    string
	about   string
	args    []string
	figures []string // in the order of the table
	floor   bool     // the raw send loop takes part
}

func allScenarios() []scenario {
	loop := []string{"msgs/s", "broker µs/msg", "generator µs/msg"}
	return []scenario{
		{name: "pairs-qos0", about: "100 pairs, 64 B, closed loop with 10 in flight each, QoS 0", args: []string{"-scenario", "pairs", "-qos", "0"}, figures: loop},
		{name: "pairs-qos1", about: "the same at QoS 1", args: []string{"-scenario", "pairs", "-qos", "1"}, figures: loop},
		{name: "pairs-qos2", about: "the same at QoS 2", args: []string{"-scenario", "pairs", "-qos", "2"}, figures: loop},
		{name: "open", about: "50 pairs, 64 B, QoS 0, open loop at 10,000 msg/s in all; latency from the intended time of sending",
			args:    []string{"-scenario", "open", "-clients", "50", "-rate", "10000"},
			figures: []string{"p50 µs", "p90 µs", "p99 µs", "broker µs/msg", "generator µs/msg", "generator lag p99 µs", "msgs/s"}},
		{name: "fanout", about: "one message of 64 B to 10,000 subscribers, QoS 0, 15 times a run",
			args:    []string{"-scenario", "fanout", "-clients", "10000"},
			figures: []string{"last receipt ms", "worst last receipt ms", "broker µs/delivery", "generator µs/delivery"}, floor: true},
		{name: "fanin", about: "100 publishers with 10 in flight each, 1 subscriber, QoS 1", args: []string{"-scenario", "fanin", "-qos", "1"}, figures: loop},
		{name: "wildcards", about: "100,000 filters with wildcards over 200 clients; 20 publishers with 10 in flight each on 1.3 million topics at random, each matching one filter",
			args: []string{"-scenario", "wildcards"}, figures: loop},
		{name: "idle", about: "15,000 connections with one subscription each",
			args:    []string{"-scenario", "idle", "-clients", "15000"},
			figures: []string{"empty broker MB", "bytes/connection", "bytes/connection first", "broker µs/connect"}},
	}
}
